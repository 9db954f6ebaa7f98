"""CORS preflights (Fetch, 3.2): which of two versions' answers a browser is given.

A browser sends a preflight without cookies and without the headers that it asks about, so it has
no key, and whoever answers it does not know who will come. Where both versions are asked, the
answer is the one that allows what was asked for: a user's own version then decides the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from canario.control.rollout import Outcome
from canario.routing.keys import Carrier
from canario.routing.router import Arm

__all__ = ["Answer", "Asked", "asked", "choose"]

# What a page may send without asking (Fetch, 2.2.1).
_SIMPLE = frozenset({b"GET", b"HEAD", b"POST"})


class Asked(NamedTuple):
    """What a preflight asks for: by whom, which method, which headers (in lower case)."""

    origin: bytes
    method: bytes
    headers: frozenset[bytes]


class Answer(NamedTuple):
    """A version's answer; `status` is None where it gave none."""

    status: int | None
    headers: Sequence[tuple[bytes, bytes]] = ()
    body: bytes = b""


def asked(carrier: Carrier) -> Asked | None:
    """What the request asks for, if it is a preflight (its method is OPTIONS)."""
    methods = carrier.headers(b"access-control-request-method")
    origins = carrier.headers(b"origin")
    if not methods or not origins:
        return None
    wanted = b",".join(carrier.headers(b"access-control-request-headers"))
    return Asked(origins[0], methods[0], _names(wanted))


def choose(mine: Answer, other: Answer, arm: Arm, wish: Asked) -> tuple[Answer, Outcome]:
    """The answer for the browser, and what the preflight says of the version that it is counted
    for, whose arm and answer are `arm` and `mine`.

    An answer that allows what is asked for, with credentials if possible, beats one that does
    not; the baseline's beats the canary's that allows as much. A canary that refuses what the
    baseline allows has failed: its users' browsers would send nothing.
    """
    mine_allows, other_allows = _allows(mine, wish), _allows(other, wish)
    if mine_allows == other_allows:
        chosen = mine if arm == "baseline" else other
        if chosen.status is None:
            chosen = other if arm == "baseline" else mine
    else:
        chosen = mine if mine_allows > other_allows else other
    if mine.status is None or mine.status >= 500:
        return chosen, Outcome.BAD
    if arm == "canary" and mine_allows < other_allows:
        return chosen, Outcome.BAD
    return chosen, Outcome.NEUTRAL if mine.status >= 400 else Outcome.GOOD


def _allows(answer: Answer, wish: Asked) -> int:
    """0: it refuses. 1: it allows a request without credentials. 2: one with them, too."""
    if answer.status is None or not 200 <= answer.status < 300:
        return 0
    origin = _last(answer, b"access-control-allow-origin")
    if origin not in (b"*", wish.origin):
        return 0
    methods = _all(answer, b"access-control-allow-methods")
    headers = frozenset(name.lower() for name in _all(answer, b"access-control-allow-headers"))
    credentials = _last(answer, b"access-control-allow-credentials") == b"true"
    # With credentials an asterisk is a name like any other.
    by_name = wish.method in _SIMPLE | methods and wish.headers <= headers
    if origin == wish.origin and credentials and by_name:
        return 2
    if wish.method not in _SIMPLE and not methods & {b"*", wish.method}:
        return 0
    # An asterisk does not stand for this one.
    plain = wish.headers - headers
    return int(not plain or (b"*" in headers and b"authorization" not in plain))


def _last(answer: Answer, name: bytes) -> bytes | None:
    values = [value.strip() for key, value in answer.headers if key.lower() == name]
    return values[-1] if values else None


def _all(answer: Answer, name: bytes) -> frozenset[bytes]:
    listed = b",".join(value for key, value in answer.headers if key.lower() == name)
    return frozenset(part.strip() for part in listed.split(b",") if part.strip())


def _names(listed: bytes) -> frozenset[bytes]:
    return frozenset(part.strip().lower() for part in listed.split(b",") if part.strip())
