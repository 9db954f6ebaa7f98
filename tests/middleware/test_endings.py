"""Exceptions that are no `Exception`: who is to blame for a request that ended with one."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from typing import Any

import anyio
import pytest
import trio
from starlette.applications import Starlette
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from tests.middleware import wsgi_tools
from tests.middleware.asgi_tools import (
    BAD,
    DISCONNECT,
    GOOD,
    NEUTRAL,
    REQUEST,
    App,
    Controller,
    Message,
    Receive,
    Scope,
    Send,
    hello,
    http_scope,
    respond,
    websocket_scope,
)
from tests.tracing.request_tools import Provider, attributes

from canario.asgi import CanaryMiddleware
from canario.wsgi import CanaryMiddleware as OverWSGI

START = {"type": "http.response.start", "status": 200, "headers": []}
PART = {"type": "http.response.body", "body": b"par", "more_body": True}


class Panic(BaseException):
    """What a Rust extension raises."""


async def _send(message: Message) -> None:
    pass


def run(
    app: App,
    scope: Scope | None = None,
    *incoming: Message,
    send: Send = _send,
    runner: Callable[[Any], object] = asyncio.run,
    **options: Any,
) -> tuple[Controller, BaseException | None]:
    """The controller after one request, and what came out of the middleware."""
    controller = Controller()
    waiting = list(incoming or (REQUEST,))
    raised: list[BaseException] = []

    async def receive() -> Message:
        return waiting.pop(0)

    async def main() -> None:
        try:
            guarded = CanaryMiddleware(app, controller, **options)
            await guarded(scope or http_scope(), receive, send)
        except BaseException as error:
            raised.append(error)

    runner(main())
    return controller, raised[0] if raised else None


async def _own_cancelled() -> None:
    task = asyncio.ensure_future(asyncio.sleep(60))
    task.cancel()
    await task


async def _group() -> None:
    raise BaseExceptionGroup("several", [Panic(), asyncio.CancelledError()])


async def _group_of_its_own() -> None:
    raise BaseExceptionGroup("cancelled by nobody", [asyncio.CancelledError()])


def _raising(error: type[BaseException]) -> Callable[[], Any]:
    async def fail() -> None:
        raise error

    return fail


async def _timeout_of_its_own() -> None:
    """An app's own deadline cancels its task, and takes that back."""
    try:
        async with asyncio.timeout(0):
            await asyncio.sleep(60)
    except TimeoutError:
        raise asyncio.CancelledError from None


async def _scope_of_its_own() -> None:
    with anyio.CancelScope() as scope:
        scope.cancel()
        await anyio.sleep(60)
    raise asyncio.CancelledError


async def _child_of_its_own() -> None:
    """A task group's children are cancelled when one of them fails, and not the request."""

    async def fail() -> None:
        raise Panic

    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.sleep(60))
        group.create_task(fail())


ENDINGS: dict[str, Callable[[], Any]] = {
    "panic": _raising(Panic),
    "SystemExit": _raising(SystemExit),
    "KeyboardInterrupt": _raising(KeyboardInterrupt),
    "GeneratorExit": _raising(GeneratorExit),
    "CancelledError": _raising(asyncio.CancelledError),
    "awaits what it cancels": _own_cancelled,
    "group": _group,
    "group of cancellations": _group_of_its_own,
    "timeout": _timeout_of_its_own,
    "cancel scope": _scope_of_its_own,
    "task group": _child_of_its_own,
}


@pytest.mark.parametrize("started", [False, True], ids=["before the response", "within it"])
@pytest.mark.parametrize("ending", ENDINGS)
def test_what_the_server_answers_with_a_500_is_an_error(ending: str, started: bool) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if started:
            await send(START)
            await send(PART)
        await ENDINGS[ending]()

    provider = Provider()
    controller, raised = run(app, tracer_provider=provider)
    assert controller.only.outcome is BAD
    assert raised is not None
    assert not isinstance(raised, Exception)
    assert "error.type" in attributes(provider.server)
    assert "canario.response.aborted" not in attributes(provider.server)
    assert not controller.counters.get("faults")


@pytest.mark.parametrize("accepted", [False, True])
@pytest.mark.parametrize("ending", ENDINGS)
def test_it_is_over_a_websocket_too(ending: str, accepted: bool) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        if accepted:
            await send({"type": "websocket.accept"})
        await ENDINGS[ending]()

    controller, _ = run(app, websocket_scope(), {"type": "websocket.connect"})
    assert controller.only.outcome is BAD


@pytest.mark.parametrize("ending", ["panic", "SystemExit", "CancelledError", "group"])
def test_it_is_not_the_apps_fault_once_the_client_has_left(ending: str) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await ENDINGS[ending]()

    controller, _ = run(app, http_scope(), DISCONNECT)
    assert controller.only.outcome is NEUTRAL
    controller, _ = run(app, websocket_scope(), {"type": "websocket.disconnect", "code": 1001})
    assert controller.only.outcome is NEUTRAL


def test_what_ends_after_the_response_changes_nothing() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await respond(send)
        raise Panic

    controller, raised = run(app)
    assert controller.only.outcome is GOOD
    assert isinstance(raised, Panic)


async def _by_task(guarded: Any) -> None:
    task = asyncio.ensure_future(guarded)
    await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.wait([task])


async def _by_timeout(guarded: Any) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await guarded


async def _by_wait_for(guarded: Any) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(guarded, 0.01)


async def _by_scope(guarded: Any) -> None:
    with anyio.move_on_after(0.01):
        await guarded


async def _by_group(guarded: Any) -> None:
    async def fail() -> None:
        await asyncio.sleep(0.01)
        raise LookupError

    with pytest.raises(ExceptionGroup):  # noqa: PT012 - the group is what raises
        async with asyncio.TaskGroup() as group:
            group.create_task(guarded)
            group.create_task(fail())


async def _waits() -> None:
    await asyncio.sleep(60)


async def _waits_in_a_group() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.sleep(60))


async def _gathers_cancellations() -> None:
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError as error:
        raise BaseExceptionGroup("", [error]) from None


@pytest.mark.parametrize("waiting", [_waits, _waits_in_a_group, _gathers_cancellations])
@pytest.mark.parametrize("by", [_by_task, _by_timeout, _by_wait_for, _by_scope, _by_group])
def test_a_request_cancelled_from_outside_is_neutral(by: Any, waiting: Any) -> None:
    controller = Controller()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await waiting()

    async def receive() -> Message:
        return REQUEST

    async def main() -> None:
        try:
            await by(CanaryMiddleware(app, controller)(http_scope(), receive, _send))
        except BaseExceptionGroup:
            if waiting is not _gathers_cancellations:
                raise

    asyncio.run(main())
    assert controller.only.outcome is NEUTRAL


@pytest.mark.parametrize("outside", [True, False])
def test_on_trio_a_cancelled_scope_around_the_middleware_is_the_one_that_counts(
    outside: bool,
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if outside:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep, 60)
                nursery.start_soon(trio.sleep, 60)
            return
        kept: list[BaseException] = []
        with trio.CancelScope() as own:
            own.cancel()
            try:
                await trio.sleep(60)
            except trio.Cancelled as error:
                kept.append(error)
                raise
        raise kept[0]

    def runner(main: Any) -> None:
        async def within() -> None:
            with trio.move_on_after(0.01 if outside else 60):
                await main

        trio.run(within)

    controller, raised = run(app, runner=runner)
    assert controller.only.outcome is (NEUTRAL if outside else BAD)
    assert raised is not None


@pytest.mark.parametrize("place", ["outside", "inside"])
def test_starlettes_cancelled_task_group_is_no_failure(place: str) -> None:
    """`BaseHTTPMiddleware` runs its app in a task group, and cancels that when it has answered."""
    controller = Controller()

    async def early(request: Any, call_next: Any) -> PlainTextResponse:
        await call_next(request)
        return PlainTextResponse("early")

    async def plan(request: Any) -> PlainTextResponse:
        return PlainTextResponse("ok")

    app: Any = Starlette(routes=[Route("/", plan)])
    if place == "outside":
        served: Any = CanaryMiddleware(BaseHTTPMiddleware(app, early), controller)
    else:
        served = BaseHTTPMiddleware(CanaryMiddleware(app, controller), early)

    async def main() -> None:
        async def receive() -> Message:
            return REQUEST

        await served(http_scope(), receive, _send)

    asyncio.run(main())
    assert [seen.outcome for seen in controller.seen if seen.outcome is BAD] == []
    assert len(controller.seen) == 1


@pytest.mark.parametrize("spans", [True, False])
def test_a_request_that_the_collector_ends_is_observed_without_waiting_for_a_lock(
    spans: bool,
) -> None:
    controller = Controller()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(60)

    async def nothing(*message: Message) -> Message:
        return REQUEST

    guarded = CanaryMiddleware(app, controller, spans=spans, tracer_provider=Provider())

    async def main() -> None:
        call: Any = guarded(http_scope(), nothing, nothing)
        call.send(None)
        kept = [call]
        kept.append(kept)  # a circle, for the collector alone
        del call, kept
        controller.time.advance(0.7)
        with controller._lock:
            gc.collect()
        assert not controller.seen
        guarded.app = hello
        await guarded(http_scope(), nothing, _send)

    asyncio.run(main())
    thrown, served = controller.seen
    assert thrown.latency_ms == pytest.approx(700)  # whoever waited in vain has waited for long
    assert served.outcome is GOOD


def test_what_was_thrown_away_last_is_observed_when_the_server_ends() -> None:
    controller = Controller()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await asyncio.sleep(60)

    async def nothing(*message: Message) -> Message:
        return REQUEST

    guarded = CanaryMiddleware(app, controller)

    async def main() -> None:
        call: Any = guarded(http_scope(), nothing, nothing)
        call.send(None)
        call.close()
        await guarded({"type": "lifespan"}, nothing, nothing)

    asyncio.run(main())
    assert controller.only.outcome is NEUTRAL


@pytest.mark.parametrize("error", [Panic, SystemExit, GeneratorExit, asyncio.CancelledError])
@pytest.mark.parametrize("where", ["call", "iteration"])
def test_over_wsgi_it_is_an_error_too(error: type[BaseException], where: str) -> None:
    controller = Controller()

    def fails(environ: Any, start_response: Any) -> Any:
        raise error

    app = fails if where == "call" else wsgi_tools.streams(b"par", error())
    answer = wsgi_tools.ask(OverWSGI(app, controller))
    assert isinstance(answer.raised, error)
    assert controller.only.outcome is BAD
