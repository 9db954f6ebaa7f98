"""Where the routing key of a request comes from: an ordered list of sources.

The first source that is present decides. A value that cannot be a key is refused, and the
sources after it are not asked: a request must not choose its cohort by spoiling its own key.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Protocol
from urllib.parse import unquote_to_bytes

from canario.routing.bucket import InvalidKeyError, key_bytes

__all__ = ["Carrier", "KeySource", "cookie_value", "header_of", "key_source", "path_below"]


class Carrier(Protocol):
    """What a key or a claim can be read from; one for each protocol. Bytes are the wire's own."""

    def headers(self, name: bytes) -> Sequence[bytes]:
        """The values of every header called `name`, which is in lower case."""

    def only(self, name: bytes) -> bytes | None:
        """The value of the header called `name`, where there is one, plainly; None where it takes
        a closer look by `headers`. It may still be two in one, joined by a comma."""

    def peer(self) -> str | None:
        """The address at the other end of the connection."""

    def user(self) -> str | bytes | None:
        """The user that the host's own authentication found."""

    def path(self) -> str:
        """The path below the one that the app is mounted at, decoded."""

    def query(self) -> bytes:
        """What follows the question mark, as it was sent."""

    def request(self) -> Any:
        """The scope or the environ."""


KeySource = Callable[[Carrier], bytes | None]


def key_source(spec: str) -> KeySource:
    """The source that a plan calls `header:NAME`, `cookie:NAME`, `user`, `client`, `client:N`,
    `query:NAME` or `path:/plans/{id}`.

    It returns the key, or None where the request has none, and raises `InvalidKeyError` where it
    is empty, too long or given twice. Raises `ValueError` for any other `spec`.
    """
    kind, _, name = spec.partition(":")
    match kind:
        case "header":
            return _header_source(name.lower().encode("latin-1"))
        case "cookie":
            return _cookie_source(name.encode("latin-1"))
        case "user":
            return _user
        case "client":
            return _client_source(int(name or 0))
        case "query":
            return _query_source(name.encode("latin-1"))
        case "path":
            return _path_source(name)
    raise ValueError(f"{spec!r} is no source of keys; see Routing.key_sources")


def header_of(spec: str) -> bytes | None:
    """The header that a source reads, in lower case; None of a source that reads another thing."""
    kind, _, name = spec.partition(":")
    return name.lower().encode("latin-1") if kind == "header" else None


def _header_source(name: bytes) -> KeySource:
    def find(carrier: Carrier) -> bytes | None:
        values = carrier.headers(name)
        if not values:
            return None
        # A comma stands for a second line of the same header (RFC 9110, 5.3), and WSGI servers
        # join lines that way; so both protocols refuse it.
        if len(values) > 1 or b"," in values[0]:
            raise InvalidKeyError(f"the header {name.decode()} is given twice")
        return key_bytes(values[0])

    return find


def _cookie_source(name: bytes) -> KeySource:
    def find(carrier: Carrier) -> bytes | None:
        value = cookie_value(carrier, name)
        return None if value is None else key_bytes(value)

    return find


def cookie_value(carrier: Carrier, name: bytes) -> bytes | None:
    """The value of a cookie as it was sent, unquoted by nobody; None without one.

    Raises `InvalidKeyError` when it is given twice with two values.
    """
    found = None
    for header in carrier.headers(b"cookie"):
        if name not in header:
            continue
        for part in header.split(b";"):
            key, equals, value = part.strip().partition(b"=")
            if key == name and equals:
                # Twice with one value leaves no doubt; with two, whoever sent them could choose.
                if found is not None and value != found:
                    raise InvalidKeyError(f"the cookie {name.decode('latin-1')} is given twice")
                found = value
    return found


def path_below(path: str, root: str) -> str:
    """A path without the one that its app is mounted at; as it is where it does not lie below."""
    root = root.rstrip("/")
    if not root or not path.startswith(root) or path[len(root) : len(root) + 1] not in ("", "/"):
        return path
    return path[len(root) :] or "/"


def _user(carrier: Carrier) -> bytes | None:
    user = carrier.user()
    return None if user is None else key_bytes(user)


def _client_source(trusted_hops: int) -> KeySource:
    """The address that the outermost of `trusted_hops` proxies saw, or the peer's own."""

    def find(carrier: Carrier) -> bytes | None:
        if not trusted_hops:
            peer = carrier.peer()
            return None if peer is None else key_bytes(peer)
        # Each proxy appends the address it saw, so those on the right are the trusted ones'.
        hops = b",".join(carrier.headers(b"x-forwarded-for")).split(b",")
        # Fewer than there are proxies: it came past one of them, so the address is its own word.
        if len(hops) < trusted_hops:
            return None
        address = hops[-trusted_hops].strip()
        return key_bytes(address) if address else None

    return find


def _query_source(name: bytes) -> KeySource:
    def find(carrier: Carrier) -> bytes | None:
        found = None
        for part in carrier.query().split(b"&"):
            key, _, value = part.partition(b"=")
            # Any letter of a name may be sent as %XX, so that most names need no decoding.
            if key == name or (b"%" in key and unquote_to_bytes(key) == name):
                value = unquote_to_bytes(value.replace(b"+", b" "))
                if found is not None and value != found:
                    raise InvalidKeyError(f"the parameter {name.decode()} is given twice")
                found = value
        return None if found is None else key_bytes(found)

    return find


def _path_source(template: str) -> KeySource:
    """What stands in the path where `template` has a name in braces; several are one key.

    What lies below is the same thing's: `/plans/7/report` has the key of `/plans/7`.
    """
    parts = re.split(r"\{\w+\}", template)
    match = re.compile("([^/]+)".join(map(re.escape, parts)) + r"(?:/|\Z)").match

    def find(carrier: Carrier) -> bytes | None:
        found = match(carrier.path())
        return None if found is None else key_bytes("/".join(found.groups()))

    return find
