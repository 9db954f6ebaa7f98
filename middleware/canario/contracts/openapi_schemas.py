"""The schemas of an OpenAPI document as JSON Schemas of what a response holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

__all__ = ["for_responses", "foreign_keywords"]

# What a reference is written as in a URI, and what it refers to (None: not in the document).
Resolve = Callable[[str], tuple[str, Any]]

# Keywords whose value is a mapping by names that mean nothing (`default` among responses is no
# schema's default), and those that hold no schema.
_NAMED = frozenset(
    {
        "additionalOperations",
        "callbacks",
        "content",
        "definitions",
        "$defs",
        "dependentSchemas",
        "encoding",
        "headers",
        "mediaTypes",
        "pathItems",
        "paths",
        "patternProperties",
        "properties",
        "requestBodies",
        "responses",
        "schemas",
        "webhooks",
    }
)
_OPAQUE = frozenset({"example", "examples", "default", "enum", "const"})

# Keywords that may refuse null; all others are about values of another type.
_REFUSING = ("allOf", "anyOf", "const", "enum", "if", "then", "else", "not", "oneOf", "$ref")

# Of JSON Schema since draft 6, which 3.0 has not; and those that were booleans in draft 4.
_NEW = frozenset(
    {
        "const",
        "contains",
        "dependentRequired",
        "dependentSchemas",
        "if",
        "prefixItems",
        "propertyNames",
        "unevaluatedItems",
        "unevaluatedProperties",
    }
)
_EXCLUSIVE = ("exclusiveMinimum", "exclusiveMaximum")

_NULL = {"type": "null"}


def for_responses(document: Any, resolve: Resolve, *, old: bool) -> Any:
    """A copy of a document whose schemas are JSON Schemas of what a response holds.

    - What has `nullable` may be null, whatever else it has beside it: an `enum` without null, an
      `allOf`, a reference. The specification would have `nullable` do nothing there (3.0.4,
      4.7.24.1), and those who write it mean null.
    - What is `writeOnly` is no part of a response, so none is required to have it.
    - Of a `oneOf` one or more have to fit where its schemas are not what tells them apart: with a
      `discriminator`; beside one that is null alone, since another may allow null too (a value of
      any kind, or null: drf-spectacular); and where a `format` would, which is no rule from 3.1 on.
    - References are written as URIs have them.

    Args:
        document: The document.
        resolve: What a reference is and refers to.
        old: Whether a reference's siblings mean nothing, as in 3.0.
    """
    return _Schemas(resolve, old).made(document)


def foreign_keywords(document: Any, *, old: bool) -> list[str]:
    """Keywords of another version of OpenAPI that schemas of the document have."""
    found: dict[str, None] = {}
    for schema in _objects(document):
        if old:
            found |= dict.fromkeys(key for key in schema if key in _NEW)
            numbers = [key for key in _EXCLUSIVE if type(schema.get(key)) in (int, float)]
            found |= dict.fromkeys(numbers)
        elif schema.get("nullable") is True:
            found["nullable"] = None
    return sorted(found)


def _objects(value: Any, *, named: bool = False) -> Iterator[Mapping[str, Any]]:
    """All that may be a schema."""
    if isinstance(value, list):
        for item in value:
            yield from _objects(item)
    elif isinstance(value, Mapping):
        if not named:
            yield value
        for key, item in value.items():
            if named or not _is_opaque(key):
                yield from _objects(item, named=not named and key in _NAMED)


class _Schemas:
    def __init__(self, resolve: Resolve, old: bool) -> None:
        self._resolve = resolve
        self._old = old

    def made(
        self, value: Any, *, named: bool = False, write_only: frozenset[str] = frozenset()
    ) -> Any:
        """A copy; `write_only` are properties that are so by what stands beside it."""
        if isinstance(value, list):
            return [self.made(item) for item in value]
        if not isinstance(value, Mapping):
            return value
        if named:
            return {
                key: self.made(item, named=False, write_only=frozenset())
                for key, item in value.items()
            }
        write_only |= self._write_only(value)
        made = {key: self._item(key, item, write_only) for key, item in value.items()}
        if isinstance(made.get("$ref"), str):
            made["$ref"] = self._resolve(made["$ref"])[0]
        _drop(made, write_only)
        if isinstance(value.get("oneOf"), list) and self._overlap(value):
            made["allOf"] = [*made.get("allOf", ()), {"anyOf": made.pop("oneOf")}]
        if made.get("nullable") is True:
            self._allow_null(made)
        return made

    def _item(self, key: str, item: Any, write_only: frozenset[str]) -> Any:
        if _is_opaque(key):
            return item
        if key == "allOf" and isinstance(item, list):
            return [self.made(part, write_only=write_only) for part in item]
        return self.made(item, named=key in _NAMED)

    def _overlap(self, schema: Mapping[str, Any]) -> bool:
        """Whether more than one of a `oneOf` may fit a value that is as it should be."""
        parts = [
            part
            for each in schema["oneOf"]
            if isinstance(each, Mapping)
            for part in self._parts(each)
        ]
        return "discriminator" in schema or any(
            part.get("type") == "null"
            or part.get("enum") == [None]
            or ("format" in part and not self._old)
            for part in parts
        )

    def _allow_null(self, schema: dict[str, Any]) -> None:
        if self._old and "$ref" in schema:
            for key in [key for key in schema if key != "$ref"]:
                del schema[key]
        kind = schema.get("type")
        if isinstance(kind, str):
            schema["type"] = [kind, "null"]
        refusing = {key: schema.pop(key) for key in _REFUSING if key in schema}
        if refusing:
            schema["anyOf"] = [_NULL, refusing]

    def _write_only(self, schema: Mapping[str, Any]) -> frozenset[str]:
        """The names of the properties that are write-only, also by a part of an `allOf`."""
        return frozenset(
            name
            for part in self._parts(schema)
            if isinstance(properties := part.get("properties"), Mapping)
            for name, held in properties.items()
            if isinstance(held, Mapping) and self._is_write_only(held)
        )

    def _is_write_only(self, schema: Mapping[str, Any]) -> bool:
        return any(part.get("writeOnly") is True for part in self._parts(schema))

    def _parts(self, schema: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """A schema and what holds of it too: what it refers to, and the parts of its `allOf`."""
        found = [schema]
        for part in found:  # which grows meanwhile
            beside: list[Any] = part["allOf"] if isinstance(part.get("allOf"), list) else []
            if isinstance(part.get("$ref"), str):
                beside = [*beside, self._resolve(part["$ref"])[1]]
            found += [
                one
                for one in beside
                if isinstance(one, Mapping) and not any(one is known for known in found)
            ]
        return found


def _is_opaque(key: str) -> bool:
    return key in _OPAQUE or key.startswith("x-")


def _drop(schema: dict[str, Any], write_only: frozenset[str]) -> None:
    required = schema.get("required")
    if write_only and isinstance(required, list):
        left = [name for name in required if name not in write_only]
        if left:
            schema["required"] = left
        else:  # draft 4 wants one at least
            del schema["required"]
