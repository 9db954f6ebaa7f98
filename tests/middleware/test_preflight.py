"""CORS preflights have no key: who answers them, and what a browser makes of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from tests.middleware.asgi_servers import uvicorn_server
from tests.middleware.asgi_tools import (
    BAD,
    GOOD,
    NEUTRAL,
    App,
    Controller,
    Receive,
    Scope,
    Send,
    http_scope,
    respond,
    talk,
)
from tests.middleware.wsgi_tools import answers, request
from tests.middleware.wsgi_tools import ask as ask_wsgi
from tests.report.browsers import Browser, browser

from canario import Routing, current_arm
from canario.asgi import CanaryMiddleware as OverASGI
from canario.config import ConfigError
from canario.preflight import Answer, Asked, choose
from canario.wsgi import CanaryMiddleware as OverWSGI

ORIGIN = "https://app.example"
ALLOWS = {"Access-Control-Allow-Origin": ORIGIN, "Access-Control-Allow-Headers": "x-new"}
REFUSES = {"Access-Control-Allow-Origin": ORIGIN}

PREFLIGHT = [
    ("origin", ORIGIN),
    ("access-control-request-method", "GET"),
    ("access-control-request-headers", "x-new"),
]

# Status, headers; or an exception that a version raises.
Version = tuple[int, dict[str, str]] | Exception

Ask = Callable[[Controller, Version, Version], tuple[int, dict[str, str]]]


def over_asgi(controller: Controller, old: Version, new: Version, **more: Any) -> Any:
    def app(version: Version) -> App:
        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            if isinstance(version, Exception):
                raise version
            status, headers = version
            pairs = [(n.lower().encode(), v.encode()) for n, v in headers.items()]
            await respond(send, current_arm().encode(), status, pairs)

        return serve

    middleware = OverASGI(app(old), controller, app(new), preflight="both", **more)
    scope = http_scope("/plans", "OPTIONS", PREFLIGHT)
    answer = asyncio.run(talk(middleware, scope))
    if answer.raised is not None:
        return answer.raised
    return answer.status, answer.body.decode()


def over_wsgi(controller: Controller, old: Version, new: Version, **more: Any) -> Any:
    def app(version: Version) -> Any:
        def serve(environ: Any, start_response: Any) -> Any:
            if isinstance(version, Exception):
                raise version
            status, headers = version
            body = current_arm().encode()
            return answers([body], f"{status} As It Is", headers.items())(environ, start_response)

        return serve

    middleware = OverWSGI(app(old), controller, app(new), preflight="both", **more)
    answer = ask_wsgi(middleware, request("/plans", "OPTIONS", PREFLIGHT))
    if answer.raised is not None:
        return answer.raised
    return int(answer.status[:3]), answer.body.decode()


@pytest.mark.parametrize("ask", [over_asgi, over_wsgi])
@pytest.mark.parametrize(
    ("old", "new", "answer", "canary", "baseline"),
    [
        # The new version allows a new header: its users' browsers may go on.
        ((400, REFUSES), (200, ALLOWS), (200, "canary"), GOOD, NEUTRAL),
        ((200, REFUSES), (200, ALLOWS), (200, "canary"), GOOD, GOOD),
        # Its CORS is broken: nobody is refused for it, and it is seen.
        ((200, ALLOWS), (400, REFUSES), (200, "baseline"), BAD, GOOD),
        ((200, ALLOWS), (200, {}), (200, "baseline"), BAD, GOOD),
        ((200, ALLOWS), (500, {}), (200, "baseline"), BAD, GOOD),
        ((200, ALLOWS), LookupError("no"), (200, "baseline"), BAD, GOOD),
        # The old one's is.
        ((500, {}), (200, ALLOWS), (200, "canary"), GOOD, BAD),
        (LookupError("no"), (200, ALLOWS), (200, "canary"), GOOD, BAD),
        # Both allow it, or neither does.
        ((204, ALLOWS), (200, ALLOWS), (204, "baseline"), GOOD, GOOD),
        ((403, REFUSES), (400, REFUSES), (403, "baseline"), NEUTRAL, NEUTRAL),
        ((403, REFUSES), LookupError("no"), (403, "baseline"), BAD, NEUTRAL),
    ],
)
def test_the_version_that_allows_it_answers_and_a_canary_that_refuses_is_seen(
    ask: Any, old: Version, new: Version, answer: object, canary: object, baseline: object
) -> None:
    seen: set[Any] = set()
    for share in (0.001, 100):
        controller = Controller(share)
        assert ask(controller, old, new) == answer
        assert controller.counters == {"preflight_no_key": 1}
        seen.add((controller.only.arm, controller.only.outcome))
        assert controller.only.latency_ms is None
    assert seen == {("canary", canary), ("baseline", baseline)}


@pytest.mark.parametrize("ask", [over_asgi, over_wsgi])
def test_a_preflight_is_counted_for_the_canary_as_often_as_its_users_come(ask: Any) -> None:
    """Else those of all users would be the canary's: many successes, and few of them its own."""
    controller = Controller(25)
    for _ in range(400):
        ask(controller, (200, ALLOWS), (200, ALLOWS))
    assert 60 < sum(seen.arm == "canary" for seen in controller.seen) < 140
    assert len(controller.seen) == 400


@pytest.mark.parametrize("ask", [over_asgi, over_wsgi])
def test_what_both_raise_goes_to_the_server(ask: Any) -> None:
    error = ask(Controller(100), LookupError("old"), LookupError("new"))
    assert str(error) in ("'new'", "new")


@pytest.mark.parametrize("ask", [over_asgi, over_wsgi])
def test_before_and_after_a_release_one_version_answers(ask: Any) -> None:
    controller = Controller(50)
    controller.start()
    controller.abort()
    assert ask(controller, (400, REFUSES), (200, ALLOWS)) == (400, "baseline")
    assert controller.only.outcome is NEUTRAL


def test_a_key_that_is_in_the_url_sends_a_preflight_where_the_request_will_go() -> None:
    controller = Controller(50, routing=Routing(key_sources=("path:/{kind}",)))
    status, arm = over_asgi(controller, (200, ALLOWS), (200, ALLOWS))
    assert (status, arm) == (200, controller.router.route_request("plans"))
    assert controller.counters == {}


def test_by_default_the_baseline_answers_without_a_cookie_and_it_is_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    routing = Routing(key_sources=("header:x-user-id",), anonymous_cookie="bucket")
    controller = Controller(100, routing=routing)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await respond(send, current_arm().encode())

    middleware = OverASGI(app, controller)
    for _ in range(3):
        scope = http_scope("/plans", "OPTIONS", PREFLIGHT)
        answer = asyncio.run(talk(middleware, scope))
        assert answer.body == b"baseline"
        assert b"set-cookie" not in dict(answer.headers)
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert 'preflight="both"' in warnings[0]
    assert controller.counters == {"preflight_no_key": 3}
    # Any other request by OPTIONS is one like the others.
    asyncio.run(talk(middleware, http_scope("/plans", "OPTIONS")))
    assert controller.seen[-1].arm == "canary"


def test_another_word_is_refused() -> None:
    with pytest.raises(ConfigError, match="preflight: is 'client'; valid: key, both"):
        OverASGI(over_asgi, Controller(), preflight="client")  # type: ignore[arg-type]


HEADERS = st.dictionaries(
    st.sampled_from(
        [b"access-control-allow-" + n for n in (b"origin", b"headers", b"methods", b"credentials")]
    ),
    st.sampled_from(
        [b"*", b"true", b"https://a.example", b"PUT", b"x-a, X-B", b"authorization", b""]
    ),
).map(lambda found: tuple(found.items()))
ANSWERS = st.builds(Answer, st.sampled_from([None, 200, 204, 400, 500]), HEADERS)
WISHES = st.builds(
    Asked,
    st.just(b"https://a.example"),
    st.sampled_from([b"GET", b"PUT"]),
    st.frozensets(st.sampled_from([b"x-a", b"x-b", b"authorization"])),
)


@given(ANSWERS, ANSWERS, WISHES)
def test_who_is_counted_makes_no_difference_to_the_browser(
    old: Answer, new: Answer, wish: Asked
) -> None:
    by_old, of_old = choose(old, new, "baseline", wish)
    by_new, of_new = choose(new, old, "canary", wish)
    assert by_old == by_new
    assert by_old in (old, new)
    assert (of_old is BAD) == (old.status in (None, 500))
    if new.status in (None, 500):
        assert of_new is BAD


# -- a real browser


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as made:
        yield made


def version(*headers: str) -> Starlette:
    async def plans(request: Request) -> Response:
        return JSONResponse({"new": request.headers.get("x-new")})

    cors = Middleware(CORSMiddleware, allow_origins=["*"], allow_headers=["x-user-id", *headers])
    return Starlette(routes=[Route("/plans", plans)], middleware=[cors])


ASKS = """
const [url, user, done] = arguments;
fetch(url, {headers: {"x-user-id": user, "x-new": "1"}})
    .then(answer => answer.text()).then(done, error => done("refused: " + error));
"""


@pytest.mark.parametrize("preflight", ["key", "both"])
def test_a_new_header_of_the_canary_in_a_browser(chromium: Browser, preflight: Any) -> None:
    """Its own users are refused by the baseline's answer, unless both are asked."""
    controller = Controller(50)
    guarded = OverASGI(version(), controller, version("x-new"), preflight=preflight)

    async def page(request: Request) -> Response:
        return HTMLResponse("<!doctype html><title>page</title>")

    app = Starlette(routes=[Route("/page", page), Mount("/", guarded)])
    user = controller.a_key("canary")
    with uvicorn_server(app, lifespan="off") as port:
        chromium.chrome.get(f"http://localhost:{port}/page")  # another origin than the app's
        chromium.chrome.set_script_timeout(30)
        got = chromium.chrome.execute_async_script(ASKS, f"http://127.0.0.1:{port}/plans", user)
    requests = [seen for seen in controller.seen if seen.latency_ms is not None]
    if preflight == "key":
        assert got.startswith("refused: ")
        assert requests == []  # the browser has sent nothing, so nobody has seen it fail
    else:
        assert got == '{"new":"1"}'
        assert [seen.arm for seen in requests] == ["canary"]
