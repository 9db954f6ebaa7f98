"""An OpenAPI document as JSON Schema can use it: read, its references resolved, its schemas."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from .schema import read_json
from .shape import Shape, jsonschema_rs, schema_shape

__all__ = ["METHODS", "OpenAPIDocument", "read_openapi"]

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")

_URI = "urn:canario:openapi"

# Keywords whose value holds schemas by names that mean nothing, and those that hold no schema.
_NAMED = frozenset(
    {"properties", "patternProperties", "definitions", "$defs", "dependentSchemas", "schemas"}
)
_OPAQUE = frozenset({"example", "examples", "default", "enum", "const", "x-examples"})


def read_openapi(path: Path) -> Any:
    """The document in a JSON or YAML file. Raises `ValueError` that names the file."""
    match path.suffix.lower():
        case ".json":
            return read_json(path)
        case ".yaml" | ".yml":
            return _read_yaml(path)
        case other:
            raise ValueError(f"{path}: ends in {other!r}; valid are .json, .yaml and .yml")


def _read_yaml(path: Path) -> Any:
    try:
        import yaml
    except ImportError as error:
        raise ImportError(f"{path} is YAML, which needs: pip install 'canario[openslo]'") from error
    try:
        return _as_json(yaml.safe_load(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: is not valid YAML: {error}") from error


def _as_json(value: Any) -> Any:
    """YAML has keys and values that JSON has not: a status 200 that is no text, a date."""
    if isinstance(value, dict):
        return {str(key): _as_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_as_json(item) for item in value]
    return value.isoformat() if isinstance(value, datetime.date) else value


class OpenAPIDocument:
    """A document of version 3.0 or 3.1, and where it comes from.

    Raises `ValueError` for what is none.
    """

    def __init__(self, document: Any, what: str) -> None:
        version = str(document.get("openapi", "")) if isinstance(document, Mapping) else ""
        if not version.startswith(("3.0.", "3.1.")):
            raise ValueError(
                f"{what}: openapi is {version!r}; it must be an OpenAPI document, 3.0.x or 3.1.x"
            )
        self.what = what
        self._document: Any = document
        self._old = version.startswith("3.0.")
        self._draft = 4 if self._old else 202012
        self._registry: Any = None

    def paths(self) -> Iterator[tuple[str, Mapping[str, Any], str]]:
        """Each path's template, its item, and a pointer to that."""
        paths = self._document.get("paths", {})
        if not isinstance(paths, Mapping):
            raise ValueError(f"{self.what}: paths is {paths!r}; it must be an object")
        for template, item in paths.items():
            if template.startswith("/"):
                resolved, at = self.resolved(item, f"#/paths/{_escape(template)}")
                yield template, resolved, at

    def base_paths(self) -> list[str]:
        """The paths of the servers, without a slash at the end; none for the root."""
        servers = self._document.get("servers") or ()
        urls = [str(server.get("url", "")) for server in servers if isinstance(server, Mapping)]
        found = [urlsplit(url).path.rstrip("/") for url in urls]
        return [path for path in dict.fromkeys(found) if path]

    def resolved(self, value: Any, at: str) -> tuple[Mapping[str, Any], str]:
        """A value, or what it refers to inside the document, and a pointer to it."""
        seen = set()
        while isinstance(value, Mapping) and isinstance(value.get("$ref"), str):
            reference = value["$ref"]
            if not reference.startswith("#") or reference in seen:
                raise ValueError(
                    f"{self.what}: {at} refers to {reference!r}; only references inside the "
                    "document are followed"
                )
            seen.add(reference)
            value, at = self._at(reference, at), reference
        if not isinstance(value, Mapping):
            raise ValueError(f"{self.what}: {at} is {value!r}; it must be an object")
        return value, at

    def shape_at(self, at: str) -> Shape:
        """How values are checked by the schema that a pointer leads to."""
        if self._registry is None:
            self._registry = self._made_registry()
        # A fragment is a URI's, so what is no letter in it is percent-encoded.
        reference = {"$ref": f"{_URI}{quote(at, safe='#/~')}"}
        what = f"{self.what}: {at}"
        return schema_shape(reference, what, registry=self._registry, draft=self._draft)

    def _made_registry(self) -> Any:
        rs = jsonschema_rs()
        draft = rs.Draft4 if self._old else rs.Draft202012
        try:
            return rs.Registry([(_URI, _for_responses(self._document, self._old))], draft=draft)
        except Exception as error:
            raise ValueError(f"{self.what}: its references do not resolve: {error}") from error

    def _at(self, reference: str, origin: str) -> Any:
        value = self._document
        for part in reference.removeprefix("#").removeprefix("/").split("/"):
            name = unquote(part).replace("~1", "/").replace("~0", "~")
            try:
                value = value[int(name)] if isinstance(value, list) else value[name]
            except (KeyError, IndexError, ValueError, TypeError):
                raise ValueError(
                    f"{self.what}: {origin} refers to {reference}, which does not exist"
                ) from None
        return value


def _escape(part: str) -> str:
    return part.replace("~", "~0").replace("/", "~1")


def _for_responses(value: Any, old: bool, *, named: bool = False) -> Any:
    """A copy of a document whose schemas are JSON Schemas of what a response holds.

    OpenAPI 3.0 has draft 4's keywords, and `nullable` for what may be null as well. What is
    `writeOnly` is no part of a response, so none is required to have it (3.0.3, 4.7.24).
    """
    if isinstance(value, list):
        return [_for_responses(item, old) for item in value]
    if not isinstance(value, Mapping):
        return value
    made = {
        key: item
        if not named and key in _OPAQUE
        else _for_responses(item, old, named=not named and key in _NAMED)
        for key, item in value.items()
    }
    if named:
        return made
    if old and made.get("nullable") is True and isinstance(made.get("type"), str):
        made["type"] = [made["type"], "null"]
    _drop_write_only(made)
    return made


def _drop_write_only(schema: dict[str, Any]) -> None:
    required, properties = schema.get("required"), schema.get("properties")
    if not isinstance(required, list) or not isinstance(properties, Mapping):
        return
    left = [name for name in required if not _is_write_only(properties.get(name))]
    if len(left) < len(required):
        schema["required"] = left
        if not left:  # draft 4 wants one at least
            del schema["required"]


def _is_write_only(schema: Any) -> bool:
    return isinstance(schema, Mapping) and schema.get("writeOnly") is True
