"""Requests that act on each other: event for event what a process for each of them gives."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from tests.simulator.closed_oracle import ClosedOracle, Seen
from tests.simulator.oracle import windows
from tests.simulator.test_oracle import SCENARIOS as OPEN

from canario.arms import ARMS, Arm
from canario.plan import Deployment, Plan, RollbackThresholds, Stage
from canario_sim import Run, Scenario, report, run
from canario_sim.distributions import Gamma, Lognormal
from canario_sim.scenario.broken_contracts import ByRate, Single
from canario_sim.scenario.capacity import Autoscaling, ColdStart, Pauses
from canario_sim.scenario.clients import Clients, RetryBudget
from canario_sim.scenario.dependencies import Breaker, Dependency, Trouble
from canario_sim.scenario.faults import AddedLatency, Errors, Hang, LostCapacity
from canario_sim.scenario.request_kinds import Route
from canario_sim.scenario.service import Service
from canario_sim.traffic import Poisson, Population
from canario_sim.world.closed import steps
from canario_sim.world.closed.attempts import Attempts
from canario_sim.world.closed.carrier import ClosedCarrier
from canario_sim.world.flights import BROKEN, CANARY, FAILED, FLAGS, GIVEN_UP, SLOW
from canario_sim.world.rehearsal import closed_driver_of, result_of

STAGES = (Stage(20, 40), Stage(50, 40), Stage(100, 40))


def plan(**thresholds: float | dict[str, float]) -> Plan:
    patient: dict[str, float | dict[str, float]] = {
        "max_error_rate": 100.0,
        "max_p95_latency_ms": 60_000.0,
    }
    return Plan(
        deployment=Deployment(
            canary_stages=STAGES,
            rollback_thresholds=RollbackThresholds(**(patient | thresholds)),  # type: ignore[arg-type]
        )
    )


def scenario(baseline: Service, **parts: object) -> Scenario:
    return Scenario(
        **{
            "name": "closed",
            "teaches": "that two simulators agree",
            "plan": plan(),
            "traffic": Poisson(rate=20, keys=Population(size=200)),
            "baseline": baseline,
        }
        | parts  # type: ignore[arg-type]
    )


FREE = Service(latency=Gamma(mean_ms=100), error_rate=5)
QUEUE = Service(latency=Gamma(mean_ms=150), error_rate=3, servers=4)
DATABASE = Dependency(
    name="database",
    latency=Gamma(mean_ms=20),
    servers=2,
    timeout_ms=80,
    error_rate=1,
    breaker=Breaker(failures=3, calls=6, open_seconds=4, trials=2),
    troubles=(
        Trouble(at=30, lasts=15, error_rate=60, factor=3),
        Trouble(at=80, lasts=5, every=20, lost_servers=1, added_ms=10),
    ),
)
CACHE = Dependency(
    name="cache", latency=Lognormal(p50_ms=5, p95_ms=20), optional=True, error_rate=10, arm="canary"
)
SLOWED = Service(
    latency=Gamma(mean_ms=100),
    servers=4,
    contention=1.4,
    cold_start=ColdStart(seconds=30, factor=3),
    pauses=Pauses(ms=500, every_seconds=5, kind="periodic"),
)
SCALED = Service(
    latency=Gamma(mean_ms=150),
    servers=3,
    autoscaling=Autoscaling(
        min_servers=2,
        max_servers=9,
        interval_seconds=7,
        provisioning_seconds=12,
        scale_down_seconds=20,
    ),
    cold_start=ColdStart(seconds=10, factor=2),
)

SCENARIOS = {
    "retries of what failed": scenario(FREE, clients=Clients(attempts=3)),
    "time-outs, and a budget": scenario(
        FREE,
        clients=Clients(attempts=4, timeout_ms=150, budget=RetryBudget(percent=20, burst=5)),
    ),
    "a retry storm": scenario(QUEUE, clients=Clients(attempts=3, timeout_ms=400)),
    "a retry storm, the line left": scenario(
        QUEUE, clients=Clients(attempts=3, timeout_ms=400, abandoned="dropped", jitter=0.3)
    ),
    "clients that leave after too long": scenario(
        QUEUE,
        plan=plan(max_p95_latency_ms=300, min_samples=400),
        clients=Clients(attempts=3, timeout_ms=400, abandoned="dropped", backoff_ms=0),
    ),
    "a rollback": scenario(
        QUEUE,
        plan=plan(max_error_rate=10),
        clients=Clients(attempts=2, timeout_ms=2000),
        faults=(Errors(at=45, rate=50),),
    ),
    "hangs, with patient clients": scenario(
        QUEUE,
        plan=plan(max_p95_latency_ms=2000, min_samples=300, abandoned_after_seconds=3),
        clients=Clients(attempts=2),
        faults=(
            AddedLatency(arm="both", at=20, lasts=2, every=15, ms=5000),
            Hang(arm="both", at=70, lasts=0.1),
        ),
    ),
    "hangs, and clients that leave": scenario(
        QUEUE,
        plan=plan(max_p95_latency_ms=2000, min_samples=300, abandoned_after_seconds=3),
        clients=Clients(attempts=3, timeout_ms=900, abandoned="dropped"),
        faults=(AddedLatency(arm="both", at=20, lasts=2, every=15, ms=7000),),
    ),
    "pauses": scenario(
        Service(latency=Gamma(mean_ms=150), servers=4, pauses=Pauses(ms=500, every_seconds=5))
    ),
    "cold, crowded, and pausing": scenario(SLOWED),
    "autoscaling": scenario(SCALED, clients=Clients(attempts=2, timeout_ms=900)),
    "autoscaling, up and down": scenario(
        SCALED,
        faults=(
            AddedLatency(arm="both", at=20, lasts=5, every=33, ms=300),
            LostCapacity(arm="canary", at=50, lasts=30, servers=2),
        ),
    ),
    "a database with a breaker": scenario(FREE, dependencies=(DATABASE,)),
    "pools behind pools": scenario(
        SLOWED, dependencies=(DATABASE, CACHE), clients=Clients(attempts=2, timeout_ms=700)
    ),
    "capacity lost": scenario(
        QUEUE,
        faults=(LostCapacity(at=30, lasts=20, servers=2, arm="both"),),
        clients=Clients(attempts=3, timeout_ms=700),
    ),
    "contracts broken, with a budget": scenario(
        QUEUE,
        plan=plan(contract_budgets={"contract": 50.0}),
        clients=Clients(attempts=3, timeout_ms=700),
        contract_failures=(ByRate(rate=2), Single(at=100, contract="score")),
    ),
    "routes": scenario(
        FREE,
        routes=(Route(name="/a", weight=3), Route(name="/b", weight=1)),
        dependencies=(
            Dependency(name="one", latency=Gamma(mean_ms=10), routes=("/b",)),
            Dependency(name="two", latency=Gamma(mean_ms=10), routes=("/a",), servers=1),
        ),
        clients=Clients(attempts=3),
    ),
}


def lived(made: Scenario, seed: int, *, compiled: bool) -> tuple[ClosedCarrier, Run, list[Seen]]:
    """A rehearsal that is over, and every attempt that ended in it."""
    driver = closed_driver_of(made, seed, compiled=compiled)
    carrier = driver.carrier
    seen: list[Seen] = []
    advance = carrier.loop.advance

    def listen(until: float, weight: int) -> tuple[Attempts, int | None]:
        ended, place = advance(until, weight)
        codes = ended.flights.code.tolist()
        for done, code, neutral in zip(
            ended.flights.done.tolist(), codes, ended.neutral.tolist(), strict=True
        ):
            if code & GIVEN_UP:
                continue
            arm, broken = ARMS[code & CANARY > 0], code // FLAGS if code & BROKEN else 0
            failed, slow = code & FAILED > 0, code & SLOW > 0
            seen.append(Seen(done, arm, failed, slow, neutral, broken))
        return ended, place

    carrier.loop.advance = listen  # type: ignore[method-assign]
    driver.run()
    return carrier, result_of(driver, made.name, seed), seen


def signals_of(carrier: ClosedCarrier) -> list[tuple[float, str, Arm, float]]:
    """What breakers and autoscaling did, as the oracle says it."""
    kinds = {steps.OPENED: "opened", steps.RECOVERED: "recovered", steps.SCALED: "scaled"}
    return [
        (signal.at, kinds[signal.kind], ARMS[signal.arm], signal.value)
        for signal in carrier.loop.signals
    ]


@pytest.mark.parametrize("compiled", [False, True], ids=["interpreted", "compiled"])
@pytest.mark.parametrize("title", SCENARIOS)
def test_every_attempt_is_the_oracles(title: str, compiled: bool) -> None:
    made = SCENARIOS[title]
    for seed in (1, 2) if compiled else (3,):
        slow = ClosedOracle(made, seed).run()
        carrier, fast, seen = lived(made, seed, compiled=compiled)
        assert len(seen) > 200
        assert seen == slow.seen
        assert fast.events == slow.controller.events
        assert windows(fast.history) == windows(slow.controller.metrics_history)
        assert [left.in_flight for left in carrier.left] == list(slow.flying.values())
        assert signals_of(carrier) == slow.signals


@pytest.mark.parametrize("title", OPEN)
def test_where_nothing_acts_back_it_is_the_open_world_to_the_byte(title: str) -> None:
    made, _ = OPEN[title]
    driver = closed_driver_of(made, 1, compiled=True)
    driver.run()
    closed = replace(result_of(driver, made.name, 1), feedback=None)
    assert report(closed) == report(run(made, 1))


@pytest.mark.parametrize("title", ["a retry storm, the line left", "pools behind pools"])
def test_a_closed_world_depends_on_the_seed_alone(title: str) -> None:
    made = SCENARIOS[title]
    expected = report(run(made, 5))
    for chunk in (1, 77, 1000, 60_000):
        assert report(run(made, 5, chunk=chunk)) == expected
    assert report(run(made, 6)) != expected


def test_a_run_says_what_clients_and_breakers_did() -> None:
    made = SCENARIOS["pools behind pools"]
    slow = ClosedOracle(made, 1).run()
    told = run(made, 1).feedback
    assert told is not None
    opened = sum(kind == "opened" for _, kind, _, _ in slow.signals)
    times = sorted(ms for _, kind, _, ms in slow.signals if kind == "recovered")
    assert len(times) > 2
    assert (told.recovery.recoveries, told.recovery.unfinished) == (len(times), opened - len(times))
    assert told.recovery.limit_ms == made.plan.slo.p99_recovery_time_ms == 1500
    assert told.recovery.met is False
    if opened == len(times):
        assert told.recovery.p99_ms == times[-1]
    assert told.retries == slow.retries > 100
    assert told.gave_up == slow.gave_up
    assert run(OPEN["healthy"][0]).feedback is None
