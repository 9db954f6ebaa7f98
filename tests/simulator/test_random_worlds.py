"""Whatever a scenario puts together, both simulators are the slow models of them, event for event.

The suite draws some worlds. Thousands more, each disagreement made as small as it gets:

    CANARIO_WORLDS=5000 python -m pytest tests/simulator -k "put_together"
"""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.simulator.closed_oracle import ClosedOracle
from tests.simulator.many import many
from tests.simulator.oracle import Oracle, windows
from tests.simulator.test_closed import lived, signals_of
from tests.simulator.test_closed_theory import CLIENTS, DEPENDENCIES, SERVICES

from canario.plan import (
    Deployment,
    FixedThresholds,
    MissingEvidence,
    Plan,
    RollbackThresholds,
    Sequential,
    Stage,
)
from canario_sim import Scenario, run
from canario_sim.distributions import Empirical, Gamma, Lognormal
from canario_sim.scenario.broken_contracts import ByKey, ByRate, Single
from canario_sim.scenario.clients import Clients
from canario_sim.scenario.dependencies import Dependency
from canario_sim.scenario.faults import (
    AddedLatency,
    Errors,
    Fault,
    Hang,
    LostCapacity,
    MultipliedLatency,
    Outage,
    SlowLeak,
)
from canario_sim.scenario.request_kinds import Route
from canario_sim.scenario.scenario import Order
from canario_sim.scenario.service import Service, WarmUp
from canario_sim.traffic import Bursts, Constant, Poisson, Population, Traffic
from canario_sim.world.rehearsal import closed_driver_of, result_of

HORIZON = 40.0

# Few values, on one grid and off it, so that much happens at one instant: checks, orders, faults,
# ends of holds, arrivals and answers.
INSTANTS = st.sampled_from([0.0, 2.0, 5.0, 7.3, 10.0, 12.0, 20.0, 20.05, 31.7])
SPANS = st.sampled_from([0.1, 1.0, 3.0, 5.0, 8.4])
ARM = st.sampled_from(["baseline", "canary", "both"])
KEYS = Population(size=60)
ROUTES = (Route(name="/a", weight=3), Route(name="/b"))
WITHOUT_KEYS = (ROUTES[0], Route(name="/b", keyed=False), Route(name="OPTIONS /b", keyed=False))


def patient(
    thresholds: RollbackThresholds, times: float | None, of_route: float | None
) -> RollbackThresholds:
    limit = thresholds.max_p95_latency_ms / 1000
    return replace(
        thresholds,
        abandoned_after_seconds=None if times is None else times * limit,
        abandoned_after_by_route={} if of_route is None else {"/b": of_route * limit},
    )


PLANS = st.builds(
    lambda stages, thresholds, patience, missing, judge: Plan(
        deployment=Deployment(
            canary_stages=stages,
            rollback_thresholds=patient(thresholds, *patience),
            missing_evidence=missing,
            judge=judge,
        )
    ),
    stages=st.lists(
        st.tuples(
            st.sampled_from([10.0, 35.0, 50.0, 100.0]), st.sampled_from([0.0, 0.7, 2.0, 6.0, 13.3])
        ),
        min_size=1,
        max_size=4,
        unique_by=lambda stage: stage[0],
    ).map(lambda stages: tuple(Stage(*stage) for stage in sorted(stages))),
    thresholds=st.builds(
        RollbackThresholds,
        max_error_rate=st.sampled_from([5.0, 30.0, 100.0]),
        max_p95_latency_ms=st.sampled_from([150.0, 500.0, 60_000.0]),
        metric_window_seconds=st.sampled_from([1.7, 5.0, 60.0]),
        min_samples=st.sampled_from([1, 10, 40]),
        check_interval_seconds=st.sampled_from([0.3, 2.0, 5.0]),
        contract_budgets=st.sampled_from([{}, {"schema": 20.0}]),
    ),
    # In latency limits: of all requests, and of those of one route.
    patience=st.tuples(st.sampled_from([None, 1.0, 2.0, 7.0]), st.sampled_from([None, 1.0, 3.0])),
    judge=st.sampled_from([FixedThresholds(), Sequential(alpha=0.2)]),
    missing=st.builds(
        MissingEvidence,
        deadline_seconds=st.sampled_from([0.0, 3.0, 5.0]),
        then=st.sampled_from(["rollback", "pause", "advance"]),
    )
    | st.just(MissingEvidence()),
)
KINDS: list[Traffic] = [
    Poisson(rate=12, keys=KEYS),
    Constant(rate=10, keys=KEYS),
    Bursts(rate=4, burst_rate=40, every_seconds=8, burst_seconds=2, keys=KEYS),
]
TRAFFIC = st.sampled_from(KINDS)
ORDERS = st.lists(
    st.builds(
        Order,
        at=INSTANTS,
        order=st.sampled_from(["promote", "pause", "resume", "skip", "abort", "restart"]),
    ),
    max_size=4,
).map(tuple)
FAILURES = st.lists(
    st.builds(
        ByRate,
        arm=ARM,
        at=INSTANTS,
        rate=st.sampled_from([1.0, 15.0]),
        contract=st.sampled_from(["schema", "other"]),
    )
    | st.builds(Single, arm=ARM, at=INSTANTS, contract=st.sampled_from(["schema", "other"]))
    | st.builds(ByKey, arm=ARM, at=INSTANTS, keys=st.just(("user-3",)), contract=st.just("schema")),
    max_size=2,
).map(tuple)


def faults(servers: int) -> st.SearchStrategy[tuple[Fault, ...]]:
    """Of arms that have so many servers; 0 for no limit."""
    when = {"arm": ARM, "at": INSTANTS, "lasts": SPANS, "every": st.sampled_from([None, 9.0])}
    kinds: list[st.SearchStrategy[Fault]] = [
        st.builds(
            Errors,
            rate=st.sampled_from([10.0, 90.0]),
            ramp=st.just(0.0) | SPANS,
            failure_ms=st.sampled_from([None, 5.0]),
            **when,
        ),
        st.builds(Outage, failure_ms=st.sampled_from([None, 100.0]), **when),
        st.builds(Hang, **when),
        st.builds(AddedLatency, ms=st.sampled_from([100.0, 700.0]), **when),
        st.builds(MultipliedLatency, factor=st.sampled_from([0.5, 3.0]), **when),
        st.builds(SlowLeak, ms_per_second=st.just(80.0), **when),
    ]
    if servers:
        kinds.append(st.builds(LostCapacity, servers=st.integers(1, servers), **when))
    return st.lists(st.one_of(kinds), max_size=3).map(tuple)


@st.composite
def closed_worlds(draw: st.DrawFn) -> Scenario:
    """Scenarios whose requests act on each other."""
    baseline: Service = draw(SERVICES)
    canary: Service | None = draw(st.none() | SERVICES)
    fewest = min(each.servers or 0 for each in (baseline, canary or baseline))
    clients: Clients | None = draw(st.none() | CLIENTS)
    dependencies: list[Dependency] = draw(st.lists(DEPENDENCIES, max_size=2))
    return Scenario(
        name="closed",
        teaches="that two simulators agree",
        plan=draw(PLANS),
        traffic=draw(TRAFFIC),
        baseline=baseline,
        canary=canary,
        routes=draw(st.sampled_from([ROUTES, WITHOUT_KEYS])),
        clients=clients,
        dependencies=tuple(
            replace(each, name=str(place), routes=draw(st.sampled_from([None, ("/b",)])))
            for place, each in enumerate(dependencies)
        ),
        faults=draw(faults(fewest)),
        contract_failures=draw(FAILURES),
        orders=draw(ORDERS),
        horizon_seconds=HORIZON,
    )


def a_world(baseline: Service, stages: tuple[Stage, ...], **parts: object) -> Scenario:
    return Scenario(
        **{
            "name": "found",
            "teaches": "what was found by chance",
            "plan": Plan(
                deployment=Deployment(
                    canary_stages=stages,
                    rollback_thresholds=RollbackThresholds(
                        min_samples=1, metric_window_seconds=1.7
                    ),
                )
            ),
            "traffic": Constant(rate=10, keys=KEYS),
            "baseline": baseline,
            "horizon_seconds": HORIZON,
        }
        | parts  # type: ignore[arg-type]
    )


@many(25)
@example(  # Retries of one instant took their draws in the order of the memory that was free.
    made=a_world(
        Service(latency=Gamma(mean_ms=90, shape=0.7), servers=1),
        (Stage(10, 0),),
        clients=Clients(timeout_ms=400, attempts=3, backoff_ms=0, jitter=0),
        dependencies=(Dependency(name="it", latency=Gamma(mean_ms=20, shape=0.7)),),
    ),
    seed=1,
    compiled=False,
)
@given(made=closed_worlds(), seed=st.integers(0, 1000), compiled=st.booleans())
def test_all_that_acts_back_put_together_is_the_oracles(
    made: Scenario, seed: int, compiled: bool
) -> None:
    slow = ClosedOracle(made, seed).run()
    carrier, told, seen = lived(made, seed, compiled=compiled)
    assert told.events == slow.controller.events
    assert seen == slow.seen
    assert windows(told.history) == windows(slow.controller.metrics_history)
    assert [left.in_flight for left in carrier.left] == list(slow.flying.values())
    assert signals_of(carrier) == slow.signals


LATENCIES = st.sampled_from(
    # None takes exactly a limit's 500 ms: whether it is slow is then the rounding of an instant.
    [Lognormal(p50_ms=80, p95_ms=250), Gamma(mean_ms=300), Empirical(values_ms=(100, 200, 510))]
)
OPEN_SERVICES = st.builds(
    Service,
    latency=LATENCIES,
    error_rate=st.sampled_from([0.0, 2.0, 30.0]),
    servers=st.none() | st.integers(1, 6),
    failure_ms=st.sampled_from([None, 5.0]),
    warm_up=st.none() | st.just(WarmUp(seconds=10, factor=3)),
)


@st.composite
def open_worlds(draw: st.DrawFn) -> Scenario:
    """Scenarios whose requests stand in one line at most."""
    baseline: Service = draw(OPEN_SERVICES)
    canary: Service | None = draw(st.none() | OPEN_SERVICES)
    traffic: Traffic = draw(TRAFFIC)
    return Scenario(
        name="open",
        teaches="that two simulators agree",
        plan=draw(PLANS),
        traffic=traffic,
        baseline=baseline,
        canary=canary,
        routes=draw(st.sampled_from([ROUTES, WITHOUT_KEYS])),
        faults=draw(faults(min(each.servers or 0 for each in (baseline, canary or baseline)))),
        contract_failures=draw(FAILURES),
        orders=draw(ORDERS),
        horizon_seconds=HORIZON,
    )


@many(25)
@example(  # The end of a fault was another instant where it was asked in other words.
    made=a_world(
        Service(latency=Lognormal(p50_ms=80, p95_ms=250)),
        (Stage(35, 100),),
        faults=(Errors(at=10, lasts=8.4, rate=10),),
    ),
    seed=0,
    chunk=1,
)
@example(  # With an order to come, traffic went on after the promotion.
    made=a_world(
        Service(latency=Lognormal(p50_ms=80, p95_ms=250)),
        (Stage(100, 0),),
        traffic=Poisson(rate=12, keys=KEYS),
        orders=(Order(at=7.3, order="promote"),),
    ),
    seed=0,
    chunk=1000,
)
@given(made=open_worlds(), seed=st.integers(0, 1000), chunk=st.sampled_from([1, 7, 1000]))
def test_all_that_stands_in_line_put_together_is_the_oracles(
    made: Scenario, seed: int, chunk: int
) -> None:
    slow, fast = Oracle(made, seed).run(), run(made, seed, chunk=chunk)
    assert fast.events == slow.events
    assert windows(fast.history) == windows(slow.controller.metrics_history)
    assert (fast.exposure.bad_requests, fast.exposure.users) == (slow.bad, len(slow.users))
    in_flight = {"baseline": fast.baseline.in_flight, "canary": fast.canary.in_flight}
    assert in_flight == slow.in_flight
    # The engine of worlds that act back is a third opinion.
    driver = closed_driver_of(made, seed, compiled=False)
    driver.run()
    third = result_of(driver, made.name, seed)
    assert third.events == fast.events
    assert third.exposure == fast.exposure
    assert (third.baseline, third.canary) == (fast.baseline, fast.canary)
