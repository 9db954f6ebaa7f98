"""Traffic through the real middleware on a clock that the test moves, with a tape running."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct
from tests.waiting import PATIENCE

from canario import CanaryDeploymentController, CommandRefusedError, Plan
from canario.asgi import CanaryMiddleware
from canario.control.events import Event
from canario.control.violation import Violation
from canario.plan import Deployment, MissingEvidence, RollbackThresholds, Stage
from canario.tape import TapeRecorder
from canario.testing import ManualClock

BROKEN = Violation(
    message="the answer is wrong", contract="answers", rule="enum", path="/score", route="/score"
)

# When the clock stands at the start: an instant of these days, so that floats are as coarse.
START = 1_795_000_000.0


class Asked(Struct, frozen=True):
    """A request: when, from whom, for how long (ms), and its status on either arm; 0 for none."""

    at: float
    key: str
    route: str
    latency_ms: float
    baseline: int = 200
    canary: int = 200
    wrong: bool = False
    slower: float = 1.0


def plan(*stages: tuple[float, float], **thresholds: Any) -> Plan:
    given = {"metric_window_seconds": 20.0, "min_samples": 5, "check_interval_seconds": 2.0}
    return Plan(
        deployment=Deployment(
            deployment_id="taped",
            canary_stages=tuple(
                Stage(*each) for each in stages or ((20.0, 30.0), (60.0, 21.5), (100.0, 10.0))
            ),
            rollback_thresholds=RollbackThresholds(**{**given, **thresholds}),
            missing_evidence=MissingEvidence(deadline_seconds=60.0, then="rollback"),
        )
    )


def traffic(seed: int, **of: float) -> list[Asked]:
    """Requests of 40 users over `seconds`, of which some say nothing and some are not timed."""
    rng = np.random.default_rng(seed)
    asked = []
    at = START
    while at < START + of.get("seconds", 100):
        at += float(rng.exponential(1 / of.get("rate", 8)))
        failing = [of.get("baseline_errors", 0.01), of.get("errors", 0.01)]
        baseline, canary = (500 if rng.random() < share else 200 for share in failing)
        if rng.random() < 0.05:
            baseline = canary = 404
        asked.append(
            Asked(
                at,
                f"user-{rng.integers(40)}",
                "/health" if rng.random() < 0.05 else f"/route-{rng.integers(3)}",
                float(rng.lognormal(4.5, 0.6)),
                baseline=baseline,
                canary=canary,
                wrong=bool(rng.random() < of.get("broken", 0)),
                slower=of.get("slower", 1.0),
            )
        )
    return asked


class App:
    """One arm: each request waits until the driver lets it go, and ends as it was planned."""

    def __init__(self, waiting: dict[int, asyncio.Future[tuple[int, bool]]]) -> None:
        self.waiting = waiting

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        number = scope["number"]
        self.waiting[number] = asyncio.get_running_loop().create_future()
        status, wrong = await self.waiting[number]
        if not status:
            raise RuntimeError("the app is broken")
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b"wrong" if wrong else b"right"})


def contract(route: str, status: int, headers: Any, body: bytes) -> Violation | None:
    return BROKEN if body == b"wrong" else None


async def live(
    plan: Plan,
    asked: Sequence[Asked],
    tape: Path | TapeRecorder,
    *,
    orders: Sequence[tuple[float, str]] = (),
    until: float = 250,
    journal: Path | None = None,
    since: float = START,
    clock: ManualClock | None = None,
) -> list[Event]:
    """Drive the middleware through the planned instants; the journal that came of it."""
    clock = clock or ManualClock(since)
    controller = CanaryDeploymentController(plan, clock=clock, journal=journal)
    waiting: dict[int, asyncio.Future[tuple[int, bool]]] = {}
    middleware = CanaryMiddleware(
        App(waiting),
        controller,
        canary=App(waiting),
        contract=contract,
        tape=tape,
        route=lambda scope: str(scope["path"]),
    )
    controller.start()
    # (instant, what comes first at one instant, number): ends, then orders, then arrivals.
    agenda: list[tuple[float, int, int]] = []
    agenda += [(request.at, 2, number) for number, request in enumerate(asked)]
    agenda += [(START + at, 1, number) for number, (at, _) in enumerate(orders)]
    heapq.heapify(agenda)
    tasks: dict[int, asyncio.Task[None]] = {}
    fates: dict[int, tuple[int, bool]] = {}
    while agenda and agenda[0][0] < START + until:
        at, kind, number = heapq.heappop(agenda)
        clock.now = max(at, clock.now)
        controller.tick()
        if kind == 1:
            try:
                getattr(controller, orders[number][1])()
            except CommandRefusedError:
                continue
        elif kind == 2:
            request = asked[number]
            tasks[number] = asyncio.create_task(_call(middleware, request, number))
            while number not in waiting:
                assert not tasks[number].done(), tasks[number]
                await asyncio.sleep(0)
            canary = controller.router.route_request(request.key) == "canary"
            fates[number] = (request.canary, request.wrong) if canary else (request.baseline, False)
            slower = request.slower if canary else 1
            heapq.heappush(agenda, (at + request.latency_ms * slower / 1000, 0, number))
        else:
            waiting[number].set_result(fates[number])
            await asyncio.gather(tasks.pop(number), return_exceptions=True)
            if fates[number][1]:
                assert middleware.gate.drain(5)
    clock.now = START + until
    controller.tick()
    for task in tasks.values():
        task.cancel()
    await asyncio.gather(*tasks.values(), return_exceptions=True)
    assert middleware.gate.tape is not None
    assert middleware.gate.tape.close(PATIENCE)
    assert not controller.counters.get("faults")
    assert controller.close(PATIENCE)
    return list(controller.events)


class GoesOn(ManualClock):
    """A clock that the test moves and that passes for the world's: what is skipped, nobody saw."""

    live = True


async def _call(middleware: CanaryMiddleware, request: Asked, number: int) -> None:
    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        pass

    scope = {
        "type": "http",
        "method": "POST",
        "path": request.route,
        "number": number,
        "headers": [(b"x-user-id", request.key.encode())],
    }
    await middleware(scope, receive, send)
