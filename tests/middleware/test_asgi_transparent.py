"""The middleware changes nothing: messages, return values, exceptions, whatever breaks in it."""

from __future__ import annotations

import asyncio
import copy
import inspect
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.compatibility import guarantee_single_callable
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from tests.middleware.asgi_tools import (
    DISCONNECT,
    REQUEST,
    Answer,
    App,
    BrokenController,
    Controller,
    Message,
    Receive,
    Scope,
    Send,
    ask,
    hello,
    http_scope,
    named,
    talk,
    user,
    websocket_scope,
)

from canario.asgi import CanaryMiddleware

# -- apps of all kinds


def sends(*messages: Any, then: BaseException | None = None, returns: Any = None) -> App:
    async def app(scope: Scope, receive: Receive, send: Send) -> Any:
        for message in messages:
            await send(copy.copy(message))
        if then is not None:
            raise then
        return returns

    return app


START = {"type": "http.response.start", "status": 200, "headers": [(b"x-a", b"1")]}
BODY = {"type": "http.response.body", "body": b"all"}
PART = {"type": "http.response.body", "body": b"part", "more_body": True}


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    body = b""
    more = True
    while more:
        message = await receive()
        body += message["body"]
        more = message["more_body"]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": scope["query_string"] + b"|" + body})


async def gives_headers_that_can_be_read_once(scope: Scope, receive: Receive, send: Send) -> None:
    await send({**START, "headers": ((name, name) for name in (b"x-a", b"x-b"))})
    await send(BODY)


async def swallows_the_error_of_send(scope: Scope, receive: Receive, send: Send) -> str:
    try:
        await send({"type": "http.response.nonsense"})
    except ValueError as error:
        return repr(error)
    return "sent"


def starlette() -> App:
    async def index(request: Request) -> Response:
        return JSONResponse({"query": request.url.query, "agent": request.headers.get("x-user-id")})

    async def fails(request: Request) -> Response:
        raise LookupError("no model")

    async def denies(request: Request) -> Response:
        raise HTTPException(418, headers={"x-tea": "pot"})

    def sync(request: Request) -> Response:
        return PlainTextResponse(b"x" * 2000)

    async def stream(request: Request) -> Response:
        async def parts() -> Any:
            for number in range(5):
                yield str(number)
                await asyncio.sleep(0)

        return StreamingResponse(parts(), background=BackgroundTask(int))

    app = Starlette(
        routes=[
            Route("/", index),
            Route("/fails", fails),
            Route("/denies", denies),
            Mount("/sub", routes=[Route("/sync", sync), Route("/stream/{id:int}", stream)]),
        ]
    )
    app.add_middleware(GZipMiddleware, minimum_size=500)
    return app


CASES: dict[str, tuple[App, Scope]] = {
    "plain": (sends(START, BODY), http_scope()),
    "returns": (sends(START, BODY, returns={"a": 1}), http_scope()),
    "parts": (sends(START, PART, PART, BODY), http_scope()),
    "no headers": (sends({"type": "http.response.start", "status": 204}, BODY), http_scope()),
    "tuple of headers": (sends({**START, "headers": ((b"x", b"y"),)}, BODY), http_scope()),
    "headers read once": (gives_headers_that_can_be_read_once, http_scope()),
    "no body key": (sends(START, {"type": "http.response.body"}), http_scope()),
    "memoryview": (sends(START, {**BODY, "body": memoryview(b"view")}), http_scope()),
    "trailers": (
        sends({**START, "trailers": True}, BODY, {"type": "http.response.trailers", "headers": []}),
        http_scope(),
    ),
    "pathsend": (sends(START, {"type": "http.response.pathsend", "path": "/a"}), http_scope()),
    "push": (sends({"type": "http.response.push", "path": "/a"}, START, BODY), http_scope()),
    "raises before": (sends(then=LookupError("before")), http_scope()),
    "raises within": (sends(START, PART, then=LookupError("within")), http_scope()),
    "raises after": (sends(START, BODY, then=LookupError("after")), http_scope()),
    "raises a group": (sends(then=ExceptionGroup("two", [OSError(), KeyError()])), http_scope()),
    "nothing": (sends(), http_scope()),
    "body first": (sends(BODY, START), http_scope()),
    "body twice": (sends(START, BODY, BODY), http_scope()),
    "start twice": (sends(START, START, BODY), http_scope()),
    "no type": (sends({"status": 200}), http_scope()),
    "no mapping": (sends(b"bytes"), http_scope()),
    "no status": (sends({"type": "http.response.start"}, BODY), http_scope()),
    "odd status": (sends({**START, "status": "200"}, BODY), http_scope()),
    "odd headers": (sends({**START, "headers": 7}, BODY), http_scope()),
    "odd body": (sends(START, {**BODY, "body": "text"}), http_scope()),
    "unknown message": (swallows_the_error_of_send, http_scope()),
    "echo": (echo, http_scope(method="POST", query_string=b"q=\xff\xfe%00")),
    "bytes in the path": (echo, http_scope("/\udcff", raw_path=b"/\xff")),
    "no client": (hello, http_scope(client=None)),
    "odd client": (hello, http_scope(client=())),
    "odd headers in the request": (hello, {**http_scope(), "headers": [(b"x",), 7]}),
    "no headers in the request": (hello, {"type": "http", "method": "GET", "path": "/"}),
    "least of a scope": (hello, {"type": "http"}),
    "websocket": (
        sends({"type": "websocket.accept"}, {"type": "websocket.send", "text": "a"}),
        websocket_scope(),
    ),
    "denial": (
        sends(
            {"type": "websocket.http.response.start", "status": 401, "headers": [(b"a", b"b")]},
            {"type": "websocket.http.response.body", "body": b"no"},
        ),
        websocket_scope(),
    ),
    "closed": (sends({"type": "websocket.close"}, returns=7), websocket_scope()),
    "websocket raises": (sends(then=LookupError("ws")), websocket_scope()),
    "unknown scope": (sends({"type": "mqtt.publish"}, returns=7), {"type": "mqtt"}),
    "no scope type": (sends(returns=7), {}),
    "starlette": (starlette(), http_scope(query_string=b"a=1")),
    "starlette fails": (starlette(), http_scope("/fails")),
    "starlette denies": (starlette(), http_scope("/denies")),
    "starlette has none": (starlette(), http_scope("/none")),
    "starlette redirects": (starlette(), http_scope("/sub/sync/")),
    "starlette mounts": (
        starlette(),
        http_scope("/sub/sync", headers=[("accept-encoding", "gzip")]),
    ),
    "starlette streams": (starlette(), http_scope("/sub/stream/7")),
}

INCOMING: tuple[Message, ...] = (
    {"type": "http.request", "body": b"one", "more_body": True},
    {"type": "http.request", "body": b"two", "more_body": False},
)


async def strict(message: Message) -> None:
    """A server that refuses what it does not know, as the real ones do."""
    if not isinstance(message, dict) or "type" not in message:
        raise TypeError(f"no message: {message!r}")
    if message["type"] == "http.response.nonsense":
        raise ValueError("unexpected message")


def outcome(app: App, scope: Scope) -> tuple[Any, ...]:
    """All that a server, or whoever calls the app, can see."""
    logging.disable(logging.CRITICAL)  # what breaks is logged, which is another test's matter
    try:
        answer = ask(app, copy.deepcopy(scope), *INCOMING, send=strict)
    finally:
        logging.disable(logging.NOTSET)
    sent = [_readable(message) for message in answer.sent]
    return sent, answer.returned, repr(answer.raised)


def _readable(message: Message) -> Any:
    if isinstance(message.get("headers"), Iterator):
        return {**message, "headers": list(message["headers"])}
    return message


@pytest.mark.parametrize("case", CASES)
def test_a_response_is_byte_for_byte_what_it_is_without(case: str) -> None:
    app, scope = CASES[case]
    bare = outcome(app, scope)
    assert outcome(CanaryMiddleware(app, Controller()), scope) == bare
    assert outcome(CanaryMiddleware(app, Controller(100), canary=app), scope) == bare
    with_contract = CanaryMiddleware(app, Controller(), contract=lambda *response: None)
    assert outcome(with_contract, scope) == bare


@pytest.mark.parametrize("case", CASES)
def test_and_so_it_is_when_all_of_the_controller_is_broken(case: str) -> None:
    app, scope = CASES[case]
    controller = BrokenController()
    middleware = CanaryMiddleware(
        app, controller, canary=named(b"canary"), contract=lambda *response: "bad"
    )
    controller.broken = True
    assert outcome(middleware, scope) == outcome(app, scope)


BREAKABLE = ["start", "clock", "due", "tick", "router", "count", "observe", "fault", "state"]


@pytest.mark.parametrize("name", BREAKABLE)
@pytest.mark.parametrize("case", ["plain", "raises within", "echo", "websocket", "starlette"])
def test_and_so_it_is_when_a_part_of_the_controller_is_broken(case: str, name: str) -> None:
    app, scope = CASES[case]
    controller = BrokenController()
    middleware = CanaryMiddleware(app, controller, canary=app, contract=lambda *response: "bad")
    controller.names = frozenset({name})
    controller.broken = True
    assert outcome(middleware, scope) == outcome(app, scope)


def test_a_route_that_cannot_be_named_is_a_fault_and_still_observed() -> None:
    def fails(scope: Scope) -> str:
        raise LookupError("no name")

    controller = Controller()
    app = CanaryMiddleware(hello, controller, errors={"/": {499}}, route=fails)
    assert ask(app, http_scope()).body == b"hello"
    assert controller.only.outcome.value == "good"
    assert controller.counters["faults"] == 1


# -- faults are counted, and told once


def test_when_routing_fails_the_baseline_serves() -> None:
    controller = BrokenController(100)
    app = CanaryMiddleware(named(b"baseline"), controller, canary=named(b"canary"))
    assert ask(app, user("u")).body == b"canary"
    controller.names, controller.broken = frozenset({"router"}), True
    assert ask(app, user("u")).body == b"baseline"


def test_a_fault_is_counted_each_time_and_logged_once_per_kind(
    caplog: pytest.LogCaptureFixture,
) -> None:
    controller = BrokenController(100)
    app = CanaryMiddleware(hello, controller)
    ask(app, user("u"))
    controller.names, controller.broken = frozenset({"router"}), True
    caplog.clear()
    for _ in range(5):
        ask(app, user("u"))
    controller.names = frozenset({"observe"})
    for _ in range(5):
        ask(app, user("u"))
    controller.broken = False
    assert controller.counters["faults"] == 10
    assert [record.message for record in caplog.records] == [
        "canario failed in routing: RuntimeError; requests are served all the same",
        "canario failed in observing: RuntimeError; requests are served all the same",
    ]


def test_a_rollout_that_cannot_start_serves_the_baseline_and_is_tried_once(
    caplog: pytest.LogCaptureFixture, tmp_path: Any
) -> None:
    (tmp_path / "journal").write_bytes(b"no journal\n" * 3)
    controller = Controller(100, journal=tmp_path / "journal")
    app = CanaryMiddleware(named(b"baseline"), controller, canary=named(b"canary"))
    assert [ask(app, user("u")).body for _ in range(3)] == [b"baseline"] * 3
    assert controller.counters["faults"] == 1
    assert len(caplog.records) == 1


# -- what the app is given, and what it gives


def test_the_app_gets_the_scope_itself() -> None:
    scopes: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        scope["left_here"] = True

    for scope in (http_scope(), websocket_scope(), {"type": "lifespan"}, {"type": "mqtt"}):
        keys = set(scope)
        ask(CanaryMiddleware(app, Controller()), scope)
        assert scopes.pop() is scope
        assert set(scope) == keys | {"left_here"}


def test_messages_pass_as_they_are() -> None:
    given = [dict(REQUEST), dict(DISCONNECT)]
    got: list[Message] = []
    sent: list[Message] = [dict(START), dict(PART), dict(BODY)]
    arrived: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        got.append(await receive())
        for message in sent:
            await send(message)
        got.append(await receive())

    async def note(message: Message) -> None:
        arrived.append(message)

    ask(CanaryMiddleware(app, Controller()), http_scope(), *given, send=note)
    assert all(a is b for a, b in zip(got, given, strict=True))
    assert all(a is b for a, b in zip(arrived, sent, strict=True))


def test_what_send_returns_comes_back_to_the_app() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> list[Any]:
        return [await send(dict(START)), await send(dict(BODY))]

    async def send(message: Message) -> str:
        return str(message["type"]).upper()

    async def receive() -> Message:
        return REQUEST

    async def main() -> Any:
        return await CanaryMiddleware(app, Controller())(http_scope(), receive, send)

    assert asyncio.run(main()) == ["HTTP.RESPONSE.START", "HTTP.RESPONSE.BODY"]


def test_an_app_need_not_be_a_coroutine_function() -> None:
    def app(scope: Scope, receive: Receive, send: Send) -> Any:
        return hello(scope, receive, send)

    assert ask(CanaryMiddleware(app, Controller()), http_scope()).body == b"hello"


def test_servers_and_frameworks_take_it_for_an_asgi_3_app() -> None:
    app = CanaryMiddleware(hello, Controller())
    assert inspect.iscoroutinefunction(app.__call__)
    assert guarantee_single_callable(app) is app  # type: ignore[no-untyped-call]


def test_headers_of_a_request_may_be_readable_only_once() -> None:
    seen: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.extend(scope["headers"])

    scope = http_scope()
    scope["headers"] = iter([(b"X-User-Id", b"u"), (b"x-b", b"c")])
    controller = Controller(100)
    ask(CanaryMiddleware(app, controller), scope)
    assert seen == [(b"X-User-Id", b"u"), (b"x-b", b"c")]
    assert controller.only.arm == "canary"


# -- what it adds when asked to


def test_the_response_names_its_arm_when_asked_to() -> None:
    controller = Controller()
    app = CanaryMiddleware(hello, controller, canary=hello, arm_header="X-Arm")
    for arm in ("baseline", "canary"):
        answer = ask(app, user(controller.a_key(arm)))
        assert answer.headers == [(b"content-type", b"text/plain"), (b"x-arm", arm.encode())]


def test_the_app_keeps_its_list_of_headers() -> None:
    own = [(b"x-a", b"1")]

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": own})
        await send({"type": "http.response.body"})

    answer = ask(CanaryMiddleware(app, Controller(), arm_header="x-arm"), http_scope())
    assert answer.headers == [(b"x-a", b"1"), (b"x-arm", b"baseline")]
    assert own == [(b"x-a", b"1")]


@pytest.mark.parametrize("headers", [{}, {"headers": ()}, {"headers": []}])
def test_an_app_without_headers_gets_one(headers: dict[str, Any]) -> None:
    app = sends({"type": "http.response.start", "status": 200, **headers}, BODY)
    answer = ask(CanaryMiddleware(app, Controller(), arm_header="x-arm"), http_scope())
    assert answer.headers == [(b"x-arm", b"baseline")]


def test_a_generator_of_headers_gets_one_more() -> None:
    app = CanaryMiddleware(gives_headers_that_can_be_read_once, Controller(), arm_header="x-arm")
    assert ask(app, http_scope()).headers[-2:] == [(b"x-b", b"x-b"), (b"x-arm", b"baseline")]


@pytest.mark.parametrize(
    "message",
    [
        {"type": "websocket.accept", "subprotocol": "chat"},
        {"type": "websocket.http.response.start", "status": 401, "headers": []},
    ],
)
def test_a_websocket_names_its_arm_too(message: Message) -> None:
    app = CanaryMiddleware(sends(message), Controller(), arm_header="x-arm")
    assert ask(app, websocket_scope()).sent == [{**message, "headers": [(b"x-arm", b"baseline")]}]


@pytest.mark.parametrize("name", ["", "x arm", "x-arm:", "x-arm\r\nset-cookie", "x-ärm"])
def test_a_name_that_no_header_can_have_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="arm_header is"):
        CanaryMiddleware(hello, Controller(), arm_header=name)


# -- many requests at once


def test_requests_in_flight_share_nothing() -> None:
    """Sizes, statuses and clients of a thousand overlapping requests stay their own."""
    controller = Controller(max_p95_latency_ms=1e9)
    seen: list[tuple[str, int, bytes]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        number = int(scope["path"][1:])
        await asyncio.sleep(0)
        status = (200, 404, 500)[number % 3]
        await send({"type": "http.response.start", "status": status, "headers": []})
        for digit in str(number):
            await asyncio.sleep(0.001 * (number % 7))
            await send({"type": "http.response.body", "body": digit.encode(), "more_body": True})
        await send({"type": "http.response.body"})

    def contract(route: str, status: int, headers: Any, body: bytes) -> None:
        seen.append((route, status, body))

    middleware = CanaryMiddleware(
        app, controller, contract=contract, route=lambda scope: scope["path"], arm_header="x-arm"
    )

    async def main() -> list[Answer]:
        scopes = [user(str(number), f"/{number}") for number in range(1000)]
        return await asyncio.gather(*(talk(middleware, scope) for scope in scopes))

    answers = asyncio.run(main())
    for number, answer in enumerate(answers):
        assert answer.status == (200, 404, 500)[number % 3]
        assert answer.body == str(number).encode()
        assert answer.headers == [(b"x-arm", controller.router.route_request(str(number)).encode())]
    assert middleware.gate.drain(5)
    unchecked = controller.counters.get("contract_not_checked", 0)
    assert len(seen) == 1000 - unchecked
    assert all(body == route[1:].encode() for route, _, body in seen)
    assert len(controller.seen) == 1000
    assert sum(seen.arm == "canary" for seen in controller.seen) == sum(
        answer.headers == [(b"x-arm", b"canary")] for answer in answers
    )


@pytest.mark.parametrize("app", [hello, starlette()])
def test_it_can_be_wrapped_around_itself(app: App) -> None:
    inner, outer = Controller(100), Controller()
    app = CanaryMiddleware(CanaryMiddleware(app, inner, arm_header="x-in"), outer)
    assert (b"x-in", b"canary") in ask(app, user("u")).headers
    assert inner.only.arm == "canary"
    assert len(outer.seen) == 1
