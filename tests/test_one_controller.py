"""One controller: live behind the middleware and in the simulator, the same requests give the
same journal."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Container, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from canario import CanaryDeploymentController, Plan
from canario.asgi import CanaryMiddleware
from canario.control.events import Event, Held, RolledBack
from canario.control.journal import dump_journal
from canario.control.violation import Violation
from canario.plan import (
    Deployment,
    FixedThresholds,
    Judgement,
    MissingEvidence,
    RollbackThresholds,
    Sequential,
    Stage,
)
from canario.testing import ManualClock
from canario_sim import Fate, RecordedRequest, Scenario, replay_tape
from canario_sim.chance.draws import Draws
from canario_sim.distributions import Lognormal
from canario_sim.scenario.request_kinds import Route
from canario_sim.scenario.service import Service
from canario_sim.traffic import Poisson, Population
from canario_sim.world.block import Flown
from canario_sim.world.flights import FAILED
from canario_sim.world.rehearsal import driver_of

BROKEN = Violation(
    message="the answer is wrong", contract="answers", rule="enum", path="/score", route="/evaluate"
)

THRESHOLDS = FixedThresholds()


def plan(judge: Judgement = THRESHOLDS, **thresholds: Any) -> Plan:
    return Plan(
        deployment=Deployment(
            deployment_id="one-controller",
            canary_stages=(Stage(20, 30), Stage(60, 21.5), Stage(100, 10)),
            rollback_thresholds=RollbackThresholds(metric_window_seconds=20, **thresholds),
            judge=judge,
            missing_evidence=MissingEvidence(deadline_seconds=60, then="rollback"),
        )
    )


class App:
    """One arm: each request waits until the driver lets it go, and ends as it was recorded."""

    def __init__(self, waiting: dict[int, asyncio.Future[Fate]]) -> None:
        self.waiting = waiting

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        number = int(scope["path"].removeprefix("/"))
        self.waiting[number] = asyncio.get_running_loop().create_future()
        fate = await self.waiting[number]
        await send(
            {"type": "http.response.start", "status": 200 if fate.ok else 500, "headers": []}
        )
        body = b"right" if fate.contract_valid else b"wrong"
        await send({"type": "http.response.body", "body": body})


def contract(route: str, status: int, headers: Any, body: bytes) -> Violation | None:
    return BROKEN if body == b"wrong" else None


async def live(
    plan: Plan,
    requests: list[RecordedRequest],
    horizon: float,
    keyless: Container[int] = (),
) -> list[Event]:
    """Drive the middleware through the recorded instants on a manual clock."""
    clock = ManualClock()
    controller = CanaryDeploymentController(plan, clock=clock)
    waiting: dict[int, asyncio.Future[Fate]] = {}
    middleware = CanaryMiddleware(
        App(waiting),
        controller,
        canary=App(waiting),
        contract=contract,
        route=lambda scope: "/evaluate",
    )
    controller.start()
    # (instant, what comes first at one instant, number): ends before arrivals.
    agenda = [(request.at, 1, number) for number, request in enumerate(requests)]
    tasks: dict[int, asyncio.Task[None]] = {}
    fates: dict[int, Fate] = {}
    while agenda and agenda[0][0] < horizon:
        at, kind, number = heapq.heappop(agenda)
        clock.now = at
        controller.tick()
        if controller.state.phase.terminal:
            break
        request = requests[number]
        if kind == 1:
            keyed = number not in keyless
            key = request.key if keyed else None
            tasks[number] = asyncio.create_task(call(middleware, key, number))
            while number not in waiting:
                assert not tasks[number].done(), tasks[number]
                await asyncio.sleep(0)
            arm = controller.router.route_request(request.key) if keyed else "baseline"
            fate = fates[number] = request.canary if arm == "canary" else request.baseline
            heapq.heappush(agenda, (at + fate.latency_ms / 1000, 0, number))
        else:
            waiting[number].set_result(fates[number])
            await tasks.pop(number)
            assert middleware.gate.drain(5)
    clock.now = horizon
    controller.tick()
    for task in tasks.values():
        task.cancel()
    return list(controller.events)


async def call(middleware: CanaryMiddleware, key: str | None, number: int) -> None:
    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        pass

    scope = {
        "type": "http",
        "method": "POST",
        "path": f"/{number}",
        "headers": [] if key is None else [(b"x-user-id", key.encode())],
    }
    await middleware(scope, receive, send)


def recorded(seed: int, **canary: float) -> Iterator[RecordedRequest]:
    """Overlapping requests of 40 users over 100 seconds; those that hang end after 14 s, or not
    before all is over."""
    rng, hanging = np.random.default_rng(seed), np.random.default_rng(seed + 1)
    at = 0.0
    while at < 100:
        at += float(rng.exponential(1 / canary.get("rate", 8)))
        latency = float(rng.lognormal(4.5, 0.6))
        hung = (hanging.random(2) < canary.get("hangs", 0)).tolist()
        longer = float(hanging.choice([14_000, 900_000]))
        yield RecordedRequest(
            at=at,
            key=f"user-{rng.integers(40)}",
            baseline=Fate(latency + longer * hung[0], bool(rng.random() > 0.01)),
            canary=Fate(
                latency * canary.get("slower", 1) + canary.get("leak", 0) * at + longer * hung[1],
                bool(rng.random() > canary.get("errors", 0.01)),
                bool(rng.random() > canary.get("broken", 0)),
            ),
        )


@pytest.mark.parametrize(
    ("title", "canary", "thresholds", "end"),
    [
        ("healthy", {}, {}, "promoted"),
        ("errors", {"errors": 0.3}, {}, "rolled_back"),
        ("slow", {"slower": 6}, {}, "rolled_back"),
        ("leak", {"leak": 9}, {}, "rolled_back"),
        ("broken", {"broken": 0.02}, {}, "rolled_back"),
        ("tolerated", {"broken": 0.02}, {"contract_budgets": {"answers": 12.5}}, "promoted"),
        ("used up", {"broken": 0.2}, {"contract_budgets": {"answers": 12.5}}, "rolled_back"),
        ("another's", {"broken": 0.02}, {"contract_budgets": {"scores": 50.0}}, "rolled_back"),
        ("hangs", {"hangs": 0.5}, {}, "rolled_back"),
        (
            "given up",
            {"hangs": 0.02, "broken": 0.02},
            {
                "max_p95_latency_ms": 6000,
                "abandoned_after_seconds": 6,
                "max_error_rate": 50,
                "contract_budgets": {"answers": 30.0},
            },
            "promoted",
        ),
        ("few", {"rate": 0.4}, {}, "rolled_back"),
        ("often", {"errors": 0.08}, {"check_interval_seconds": 0.7}, None),
    ],
)
def test_the_middleware_and_the_simulator_write_the_same_journal(
    title: str, canary: dict[str, float], thresholds: dict[str, Any], end: str | None
) -> None:
    requests = list(recorded(7, **canary))
    one = plan(**thresholds)
    journal = asyncio.run(live(one, requests, 250))
    rehearsed = replay_tape(one, requests, horizon_seconds=250, violation=BROKEN)
    assert dump_journal(journal) == dump_journal(rehearsed.events)
    assert journal[-1].terminal
    if end is not None:
        assert rehearsed.outcome == ("completed" if end == "promoted" else end)
    if title in ("broken", "used up", "another's"):
        assert isinstance(journal[-1], RolledBack)
        assert journal[-1].violation == BROKEN
    if title == "given up":
        seen = rehearsed.history
        assert max(each.canary.counts.abandoned for each in seen) > 1
        assert max(each.canary.in_flight for each in seen) > 1
    if title == "tolerated":
        assert rehearsed.canary.violations > 3


@settings(max_examples=20)
@given(
    seed=st.integers(0, 10_000),
    errors=st.sampled_from([0.0, 0.05, 0.12]),
    slower=st.sampled_from([1.0, 2.5]),
    broken=st.sampled_from([0.0, 0.01, 0.1]),
    rate=st.sampled_from([0.3, 3.0]),
    budget=st.sampled_from([0.0, 10.0, 30.0]),
    hangs=st.sampled_from([0.0, 0.0, 0.05, 0.4]),
    patience=st.sampled_from([None, 2.0, 6.0]),
    judge=st.sampled_from([THRESHOLDS, Sequential(alpha=0.1), Sequential(bin_seconds=7)]),
)
def test_for_any_sequence(
    seed: int,
    errors: float,
    slower: float,
    broken: float,
    rate: float,
    budget: float,
    hangs: float,
    patience: float | None,
    judge: Judgement,
) -> None:
    requests = list(
        recorded(seed, errors=errors, slower=slower, broken=broken, rate=rate, hangs=hangs)
    )
    one = plan(
        judge,
        min_samples=5,
        contract_budgets={"answers": budget},
        abandoned_after_seconds=patience,
    )
    journal = asyncio.run(live(one, requests, 250))
    rehearsed = replay_tape(one, requests, horizon_seconds=250, violation=BROKEN)
    assert journal == list(rehearsed.events)


def test_a_held_stage_tells_of_as_many_requests_without_a_key_as_live() -> None:
    one = plan(min_samples=60)
    made = Scenario(
        name="held",
        teaches="that a rehearsal knows who has no key",
        plan=one,
        traffic=Poisson(rate=4, keys=Population(size=200)),
        baseline=Service(latency=Lognormal(p50_ms=80, p95_ms=250), error_rate=1.0),
        routes=(Route(name="/evaluate", weight=3), Route(name="/login", keyed=False)),
        horizon_seconds=100,
    )
    flown: list[Flown] = []
    driver = driver_of(made, 3, witness=flown.append)
    driver.run()
    keys = Draws(made.settled(3), 3).keys
    requests: list[RecordedRequest] = []
    keyless: set[int] = set()
    for part in flown:
        flights = part.flights
        for at, done, code, key, route in zip(
            flights.at, flights.done, flights.code, part.key, flights.route, strict=True
        ):
            fate = Fate(float(done - at) * 1000, not code & FAILED)
            if route == 1:
                keyless.add(len(requests))
            requests.append(
                RecordedRequest(at=float(at), key=keys[key], baseline=fate, canary=fate)
            )
    journal = asyncio.run(live(one, requests, 100, keyless))
    held = [event for event in journal if isinstance(event, Held)]
    assert held
    assert all(event.without_key > 10 for event in held)
    assert dump_journal(journal) == dump_journal(driver.controller.events)
