"""Worlds of some seconds in which requests act on each other: all that is counted is the oracle's.

Each takes a part of a tenth of a second and is about one thing; in those that go in step, instants
meet to the bit.
"""

from __future__ import annotations

from functools import cache

import pytest
from tests.simulator.closed_oracle import ClosedOracle
from tests.simulator.oracle import windows
from tests.simulator.test_closed import lived, signals_of

from canario.arms import ARMS
from canario.plan import Deployment, Plan, RollbackThresholds, Stage
from canario_sim import Scenario
from canario_sim.distributions import Empirical, Gamma
from canario_sim.faults import AddedLatency, Errors, LostCapacity
from canario_sim.scenario.broken_contracts import ByRate, Single
from canario_sim.scenario.capacity import Autoscaling, ColdStart, Pauses
from canario_sim.scenario.clients import Clients, RetryBudget
from canario_sim.scenario.dependencies import Breaker, Dependency, Trouble
from canario_sim.scenario.request_kinds import Route
from canario_sim.scenario.service import Service
from canario_sim.traffic import Constant, Poisson, Population
from canario_sim.world.block import Flown
from canario_sim.world.closed import steps
from canario_sim.world.closed.first_state import ROOM
from canario_sim.world.flights import CANARY
from canario_sim.world.rehearsal import closed_driver_of


def small(baseline: Service, **parts: object) -> Scenario:
    made: dict[str, object] = {
        "name": "small",
        "teaches": "that two simulators agree",
        "plan": short(),
        "traffic": Poisson(rate=12, keys=Population(size=50)),
        "baseline": baseline,
        "horizon_seconds": 24.0,
    }
    return Scenario(**(made | parts))  # type: ignore[arg-type]


def short(**thresholds: object) -> Plan:
    patient: dict[str, object] = {
        "max_error_rate": 100.0,
        "max_p95_latency_ms": 60_000.0,
        "check_interval_seconds": 2.5,
        "min_samples": 5,
    }
    return Plan(
        deployment=Deployment(
            canary_stages=(Stage(30, 8), Stage(60, 8), Stage(100, 8)),
            rollback_thresholds=RollbackThresholds(**(patient | thresholds)),  # type: ignore[arg-type]
        )
    )


def in_step(baseline: Service, **parts: object) -> Scenario:
    return small(baseline, **({"traffic": Constant(rate=8, keys=Population(size=50))} | parts))


def taking(*values_ms: float, **parts: object) -> Service:
    return Service(latency=Empirical(values_ms=values_ms), **parts)  # type: ignore[arg-type]


FREE = Service(latency=Gamma(mean_ms=100), error_rate=15)
QUEUE = Service(latency=Gamma(mean_ms=250), error_rate=5, servers=3)
STEPS = taking(125, 250, 500, 1000, servers=4, error_rate=10)
BREAKER = Breaker(failures=2, calls=4, open_seconds=2, trials=2)
TROUBLE = Trouble(at=4, lasts=3, every=8, error_rate=80, factor=2, added_ms=125)
SCALING = Autoscaling(
    min_servers=2, max_servers=7, interval_seconds=2, provisioning_seconds=1, scale_down_seconds=3
)

WORLDS = {
    "retries": small(FREE, clients=Clients(attempts=3)),
    "a budget": small(
        FREE,
        clients=Clients(attempts=4, timeout_ms=120, budget=RetryBudget(percent=25, burst=3)),
    ),
    "no budget to speak of": small(
        FREE, clients=Clients(attempts=2, budget=RetryBudget(percent=50, burst=1))
    ),
    "a storm": small(QUEUE, clients=Clients(attempts=3, timeout_ms=400, backoff_ms=20)),
    "the line left": small(
        QUEUE, clients=Clients(attempts=3, timeout_ms=400, abandoned="dropped", jitter=0.3)
    ),
    "the line left, judged": small(
        QUEUE,
        plan=short(max_p95_latency_ms=300, min_samples=200, abandoned_after_seconds=1),
        clients=Clients(attempts=3, timeout_ms=400, abandoned="dropped", backoff_ms=0),
        faults=(AddedLatency(arm="both", at=3, lasts=1, every=6, ms=2500),),
    ),
    "given up": small(
        QUEUE,
        plan=short(max_p95_latency_ms=400, min_samples=200, abandoned_after_seconds=1),
        clients=Clients(attempts=2),
        routes=(Route(name="/a", weight=3), Route(name="/b", weight=1)),
        faults=(AddedLatency(arm="both", at=3, lasts=1, every=6, ms=2500),),
    ),
    "given up, by route": small(
        QUEUE,
        plan=short(
            max_p95_latency_ms=400,
            min_samples=200,
            abandoned_after_seconds=1,
            abandoned_after_by_route={"/b": 4.0},
        ),
        clients=Clients(attempts=2),
        routes=(Route(name="/a", weight=1), Route(name="/b", weight=1)),
        faults=(AddedLatency(arm="both", at=3, lasts=1, every=6, ms=2500),),
    ),
    "a rollback": small(
        QUEUE,
        plan=short(max_error_rate=25),
        clients=Clients(attempts=2, timeout_ms=2000),
        faults=(Errors(at=10, rate=60),),
    ),
    "pauses": small(
        Service(latency=Gamma(mean_ms=150), servers=3, pauses=Pauses(ms=400, every_seconds=2)),
        clients=Clients(attempts=2, timeout_ms=700),
    ),
    "pauses, crowded, the line left": in_step(
        taking(
            130,
            470,
            servers=3,
            pauses=Pauses(ms=500, every_seconds=2, kind="periodic"),
            contention=1.9,
        ),
        clients=Clients(attempts=2, timeout_ms=1000, abandoned="dropped"),
        dependencies=(Dependency(name="it", latency=Empirical(values_ms=(125.0,))),),
    ),
    "cold and crowded": small(
        Service(
            latency=Gamma(mean_ms=150),
            servers=4,
            contention=1.5,
            cold_start=ColdStart(seconds=12, factor=3),
        ),
        clients=Clients(attempts=2, timeout_ms=900),
    ),
    "cold in step": in_step(
        taking(125, 250, servers=3, contention=2, cold_start=ColdStart(seconds=8, factor=2)),
        clients=Clients(attempts=2, timeout_ms=500),
    ),
    "scaling": small(
        Service(latency=Gamma(mean_ms=250), servers=2, autoscaling=SCALING),
        clients=Clients(attempts=2, timeout_ms=900),
        faults=(AddedLatency(arm="both", at=3, lasts=1, every=9, ms=700),),
    ),
    "scaling in step": in_step(
        taking(250, 500, servers=5, autoscaling=SCALING, cold_start=ColdStart(seconds=2, factor=2)),
        clients=Clients(attempts=2, timeout_ms=1000),
        faults=(
            AddedLatency(arm="both", at=3, lasts=2, every=9, ms=1000),
            LostCapacity(arm="canary", at=6, lasts=4, servers=2),
        ),
    ),
    "scaling down and up again": in_step(
        taking(
            500,
            servers=7,
            autoscaling=Autoscaling(
                min_servers=1,
                max_servers=9,
                interval_seconds=1,
                provisioning_seconds=3,
                scale_down_seconds=1,
                tolerance_percent=0,
                target_percent=50,
            ),
        ),
        clients=Clients(attempts=2),
        faults=(AddedLatency(arm="both", at=2, lasts=2, every=6, ms=500),),
    ),
    "a breaker": small(
        FREE,
        dependencies=(
            Dependency(
                name="it",
                latency=Gamma(mean_ms=50),
                servers=2,
                timeout_ms=150,
                error_rate=10,
                breaker=BREAKER,
                troubles=(TROUBLE,),
            ),
        ),
    ),
    "a breaker in step": in_step(
        taking(125, 250),
        clients=Clients(attempts=2, timeout_ms=1000, backoff_ms=125, jitter=0),
        dependencies=(
            Dependency(
                name="it",
                latency=Empirical(values_ms=(125.0, 250.0)),
                servers=1,
                timeout_ms=250,
                error_rate=10,
                breaker=BREAKER,
                troubles=(TROUBLE,),
            ),
        ),
    ),
    "two breakers, one optional": small(
        QUEUE,
        clients=Clients(attempts=2, timeout_ms=700),
        dependencies=(
            Dependency(
                name="first",
                latency=Gamma(mean_ms=40),
                optional=True,
                error_rate=40,
                breaker=Breaker(failures=3, open_seconds=1, trials=1),
            ),
            Dependency(
                name="second",
                latency=Gamma(mean_ms=40),
                error_rate=20,
                arm="canary",
                timeout_ms=60,
                breaker=BREAKER,
            ),
        ),
    ),
    "pools behind pools": small(
        Service(
            latency=Gamma(mean_ms=150),
            servers=4,
            pauses=Pauses(ms=300, every_seconds=3, kind="periodic"),
        ),
        clients=Clients(attempts=2, timeout_ms=700, abandoned="dropped"),
        dependencies=(
            Dependency(
                name="first",
                latency=Gamma(mean_ms=90),
                servers=1,
                timeout_ms=200,
                troubles=(Trouble(at=5, lasts=2, every=7, lost_servers=1),),
            ),
            Dependency(name="second", latency=Gamma(mean_ms=60), servers=2, optional=True),
        ),
    ),
    "capacity lost": small(
        QUEUE,
        faults=(LostCapacity(at=5, lasts=4, servers=2, arm="both"),),
        clients=Clients(attempts=2, timeout_ms=700),
    ),
    "capacity lost for good, in step": in_step(
        STEPS,
        faults=(LostCapacity(at=6, servers=1, arm="canary"),),
        clients=Clients(attempts=3, timeout_ms=1000, backoff_ms=125, jitter=0),
    ),
    "a storm in step": in_step(
        STEPS, clients=Clients(attempts=3, timeout_ms=500, backoff_ms=250, jitter=0)
    ),
    "the line left in step": in_step(
        STEPS,
        plan=short(max_p95_latency_ms=500, abandoned_after_seconds=1, min_samples=300),
        clients=Clients(attempts=3, timeout_ms=500, backoff_ms=125, jitter=0, abandoned="dropped"),
    ),
    "a crowd": small(
        taking(70, servers=1),
        plan=short(min_samples=300),
        traffic=Poisson(rate=60, keys=Population(size=50)),
        clients=Clients(attempts=2, timeout_ms=9000),
        horizon_seconds=10.0,
    ),
    "broken contracts": small(
        QUEUE,
        plan=short(contract_budgets={"contract": 60.0, "score": 60.0}),
        clients=Clients(attempts=3, timeout_ms=1500),
        contract_failures=(
            ByRate(rate=15),
            Single(at=3, contract="score", arm="both"),
            Single(at=6, contract="score", arm="canary"),
            Single(at=12, contract="score", arm="baseline"),
        ),
    ),
    "routes": small(
        FREE,
        routes=(Route(name="/a", weight=3), Route(name="/b", weight=1)),
        dependencies=(
            Dependency(name="one", latency=Gamma(mean_ms=30), routes=("/b",)),
            Dependency(name="two", latency=Gamma(mean_ms=30), routes=("/a",), servers=1),
        ),
        clients=Clients(attempts=3),
    ),
}


@cache
def expected(title: str) -> ClosedOracle:
    """What comes of a world, by the oracle."""
    return ClosedOracle(WORLDS[title], 3).run()


def expect_all() -> None:
    """Ask the oracle once: where the engine is changed a thousand times, that will do."""
    for title in WORLDS:
        expected(title)


@pytest.mark.parametrize("title", WORLDS)
def test_all_that_is_counted_is_the_oracles(title: str) -> None:
    made = WORLDS[title]
    slow = expected(title)
    carrier, told, seen = lived(made, 3, compiled=False)
    assert len(seen) > 60
    assert seen == slow.seen
    assert signals_of(carrier) == slow.signals
    assert told.events == slow.controller.events
    assert windows(told.history) == windows(slow.controller.metrics_history)
    assert [left.in_flight for left in carrier.left] == list(slow.flying.values())
    counted = [
        carrier.loop.count(what)
        for what in (
            steps.FIRST,
            steps.RETRIES,
            steps.TIMEOUTS,
            steps.DENIED,
            steps.GAVE_UP,
            steps.FAST,
            steps.ARRIVED,
        )
    ]
    assert counted == [
        slow.first,
        slow.retries,
        slow.timeouts,
        slow.denied,
        slow.gave_up,
        slow.fast,
        len(slow.sent),
    ]
    canary = {each.key for each in slow.sent if each.arm == "canary"}
    assert {key for key, met in enumerate(carrier.exposed) if met} == canary


@pytest.mark.parametrize("title", ["the line left, judged", "routes", "given up, by route"])
def test_every_attempt_is_kept_as_it_was_sent(title: str) -> None:
    made = WORLDS[title]
    slow = expected(title)
    parts: list[Flown] = []
    closed_driver_of(made, 3, witness=parts.append, compiled=False).run()
    (flown,) = parts
    flights = flown.flights
    arms = [ARMS[code & CANARY > 0] for code in flights.code.tolist()]
    told = zip(flights.at.tolist(), flown.key.tolist(), flights.route.tolist(), arms, strict=True)
    assert list(told) == [tuple(each) for each in slow.sent]
    over = sorted(each.done for each in slow.seen if not each.neutral)
    assert set(over) <= set(flights.done.tolist())


def test_more_is_told_at_once_than_there_is_room_for() -> None:
    """Between two instants at which the controller looks 5,000 requests end, each told once."""
    made = small(
        taking(1),
        plan=short(check_interval_seconds=4.0),
        traffic=Constant(rate=1250, keys=Population(size=50)),
        clients=Clients(attempts=2),
        horizon_seconds=4.0,
    )
    carrier, _, seen = lived(made, 1, compiled=False)
    under_way = sum(left.in_flight for left in carrier.left)
    assert len(seen) == carrier.loop.count(steps.ARRIVED) - under_way
    assert len(seen) > 4_900 > ROOM
    assert [each.done for each in seen] == sorted(each.done for each in seen)
