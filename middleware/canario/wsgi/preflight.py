"""A preflight that both versions answer, over WSGI."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from canario.exchange import Exchange, present
from canario.gate.both_arms import aside, settled
from canario.preflight import Answer
from canario.wire import readable, status_code, wire_pairs

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

__all__ = ["BothArms"]


class BothArms:
    """Asks both versions, and gives the answer that `choose` prefers.

    Args:
        mine: The version that the preflight is counted for.
        other: The other one, which it says nothing of.
        exchange: The preflight.
    """

    def __init__(self, mine: WSGIApplication, other: WSGIApplication, exchange: Exchange) -> None:
        self._mine = mine
        self._other = other
        self._exchange = exchange

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        exchange = self._exchange
        # Copies, since an app may write into its environ.
        other, _ = _ask(self._other, {**environ}, aside(exchange))
        mine, error = _ask(self._mine, environ, exchange)
        status, answer = settled(exchange, mine, other, error)
        headers = [(n.decode("latin-1"), v.decode("latin-1")) for n, v in answer.headers]
        start_response(_line(status), headers)
        return [answer.body]


def _ask(
    app: WSGIApplication, environ: WSGIEnvironment, exchange: Exchange
) -> tuple[Answer, Exception | None]:
    """A version's whole answer, or what it raised instead of one."""
    starts: list[tuple[str, Any]] = []
    body: list[bytes] = []

    def start(status: str, headers: Any, exc_info: Any = None, /) -> Callable[[bytes], object]:
        del exc_info
        starts.append((status, headers))
        return body.append

    token = present.set(exchange)
    try:
        given = app(environ, start)
        try:
            body.extend(given)
        finally:
            close = getattr(given, "close", None)
            if close is not None:
                close()
    except Exception as error:
        return Answer(None), error
    finally:
        present.reset(token)
    if not starts:
        return Answer(None), None
    status, headers = starts[-1]
    return Answer(status_code(status), wire_pairs(readable(headers)), b"".join(body)), None


def _line(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"{status} Unknown"
