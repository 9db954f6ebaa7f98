"""What counts as bad, neutral or not at all: over ASGI alone."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from tests.middleware.asgi_tools import (
    BAD,
    DISCONNECT,
    GOOD,
    NEUTRAL,
    REQUEST,
    Answer,
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
    talk,
    user,
    websocket_scope,
)
from tests.waiting import Stuck

from canario.asgi import CanaryMiddleware

START = {"type": "http.response.start", "status": 200, "headers": []}
CONNECT = {"type": "websocket.connect"}
CLOSED = {"type": "websocket.disconnect", "code": 1001}


def watch(app: App, scope: Scope | None = None, *incoming: Message, **options: Any) -> Controller:
    """The controller after one request, which must have been observed once."""
    controller = Controller()
    scope = http_scope() if scope is None else scope
    ask(CanaryMiddleware(app, controller, **options), scope, *incoming)
    assert len(controller.seen) == 1, controller.seen
    assert "faults" not in controller.counters
    return controller


def status(code: int) -> App:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await respond(send, status=code)

    return app


def test_an_exception_after_the_response_has_started_is_bad() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await send({"type": "http.response.body", "body": b"par", "more_body": True})
        raise LookupError("no more")

    assert watch(app).only.outcome is BAD


def test_a_response_that_is_never_finished_is_bad() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await send({"type": "http.response.body", "body": b"par", "more_body": True})

    assert watch(app).only.outcome is BAD


def test_the_time_until_the_last_message_is_the_latency_and_background_tasks_are_not() -> None:
    controller = Controller()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        controller.time.advance(0.25)
        await send({"type": "http.response.body", "body": b"all", "more_body": False})
        assert controller.only.outcome is GOOD  # it is observed as soon as it is sent
        controller.time.advance(60)
        raise LookupError("in a background task, which no user sees")

    ask(CanaryMiddleware(app, controller), http_scope())
    assert controller.only.outcome is GOOD
    assert controller.only.latency_ms == pytest.approx(250)


def test_a_slow_send_is_part_of_the_latency() -> None:
    controller = Controller()

    async def send(message: Message) -> None:
        controller.time.advance(0.1)

    ask(CanaryMiddleware(hello, controller), http_scope(), send=send)
    assert controller.only.latency_ms == pytest.approx(200)


def test_trailers_end_a_response_that_announces_them() -> None:
    controller = Controller()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({**START, "trailers": True})
        await send({"type": "http.response.body", "body": b"all"})
        assert not controller.seen
        controller.time.advance(1)
        await send({"type": "http.response.trailers", "headers": [], "more_trailers": True})
        assert not controller.seen
        await send({"type": "http.response.trailers", "headers": []})
        assert controller.only.outcome is GOOD

    ask(CanaryMiddleware(app, controller), http_scope())
    assert controller.only.latency_ms == 1000


@pytest.mark.parametrize("kind", ["http.response.pathsend", "http.response.zerocopysend"])
def test_a_file_that_the_server_sends_itself_ends_a_response(kind: str) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await send({"type": kind, "path": "/etc/hostname", "file": 3})

    assert watch(app).only.outcome is GOOD


def test_a_file_sent_in_parts_ends_with_the_last_one() -> None:
    controller = Controller()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await send({"type": "http.response.zerocopysend", "file": 3, "more_body": True})
        assert not controller.seen
        await send({"type": "http.response.body", "body": b"end"})

    ask(CanaryMiddleware(app, controller), http_scope())
    assert controller.only.outcome is GOOD


def test_messages_that_inform_end_nothing() -> None:
    controller = Controller()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.debug", "info": {}})
        await send({"type": "http.response.early_hint", "links": [b"</a.css>"]})
        await send({"type": "http.response.push", "path": "/a.css", "headers": []})
        assert not controller.seen
        await respond(send)

    ask(CanaryMiddleware(app, controller), http_scope())
    assert controller.only.outcome is GOOD


@pytest.mark.parametrize(
    ("path", "root", "timed"),
    [
        ("/api/healthz", "/api", False),
        ("/api/healthz", "/api/", False),
        ("/a/b/ping", "/a/b", False),
        ("/healthz", "/api", False),  # a server that leaves the root path out
        ("/api/healthz", "", True),
        ("/api/healthz", "/ap", True),
        ("/api/users/ping", "/api", True),
        ("/apihealthz", "/api", True),
    ],
)
def test_health_checks_stay_out_of_the_latency_below_a_prefix(
    path: str, root: str, timed: bool
) -> None:
    told = watch(hello, http_scope(path, root_path=root)).only
    assert (told.latency_ms is not None) is timed


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_health_checks_of_mounted_apps_stay_out_of_the_latency(depth: int) -> None:
    """Whichever app is guarded: the one that mounts, or the one that is mounted."""

    async def healthz(request: Request) -> Response:
        return Response("ok")

    controller = Controller()
    app: Any = Starlette(routes=[Route("/healthz", healthz), Route("/users/ping", healthz)])
    apps = [app]
    for name in ("inner", "outer"):
        apps.append(Starlette(routes=[Mount(f"/{name}", app=apps[-1])]))
    for number, each in enumerate(apps):
        if number == depth:
            app = CanaryMiddleware(each, controller)
        elif number > depth:
            app = Starlette(routes=[Mount(("/inner", "/outer")[number - 1], app=app)])
    assert ask(app, http_scope("/outer/inner/healthz")).status == 200
    assert controller.only.latency_ms is None
    assert ask(app, http_scope("/outer/inner/users/ping")).status == 200
    assert controller.seen[1].latency_ms is not None


# -- clients that leave


async def waits_for_the_end(scope: Scope, receive: Receive, send: Send) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def gone_after(seconds: float, app: App) -> Controller:
    """The controller after a client left that had waited for `seconds`."""
    controller = Controller()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        controller.time.advance(seconds)
        await app(scope, receive, send)

    ask(CanaryMiddleware(slow, controller), http_scope(), REQUEST, DISCONNECT)
    return controller


def test_a_client_that_leaves_is_neutral() -> None:
    assert gone_after(0.4, waits_for_the_end).only.outcome is NEUTRAL


def test_a_client_that_leaves_after_too_long_a_wait_is_slow() -> None:
    seen = gone_after(0.6, waits_for_the_end).only
    assert seen.outcome is GOOD
    assert seen.latency_ms == pytest.approx(600)


def test_what_an_app_raises_because_the_client_left_is_not_bad() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await waits_for_the_end(scope, receive, send)
        raise ConnectionError("client has gone")

    assert gone_after(0.4, app).only.outcome is NEUTRAL
    assert gone_after(0.6, app).only.outcome is GOOD


def test_a_5xx_stays_bad_when_the_client_left() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await waits_for_the_end(scope, receive, send)
        await respond(send, status=500)

    assert gone_after(0.1, app).only.outcome is BAD


def test_a_disconnect_after_the_response_means_nothing() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await respond(send)
        await waits_for_the_end(scope, receive, send)

    assert watch(app, http_scope(), REQUEST, DISCONNECT).only.outcome is GOOD


def test_a_disconnect_that_the_last_message_itself_brings_means_nothing() -> None:
    controller = Controller()
    ended = asyncio.Event()
    heard: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async def listen() -> None:
            heard.append(await receive())

        listener = asyncio.create_task(listen())
        await asyncio.sleep(0)
        await respond(send)
        await listener

    async def main() -> None:
        async def receive() -> Message:
            await ended.wait()
            return DISCONNECT

        async def send(message: Message) -> None:
            if message["type"] == "http.response.body":
                ended.set()  # as a server does, which says that the response is over
                await asyncio.sleep(0.01)

        await CanaryMiddleware(app, controller)(http_scope(), receive, send)

    asyncio.run(main())
    assert heard == [DISCONNECT]
    assert controller.only.outcome is GOOD


def broken_pipe(at: int) -> Any:
    sent = 0

    async def send(message: Message) -> None:
        nonlocal sent
        sent += 1
        if sent == at:
            raise OSError("broken pipe")

    return send


@pytest.mark.parametrize("at", [1, 2])
def test_a_send_that_fails_for_want_of_a_client_is_neutral(at: int) -> None:
    controller = Controller()
    answer = ask(CanaryMiddleware(hello, controller), http_scope(), send=broken_pipe(at))
    assert repr(answer.raised) == repr(OSError("broken pipe"))
    assert controller.only.outcome is NEUTRAL


def test_a_send_that_fails_for_another_reason_is_bad() -> None:
    controller = Controller()

    async def send(message: Message) -> None:
        raise RuntimeError("unexpected message")

    ask(CanaryMiddleware(hello, controller), http_scope(), send=send)
    assert controller.only.outcome is BAD


@pytest.mark.parametrize(("seconds", "outcome"), [(0.1, NEUTRAL), (0.6, GOOD)])
def test_a_cancelled_request_is_neutral_or_slow_and_stays_cancelled(
    seconds: float, outcome: object
) -> None:
    controller, stuck = Controller(), Stuck()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await stuck()

    async def main() -> None:
        task = asyncio.create_task(talk(CanaryMiddleware(app, controller), http_scope()))
        await stuck.reached.wait()
        controller.time.advance(seconds)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert controller.only.outcome is outcome


def test_a_request_cancelled_in_its_background_task_was_already_observed() -> None:
    controller, stuck = Controller(), Stuck()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await respond(send)
        await stuck()

    async def main() -> None:
        task = asyncio.create_task(talk(CanaryMiddleware(app, controller), http_scope()))
        await stuck.reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert controller.only.outcome is GOOD


def test_a_request_thrown_away_is_observed_by_the_next_one() -> None:
    """The garbage collector may do it while a lock is held that observing would wait for."""
    controller = Controller()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(60)

    async def nothing(*message: Message) -> Message:
        return REQUEST

    guarded = CanaryMiddleware(app, controller)
    call = guarded(http_scope(), nothing, nothing)

    async def main() -> None:
        call.send(None)

    asyncio.run(main())
    with controller._lock:
        call.close()
    assert not controller.seen
    guarded.app = hello
    ask(guarded, http_scope())
    assert [seen.outcome for seen in controller.seen] == [NEUTRAL, GOOD]


# -- event streams


def stream(controller: Controller, *, then: BaseException | None = None) -> App:
    """An event stream: the first event after 0.1 s, the end after an hour."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        kind = (b"Content-Type", b"text/event-stream; charset=utf-8")
        await send({"type": "http.response.start", "status": 200, "headers": [kind]})
        controller.time.advance(0.1)
        for _ in range(3):
            await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
            controller.time.advance(1200)
        if then is not None:
            raise then
        await send({"type": "http.response.body", "body": b""})

    return app


def test_an_event_stream_is_timed_to_its_first_event() -> None:
    controller = Controller()
    ask(CanaryMiddleware(stream(controller), controller), http_scope())
    assert controller.only.outcome is GOOD
    assert controller.only.latency_ms == pytest.approx(100)


def test_another_stream_is_timed_to_its_end() -> None:
    controller = Controller()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        controller.time.advance(2)
        await send({"type": "http.response.body", "body": b"b"})

    ask(CanaryMiddleware(app, controller), http_scope())
    assert controller.only.latency_ms == 2000


def test_an_event_stream_that_breaks_off_is_bad() -> None:
    controller = Controller()
    app = stream(controller, then=LookupError("no more events"))
    ask(CanaryMiddleware(app, controller), http_scope())
    assert controller.only.outcome is BAD


@pytest.mark.parametrize("error", [OSError("broken pipe"), None])
def test_a_client_that_leaves_an_event_stream_has_seen_it(error: OSError | None) -> None:
    """However the app takes note: by a send that fails, or by being cancelled."""
    controller = Controller()
    sent = 0

    async def send(message: Message) -> None:
        nonlocal sent
        sent += 1
        if sent == 4:
            if error is not None:
                raise error
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await asyncio.sleep(0)

    async def raises_its_own(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await stream(controller)(scope, receive, send)
        except OSError as broken:
            raise LookupError("the client has disconnected") from broken

    async def main() -> Answer:
        app = CanaryMiddleware(raises_its_own, controller)
        return await talk(app, http_scope(), send=send)

    if error is None:
        with pytest.raises(asyncio.CancelledError):
            asyncio.run(main())
    else:
        assert isinstance(asyncio.run(main()).raised, LookupError)
    assert controller.only.outcome is GOOD
    assert controller.only.latency_ms == pytest.approx(100)


# -- WebSockets


def chat(*messages: Message, then: BaseException | None = None) -> App:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        for message in messages:
            await send(message)
        if then is not None:
            raise then

    return app


ACCEPT = {"type": "websocket.accept"}
HI = {"type": "websocket.send", "text": "hi"}


def close(code: int) -> Message:
    return {"type": "websocket.close", "code": code}


@pytest.mark.parametrize(
    ("app", "outcome"),
    [
        (chat(ACCEPT, HI), GOOD),
        (chat(ACCEPT, HI, close(1000)), GOOD),
        (chat(ACCEPT, close(4001)), GOOD),
        (chat(ACCEPT, {"type": "websocket.close"}), GOOD),
        (chat(ACCEPT, close(1011)), BAD),
        (chat(close(1011)), BAD),
        (chat(), BAD),
        (chat(then=LookupError()), BAD),
        (chat(ACCEPT, then=LookupError()), BAD),
        (chat(close(1000)), NEUTRAL),
        (chat({"type": "websocket.close"}), NEUTRAL),
    ],
)
def test_how_a_websocket_ends(app: App, outcome: object) -> None:
    assert watch(app, websocket_scope(), CONNECT).only.outcome is outcome


@pytest.mark.parametrize(("code", "outcome"), [(401, NEUTRAL), (403, NEUTRAL), (503, BAD)])
def test_a_denial_counts_as_its_status(code: int, outcome: object) -> None:
    app = chat(
        {"type": "websocket.http.response.start", "status": code, "headers": []},
        {"type": "websocket.http.response.body", "body": b"no"},
    )
    seen = watch(app, websocket_scope(), CONNECT, contract=lambda *response: "never").only
    assert seen.outcome is outcome


def test_a_websocket_is_timed_to_the_first_message_and_observed_at_its_end() -> None:
    controller = Controller()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        controller.time.advance(0.2)
        await send(ACCEPT)
        controller.time.advance(3600)
        await send(HI)
        assert not controller.seen

    ask(CanaryMiddleware(app, controller), websocket_scope(), CONNECT)
    assert controller.only.latency_ms == pytest.approx(200)


async def listens(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send(ACCEPT)
    while (await receive())["type"] != "websocket.disconnect":
        pass
    raise LookupError("WebSocketDisconnect, say")


def test_a_client_that_leaves_a_websocket_ends_it_as_usual() -> None:
    assert watch(listens, websocket_scope(), CONNECT, CLOSED).only.outcome is GOOD


def test_closing_because_the_client_left_is_no_error() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await listens(scope, receive, send)
        except LookupError:
            await send(close(1011))

    assert watch(app, websocket_scope(), CONNECT, CLOSED).only.outcome is GOOD


def test_a_client_that_leaves_before_the_websocket_is_answered_is_neutral() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await receive()

    assert watch(app, websocket_scope(), CONNECT, CLOSED).only.outcome is NEUTRAL


@pytest.mark.parametrize(("at", "outcome"), [(1, NEUTRAL), (2, GOOD)])
def test_a_websocket_whose_client_cannot_be_reached(at: int, outcome: object) -> None:
    controller = Controller()
    app = CanaryMiddleware(chat(ACCEPT, HI), controller)
    ask(app, websocket_scope(), CONNECT, send=broken_pipe(at))
    assert controller.only.outcome is outcome


def test_a_cancelled_websocket_that_was_accepted_is_good() -> None:
    controller, stuck = Controller(), Stuck()

    async def accepts(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(ACCEPT)
        await stuck()

    async def main() -> None:
        app = CanaryMiddleware(accepts, controller)
        task = asyncio.create_task(talk(app, websocket_scope(), CONNECT))
        await stuck.reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert controller.only.outcome is GOOD


# -- who is observed


def test_each_arm_gets_its_own_observations() -> None:
    controller = Controller()
    app = CanaryMiddleware(status(200), controller, canary=status(500))
    for arm in ("baseline", "canary", "canary"):
        ask(app, user(controller.a_key(arm)))
    assert [(seen.arm, seen.outcome) for seen in controller.seen] == [
        ("baseline", GOOD),
        ("canary", BAD),
        ("canary", BAD),
    ]


def test_other_scopes_are_not_observed() -> None:
    controller = Controller()

    async def app(scope: Scope, receive: Receive, send: Send) -> str:
        return "done"

    assert ask(CanaryMiddleware(app, controller), {"type": "mqtt"}).returned == "done"
    assert ask(CanaryMiddleware(app, controller), {}).returned == "done"
    assert not controller.seen
