"""Headers, addresses, bodies and statuses as the protocols allow them, and as apps write them."""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.trace import StatusCode
from tests.middleware import wsgi_tools
from tests.middleware.asgi_tools import (
    BAD,
    GOOD,
    NEUTRAL,
    App,
    Controller,
    Message,
    Receive,
    Scope,
    Send,
    ask,
    hello,
    http_scope,
    respond,
    user,
    websocket_scope,
)
from tests.tracing.request_tools import TRACE_ID, TRACEPARENT, Provider, attributes
from tests.waiting import PATIENCE

from canario.asgi import CanaryMiddleware
from canario.asgi.calls import HTTPCall
from canario.gate.caching import concerns_caches, say_nothing
from canario.wire import status_code
from canario.wsgi import CanaryMiddleware as OverWSGI


def once(*pairs: tuple[Any, Any]) -> Iterator[Iterator[Any]]:
    """Headers that can be read once, each of two items that can be read once."""
    return iter([iter(pair) for pair in pairs])


OPTIONS: dict[str, dict[str, Any]] = {
    "nothing": {"spans": False},
    "spans": {},
    "contract": {"contract": lambda *_: None},
    "arm header": {"arm_header": "X-Arm"},
}


def guard(app: App, controller: Controller, **options: Any) -> Any:
    if options.get("spans", True):
        options["tracer_provider"] = Provider()
    return CanaryMiddleware(app, controller, **options)


@pytest.mark.parametrize("outer", ["iterator", "list"])
@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize("options", OPTIONS)
def test_a_scope_that_can_be_read_once_reaches_the_app_whole(
    options: str, kind: str, outer: str
) -> None:
    controller = Controller()
    key = controller.a_key("canary")
    found: dict[str, Any] = {}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        found["headers"] = {name: value for name, value in scope["headers"]}  # noqa: C416
        for name in ("client", "server"):
            found[name] = tuple(scope[name])
        if scope["type"] == "websocket":
            await send({"type": "websocket.accept"})
        else:
            await respond(send)

    guarded = guard(hello, controller, canary=app, **OPTIONS[options])
    headers: Any = once((b"x-user-id", key.encode()), (b"x-a", b"1"))
    scope = (http_scope if kind == "http" else websocket_scope)()
    scope = {
        **scope,
        "headers": headers if outer == "iterator" else list(headers),
        "client": iter(("203.0.113.7", 4711)),
        "server": iter(("127.0.0.1", 8000)),
    }
    ask(guarded, scope)
    assert found == {
        "headers": {b"x-user-id": key.encode(), b"x-a": b"1"},
        "client": ("203.0.113.7", 4711),
        "server": ("127.0.0.1", 8000),
    }
    assert controller.only.outcome is GOOD
    assert controller.counters.keys() <= {"contract_checked"}


def test_a_trace_goes_on_from_headers_that_can_be_read_once() -> None:
    provider, controller = Provider(), Controller(0.001)
    guarded = CanaryMiddleware(hello, controller, tracer_provider=provider)
    name, value = TRACEPARENT
    scope = {**http_scope(), "headers": once((name.encode(), value.encode()), (b"host", b"a.b"))}
    ask(guarded, scope)
    assert provider.server.parent is not None
    assert f"{provider.server.parent.trace_id:032x}" == TRACE_ID
    assert attributes(provider.server)["server.address"] == "a.b"


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("start", ["http.response.start", "websocket.accept"])
@pytest.mark.parametrize("outer", ["iterator", "list"])
def test_a_response_that_can_be_read_once_reaches_the_server_whole(
    outer: str, start: str, options: str
) -> None:
    controller = Controller()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        headers: Any = once((b"content-type", b"text/event-stream"), (b"x-a", b"1"))
        headers = headers if outer == "iterator" else list(headers)
        if start == "websocket.accept":
            await send({"type": start, "headers": headers})
            return
        await send({"type": start, "status": 200, "headers": headers})
        controller.time.advance(0.1)
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        controller.time.advance(100)
        await send({"type": "http.response.body"})

    told: list[Any] = []

    async def send(message: Message) -> None:
        if message["type"] == start:
            told.extend((name, value) for name, value in message["headers"])

    scope = http_scope() if start == "http.response.start" else websocket_scope()
    guarded = guard(app, controller, **OPTIONS[options])
    ask(guarded, scope, send=send)
    assert told[:2] == [(b"content-type", b"text/event-stream"), (b"x-a", b"1")]
    assert controller.only.outcome is GOOD
    assert controller.only.latency_ms == pytest.approx(100 if scope["type"] == "http" else 0)
    assert "faults" not in controller.counters


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize(
    "headers",
    [
        [(b"content-type", "text/plain")],
        [("content-type", "text/plain")],
        [(b"content-type", 7)],
        [(b"content-type",)],
        [None],
        None,
    ],
    ids=["str value", "str", "number", "no pair", "None in it", "None"],
)
def test_headers_that_are_none_go_to_the_server_and_are_observed(
    headers: Any, options: str
) -> None:
    controller = Controller()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 503, "headers": headers})
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        await send({"type": "http.response.body"})

    answer = ask(guard(app, controller, **OPTIONS[options]), http_scope())
    added = 1 if options == "arm header" else 0
    assert len(answer.start["headers"] or ()) == len(headers or ()) + added
    assert controller.only.outcome is BAD
    assert "faults" not in controller.counters


@pytest.mark.parametrize("headers", [[(b"x-user-id", "7")], [("x-user-id", "7")], [None], None])
def test_a_request_whose_headers_are_none_is_served_and_observed(headers: Any) -> None:
    controller = Controller()
    answer = ask(guard(hello, controller), {**http_scope(), "headers": headers})
    assert answer.body == b"hello"
    assert controller.only.outcome is GOOD
    assert "faults" not in controller.counters


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize("message", [None, {}, "http.request", 7])
def test_a_message_that_is_none_reaches_the_app_and_changes_nothing(
    message: Any, kind: str
) -> None:
    controller = Controller()
    heard = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        heard.append(await receive())
        await (respond(send) if kind == "http" else send({"type": "websocket.accept"}))

    ask(guard(app, controller), (http_scope if kind == "http" else websocket_scope)(), message)
    assert heard == [message]
    assert controller.only.outcome is GOOD
    assert "faults" not in controller.counters


def test_a_message_that_is_none_reaches_the_server_and_the_request_is_observed() -> None:
    controller = Controller()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(None)  # type: ignore[arg-type]

    async def send(message: Message) -> None:
        raise TypeError("no message")

    assert isinstance(ask(guard(app, controller), http_scope(), send=send).raised, TypeError)
    assert controller.only.outcome is BAD


@pytest.mark.parametrize(
    ("body", "seen"),
    [
        (bytearray(b"[1]"), b"[1]"),
        (memoryview(b"[1]"), b"[1]"),
        (memoryview(bytearray(b"[1]  ")).cast("B")[:3], b"[1]"),
        (None, None),
        ("[1]", None),
        (5, None),
        ([1], None),
        (iter(b"[1]"), None),
    ],
)
@pytest.mark.parametrize("protocol", ["asgi", "wsgi"])
def test_a_body_that_cannot_be_read_is_observed_and_counted_as_not_checked(
    protocol: str, body: Any, seen: bytes | None
) -> None:
    controller = Controller()
    shown: list[bytes] = []

    def contract(route: str, status: int, headers: Any, body: bytes) -> None:
        shown.append(body)

    gate: Any
    if protocol == "asgi":

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": body})

        gate = CanaryMiddleware(app, controller, contract=contract)
        assert ask(gate, http_scope()).sent[-1]["body"] is body
    else:
        gate = OverWSGI(wsgi_tools.answers([body]), controller, contract=contract)
        assert wsgi_tools.ask(gate).sent[-1] is body
    assert gate.gate.drain(PATIENCE)
    assert controller.only.outcome is GOOD
    assert shown == ([] if seen is None else [seen])
    assert controller.counters.get("contract_not_checked", 0) == (seen is None)
    assert "faults" not in controller.counters


# -- WSGI


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize(
    "headers",
    [
        lambda: tuple(wsgi_tools.TEXT),
        lambda: iter(wsgi_tools.TEXT),
        lambda: once(*wsgi_tools.TEXT),
        lambda: [iter(pair) for pair in wsgi_tools.TEXT],
        lambda: [list(pair) for pair in wsgi_tools.TEXT],
    ],
    ids=["tuple", "iterator", "iterators", "list of iterators", "lists"],
)
def test_headers_of_any_kind_reach_a_wsgi_server_whole(headers: Any, options: str) -> None:
    controller = Controller()

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", headers())
        return [b"hello"]

    settings = dict(OPTIONS[options])
    if settings.get("spans", True):
        settings["tracer_provider"] = Provider()
    answer = wsgi_tools.ask(OverWSGI(app, controller, **settings))
    assert [(name, value) for name, value in answer.headers][:1] == wsgi_tools.TEXT
    assert controller.only.outcome is GOOD
    assert "faults" not in controller.counters


# -- statuses


class Weird(msgspec.Struct):
    """What is no status at all."""


STATUSES: list[tuple[Any, int | None, object]] = [
    (HTTPStatus.OK, 200, GOOD),
    (HTTPStatus.NOT_FOUND, 404, NEUTRAL),
    (HTTPStatus.INTERNAL_SERVER_ERROR, 500, BAD),
    ("500", 500, BAD),
    ("200", 200, GOOD),
    (200.0, 200, GOOD),
    (700, 700, BAD),
    (0, None, BAD),
    (-200, None, BAD),
    (20, None, BAD),
    (1000, None, BAD),
    (True, None, BAD),
    (float("nan"), None, BAD),
    (float("inf"), None, BAD),
    (None, None, BAD),
    ("ok", None, BAD),
    (Weird(), None, BAD),
]


@pytest.mark.parametrize(("status", "code", "outcome"), STATUSES)
def test_a_status_is_what_a_client_makes_of_it(status: Any, code: int | None, outcome: Any) -> None:
    controller, provider = Controller(), Provider()
    shown: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await respond(send, status=status)

    guarded = CanaryMiddleware(
        app,
        controller,
        tracer_provider=provider,
        contract=lambda r, status, h, b: shown.append(status),
    )
    answer = ask(guarded, user("7"))
    assert answer.start["status"] is status
    assert guarded.gate.drain(PATIENCE)
    assert controller.only.outcome is outcome
    told = attributes(provider.server)
    assert told.get("http.response.status_code") == code
    assert type(told.get("http.response.status_code")) in (int, type(None))
    assert (provider.server.status.status_code is StatusCode.ERROR) == (outcome is BAD)
    if outcome is BAD:
        assert told["error.type"] == ("invalid_status" if code is None else str(code))
    assert shown == ([] if code is None else [code])
    assert all(type(each) is int for each in shown)
    assert "faults" not in controller.counters


def test_a_status_may_be_an_enum_where_a_route_calls_it_an_error() -> None:
    controller = Controller()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await respond(send, status=HTTPStatus.CONFLICT)

    ask(
        CanaryMiddleware(app, controller, errors={"/": {409}}, route=lambda scope: "/"),
        http_scope(),
    )
    assert controller.only.outcome is BAD


def test_a_denied_websocket_has_a_status_too() -> None:
    for status, outcome in ((HTTPStatus.SERVICE_UNAVAILABLE, BAD), (HTTPStatus.FORBIDDEN, NEUTRAL)):
        controller = Controller()

        async def app(
            scope: Scope, receive: Receive, send: Send, status: HTTPStatus = status
        ) -> None:
            await send({"type": "websocket.http.response.start", "status": status, "headers": []})
            await send({"type": "websocket.http.response.body"})

        ask(CanaryMiddleware(app, controller), websocket_scope())
        assert controller.only.outcome is outcome


LINES: list[tuple[Any, int | None, object]] = [
    ("200 OK", 200, GOOD),
    ("200", 200, GOOD),
    (b"200 OK", 200, GOOD),
    ("200OK", 200, GOOD),
    (" 200 OK", 200, GOOD),
    ("404 Not Found", 404, NEUTRAL),
    ("503", 503, BAD),
    (b"503 Gone", 503, BAD),
    (HTTPStatus.BAD_GATEWAY, 502, BAD),
    ("799 Odd", 799, BAD),
    ("1e3 x", None, BAD),
    ("2000 OK", None, BAD),
    ("20 OK", None, BAD),
    ("-20 OK", None, BAD),
    ("OK", None, BAD),
    ("", None, BAD),
    (None, None, BAD),
]


@pytest.mark.parametrize(("line", "code", "outcome"), LINES)
def test_a_status_line_is_what_a_client_makes_of_it(
    line: Any, code: int | None, outcome: Any
) -> None:
    controller, provider = Controller(), Provider()
    app = wsgi_tools.answers(status=line)
    answer = wsgi_tools.ask(OverWSGI(app, controller, tracer_provider=provider))
    assert answer.status is line
    assert answer.body == b"hello"
    assert controller.only.outcome is outcome
    told = attributes(provider.server)
    assert told.get("http.response.status_code") == code
    assert (provider.server.status.status_code is StatusCode.ERROR) == (outcome is BAD)
    assert "faults" not in controller.counters


def test_only_three_digits_are_a_status() -> None:
    assert [status_code(value) for value in (99, 100, 999, 1000)] == [None, 100, 999, None]


NAMES = st.sampled_from([b"x-user-id", b"X-User-Id", b"x-user-ip", b"host", "x-user-id", 7])
VALUES = st.sampled_from([b"ann", b"", b"a,b", "ann", None])
PAIRS = st.one_of(
    st.tuples(NAMES, VALUES),
    st.tuples(NAMES, VALUES).map(list),
    st.tuples(NAMES, VALUES).map(iter),
    st.just(()),
    st.just((b"x-user-id",)),
    st.just(b"x-user-id"),
)


@given(st.lists(PAIRS, max_size=5))
def test_the_short_way_to_a_header_finds_what_the_long_one_does(pairs: list[Any]) -> None:
    gate: Any = None
    call = HTTPCall(gate, {}, {"headers": pairs}, gate, gate)
    found = call.only(b"x-user-id")
    if found is not None:
        assert list(call.headers(b"x-user-id")) == [found]


@given(st.lists(st.tuples(NAMES, VALUES), max_size=4))
def test_headers_that_say_nothing_to_caches_do_not_concern_them(pairs: list[Any]) -> None:
    pairs.append((b"cache-control", b"no-store"))
    assert not say_nothing(pairs)
    assert say_nothing(pairs[:-1]) <= (not concerns_caches(pairs[:-1]))
    assert not say_nothing(iter(pairs))
    assert not say_nothing(None)
