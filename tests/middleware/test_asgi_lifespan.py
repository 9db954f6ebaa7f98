"""Lifespan: both apps, their states, and the rollout's clock while nobody asks."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from tests.middleware.asgi_tools import (
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
    talk,
    user,
)
from tests.waiting import PATIENCE

from canario import Phase
from canario.asgi import CanaryMiddleware
from canario.clock import system_clock
from canario.plan import MissingEvidence

COMPLETE = "lifespan.startup.complete"
FAILED = "lifespan.startup.failed"
ENDED = "lifespan.shutdown.complete"
END_FAILED = "lifespan.shutdown.failed"

Log = list[str]


class Server:
    """Runs the lifespan of an app as a server does; `told` is what it was told."""

    def __init__(self, app: App, *, state: dict[str, Any] | None = None) -> None:
        self.app = app
        self.state: dict[str, Any] = {} if state is None else state
        self.told: list[Message] = []
        self.error: BaseException | None = None
        self.returned: Any = None

    @property
    def kinds(self) -> list[str]:
        """The types of the messages it was told."""
        return [message["type"] for message in self.told]

    def run(
        self, serve: Callable[[], Awaitable[Any]] | None = None, *, shut_down: bool = True
    ) -> Server:
        """Start up, `serve` where that succeeds, shut down."""
        asyncio.run(self._run(serve, shut_down))
        return self

    async def _run(self, serve: Callable[[], Awaitable[Any]] | None, shut_down: bool) -> None:
        said: asyncio.Queue[Message] = asyncio.Queue()
        answered = asyncio.Event()

        async def send(message: Message) -> None:
            self.told.append(message)
            answered.set()

        async def main() -> None:
            scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": self.state}
            try:
                self.returned = await self.app(scope, said.get, send)
            except BaseException as error:
                self.error = error
                if isinstance(error, asyncio.CancelledError):
                    raise
            finally:
                answered.set()

        said.put_nowait({"type": "lifespan.startup"})
        task = asyncio.create_task(main())
        await answered.wait()
        if serve is not None:
            await serve()
        if not shut_down:
            task.cancel()
        elif self.kinds == [COMPLETE]:
            said.put_nowait({"type": "lifespan.shutdown"})
        await asyncio.wait([task])

    async def ask(self, scope: Scope) -> Answer:
        """A request, which gets a copy of the state as the specification has it."""
        return await talk(self.app, {**scope, "state": self.state.copy()})


def app(name: str, log: Log, *, starts: bool = True, ends: bool = True, **state: Any) -> Starlette:
    """An app that logs what its lifespan does, and answers with its state."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[dict[str, Any]]:
        if not starts:
            raise LookupError(f"{name} cannot start")
        log.append(f"{name} starts")
        try:
            yield state
        finally:
            log.append(f"{name} ends")
        if not ends:
            raise LookupError(f"{name} cannot end")

    async def index(request: Request) -> Response:
        assert request.app is here
        return JSONResponse({"app": name, **request.state._state})

    here = Starlette(routes=[Route("/", index)], lifespan=lifespan)
    return here


def pair(baseline: App, canary: App, controller: Controller | None = None) -> CanaryMiddleware:
    return CanaryMiddleware(baseline, controller or Controller(), canary=canary)


# -- one app


def test_the_lifespan_of_one_app_passes_through() -> None:
    log: Log = []
    server = Server(CanaryMiddleware(app("app", log, a=1), Controller())).run()
    assert server.kinds == [COMPLETE, ENDED]
    assert server.state == {"a": 1}
    assert log == ["app starts", "app ends"]


@pytest.mark.parametrize("options", [{"starts": False}, {"ends": False}])
def test_what_one_app_fails_with_passes_through(options: dict[str, bool]) -> None:
    bare = Server(app("app", [], **options)).run()
    wrapped = Server(CanaryMiddleware(app("app", [], **options), Controller())).run()
    assert wrapped.kinds == bare.kinds
    assert repr(wrapped.error) == repr(bare.error)


def test_the_same_app_for_both_arms_starts_once() -> None:
    log: Log = []
    both = app("app", log)
    assert Server(pair(both, both)).run().kinds == [COMPLETE, ENDED]
    assert log == ["app starts", "app ends"]


def test_what_the_app_returns_is_returned() -> None:
    async def returns(scope: Scope, receive: Receive, send: Send) -> str:
        return "returned"

    assert Server(CanaryMiddleware(returns, Controller())).run().returned == "returned"


# -- two apps


def test_the_lifespan_reaches_both_apps() -> None:
    log: Log = []
    server = Server(pair(app("baseline", log), app("canary", log))).run()
    assert server.kinds == [COMPLETE, ENDED]
    assert server.error is None
    assert log == ["baseline starts", "canary starts", "canary ends", "baseline ends"]


def test_each_app_gets_its_own_state() -> None:
    controller = Controller()
    middleware = pair(
        app("baseline", [], model="old", shared=1, old=True),
        app("canary", [], model="new", shared=1, new=True),
        controller,
    )
    server = Server(middleware, state={"server": "x"})
    answers: dict[str, Any] = {}

    async def serve() -> None:
        for arm in ("baseline", "canary", "baseline"):
            answer = await server.ask(user(controller.a_key(arm)))
            answers[arm] = json.loads(answer.body)

    server.run(serve)
    assert answers == {
        "baseline": {"app": "baseline", "server": "x", "model": "old", "shared": 1, "old": True},
        "canary": {"app": "canary", "server": "x", "model": "new", "shared": 1, "new": True},
    }


def test_what_an_outer_middleware_keeps_in_the_state_stays() -> None:
    middleware = pair(app("baseline", [], a=1), app("canary", [], a=2), Controller(100))
    server = Server(middleware)

    async def serve() -> None:
        scope = {**user("u"), "state": {**server.state, "request_id": "r1"}}
        answer = await talk(middleware, scope)
        assert answer.body == b'{"app":"canary","request_id":"r1","a":2}'
        assert scope["state"] == {"request_id": "r1", "a": 2}

    server.run(serve)


def test_a_server_that_gives_every_request_the_same_state() -> None:
    middleware = pair(app("baseline", [], a=1), app("canary", [], a=2), Controller(100))
    server = Server(middleware)

    async def serve() -> None:
        answer = await talk(middleware, {**user("u"), "state": server.state})
        assert answer.body == b'{"app":"canary","a":2}'
        assert server.state == {"a": 1}

    server.run(serve)


def test_a_server_without_state() -> None:
    log: Log = []
    middleware = pair(app("baseline", log), app("canary", log), Controller(100))

    async def main() -> Answer:
        return await talk(
            middleware,
            {"type": "lifespan"},
            {"type": "lifespan.startup"},
            {"type": "lifespan.shutdown"},
        )

    answer = asyncio.run(main())
    # Starlette refuses a state that has no place, and so it does here.
    assert [message["type"] for message in answer.sent] == [FAILED]
    assert log == ["baseline starts", "baseline ends"]


def test_a_canary_that_cannot_start_keeps_the_server_from_starting() -> None:
    log: Log = []
    server = Server(pair(app("baseline", log), app("canary", log, starts=False))).run()
    assert server.kinds == [FAILED]
    assert "canary cannot start" in server.told[0]["message"]
    assert repr(server.error) == "LookupError('canary cannot start')"
    assert log == ["baseline starts", "baseline ends"]


def test_a_baseline_that_cannot_start_keeps_the_canary_from_starting() -> None:
    log: Log = []
    server = Server(pair(app("baseline", log, starts=False), app("canary", log))).run()
    assert server.kinds == [FAILED]
    assert "baseline cannot start" in server.told[0]["message"]
    assert repr(server.error) == "LookupError('baseline cannot start')"
    assert log == []


def test_a_canary_that_cannot_end_lets_the_baseline_end() -> None:
    log: Log = []
    server = Server(pair(app("baseline", log), app("canary", log, ends=False))).run()
    assert server.kinds == [COMPLETE, END_FAILED]
    assert "canary cannot end" in server.told[1]["message"]
    assert repr(server.error) == "LookupError('canary cannot end')"
    assert log[-2:] == ["canary ends", "baseline ends"]


def test_a_baseline_that_cannot_end_ends_last() -> None:
    log: Log = []
    server = Server(pair(app("baseline", log, ends=False), app("canary", log))).run()
    assert server.kinds == [COMPLETE, END_FAILED]
    assert "baseline cannot end" in server.told[1]["message"]
    assert repr(server.error) == "LookupError('baseline cannot end')"
    assert log[-2:] == ["canary ends", "baseline ends"]


def test_when_neither_can_end_the_server_hears_of_both() -> None:
    server = Server(pair(app("baseline", [], ends=False), app("canary", [], ends=False))).run()
    assert server.kinds == [COMPLETE, END_FAILED]
    assert "canary cannot end" in server.told[1]["message"]
    assert "baseline cannot end" in server.told[1]["message"]


def test_both_may_end_without_a_word() -> None:
    async def leaves(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": COMPLETE})

    server = Server(pair(leaves, leaves)).run()
    assert server.kinds == [COMPLETE]
    assert server.error is None


def test_a_canary_that_gives_up_while_serving_is_heard_of_at_the_end() -> None:
    log: Log = []

    async def gives_up(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": COMPLETE})
        raise LookupError("gave up")

    server = Server(pair(app("baseline", log), gives_up)).run()
    assert server.kinds == [COMPLETE, ENDED]
    assert repr(server.error) == "LookupError('gave up')"
    assert log == ["baseline starts", "baseline ends"]


def test_a_cancellation_reaches_both() -> None:
    log: Log = []
    bare = Server(app("app", [])).run(shut_down=False)
    server = Server(pair(app("baseline", log), app("canary", log))).run(shut_down=False)
    assert isinstance(server.error, asyncio.CancelledError)
    assert server.kinds == bare.kinds == [COMPLETE, END_FAILED]
    assert log[-2:] == ["canary ends", "baseline ends"]


# -- apps that do not know the protocol


async def unknown(scope: Scope, receive: Receive, send: Send) -> None:
    """Refuses the scope, as Django does."""
    if scope["type"] == "lifespan":
        raise ValueError("cannot handle lifespan")
    await hello(scope, receive, send)


async def unmoved(scope: Scope, receive: Receive, send: Send) -> str:
    """Ignores the scope."""
    if scope["type"] != "lifespan":
        await hello(scope, receive, send)
    return "unmoved"


@pytest.mark.parametrize("other", [unknown, unmoved])
def test_one_app_that_supports_lifespan_is_enough(other: App) -> None:
    log: Log = []
    for middleware in (pair(app("app", log), other), pair(other, app("app", log))):
        server = Server(middleware).run()
        assert server.kinds == [COMPLETE, ENDED]
        assert server.error is None
    assert log == ["app starts", "app ends"] * 2


@pytest.mark.parametrize("first", [unknown, unmoved])
@pytest.mark.parametrize("second", [unknown, unmoved])
def test_where_no_app_does_it_is_as_the_baseline_alone(first: App, second: App) -> None:
    bare, server = Server(first).run(), Server(pair(first, second)).run()
    assert repr(server.error) == repr(bare.error)
    assert server.kinds == bare.kinds == []


def test_a_canary_that_is_alone_in_supporting_lifespan_may_fail() -> None:
    server = Server(pair(unknown, app("canary", [], starts=False))).run()
    assert server.kinds == [FAILED]
    assert repr(server.error) == "LookupError('canary cannot start')"


def test_a_canary_without_lifespan_does_not_see_the_state_of_the_baseline() -> None:
    async def tells(scope: Scope, receive: Receive, send: Send) -> None:
        await unknown(scope, receive, send)
        states.append(scope["state"])

    states: list[dict[str, Any]] = []
    server = Server(pair(app("baseline", [], model="old"), tells, Controller(100)))
    server.run(lambda: server.ask(user("u")))
    assert states == [{}]


def test_it_works_on_another_event_loop_than_asyncio() -> None:
    """Driven by hand, as by a loop that asyncio does not know of."""
    log: Log = []
    controller = Controller()
    said = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    told: list[str] = []

    async def receive() -> Message:
        return said.pop(0)

    async def send(message: Message) -> None:
        told.append(message["type"])

    middleware = pair(app("baseline", log), app("canary", log), controller)
    with pytest.raises(StopIteration):
        middleware({"type": "lifespan", "state": {}}, receive, send).send(None)
    assert told == [COMPLETE, ENDED]
    assert log == ["baseline starts", "canary starts", "canary ends", "baseline ends"]
    assert controller.state.phase is Phase.RUNNING


# -- the rollout begins with the service, and goes on without requests


def test_the_rollout_begins_when_the_app_has_started() -> None:
    controller = Controller()

    @asynccontextmanager
    async def loads_a_model(app: Starlette) -> AsyncIterator[None]:
        controller.time.advance(120)
        assert controller.state.phase is Phase.PENDING
        yield

    server = Server(CanaryMiddleware(Starlette(lifespan=loads_a_model), controller))

    async def serve() -> None:
        assert controller.state.phase is Phase.RUNNING
        assert controller.state.entered_at == controller.time()

    server.run(serve)


def test_a_service_that_does_not_start_begins_no_rollout() -> None:
    controller = Controller()
    Server(CanaryMiddleware(app("app", [], starts=False), controller)).run()
    Server(CanaryMiddleware(unknown, controller)).run()
    assert controller.state.phase is Phase.PENDING


def test_without_lifespan_the_first_request_begins_the_rollout() -> None:
    controller = Controller(100)
    middleware = CanaryMiddleware(hello, controller)
    assert controller.events == ()
    ask(middleware, user("u"))
    assert controller.state.phase is Phase.RUNNING
    assert controller.only.arm == "canary"


def test_requests_make_the_checks_that_are_due() -> None:
    controller = Controller(100, hold=10, min_samples=1)
    middleware = CanaryMiddleware(hello, controller)
    ask(middleware, user("u"))
    controller.time.advance(10)
    ask(middleware, user("u"))
    assert controller.state.phase is Phase.COMPLETED


def test_a_stage_ends_on_time_without_a_request() -> None:
    missing = MissingEvidence(deadline_seconds=0.1, then="rollback")
    ended = threading.Event()
    controller = Controller(
        hold=0.2,
        missing=missing,
        clock=system_clock(),
        sinks=[lambda event: ended.set() if event.terminal else None],
    )
    server = Server(CanaryMiddleware(hello_with_lifespan, controller))

    async def serve() -> None:
        assert await asyncio.to_thread(ended.wait, PATIENCE)

    server.run(serve)
    started, *_, rolled_back = controller.events
    assert controller.state.phase is Phase.ROLLED_BACK
    assert rolled_back.at - started.at == pytest.approx(0.3)


async def hello_with_lifespan(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": COMPLETE})
        await receive()
        await send({"type": ENDED})
    else:
        await hello(scope, receive, send)


def test_the_ticker_neither_spins_nor_outlives_the_lifespan() -> None:
    class Counting(Controller):
        ticks = 0

        def tick(self) -> float:
            self.ticks += 1
            return super().tick()

    controller = Counting()
    server = Server(CanaryMiddleware(hello_with_lifespan, controller))

    async def serve() -> None:
        tasks = asyncio.all_tasks()
        controller.time.advance(4.9999)  # a moment before a check, where the clock now stands
        began = time.monotonic()
        await asyncio.sleep(0.3)
        assert asyncio.all_tasks() == tasks
        assert controller.ticks <= (time.monotonic() - began) / 0.02 + 2

    async def run() -> None:
        await server._run(serve, True)
        ticks = controller.ticks
        await asyncio.sleep(0.1)
        assert controller.ticks == ticks

    asyncio.run(run())


@pytest.mark.parametrize("name", ["tick", "clock", "start", "state", "fault"])
def test_a_broken_controller_does_not_stop_the_server(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    controller = BrokenController()
    server = Server(CanaryMiddleware(hello_with_lifespan, controller))
    controller.names, controller.broken = frozenset({name}), True

    async def serve() -> None:
        await asyncio.sleep(0.05)

    assert server.run(serve).kinds == [COMPLETE, ENDED]
    assert server.error is None
    controller.broken = False
    assert len({record.message for record in caplog.records}) == len(caplog.records)
