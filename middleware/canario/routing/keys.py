"""Where the routing key of a request comes from: an ordered list of sources.

The first source that is present decides. A value that cannot be a key is refused, and the
sources after it are not asked: a request must not choose its cohort by spoiling its own key.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from canario.routing.bucket import InvalidKeyError, key_bytes

__all__ = ["Carrier", "KeySource", "cookie_value", "key_source"]


class Carrier(Protocol):
    """What a key or a claim can be read from; one for each protocol. Bytes are the wire's own."""

    def headers(self, name: bytes) -> Sequence[bytes]:
        """The values of every header called `name`, which is in lower case."""

    def peer(self) -> str | None:
        """The address at the other end of the connection."""

    def user(self) -> str | bytes | None:
        """The user that the host's own authentication found."""


KeySource = Callable[[Carrier], bytes | None]


def key_source(spec: str) -> KeySource:
    """The source that a plan calls `header:NAME`, `cookie:NAME`, `user`, `client` or `client:N`.

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
    raise ValueError(f"{spec!r} is no source of keys; see Routing.key_sources")


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
                if found is not None and value != found:
                    raise InvalidKeyError(f"the cookie {name.decode('latin-1')} is given twice")
                found = value
    return found


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
        if len(hops) < trusted_hops:
            return None
        address = hops[-trusted_hops].strip()
        return key_bytes(address) if address else None

    return find
