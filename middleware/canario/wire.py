"""What a server or an app hands over, read so that it stays whole: copies of what reads once.

ASGI allows any iterable for headers and addresses, also one that can be read once; the app, or
the server, must still find it. And not every app keeps to the types of its protocol: what is no
header or no status is read as far as it goes, and never stands in the way of an observation.
"""

from __future__ import annotations

import re
from collections.abc import MutableMapping, Sequence
from functools import lru_cache
from typing import Any

__all__ = [
    "Headers",
    "address_of",
    "headers_of",
    "on_the_wire",
    "readable",
    "status_code",
    "utf8_text",
    "wire_pairs",
]

Headers = Sequence[tuple[bytes, bytes]]

_STATUS = re.compile(r"\s*([1-9][0-9]{2})(?![0-9])")


def readable(headers: Any) -> Any:
    """Headers that can be read as often as one likes: these themselves, or a copy."""
    if type(headers) is not list and type(headers) is not tuple:
        try:
            headers = list(headers)
        except TypeError:  # none at all: whoever they are for shall say so
            return headers
    for pair in headers:
        if type(pair) is not tuple and type(pair) is not list:
            return [_whole(pair) for pair in headers]
    return headers


def headers_of(scope: MutableMapping[str, Any]) -> Headers:
    """The headers of an ASGI scope, which keeps a copy where they could be read but once."""
    given = scope.get("headers", ())
    headers = readable(given)
    if headers is not given:
        scope["headers"] = headers
    return headers  # type: ignore[no-any-return]


def address_of(scope: MutableMapping[str, Any], name: str) -> Sequence[Any] | None:
    """`client` or `server` of an ASGI scope: address and port; None when it is not known."""
    address = scope.get(name)
    if address is not None and type(address) is not tuple and type(address) is not list:
        address = scope[name] = tuple(address)
    return address or None


def wire_pairs(headers: Any) -> list[tuple[bytes, bytes]]:
    """Headers, once they are `readable`, as bytes, without what is none."""
    return [
        (on_the_wire(pair[0]), on_the_wire(pair[1]))
        for pair in (headers if isinstance(headers, list | tuple) else ())
        if isinstance(pair, tuple | list) and len(pair) == 2
    ]


def on_the_wire(value: Any) -> bytes:
    """The bytes of a header's name or value, whatever its type."""
    if value.__class__ is not str and isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    text = str(value)
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def utf8_text(value: str) -> str:
    """The text whose UTF-8 bytes a WSGI environ holds as Latin-1 letters (PEP 3333)."""
    return (
        value if value.isascii() else value.encode("latin-1", "replace").decode("utf-8", "replace")
    )


def status_code(status: Any) -> int | None:
    """The status that an app gave as a number, an enum or a line; None when it is no status.

    HTTP has three digits (RFC 9110, 15), and a client takes those that it does not know, from 600
    on, as a server error.
    """
    try:
        if isinstance(status, str):
            return _of_line(str(status))
        if isinstance(status, bytes | bytearray):
            return _of_line(status.decode("latin-1"))
        code = int(status)
    except Exception:
        return None
    return code if 100 <= code <= 999 else None


@lru_cache(maxsize=256)  # an app has few
def _of_line(line: str) -> int | None:
    found = _STATUS.match(line)
    return int(found[1]) if found else None


def _whole(pair: Any) -> Any:
    """A header that can be read twice; what is none is left for others to refuse."""
    if isinstance(pair, tuple | list | str | bytes):
        return pair
    try:
        return tuple(pair)
    except TypeError:
        return pair
