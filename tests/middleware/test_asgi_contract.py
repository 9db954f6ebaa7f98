"""Contracts over ASGI: what is checked, when, and what a breach does."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from tests.middleware.asgi_tools import (
    DISCONNECT,
    REQUEST,
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
from tests.waiting import PATIENCE

from canario import Phase, RollbackReason
from canario.asgi import CanaryMiddleware
from canario.control.events import RolledBack

Call = tuple[str, int, list[tuple[bytes, bytes]], bytes]


class Contract:
    """Notes what it is called with; breaks where `broken` is in the body."""

    def __init__(self, broken: bytes | None = None) -> None:
        self.calls: list[Call] = []
        self.broken = broken

    def __call__(self, route: str, status: int, headers: Any, body: bytes) -> str | None:
        self.calls.append((route, status, list(headers), body))
        if self.broken is not None and self.broken in body:
            return "it is broken"
        return None


def checked(
    app: App,
    scope: Scope | None = None,
    controller: Controller | None = None,
    *incoming: Message,
    **options: Any,
) -> list[Call]:
    """What the contract is called with for one request."""
    contract = Contract()
    controller = controller or Controller()
    middleware = CanaryMiddleware(app, controller, contract=contract, **options)
    ask(middleware, http_scope() if scope is None else scope, *incoming)
    assert middleware.gate.drain(5)
    return contract.calls


def test_a_contract_sees_the_whole_response() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        headers = ([b"Content-Type", b"text/plain"], (b"x", b"y"))
        await send({"type": "http.response.start", "status": 418, "headers": headers})
        for part in (b"a", memoryview(b"b"), bytearray(b"c")):
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body"})

    headers = [(b"Content-Type", b"text/plain"), (b"x", b"y")]
    assert checked(app, arm_header="x-arm") == [("", 418, headers, b"abc")]


def app_with_routes() -> Starlette:
    async def evaluate(request: Request) -> Response:
        return JSONResponse({"id": request.path_params["id"]})

    async def stream(request: Request) -> Response:
        return StreamingResponse(str(number) for number in range(10))

    return Starlette(routes=[Route("/evaluations/{id}", evaluate), Route("/streams/{id}", stream)])


def test_a_contract_is_told_the_route() -> None:
    calls = checked(app_with_routes(), http_scope("/evaluations/7"))
    assert [(route, status, body) for route, status, _, body in calls] == [
        ("/evaluations/{id}", 200, b'{"id":"7"}')
    ]


def test_a_contract_is_about_the_routes_it_names() -> None:
    controller = Controller()
    routes = ["/evaluations/{id}"]

    def check(path: str) -> list[Call]:
        return checked(app_with_routes(), http_scope(path), controller, contract_routes=routes)

    assert len(check("/evaluations/7")) == 1
    assert check("/streams/7") == []
    assert check("/none") == []
    assert controller.counters == {"no_key": 3, "contract_checked": 1}


@pytest.mark.parametrize(("limit", "count"), [(10, 1), (9, 0)])
def test_a_body_is_checked_up_to_a_limit_and_counted_beyond(limit: int, count: int) -> None:
    controller = Controller()
    calls = checked(
        app_with_routes(), http_scope("/streams/7"), controller, contract_max_body=limit
    )
    assert len(calls) == count
    assert controller.counters.get("contract_not_checked", 0) == 1 - count


@pytest.mark.parametrize("kind", ["http.response.pathsend", "http.response.zerocopysend"])
def test_a_body_that_does_not_pass_through_is_counted_as_not_checked(kind: str) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": kind, "path": "/etc/hostname", "file": 3})

    controller = Controller()
    assert checked(app, controller=controller) == []
    assert controller.counters["contract_not_checked"] == 1


async def breaks_off(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"{", "more_body": True})


async def raises(scope: Scope, receive: Receive, send: Send) -> None:
    await breaks_off(scope, receive, send)
    raise LookupError("broken off")


@pytest.mark.parametrize("app", [breaks_off, raises])
def test_a_part_of_a_response_is_not_checked(app: App) -> None:
    assert checked(app) == []


def test_neither_is_the_answer_to_head_nor_a_websocket() -> None:
    async def denies(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.http.response.start", "status": 401, "headers": []})
        await send({"type": "websocket.http.response.body", "body": b"no"})

    assert checked(hello, http_scope(method="HEAD")) == []
    assert checked(denies, websocket_scope()) == []


def test_a_breach_of_the_canary_rolls_back_without_delay() -> None:
    controller = Controller(50)
    contract = Contract(broken=b"canary")

    async def names(scope: Scope, receive: Receive, send: Send) -> None:
        await respond(send, b"canary")

    middleware = CanaryMiddleware(
        hello, controller, canary=names, contract=contract, route=lambda scope: "/evaluate"
    )
    key = controller.a_key("canary")
    assert ask(middleware, user(key)).body == b"canary"
    assert middleware.gate.drain(5)
    assert controller.state.phase is Phase.ROLLED_BACK
    assert controller.state.reason is RollbackReason.CONTRACT_VIOLATION
    end = controller.events[-1]
    assert isinstance(end, RolledBack)
    assert str(end.violation) == "/evaluate: it is broken"
    assert ask(middleware, user(key)).body == b"hello"


def test_a_breach_of_the_baseline_does_not() -> None:
    controller = Controller(50)
    middleware = CanaryMiddleware(hello, controller, contract=lambda *response: False)
    ask(middleware, user(controller.a_key("baseline")))
    assert middleware.gate.drain(5)
    assert controller.state.phase is Phase.RUNNING


def test_a_contract_never_delays_the_response() -> None:
    release = threading.Event()

    def slow(route: str, status: int, headers: Any, body: bytes) -> str:
        release.wait(PATIENCE)
        return "slow, and broken"

    controller = Controller(100)
    middleware = CanaryMiddleware(hello, controller, contract=slow)
    for _ in range(3):
        assert ask(middleware, user("u")).body == b"hello"
    assert len(controller.seen) == 3
    assert len(controller.events) == 2  # it has started, and that is all
    release.set()
    assert middleware.gate.drain(5)
    assert controller.state.phase is Phase.ROLLED_BACK


def test_a_response_that_is_sent_after_a_client_left_is_still_whole() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await receive()
        await respond(send, b"whole")

    calls = checked(app, http_scope(), None, REQUEST, DISCONNECT)
    assert [body for *_, body in calls] == [b"whole"]
