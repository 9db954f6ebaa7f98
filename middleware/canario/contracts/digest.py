"""Digests of values: equal values have equal digests, in every process."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import msgspec

__all__ = ["UndigestibleError", "digest"]

_SIZE = 16


class UndigestibleError(TypeError):
    """A value whose digest would say nothing: a file, a lock, a function, what holds itself."""


def digest(value: object) -> bytes:
    """16 bytes that stand for a value made of data.

    It is BLAKE2b over the value's MessagePack with sorted keys: numbers, text, bytes, dates,
    collections, dataclasses, structs, pydantic models and arrays with a buffer. A list and a
    tuple of the same items are the same; 1, 1.0 and True are three values.

    Raises `UndigestibleError` for anything else.
    """
    try:
        raw = _encoder.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError, AttributeError) as error:
        raise UndigestibleError(f"{type(value).__name__} has no digest: {error}") from error
    return blake2b(raw, digest_size=_SIZE).digest()


def _plain(value: Any) -> Any:
    """What MessagePack does not know, in terms of what it does. Raises `TypeError`."""
    dump = getattr(value, "model_dump", None)  # pydantic
    if callable(dump):
        return [type(value).__qualname__, dump()]
    dtype = getattr(value, "dtype", None)  # numpy and what behaves like it
    if dtype is not None and hasattr(value, "tobytes") and not getattr(dtype, "hasobject", True):
        return [str(dtype), list(value.shape), value.tobytes()]
    if isinstance(value, range | complex):
        return [type(value).__name__, repr(value)]
    raise TypeError(f"{type(value).__name__} is not data")


_encoder = msgspec.msgpack.Encoder(enc_hook=_plain, order="deterministic")
