"""What has not finished is evidence too: hangs, stalls, sockets, and failures that are quicker."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import pytest

from canario import CanaryDeploymentController, Deployment, Plan, RollbackThresholds, Stage
from canario.asgi import CanaryMiddleware
from canario.control.state import Phase
from canario.plan import Sequential
from canario.testing import ManualClock
from canario.wsgi import CanaryMiddleware as WSGIMiddleware

App = Callable[[Any, Any, Any], Awaitable[Any]]


def controller(clock: ManualClock, *, judge: Any = None, hold: float = 3600, **limits: Any) -> Any:
    deployment = Deployment(
        deployment_id="flying",
        canary_stages=(Stage(50, hold), Stage(100, hold)),
        rollback_thresholds=RollbackThresholds(**limits),
        **({} if judge is None else {"judge": judge}),
    )
    return CanaryDeploymentController(Plan(deployment=deployment), clock=clock, telemetry=False)


def scope(user: object, kind: str = "http", path: str = "/") -> dict[str, Any]:
    return {
        "type": kind,
        "method": "GET",
        "path": path,
        "headers": [(b"x-user-id", str(user).encode())],
    }


async def receive() -> Any:
    return {"type": "http.request", "body": b"", "more_body": False}


async def send(message: Any) -> None:
    pass


async def good(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"{}"})


class Streams:
    """Says how it begins, and then nothing any more."""

    def __init__(self, kind: bytes, *pieces: bytes) -> None:
        self.kind, self.pieces = kind, pieces

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-type", self.kind)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for piece in self.pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await asyncio.Event().wait()


async def hangs(scope: Any, receive: Any, send: Any) -> None:
    await asyncio.Event().wait()


async def never_accepts(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await asyncio.Event().wait()


async def accepts(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    await asyncio.Event().wait()


def drive(
    made: Any,
    clock: ManualClock,
    canary: App,
    *,
    baseline: App = good,
    kind: str = "http",
    seconds: float = 300,
    every: float = 0.1,
    path: str = "/",
) -> None:
    """A request each 100 ms, of which those that do not end go on until the rollout has."""
    app = CanaryMiddleware(baseline, made, canary=canary, spans=False)

    async def one(number: int) -> None:
        with contextlib.suppress(RuntimeError):
            await app(scope(number, kind, path), receive, send)

    async def run() -> None:
        tasks = []
        for number in range(int(seconds / every)):
            if made.state.phase.terminal:
                break
            clock.advance(every)
            tasks.append(asyncio.create_task(one(number)))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            made.tick()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(run())


JUDGES = pytest.mark.parametrize("judge", [None, Sequential()], ids=["thresholds", "sequential"])


@JUDGES
@pytest.mark.parametrize(
    ("kind", "canary"),
    [
        ("http", hangs),
        ("http", Streams(b"text/event-stream")),
        ("http", Streams(b"text/plain")),
        ("http", Streams(b"application/x-ndjson", b"{}\n")),
        ("websocket", never_accepts),
    ],
    ids=["hang", "event stream", "body", "body that stalls", "websocket"],
)
def test_a_canary_that_does_not_answer_is_rolled_back(kind: str, canary: App, judge: Any) -> None:
    clock = ManualClock()
    made = controller(clock, judge=judge)
    drive(made, clock, canary, baseline=accepts if kind == "websocket" else good, kind=kind)
    assert made.state.phase is Phase.ROLLED_BACK
    assert clock() < 30
    last = made.metrics_history[-1]
    assert last.canary.overdue > 0
    assert last.canary.in_flight >= last.canary.overdue
    verdict = made.events[-1].verdict
    assert (verdict.in_flight, verdict.overdue) == (last.canary.in_flight, last.canary.overdue)
    assert "still waiting for their answer" in verdict.why


@JUDGES
@pytest.mark.parametrize(
    ("kind", "app"),
    [("websocket", accepts), ("http", Streams(b"text/event-stream", b"data: 1\n\n"))],
    ids=["websocket", "event stream"],
)
def test_a_stream_that_has_begun_is_a_sample_and_no_hang(kind: str, app: App, judge: Any) -> None:
    """Hour-long sockets alone: each stage ends on them, though not one has ended."""
    clock = ManualClock()
    made = controller(clock, judge=judge, hold=60)
    drive(made, clock, app, baseline=app, kind=kind)
    assert made.state.phase is Phase.COMPLETED
    assert made.totals("canary").counts.abandoned == 0
    assert made.metrics_history[-1].canary.in_flight == 0


def test_who_has_waited_for_too_long_has_failed_and_counts_once() -> None:
    clock = ManualClock()
    made = controller(
        clock, max_error_rate=100, max_p95_latency_ms=20_000, abandoned_after_seconds=30
    )
    gate = asyncio.Event
    released: list[asyncio.Event] = []

    async def waits(scope: Any, receive: Any, send: Any) -> None:
        released.append(gate())
        await released[-1].wait()
        await good(scope, receive, send)

    app = CanaryMiddleware(waits, made, canary=waits, spans=False)

    async def run() -> None:
        tasks = [asyncio.create_task(app(scope(n), receive, send)) for n in range(8)]
        await asyncio.sleep(0)
        clock.advance(31)
        made.tick()
        clock.advance(5)
        made.tick()
        arms = [made.totals(arm).counts for arm in ("baseline", "canary")]
        assert sum(each.abandoned for each in arms) == 8
        assert sum(each.errors for each in arms) == 8
        assert [each.requests for each in arms] == [each.errors for each in arms]
        assert made.in_flight("canary").requests == made.in_flight("baseline").requests == 0
        for event in released:
            event.set()
        await asyncio.gather(*tasks)
        assert [made.totals(arm).counts for arm in ("baseline", "canary")] == arms

    asyncio.run(run())


def test_routes_that_take_longer_have_a_patience_of_their_own() -> None:
    clock = ManualClock()
    made = controller(
        clock,
        max_error_rate=100,
        max_p95_latency_ms=20_000,
        abandoned_after_seconds=30,
        abandoned_after_by_route={"/evaluate": 300},
        min_samples=1000,
    )
    app = CanaryMiddleware(hangs, made, spans=False, route=lambda scope: str(scope["path"]))

    async def run() -> None:
        tasks = [
            asyncio.create_task(app(scope(n, path=path), receive, send))
            for n in range(10)
            for path in ("/evaluate", "/quick")
        ]
        await asyncio.sleep(0)
        for seconds, abandoned in ((60, 10), (200, 10), (60, 20)):
            clock.advance(seconds)
            made.tick()
            totals = [made.totals(arm).counts.abandoned for arm in ("baseline", "canary")]
            assert sum(totals) == abandoned
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(run())


def test_a_body_that_goes_on_is_not_abandoned_and_one_that_stalls_is() -> None:
    clock = ManualClock()
    made = controller(clock, max_error_rate=100, max_p95_latency_ms=20_000)
    pieces: asyncio.Queue[None]

    async def downloads(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            await pieces.get()
            await send({"type": "http.response.body", "body": b"x", "more_body": True})

    app = CanaryMiddleware(downloads, made, spans=False)

    def abandoned() -> int:
        return sum(made.totals(arm).counts.abandoned for arm in ("baseline", "canary"))

    async def run() -> None:
        nonlocal pieces
        pieces = asyncio.Queue()
        task = asyncio.create_task(app(scope(1), receive, send))
        for _ in range(20):
            pieces.put_nowait(None)
            for _ in range(4):
                await asyncio.sleep(0)
            clock.advance(30)
            made.tick()
        assert not abandoned()
        clock.advance(125)
        made.tick()
        assert abandoned() == 1
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(run())


@JUDGES
def test_a_slow_but_healthy_app_is_not_taken_for_a_hang(judge: Any) -> None:
    """Every answer takes 90 s, on both arms, and may take two minutes."""
    clock = ManualClock()
    made = controller(clock, judge=judge, hold=300, max_p95_latency_ms=120_000)
    slow = Later(clock, 90)
    slow.drive(made, slow, slow, seconds=900, every=0.5)
    assert made.state.phase is Phase.COMPLETED, made.events[-1]
    assert made.totals("canary").counts.abandoned == 0


class Later:
    """Answers each request after so many seconds of a clock that the test moves."""

    def __init__(self, clock: ManualClock, seconds: float, errors: float = 0.0) -> None:
        self.clock, self.seconds, self.errors = clock, seconds, errors
        self.rng = random.Random(7)
        self.waiting: list[tuple[float, asyncio.Event]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if self.rng.random() < self.errors:
            raise RuntimeError("at once")
        event = asyncio.Event()
        self.waiting.append((self.clock() + self.seconds, event))
        await event.wait()
        await good(scope, receive, send)

    def drive(self, made: Any, baseline: App, canary: App, *, seconds: float, every: float) -> None:
        app = CanaryMiddleware(baseline, made, canary=canary, spans=False)

        async def one(number: int) -> None:
            with contextlib.suppress(RuntimeError):
                await app(scope(number), receive, send)

        async def run() -> None:
            tasks = []
            for number in range(int(seconds / every)):
                if made.state.phase.terminal:
                    break
                self.clock.advance(every)
                while self.waiting and self.waiting[0][0] <= self.clock():
                    self.waiting.pop(0)[1].set()
                tasks.append(asyncio.create_task(one(number)))
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                made.tick()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run(run())


@JUDGES
def test_quick_failures_are_not_counted_before_slow_successes(judge: Any) -> None:
    """Both arms fail 2 % of their requests at once, and answer the others after a minute."""
    clock = ManualClock()
    made = controller(clock, judge=judge, hold=120, max_p95_latency_ms=120_000)
    app = Later(clock, 60, errors=0.02)
    app.drive(made, app, app, seconds=360, every=0.05)
    assert made.state.phase is Phase.COMPLETED, made.events[-1]


@JUDGES
def test_failures_that_are_too_many_are_found_before_the_successes_have_ended(judge: Any) -> None:
    clock = ManualClock()
    made = controller(clock, judge=judge, max_p95_latency_ms=600_000)
    bad, fine = Later(clock, 300, errors=0.3), Later(clock, 300)
    bad.drive(made, fine, bad, seconds=300, every=0.05)
    assert made.state.phase is Phase.ROLLED_BACK
    assert clock() < 30
    assert made.result().rollback_reason == "error_rate"


def test_a_stage_does_not_end_on_the_answers_of_before() -> None:
    """The canary stops answering 30 s before its hold is over; nobody is overdue for an hour."""
    clock = ManualClock()
    made = controller(clock, hold=120, max_p95_latency_ms=3_600_000, max_error_rate=50)
    answers = Later(clock, 0.01)

    async def stops(scope: Any, receive: Any, send: Any) -> None:
        if clock() > 90:
            await asyncio.Event().wait()
        await good(scope, receive, send)

    answers.drive(made, good, stops, seconds=1000, every=0.1)
    assert made.state.phase is Phase.RUNNING
    assert made.state.stage == 0
    assert made.state.held_at is not None
    checked = [event for event in made.events if type(event).__name__ == "Checked"][-1]
    assert "since the last answer" in checked.verdict.why


# -- WSGI, where a request is in flight from its call to the end of its body


def environ(user: object) -> dict[str, Any]:
    return {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/",
        "HTTP_X_USER_ID": str(user),
        "wsgi.url_scheme": "http",
    }


def start_response(status: str, headers: Any, exc_info: Any = None) -> Any:
    return lambda data: None


def wsgi_good(environ: Any, start: Any) -> Iterable[bytes]:
    start("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]


class Stalling:
    """A body that its server has begun to read, and that does not come to its end."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __call__(self, environ: Any, start: Any) -> Iterable[bytes]:
        start("200 OK", [("Content-Type", self.kind)])
        return (piece for piece in (b"data: 1\n\n", b"data: 2\n\n"))


@JUDGES
@pytest.mark.parametrize(
    ("kind", "end"),
    [("text/plain", Phase.ROLLED_BACK), ("text/event-stream", Phase.COMPLETED)],
)
def test_under_wsgi_too_a_body_that_stalls_is_a_hang_and_an_event_stream_is_none(
    kind: str, end: Phase, judge: Any
) -> None:
    clock = ManualClock()
    made = controller(clock, judge=judge, hold=60)
    app = WSGIMiddleware(wsgi_good, made, canary=Stalling(kind), spans=False)
    held = []
    for number in range(3000):
        if made.state.phase.terminal:
            break
        clock.advance(0.1)
        body = iter(app(environ(number), start_response))
        next(body)
        held.append(body)
        made.tick()
    assert made.state.phase is end
    if end is Phase.ROLLED_BACK:
        assert clock() < 30


def broken_route(_: Any) -> str | None:
    raise LookupError("no route")


def test_a_route_that_cannot_be_named_keeps_no_check_from_being_made() -> None:
    """Checks ask for it where patience is by route; a few that hang must not end them all."""
    for over_wsgi in (True, False):
        clock = ManualClock()
        made = controller(clock, abandoned_after_by_route={"/slow": 90})
        asyncio.run(_hang(made, clock, over_wsgi))
        assert made.state.phase is Phase.ROLLED_BACK
        assert made.counters["faults"] > 0


async def _hang(made: Any, clock: ManualClock, over_wsgi: bool) -> None:
    app = CanaryMiddleware(good, made, canary=hangs, spans=False, route=broken_route)
    wsgi = WSGIMiddleware(
        wsgi_good, made, canary=Stalling("text/plain"), spans=False, route=broken_route
    )
    held: list[Any] = []
    for users in (range(6), range(6, 60)):  # of the first, too few to be judged
        for number in users:
            if over_wsgi:
                held.append(iter(wsgi(environ(number), start_response)))
                next(held[-1])
            else:
                held.append(asyncio.create_task(app(scope(number), receive, send)))
        await asyncio.sleep(0)
        assert made.state.phase is Phase.RUNNING
        clock.advance(200)
        made.tick()
        assert made.due > clock()
    for task in held if not over_wsgi else ():
        task.cancel()
    if not over_wsgi:
        await asyncio.gather(*held, return_exceptions=True)


def test_who_is_gone_is_not_in_flight() -> None:
    clock = ManualClock()
    made = controller(clock)
    app = CanaryMiddleware(good, made, canary=good, spans=False)
    wsgi = WSGIMiddleware(wsgi_good, made, canary=wsgi_good, spans=False)

    async def fails(scope: Any, receive: Any, send: Any) -> None:
        raise SystemExit

    failing = CanaryMiddleware(fails, made, canary=fails, spans=False)
    hanging = CanaryMiddleware(hangs, made, canary=hangs, spans=False)

    async def run() -> None:
        for number in range(20):
            await app(scope(number), receive, send)
            with pytest.raises(SystemExit):
                await failing(scope(number), receive, send)
            task = asyncio.ensure_future(hanging(scope(number), receive, send))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            dropped = hanging(scope(number), receive, send)
            dropped.send(None)
            dropped.close()

    asyncio.run(run())
    hanging.gate.sweep()  # as the next request does, and a thread without one
    for number in range(20):
        list(wsgi(environ(number), start_response))
    clock.advance(1)
    list(wsgi(environ(1), start_response))
    for arm in ("baseline", "canary"):
        assert made.in_flight(arm).requests == 0
    assert not made.counters.get("faults")
