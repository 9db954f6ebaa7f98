"""What a request asks for and how its app serves it."""

from __future__ import annotations

import gzip
import json
import random
from dataclasses import dataclass

__all__ = ["Fate", "Panic", "Trouble", "drawn", "probe"]

_ROUTES = ("/evaluate", "/plans/{id}", "/export", "/report", None)

# Ways to end; most end well.
_PLAIN = "plain"
_ENDS = {
    "asgi": (
        "raises", "raises late", "panics", "silent", "stream", "breaks off", "events", "hangs",
        "leaves", "cannot send", "cancels itself", "background", "socket", "no status", "reports",
        "preflight", "head", "health",
    ),
    "wsgi": (
        "raises", "raises late", "panics", "silent", "stream", "breaks off", "events", "hangs",
        "leaves", "drops", "writes", "again", "generator", "no status", "reports", "preflight",
        "head", "health",
    ),
}  # fmt: skip


class Panic(BaseException):
    """What a Rust extension raises when it panics is no `Exception`."""


@dataclass
class Fate:
    """All of one request, before it is sent."""

    number: int
    end: str
    method: str
    path: str
    query: str
    route: str | None
    headers: list[tuple[str, str]]
    peer: str
    seconds: float  # until its response begins
    after: float  # between two pieces, and after the response
    status: int
    kind: str  # of content
    extra: list[tuple[str, str]]
    pieces: list[bytes]
    luck: float  # the lower, the sooner a bad canary fails it


def drawn(rng: random.Random, number: int, protocol: str, trouble: Trouble) -> Fate:
    """The next request. Everything is drawn from `rng`, always in the same order."""
    luck = rng.random()
    end = rng.choice(_ENDS[protocol]) if rng.random() < trouble.strange else _PLAIN
    if end == "drops" and not trouble.may_drop:
        end = "leaves"
    route = rng.choice(_ROUTES)
    ident = rng.randrange(40)
    path = {"/plans/{id}": f"/plans/{ident}", None: "/nothing"}.get(route, route or "")
    method = rng.choice(("GET", "GET", "GET", "POST"))
    user = f"user-{int(400 * rng.random() ** 1.5)}"
    headers = _key_headers(rng, user)
    status = rng.choices(
        (200, 200 if end != _PLAIN else 404, 503, 301, 422, 204), (90, 3, trouble.errors, 1, 2, 1)
    )[0]
    seconds = 0.01 + rng.expovariate(25) + (rng.random() < trouble.slow) * rng.uniform(0.4, 1.5)
    body = _body(rng, trouble)
    kind, extra, body = _coded(rng, body, trouble)
    pieces = [body[at : at + 40] for at in range(0, len(body), 40)] or [b""]
    if end == "preflight":
        method, headers = "OPTIONS", [
            ("origin", "https://example.org"),
            ("access-control-request-method", "PUT"),
        ]  # fmt: skip
        extra = [*extra, *([("access-control-allow-origin", "*")] if luck < 0.7 else [])]
    elif end == "head":
        method = "HEAD"
    elif end == "health":
        path, route = rng.choice((("/healthz", "/healthz"), ("/api/ready", None)))
    elif end == "events":
        kind = "text/event-stream; charset=utf-8"
    return Fate(
        number=number, end=end, method=method, path=path,
        query=f"plan={ident}" if ident % 3 else "", route=route,
        headers=headers, peer=f"10.{ident % 3}.0.{ident}", seconds=seconds,
        after=rng.choice((0.0, 0.02, 0.3)), status=status, kind=kind, extra=extra, pieces=pieces,
        luck=luck,
    )  # fmt: skip


@dataclass(frozen=True)
class Trouble:
    """How often what goes wrong."""

    strange: float
    errors: float
    slow: float
    invalid: float
    may_drop: bool


def probe() -> Fate:
    """A request whose answer's check shows that the checks before it are done."""
    return Fate(
        number=-1, end=_PLAIN, method="GET", path="/probe", query="", route="/probe", headers=[],
        peer="10.9.9.9", seconds=0.0, after=0.0, status=200, kind="application/json", extra=[],
        pieces=[b"{}"], luck=1.0,
    )  # fmt: skip


def _key_headers(rng: random.Random, user: str) -> list[tuple[str, str]]:
    name = rng.choice(("x-user-id", "X-User-Id"))
    headers = [("host", "example.org")]
    way = rng.random()
    if way < 0.8:
        headers += [(name, user)]
    elif way < 0.83:
        headers += [(name, f"{user},{user}")]
    elif way < 0.85:
        headers += [(name, "")]
    elif way < 0.9:
        headers += [("cookie", f"seen={user}; other=1")]
    if rng.random() < 0.03:
        claim = rng.choice(("always", "never", "always.99999999999.bad", "perhaps"))
        headers += [("x-canary", claim)]
    return headers


def _body(rng: random.Random, trouble: Trouble) -> bytes:
    score: object = rng.randrange(101)
    if rng.random() < trouble.invalid:
        score = rng.choice((104, "high", None))
    answer = {"score": score, "text": "words " * rng.choice((0, 1, 9, 9, 30))}
    return b"{" if rng.random() < trouble.invalid / 4 else json.dumps(answer).encode()


def _coded(
    rng: random.Random, body: bytes, trouble: Trouble
) -> tuple[str, list[tuple[str, str]], bytes]:
    """The type of the content, further headers, and the body as it is sent."""
    way = rng.random()
    if rng.random() < trouble.invalid / 4:
        return "application/json", [("content-encoding", "gzip")], body
    if way < 0.85:
        return "application/json", [], body
    if way < 0.9:
        return "application/json", [("content-encoding", "gzip")], gzip.compress(body, mtime=0)
    if way < 0.95:
        return "application/json", [("cache-control", "public, max-age=60")], body
    if rng.random() < 0.9:
        return "application/json", [("vary", "accept"), ("last-modified", "x")], body
    return "text/html", [], body
