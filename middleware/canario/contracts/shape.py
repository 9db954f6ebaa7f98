"""Shapes of values: a JSON Schema, a pydantic or msgspec type, or a callable, behind one face."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from canario.spec import what_and_where

from .quoting import brief, pointer

__all__ = ["Shape", "Wrong", "is_type", "schema_shape", "shape_of", "type_shape"]


class Wrong(NamedTuple):
    """One thing that is wrong with a value: in words, the rule, and a JSON pointer to it."""

    message: str
    rule: str | None = None
    path: str | None = None


# Gives all that is wrong with a value as JSON has them: dicts, lists, strings, numbers.
Shape = Callable[[Any], Iterator[Wrong]]


def shape_of(valid: object, what: str = "a shape", *, lax: bool = False) -> Shape:
    """How values are checked by a JSON Schema (a mapping or a bool), a type, or nothing else.

    Args:
        valid: The schema, or the type.
        what: Names it in errors.
        lax: Whether a type takes Python values too (an instance of a model, a tuple).

    Raises:
        ImportError: When the validator for it is not installed; it names the extra.
        ValueError: For a schema that is not valid.
        TypeError: For anything else.
    """
    if isinstance(valid, Mapping | bool):
        return schema_shape(valid, what)
    if is_type(valid):
        return type_shape(valid, lax=lax)
    raise TypeError(
        f"{what} is {valid!r}; valid are a JSON Schema (a dict), a pydantic or msgspec type, "
        "a type hint, and a callable"
    )


def is_type(valid: object) -> bool:
    """True for classes and for hints such as `list[int]`, False for functions and values."""
    return isinstance(valid, type) or hasattr(valid, "__origin__") or _is_adapter(valid)


def _is_adapter(valid: object) -> bool:
    return hasattr(valid, "validate_python") and hasattr(valid, "validate_json")


# -- JSON Schema


def schema_shape(
    schema: Mapping[str, Any] | bool,
    what: str = "the schema",
    *,
    registry: Any = None,
    draft: int | None = None,
) -> Shape:
    """How values are checked by a JSON Schema, of the draft that its `$schema` names (2020-12).

    Nothing is fetched: a reference to what is neither in the schema nor in `registry` is an error.

    Raises:
        ImportError: When jsonschema-rs is not installed.
        ValueError: When the schema is not valid; it names `what` and the place in it.
    """
    rs = jsonschema_rs()
    make = rs.validator_for if draft is None else _DRAFTS[draft](rs)
    raw = dict(schema) if isinstance(schema, Mapping) else schema
    try:
        validator = make(raw, registry=registry, retriever=_refuse)
    except rs.ValidationError as error:
        at = pointer(error.instance_path)
        raise ValueError(
            f"{what}: not a valid JSON Schema{f' at {at}' if at else ''}: {brief(error.message)}"
        ) from None
    except (rs.ReferencingError, ValueError, TypeError) as error:
        raise ValueError(f"{what}: not a valid JSON Schema: {brief(str(error))}") from None
    return _SchemaShape(validator)


class _SchemaShape:
    __slots__ = ("_validator",)

    def __init__(self, validator: Any) -> None:
        self._validator = validator

    def __call__(self, value: Any) -> Iterator[Wrong]:
        validator = self._validator
        try:
            if validator.is_valid(value):
                return
        except (TypeError, ValueError):
            value = msgspec.to_builtins(value)  # a struct, a dataclass, a date
        for error in map(_beyond_null, validator.iter_errors(value)):
            yield Wrong(brief(error.message), _keyword(error), pointer(error.instance_path))


_DRAFTS: dict[int, Callable[[Any], Any]] = {
    4: lambda rs: rs.Draft4Validator,
    202012: lambda rs: rs.Draft202012Validator,
}


def jsonschema_rs() -> Any:
    """The package. Raises `ImportError` that names the extra."""
    try:
        import jsonschema_rs
    except ImportError as error:
        raise ImportError(
            "contracts by JSON Schema need jsonschema-rs: pip install 'canario[contracts]'"
        ) from error
    return jsonschema_rs


def _refuse(uri: str) -> Any:
    raise ValueError(f"{uri} is not part of the schema, and nothing is fetched")


# Keywords whose `false` is the rule that does not hold, more than the false schema itself.
_CLOSING = frozenset(
    {
        "additionalItems",
        "additionalProperties",
        "items",
        "unevaluatedItems",
        "unevaluatedProperties",
    }
)


def _beyond_null(error: Any) -> Any:
    """What is wrong with a value that may be null as well, and is not: not that null is missing."""
    if getattr(error.kind, "name", None) != "anyOf":
        return error
    match error.kind.context:
        case [[null], [first, *_]] if getattr(null.kind, "types", None) == ["null"]:
            return _beyond_null(first)
    return error


def _keyword(error: Any) -> str | None:
    last = error.schema_path[-1] if error.schema_path else None
    if last in _CLOSING:
        return str(last)
    name = getattr(error.kind, "name", None)
    if isinstance(name, str):
        return name
    words = [part for part in error.schema_path if isinstance(part, str)]
    return words[-1] if words else None


# -- types


def type_shape(kind: Any, *, lax: bool = False) -> Shape:
    """How values are checked by a type: by pydantic where it knows the type better than msgspec.

    Raises `TypeError` for a type that neither knows.
    """
    if _is_adapter(kind) or _is_pydantic(kind):
        return _PydanticShape(_adapter(kind), lax)
    try:
        msgspec.json.Decoder(kind)  # refuses what it does not know
    except TypeError as error:
        try:
            return _PydanticShape(_adapter(kind), lax)
        except Exception:
            raise TypeError(f"{kind!r} cannot be checked: {error}") from error
    return _MsgspecShape(kind, lax)


def _is_pydantic(kind: Any) -> bool:
    parts = [kind, *getattr(kind, "__args__", ())]
    return any(hasattr(part, "__pydantic_core_schema__") for part in parts) or any(
        _is_pydantic(part) for part in getattr(kind, "__args__", ()) if hasattr(part, "__args__")
    )


def _adapter(kind: Any) -> Any:
    if _is_adapter(kind):
        return kind
    try:
        from pydantic import TypeAdapter
    except ImportError as error:
        raise ImportError(f"{kind!r} needs pydantic: pip install pydantic") from error
    return TypeAdapter(kind)


class _PydanticShape:
    __slots__ = ("_adapter", "_lax")

    def __init__(self, adapter: Any, lax: bool) -> None:
        self._adapter = adapter
        self._lax = lax

    def __call__(self, value: Any) -> Iterator[Wrong]:
        from pydantic import ValidationError

        try:
            if self._lax:
                self._adapter.validate_python(value)
            else:
                # As JSON, so that a date may be a string in strict models as well.
                self._adapter.validate_json(msgspec.json.encode(value))
        except ValidationError as error:
            for found in error.errors(
                include_url=False, include_context=False, include_input=False
            ):
                yield Wrong(brief(found["msg"]), str(found["type"]), pointer(found["loc"]))


class _MsgspecShape:
    __slots__ = ("_kind", "_lax")

    def __init__(self, kind: Any, lax: bool) -> None:
        self._kind = kind
        self._lax = lax

    def __call__(self, value: Any) -> Iterator[Wrong]:
        try:
            # JSON's own conversions: dates and bytes are strings, and so are keys.
            msgspec.convert(value, self._kind, from_attributes=self._lax, str_keys=not self._lax)
        except msgspec.ValidationError as error:
            yield msgspec_wrong(error)


def msgspec_wrong(error: msgspec.ValidationError) -> Wrong:
    """What msgspec's error says, with its path as a JSON pointer."""
    text, path = what_and_where(error)
    return Wrong(brief(text), _msgspec_rule(text), _pointer_of(path))


def _msgspec_rule(text: str) -> str:
    """A word for the rule: msgspec's errors have no codes, but few beginnings."""
    if "missing required field" in text:
        return "required"
    if "unknown field" in text:
        return "unknown_field"
    return "type" if ", got `" in text else "constraint"


def _pointer_of(path: str) -> str:
    """`questions[3].score` as `/questions/3/score`; `[...]`, any item of a mapping, as `*`."""
    below = path if path.startswith("[") or not path else f".{path}"
    return below.replace("[...]", "/*").replace("[", "/").replace("]", "").replace(".", "/")
