"""What counts as bad, neutral or not at all, where ASGI and WSGI say the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import pytest
from tests.middleware import asgi_tools, wsgi_tools
from tests.middleware.asgi_tools import BAD, GOOD, NEUTRAL, Controller, Seen, respond

import canario.asgi
import canario.wsgi

# Serves a request, which is observed once, by an app that answers with a status, raises an
# exception, or ends without a response where that is None.
Serve = Callable[..., Seen]


def over_asgi(answer: Any = 200, path: str = "/", method: str = "GET", **options: Any) -> Seen:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if isinstance(answer, Exception):
            raise answer
        if answer:
            await respond(send, status=answer)

    controller = Controller()
    guarded = canario.asgi.CanaryMiddleware(app, controller, **options)
    asgi_tools.ask(guarded, asgi_tools.http_scope(path, method))
    assert "faults" not in controller.counters
    return controller.only


def over_wsgi(
    answer: Any = 200, path: str = "/", method: str = "GET", lazily: bool = False, **options: Any
) -> Seen:
    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        if isinstance(answer, Exception):
            raise answer
        if answer:
            start_response(f"{answer} So", list(wsgi_tools.TEXT))
        return [b"hello"] if answer else []

    def generator(environ: Any, start_response: Any) -> Iterable[bytes]:
        yield from app(environ, start_response)

    controller = Controller()
    guarded = canario.wsgi.CanaryMiddleware(generator if lazily else app, controller, **options)
    wsgi_tools.ask(guarded, wsgi_tools.request(path, method))
    assert "faults" not in controller.counters
    return controller.only


everywhere = pytest.mark.parametrize(
    "serve", [over_asgi, over_wsgi, partial(over_wsgi, lazily=True)]
)


@everywhere
@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        *((code, GOOD) for code in (200, 204, 304)),
        *((code, NEUTRAL) for code in (400, 404, 429)),
        *((code, BAD) for code in (500, 503, 599)),
    ],
)
def test_a_5xx_is_bad_a_4xx_neutral_and_the_rest_good(
    serve: Serve, code: int, outcome: object
) -> None:
    assert serve(code).outcome is outcome


@everywhere
def test_a_4xx_stays_out_of_the_latency_and_a_5xx_does_not(serve: Serve) -> None:
    assert serve(404).latency_ms is None
    assert serve(500).latency_ms == 0


@everywhere
@pytest.mark.parametrize("code", [409, 422])
def test_a_route_may_call_a_4xx_an_error(serve: Serve, code: int) -> None:
    errors = {"/evaluate": {409, 422}}
    assert serve(code, errors=errors, route=lambda request: "/evaluate").outcome is BAD
    assert serve(code, errors=errors, route=lambda request: "/else").outcome is NEUTRAL


@everywhere
def test_an_exception_before_the_response_and_no_response_at_all_are_bad(serve: Serve) -> None:
    assert serve(LookupError("no model")).outcome is BAD
    assert serve(None).outcome is BAD


@everywhere
@pytest.mark.parametrize("method", ["HEAD", "OPTIONS"])
def test_head_and_options_stay_out_of_the_latency(serve: Serve, method: str) -> None:
    seen = serve(method=method)
    assert (seen.outcome, seen.latency_ms) == (GOOD, None)


@everywhere
@pytest.mark.parametrize("path", ["/health", "/livez", "/ping"])
def test_health_checks_stay_out_of_the_latency(serve: Serve, path: str) -> None:
    assert serve(path=path).latency_ms is None
    assert serve(path=path, health_paths=["/other"]).latency_ms == 0
