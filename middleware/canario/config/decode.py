"""From a document to checked values, with errors that name where, what and what is valid."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from canario.spec import what_and_where

from .error import ConfigError

__all__ = ["decode", "nearest", "read_document"]

T = TypeVar("T")


def read_document(path: Path) -> dict[str, Any]:
    """The table that a TOML or JSON file holds. Raises `ConfigError`."""
    source = str(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(source, "", f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(source, "", f"is not UTF-8 text: {error.reason}") from error
    try:
        match path.suffix.lower():
            case ".toml":
                import tomllib

                return tomllib.loads(text)
            case ".json":
                document = json.loads(text, object_pairs_hook=_unique)
            case other:
                raise ConfigError(source, "", f"ends in {other!r}; valid are .toml and .json")
    except ValueError as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(source, "", f"is not valid {path.suffix[1:].upper()}: {error}") from error
    if not isinstance(document, dict):
        raise ConfigError(source, "", f"holds a {type(document).__name__}; it must be an object")
    return document


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a key that is given twice, as TOML does, rather than lose the first value."""
    made = dict(pairs)
    if len(made) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} is given twice")
    return made


def decode(raw: Mapping[str, Any], kind: type[T], source: str) -> T:
    """Convert a document to `kind`, a tree of `msgspec.Struct` that forbid unknown fields.

    Raises `ConfigError` for the first key that is unknown, with the nearest valid one, and for
    the first value that is missing, of the wrong type or out of range.
    """
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        # What would be valid takes every type of the tree, and longer than all the rest.
        _refuse_unknown(raw, inspect.type_info(kind), source, "")
        what, path = what_and_where(error)
        raise ConfigError(source, path, what + _value_at(raw, path, what)) from error


def _value_at(raw: Any, path: str, what: str) -> str:
    """The value that an error is about, unless the message says it already."""
    value = raw
    for name, index in re.findall(r"([^.\[\]]+)|\[(\d+)\]", path):
        try:
            value = value[name] if name else value[int(index)]
        except (KeyError, IndexError, TypeError):
            return ""
    if isinstance(value, dict | list) or (isinstance(value, str) and repr(value) in what):
        return ""
    return f"; it is {value!r}"


def _refuse_unknown(raw: Any, kind: inspect.Type, source: str, path: str) -> None:
    """Walk the document beside its type and refuse the first key that the type does not have."""
    if isinstance(kind, inspect.Metadata):
        return _refuse_unknown(raw, kind.type, source, path)
    if isinstance(kind, inspect.UnionType):
        kind = _member(raw, kind, source, path)
    if isinstance(kind, inspect.LiteralType) and raw not in kind.values:
        valid = ", ".join(str(value) for value in kind.values)
        raise ConfigError(source, path, f"Invalid enum value {raw!r}; valid are {valid}")
    if isinstance(kind, inspect.StructType) and isinstance(raw, Mapping):
        fields = {field.encode_name: field.type for field in kind.fields}
        known = [*fields, *([kind.tag_field] if kind.tag_field else [])]
        for key, value in raw.items():
            here = f"{path}.{key}" if path else str(key)
            if key in fields:
                _refuse_unknown(value, fields[key], source, here)
            elif key not in known:
                raise ConfigError(source, here, f"unknown key{nearest(str(key), known)}")
        return None
    if isinstance(kind, inspect.ListType | inspect.VarTupleType) and isinstance(raw, list | tuple):
        for index, value in enumerate(raw):
            _refuse_unknown(value, kind.item_type, source, f"{path}[{index}]")
    return None


def _member(raw: Any, union: inspect.UnionType, source: str, path: str) -> inspect.Type:
    """The member of a union that `raw` is meant for; the union itself if none is.

    Of several tables the tag decides. Raises `ConfigError` for a tag that none of them has.
    """
    structs = [kind for kind in union.types if isinstance(kind, inspect.StructType)]
    if len(structs) == 1 and isinstance(raw, Mapping):
        return structs[0]
    if len(structs) > 1 and isinstance(raw, Mapping):
        return _tagged(raw, structs, source, path)
    others = [kind for kind in union.types if not isinstance(kind, inspect.NoneType)]
    return others[0] if len(others) == 1 and raw is not None else union


def _tagged(
    raw: Mapping[str, Any], structs: list[inspect.StructType], source: str, path: str
) -> inspect.Type:
    field = structs[0].tag_field or ""
    for kind in structs:
        if field in raw and raw[field] == kind.tag:
            return kind
    valid = ", ".join(str(kind.tag) for kind in structs)
    what = f"Invalid value {raw[field]!r}" if field in raw else f"the key {field} is missing"
    here = f"{path}.{field}" if field in raw else path
    raise ConfigError(source, here, f"{what}; valid are {valid}")


def nearest(key: str, known: list[str]) -> str:
    """What to write instead of a key that is none: a close one, if any is, and all."""
    import difflib  # for errors alone

    close = difflib.get_close_matches(key, known, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    return f"; {hint}valid are {', '.join(known)}"
