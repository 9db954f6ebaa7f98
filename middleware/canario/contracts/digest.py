"""Digests of values: equal values have equal digests, in every process."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import PurePath
from typing import Any

import msgspec

__all__ = ["UndigestibleError", "digest"]

_SIZE = 16


class UndigestibleError(TypeError):
    """A value whose digest would say nothing: a file, a lock, a function, what holds itself."""


def digest(value: object) -> bytes:
    """16 bytes that stand for a value made of data.

    It is BLAKE2b over the value's MessagePack with sorted keys: numbers, text, bytes, dates,
    paths, collections, dataclasses, structs, pydantic models and arrays with a buffer. A list and
    a tuple of the same items are the same; 1, 1.0 and True are three values.

    Raises `UndigestibleError` for anything else.
    """
    try:
        return blake2b(_raw(value), digest_size=_SIZE).digest()
    except (TypeError, ValueError, OverflowError, RecursionError, AttributeError) as error:
        raise UndigestibleError(f"{type(value).__name__} has no digest: {error}") from error


def _raw(value: object) -> bytes:
    try:
        return _encoder.encode(value)
    except (TypeError, OverflowError):
        # Keys that are no text, items of several types, a very large number: put in an order here.
        return _encoder.encode(_ordered(value))


def _ordered(value: Any) -> Any:
    """The same for a value that the encoder itself cannot put in an order, item by item."""
    if isinstance(value, Mapping):
        if all(type(key) is str for key in value):
            return {key: _ordered(item) for key, item in value.items()}
        return ["mapping", sorted((_raw(key), _raw(item)) for key, item in value.items())]
    if isinstance(value, set | frozenset):
        return ["set", sorted(map(_raw, value))]
    if isinstance(value, list | tuple):
        return [_ordered(item) for item in value]
    if type(value) is int:
        return ["int", str(value)] if value.bit_length() > 63 else value
    names = _fields(value)
    return value if names is None else {name: _ordered(getattr(value, name)) for name in names}


def _fields(value: Any) -> tuple[str, ...] | None:
    """The fields of a struct or of a dataclass; None of anything else."""
    if isinstance(value, msgspec.Struct):
        return value.__struct_fields__
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return tuple(field.name for field in dataclasses.fields(value))
    return None


def _plain(value: Any) -> Any:
    """What MessagePack does not know, in terms of what it does. Raises `TypeError`."""
    dump = getattr(value, "model_dump", None)  # pydantic
    if callable(dump):
        return [type(value).__qualname__, _ordered(dump())]
    dtype = getattr(value, "dtype", None)  # numpy and what behaves like it
    if dtype is not None and hasattr(value, "tobytes") and not getattr(dtype, "hasobject", True):
        return [str(dtype), list(value.shape), value.tobytes()]
    if isinstance(value, range | complex | PurePath):
        return [type(value).__name__, repr(value)]
    raise TypeError(f"{type(value).__name__} is not data")


_encoder = msgspec.msgpack.Encoder(enc_hook=_plain, order="deterministic")
