"""An OpenAPI document as JSON Schema can use it: read, its references resolved, its schemas."""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from canario.yaml_text import load_yaml

from .body_schema import read_json
from .openapi_schemas import for_responses, foreign_keywords
from .quoting import brief, escaped
from .shape import Shape, jsonschema_rs, schema_shape

__all__ = ["OpenAPIDocument", "read_openapi"]

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace", "query")

# Versions, and the draft of JSON Schema that each has.
_DRAFTS = {"3.0": 4, "3.1": 202012, "3.2": 202012}

# Dialects whose schemas 2020-12 checks as they mean it.
_DIALECTS = (
    "https://spec.openapis.org/oas/3.",
    "https://json-schema.org/draft/2020-12/schema",
)

_URI = "urn:canario:openapi"

# A server's variables have few values each; of more combinations the first ones are taken.
_MOST_BASES = 100


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
        documents = load_yaml(path.read_text(encoding="utf-8"))
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{path}: {error}", name=error.name) from error
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: is not valid YAML: {error}") from error
    if len(documents) > 1:
        raise ValueError(f"{path}: holds {len(documents)} documents; it must be one")
    return documents[0] if documents else None


def _as_json(value: Any) -> Any:
    """YAML and Python have keys and values that JSON has not: a status 200 that is no text, a
    date."""
    if isinstance(value, Mapping):
        return {str(key): _as_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_as_json(item) for item in value]
    return value.isoformat() if isinstance(value, datetime.date) else value


class OpenAPIDocument:
    """A document of version 3.0, 3.1 or 3.2, and where it comes from.

    Raises `ValueError` for what is none.

    Attributes:
        what: Names it in errors.
        notes: What of it is not used, or taken otherwise than it is written.
    """

    def __init__(self, document: Any, what: str) -> None:
        version = str(document.get("openapi", "")) if isinstance(document, Mapping) else ""
        draft = _DRAFTS.get(version[:3])
        if draft is None or version[3:4] != ".":
            raise ValueError(
                f"{what}: openapi is {version!r}; it must be an OpenAPI document, 3.0.x, 3.1.x or "
                "3.2.x"
            )
        self.what = what
        self.notes: list[str] = []
        self._document: Any = _as_json(document)
        self._draft = draft
        self._self = str(self._document.get("$self", "")).partition("#")[0]
        self._registry: Any = None
        dialect = self._document.get("jsonSchemaDialect")
        if dialect is not None and not str(dialect).startswith(_DIALECTS):
            raise ValueError(
                f"{what}: jsonSchemaDialect is {dialect!r}; its schemas can be checked by that of "
                "OpenAPI itself and by JSON Schema 2020-12"
            )
        foreign = ", ".join(foreign_keywords(self._document, old=draft == 4))
        if foreign and draft == 4:
            self.notes.append(f"OpenAPI {version} has no {foreign}: of 3.1, and not checked")
        elif foreign:
            self.notes.append(
                f"{foreign} is no keyword of OpenAPI {version}; what has it may be null, as in 3.0"
            )

    def paths(self) -> Iterator[tuple[str, Mapping[str, Any], str]]:
        """Each path's template, its item, and a pointer to that."""
        paths = self._document.get("paths")
        if not isinstance(paths, Mapping | None):
            raise ValueError(
                f"{self.what}: paths is {brief(repr(paths), 60)}; it must be an object"
            )
        for template, item in (paths or {}).items():
            if template.startswith("/"):
                resolved, at = self.resolved(item, f"#/paths/{escaped(template)}")
                yield template, resolved, at
            elif not template.startswith("x-"):
                self.notes.append(
                    f"the path {brief(template, 60)!r} is not used: a path begins with a slash"
                )

    def operations(
        self, item: Mapping[str, Any], at: str
    ) -> Iterator[tuple[str, Mapping[str, Any], str]]:
        """Each operation of a path's item: its method in lower case, itself, a pointer to it."""
        more = item.get("additionalOperations")  # of 3.2: methods that no keyword has
        places = [(method, item, at) for method in METHODS]
        if isinstance(more, Mapping):
            places += [(method, more, f"{at}/additionalOperations") for method in more]
        for method, holder, where in places:
            operation = holder.get(method)
            if isinstance(operation, Mapping):
                yield method.lower(), operation, f"{where}/{escaped(method)}"
            elif operation is not None:
                self.notes.append(f"{where}/{method} is not used: an operation is an object")

    def base_paths(self, *holders: Mapping[str, Any]) -> list[str]:
        """The paths of the servers of the document and of `holders`, without a slash at the end;
        none for the root."""
        found: dict[str, None] = {}
        for holder in (self._document, *holders):
            servers = holder.get("servers")
            for server in servers if isinstance(servers, list) else ():
                if isinstance(server, Mapping):
                    found |= dict.fromkeys(self._bases(server))
        return [path for path in found if path]

    def _bases(self, server: Mapping[str, Any]) -> Iterator[str]:
        """The paths of one server, for each value that its variables may have."""
        url = str(server.get("url", ""))
        variables = server.get("variables")
        named = {
            f"{{{name}}}": list(
                dict.fromkeys(
                    map(str, (variable.get("default", ""), *(variable.get("enum") or ())))
                )
            )
            for name, variable in (variables if isinstance(variables, Mapping) else {}).items()
            if isinstance(variable, Mapping) and f"{{{name}}}" in url
        }
        for values in itertools.islice(itertools.product(*named.values()), _MOST_BASES):
            written = url
            for name, value in zip(named, values, strict=True):
                written = written.replace(name, value)
            try:
                path = urlsplit(written).path.strip("/")
            except ValueError as error:
                self.notes.append(f"the server {brief(url, 60)!r} is not used: {error}")
                return
            yield f"/{path}" if path.strip("./") else ""  # "." is where the document is

    def resolved(self, value: Any, at: str) -> tuple[Mapping[str, Any], str]:
        """A value, or what it refers to inside the document, and a pointer to it."""
        seen = set()
        while isinstance(value, Mapping) and isinstance(value.get("$ref"), str):
            reference = value["$ref"]
            pointer = self._pointer(reference)
            if pointer is None or reference in seen:
                if not self._inside(reference).startswith("#") or reference in seen:
                    raise ValueError(
                        f"{self.what}: {at} refers to {reference!r}; only references inside the "
                        "document are followed"
                    )
                raise ValueError(f"{self.what}: {at} refers to {reference}, which does not exist")
            seen.add(reference)
            at, value = pointer, _at(self._document, pointer)
        if not isinstance(value, Mapping):
            raise ValueError(f"{self.what}: {at} is {brief(repr(value), 60)}; it must be an object")
        return value, at

    def shape_at(self, at: str) -> Shape:
        """How values are checked by the schema that a pointer leads to."""
        if self._registry is None:
            self._registry = self._made_registry()
        reference = {"$ref": _URI + _quoted(at)}
        what = f"{self.what}: {at}"
        return schema_shape(reference, what, registry=self._registry, draft=self._draft)

    def _made_registry(self) -> Any:
        rs = jsonschema_rs()
        draft = rs.Draft4 if self._draft == 4 else rs.Draft202012
        made = for_responses(self._document, self._reference, old=self._draft == 4)
        try:
            return rs.Registry([(_URI, made)], draft=draft)
        except Exception as error:
            raise ValueError(f"{self.what}: its references do not resolve: {error}") from error

    def _reference(self, reference: str) -> tuple[str, Any]:
        """A schema's reference as a URI has it, and what it refers to; None for another document
        or a name (`$anchor`), which are left to the validator."""
        pointer = self._pointer(reference)
        if pointer is None:
            return self._inside(reference), None
        return _quoted(pointer), _at(self._document, pointer)

    def _inside(self, reference: str) -> str:
        """A reference that names its own document, by 3.2's `$self`, without that name."""
        if self._self and reference.startswith(f"{self._self}#"):
            return reference.removeprefix(self._self)
        return reference

    def _pointer(self, reference: str) -> str | None:
        """Where in the document a reference leads, not percent-encoded; None where nowhere."""
        reference = self._inside(reference)
        if reference == "#":
            return reference
        if not reference.startswith("#/"):
            return None
        # A fragment is percent-encoded; many a generator writes names as they are.
        for pointer in (unquote(reference), reference):
            try:
                _at(self._document, pointer)
            except LookupError:
                continue
            return pointer
        return None


def _at(document: Any, pointer: str) -> Any:
    """The value that a JSON pointer leads to. Raises `LookupError` where there is none."""
    value = document
    for part in pointer.removeprefix("#").split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        try:
            value = value[int(name)] if isinstance(value, list) else value[name]
        except (IndexError, ValueError, TypeError) as error:
            raise LookupError(pointer) from error
    return value


def _quoted(pointer: str) -> str:
    """A pointer as a URI's fragment: what is no letter in it is percent-encoded."""
    return "#" + quote(pointer.removeprefix("#"), safe="/~")
