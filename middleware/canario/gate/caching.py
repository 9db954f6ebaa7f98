"""What a response must say so that caches serve nobody another user's arm (RFC 9111).

A cache that stores one user's response for all of them decides who sees the canary, and goes on
serving it after a rollback. So a response that a shared cache may store names the request headers
by which its arm was chosen (`Vary`), the canary's is to be asked for again before it is served
again (`no-cache`), and neither carries a cookie that is one user's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from canario.plan import Routing

__all__ = ["ANY", "Adapted", "adapt", "concerns_caches", "say_nothing", "varies_by"]

Pair = tuple[bytes, bytes]

# Anything, also what is not in the message, such as the client's address (RFC 9110, 12.5.5).
ANY = b"*"

# Where a response tells caches something; comparing lengths first is cheap.
_NAMES = ("cache-control", "etag", "expires", "last-modified", "vary")
_SAID = frozenset((*_NAMES, *(name.encode() for name in _NAMES)))
_LENGTHS = frozenset(map(len, _NAMES))

# What makes a cache keep a response: an age, or the instant that it is guessed by.
_STORED = frozenset({b"cache-control", b"expires", b"last-modified"})

# Where a host's own authentication looks, as far as anybody can know.
_CREDENTIALS = (b"authorization", b"cookie")


class Adapted(NamedTuple):
    """Headers for caches, and whether the cookie has been left out of them."""

    headers: list[Pair]
    withheld: bool = False


def varies_by(routing: Routing, own_key: bool) -> tuple[bytes, ...]:
    """The request headers that an arm depends on, in lower case; `ANY` alone if it may be anything.

    What is in the URL is in every cache's key already. `own_key` says that a function of the host
    gives keys: it may look at whatever it likes.
    """
    found: list[bytes] = [ANY] if own_key else []
    for source in routing.key_sources:
        kind, _, name = source.partition(":")
        match kind:
            case "header":
                found.append(name.lower().encode("latin-1"))
            case "cookie":
                found.append(b"cookie")
            case "user":
                found += _CREDENTIALS
            case "client":
                found.append(ANY)
    if routing.anonymous_cookie is not None:
        found.append(b"cookie")
    if routing.forced_arms is not None:
        found.append(routing.forced_arms.header.lower().encode("latin-1"))
        if routing.forced_arms.cookie is not None:
            found.append(b"cookie")
    return (ANY,) if ANY in found else tuple(dict.fromkeys(found))


def say_nothing(headers: Any) -> bool:
    """Whether these headers can be read twice, and their names' lengths alone tell that
    `concerns_caches` is false."""
    if headers.__class__ is not list:
        return False
    try:
        for pair in headers:
            if pair.__class__ is not tuple or len(pair[0]) in _LENGTHS:
                return False
    except (TypeError, LookupError):
        return False
    return True


def concerns_caches(headers: Iterable[Any]) -> bool:
    """Whether a response says anything that a cache listens to; headers of either protocol."""
    try:
        for pair in headers:
            if len(pair[0]) in _LENGTHS and pair[0].lower() in _SAID:
                return True
    except (TypeError, LookupError, AttributeError):
        pass  # these are none, and whoever sends them shall say so
    return False


def adapt(
    headers: Sequence[Pair],
    *,
    status: int | None,
    safe: bool,
    varies: Sequence[bytes],
    passing: bool,
    cookie: bytes | None,
) -> Adapted:
    """A copy of a response's headers, with what caches have to know.

    Args:
        headers: The app's.
        status: The response's status.
        safe: Whether the method is GET or HEAD: caches store little else.
        varies: See `varies_by`.
        passing: Whether the response is not to be served again once the share has changed.
        cookie: The value of a `Set-Cookie` that is to go with it.
    """
    made = list(headers)
    said = _directives(made)
    names = {name.lower() for name, _ in made}
    if b"no-store" in said or b"private" in said:
        return Adapted(_with_cookie(made, cookie))
    fresh = _is_fresh(said, names)
    # With an `ETag` alone it is asked for again each time, and whoever answers knows his own.
    stored = fresh or (safe and not names.isdisjoint(_STORED))
    # A 304 becomes part of what has been stored (RFC 9111, 4.3.4).
    withheld = cookie is not None and (fresh or status == 304)
    if cookie is not None and not withheld:
        if safe and (stored or b"etag" in names):
            _direct(made, b"private")
        return Adapted(_with_cookie(made, cookie))
    if stored:
        made = _vary(made, varies)
        if passing and b"no-cache" not in said:
            _direct(made, b"no-cache")
    return Adapted(made, withheld)


def _is_fresh(said: dict[bytes, bytes], names: set[bytes]) -> bool:
    """Whether the app wants shared caches to serve it again."""
    if b"no-cache" in said:
        return False
    lifetime = said.get(b"s-maxage", said.get(b"max-age"))
    if lifetime is None:
        return b"public" in said or b"expires" in names
    return lifetime.strip(b'"').lstrip(b"0") != b""


def _directives(headers: Iterable[Pair]) -> dict[bytes, bytes]:
    """Of `Cache-Control`; a directive that is about some fields alone is none of the response."""
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        if name.lower() != b"cache-control":
            continue
        for part in value.lower().split(b","):
            directive, equals, argument = part.strip().partition(b"=")
            if not (equals and directive in (b"private", b"no-cache")):
                # Of one that is given twice the first counts (RFC 9111, 4.2.1).
                found.setdefault(directive.strip(), argument.strip())
    return found


def _direct(headers: list[Pair], directive: bytes) -> None:
    """Add a directive to `Cache-Control`, in place."""
    for index, (name, value) in enumerate(headers):
        if name.lower() == b"cache-control":
            headers[index] = (name, b", ".join(filter(None, (value.strip(b" ,"), directive))))
            return
    headers.append((b"cache-control", directive))


def _vary(headers: list[Pair], varies: Sequence[bytes]) -> list[Pair]:
    lines = [(name, value) for name, value in headers if name.lower() == b"vary"]
    known = {part.strip().lower() for _, value in lines for part in value.split(b",")}
    missing = [name for name in varies if name not in known]
    if not missing or ANY in known:
        return headers
    if not lines:
        return [*headers, (b"vary", b", ".join(missing))]
    whole = b", ".join([value.strip(b" ,") for _, value in lines if value.strip(b" ,")] + missing)
    first = (lines[0][0], ANY if ANY in missing else whole)
    # One line in place of all of them, where the first one stood.
    kept: list[Pair] = []
    for pair in headers:
        if pair[0].lower() != b"vary":
            kept.append(pair)
        elif first not in kept:
            kept.append(first)
    return kept


def _with_cookie(headers: list[Pair], cookie: bytes | None) -> list[Pair]:
    return headers if cookie is None else [*headers, (b"set-cookie", cookie)]
