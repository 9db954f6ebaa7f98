"""Laws: batches equal single observations, the share is the router's, a seed decides all."""

from __future__ import annotations

import os
import subprocess
import sys
from heapq import heappop, heappush

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.simulator.oracle import OpenOnes, Waiting, windows

from canario.arms import ARMS
from canario.clock import ManualClock
from canario.control.rollout import Outcome
from canario.controller import CanaryDeploymentController
from canario.plan import Deployment, FixedThresholds, Plan, RollbackThresholds, Sequential, Stage
from canario.routing.router import TrafficRouter
from canario_sim import Fate, RecordedRequest, Scenario, replay_tape, report, run
from canario_sim.distributions import Component, Empirical, Gamma, Lognormal, Mixture
from canario_sim.scenario.broken_contracts import ByRate, ByRoute
from canario_sim.scenario.clustering import Clustering
from canario_sim.scenario.faults import AddedLatency, Errors, LostCapacity
from canario_sim.scenario.onset import AfterWaiting, InAStage
from canario_sim.scenario.request_kinds import Answer, Payload, Route
from canario_sim.scenario.scenario import default_horizon
from canario_sim.scenario.service import Service
from canario_sim.traffic import (
    Bursts,
    Constant,
    Diurnal,
    MarkovModulated,
    ParetoActivity,
    Poisson,
    Population,
    Ramp,
    Schedule,
    SelfExciting,
    Sessions,
    State,
    Traffic,
    Weekly,
)
from canario_sim.world.flights import BROKEN, CANARY, FAILED, SLOW, Flights
from canario_sim.world.tally import bounds, feeds, tally

# Instants and latencies on a coarse grid, so that ties and slice edges are met all the time.
TICKS = st.integers(0, 160).map(lambda quarter: quarter / 4)
LATENCIES = st.sampled_from(
    [0.0, 0.1, 250.0, 333.3, 500.0, 500.0001, 1000.0, 4000.0, 7700.0, 60_000.0]
)
FATES = st.builds(
    Fate,
    latency_ms=LATENCIES,
    ok=st.integers(0, 5).map(bool),
    contract_valid=st.integers(0, 40).map(bool),
)
TAPES = st.lists(
    st.builds(
        RecordedRequest,
        at=TICKS,
        key=st.integers(0, 12).map("user-{}".format),
        baseline=FATES,
        canary=FATES,
    ),
    max_size=120,
).map(lambda tape: sorted(tape, key=lambda request: request.at))
PLANS = st.builds(
    lambda holds, window, interval, samples, judge, patience: Plan(
        deployment=Deployment(
            deployment_id="laws",
            judge=judge,
            canary_stages=tuple(map(Stage, (30, 60, 100), holds)),
            rollback_thresholds=RollbackThresholds(
                metric_window_seconds=window,
                check_interval_seconds=interval,
                min_samples=samples,
                max_error_rate=30,
                abandoned_after_seconds=patience,
            ),
        )
    ),
    holds=st.tuples(*[st.sampled_from([0.0, 2.0, 7.3, 10.0])] * 3),
    window=st.sampled_from([6.0, 15.0, 7.7]),
    interval=st.sampled_from([0.5, 1.0, 2.3]),
    samples=st.integers(1, 6),
    judge=st.sampled_from([FixedThresholds(), Sequential(alpha=0.2), Sequential(bin_seconds=3)]),
    patience=st.sampled_from([None, 0.5, 0.75, 3.0, 7.3]),
)


def one_by_one(plan: Plan, tape: list[RecordedRequest]) -> CanaryDeploymentController:
    """The tape through a controller that observes every request by itself."""
    clock = ManualClock()
    opened = OpenOnes(plan.deployment.rollback_thresholds)
    controller = CanaryDeploymentController(plan, clock=clock, flights=opened)
    controller.start()
    waiting: dict[int, Waiting] = {}
    # At one instant what is done comes before what arrives.
    queue = [(request.at, 1, number, "") for number, request in enumerate(tape)]
    while queue:
        clock.now, arrives, number, arm = heappop(queue)
        if clock.now >= default_horizon(plan.deployment):
            break
        controller.tick()
        if controller.state.phase.terminal:
            return controller
        request = tape[number]
        if arrives:
            arm = controller.router.route_request(request.key)
            takes = (request.canary if arm == "canary" else request.baseline).latency_ms
            heappush(queue, (request.at + takes / 1000, 0, number, arm))
            waiting[number] = opened.begin(request.at, ARMS[arm == "canary"])
        elif opened.end(waiting[number], clock.now):
            _observe(controller, request, "canary" if arm == "canary" else "baseline")
    clock.now = default_horizon(plan.deployment)
    controller.tick()
    return controller


def _observe(controller: CanaryDeploymentController, request: RecordedRequest, arm: str) -> None:
    where = ARMS[arm == "canary"]
    fate = request.canary if where == "canary" else request.baseline
    outcome = Outcome.GOOD if fate.ok else Outcome.BAD
    controller.observe(where, outcome, (controller.clock() - request.at) * 1000)
    if not fate.contract_valid:
        controller.report_violation(where, "the response broke its contract")


@settings(max_examples=400)
@given(plan=PLANS, tape=TAPES, chunk=st.integers(1, 50))
def test_a_tape_in_the_world_is_a_tape_observed_one_by_one(
    plan: Plan, tape: list[RecordedRequest], chunk: int
) -> None:
    fast, slow = replay_tape(plan, tape, chunk=chunk), one_by_one(plan, tape)
    assert fast.events == slow.events
    assert windows(fast.history) == windows(slow.metrics_history)


@settings(max_examples=200)
@given(
    plan=PLANS,
    done=st.lists(
        st.tuples(TICKS, st.sampled_from([0, 1, 2, 3, 8, 8, 8, 9, 10, 11, 4])), max_size=80
    ),
    cuts=st.lists(TICKS.filter(bool), min_size=1, max_size=20),
)
def test_any_partition_into_batches_is_the_same_as_none(
    plan: Plan, done: list[tuple[float, int]], cuts: list[float]
) -> None:
    """However the instants at which the controller is told are chosen beside those of its
    checks, its journal and its windows are those of single observations."""
    done.sort()
    singles, batches = (CanaryDeploymentController(plan, clock=ManualClock()) for _ in "ab")
    singles.start()
    for at, code in done:
        arm, outcome = ARMS[code & CANARY > 0], Outcome.BAD if code & FAILED else Outcome.GOOD
        singles.observe(arm, outcome, 900.0 if code & SLOW else 1.0, now=at)
        if code & BROKEN:
            singles.report_violation(arm, "on the baseline", now=at)
    ends = np.array([at for at, _ in done])
    codes = np.array([code for _, code in done], np.uint16)
    flights = Flights(ends, ends, codes, np.zeros(len(done), np.uint16))
    batches.start()
    since = 0.0
    for cut in sorted({*cuts, 41.0}):
        while batches.due < cut:
            _feed(batches, flights, since, batches.due)
            since = batches.due
            _tick(batches, since)
        _feed(batches, flights, since, cut)
        since = cut
    _tick(singles, 41.0)
    _tick(batches, 41.0)
    assert batches.events == singles.events
    assert windows(batches.metrics_history) == windows(singles.metrics_history)


def _feed(
    controller: CanaryDeploymentController, flights: Flights, since: float, upto: float
) -> None:
    width = controller.deployment.rollback_thresholds.metric_window_seconds / 60
    if upto > since:
        edges = bounds(since, [upto], width)
        for told in feeds(tally(flights, edges), edges, [upto]):
            controller.observe_slices(told)


def _tick(controller: CanaryDeploymentController, now: float) -> None:
    assert isinstance(controller.clock, ManualClock)
    controller.clock.now = now
    controller.tick()


@pytest.mark.parametrize("share", [0.5, 5, 37.5, 100])
def test_the_share_realised_is_what_the_router_says(share: float) -> None:
    population = Population(size=4000)
    stages = (Stage(share, 50),) if share == 100 else (Stage(share, 50), Stage(100, 10))
    made = run(
        Scenario(
            name="share",
            teaches="that the router decides",
            plan=Plan(deployment=Deployment(canary_stages=stages)),
            traffic=Constant(rate=200, keys=population),
            baseline=Service(latency=Lognormal(p50_ms=10, p95_ms=20)),
            horizon_seconds=49,
        )
    )
    router = TrafficRouter("share", share)
    mine = sum(router.route_request(key) == "canary" for key in population.names())
    assert made.exposure.users <= mine
    # 9,799 requests of 4,000 keys leave out e^-2.45 = 8.6 % of them.
    assert made.exposure.users == pytest.approx(0.914 * mine, rel=0.15, abs=6)
    sent = made.canary.requests + made.canary.in_flight
    assert sent + made.baseline.requests + made.baseline.in_flight == 200 * 49 - 1
    expected = 200 * 49 * mine / 4000
    assert sent == pytest.approx(expected, abs=4 * expected**0.5 + 1)


LATENCY = Mixture(
    components=(
        Component(weight=3, latency=Lognormal(p50_ms=80, p95_ms=250)),
        Component(weight=1, latency=Gamma(mean_ms=200, shape=2)),
        Component(weight=1, latency=Empirical(values_ms=(30, 60))),
    )
)
TRAFFICS: list[Traffic] = [
    Constant(rate=17),
    Poisson(rate=17, keys=Population(size=50, skew=1.1)),
    Diurnal(rate=17, period_seconds=200, peak_to_mean=2),
    Ramp(from_rate=0, to_rate=30, over_seconds=100),
    Bursts(rate=5, burst_rate=80, every_seconds=60, burst_seconds=7),
]


def everything(traffic: Traffic) -> Scenario:
    return Scenario(
        name="everything",
        teaches="that a seed decides all of it",
        plan=Plan(
            deployment=Deployment(
                canary_stages=(Stage(10, 40), Stage(100, 100)),
                rollback_thresholds=RollbackThresholds(max_p95_latency_ms=3000),
            )
        ),
        traffic=traffic,
        baseline=Service(latency=LATENCY, error_rate=2),
        canary=Service(latency=LATENCY, error_rate=2, servers=12),
        faults=(
            Errors(arm="both", at=20, lasts=10, every=30, rate=4, keys=("user-1", "user-2")),
            AddedLatency(at=50, ramp=20, ms=100),
            LostCapacity(at=60, lasts=5, servers=4),
        ),
        contract_failures=(ByRate(arm="baseline", rate=1), ByRate(at=100, rate=0.1)),
    )


SESSIONS = Sessions(requests=4, think=Lognormal(p50_ms=2000, p95_ms=9000))
DEEP_TRAFFICS: list[Traffic] = [
    Poisson(rate=17, keys=Population(size=50, activity=ParetoActivity(shape=1.3))),
    Poisson(rate=17, keys=Population(size=50), sessions=SESSIONS),
    MarkovModulated(states=(State(rate=10, mean_seconds=9), State(rate=50, mean_seconds=2))),
    SelfExciting(rate=17, branching=0.7, decay_seconds=3, sessions=SESSIONS),
    Weekly(rate=17, start="fri 23:59"),
    Schedule(points=((0, 30), (50, 5)), linear=True, repeat_seconds=90),
]


def all_of_it(traffic: Traffic) -> Scenario:
    """What may cluster, begin by chance and strike certain requests, on top of everything."""
    made = everything(traffic)
    by_session = traffic.sessions is not None
    clustering = Clustering(by="session" if by_session else "user", correlation=0.4)
    thresholds = RollbackThresholds(max_p95_latency_ms=5000, max_error_rate=50, min_samples=30)
    return replace(
        made,
        plan=Plan(deployment=replace(made.deployment, rollback_thresholds=thresholds)),
        baseline=replace(made.baseline, clustering=Clustering(prone=10)),
        canary=replace(made.service("canary"), clustering=clustering),
        routes=(
            Route(name="/a", weight=3, canary=Answer(latency=Gamma(mean_ms=50), error_rate=3)),
            Route(name="/b", baseline=Answer(latency=LATENCY)),
        ),
        payloads=(Payload(name="small", weight=4), Payload(name="large", factor=3)),
        faults=(
            *made.faults,
            Errors(rate=9, routes=("/a",), clustering=clustering, onset=InAStage(probability=60)),
            AddedLatency(ms=50, payloads=("large",), onset=AfterWaiting(mean_seconds=20)),
        ),
        contract_failures=(
            *made.contract_failures,
            ByRoute(arm="baseline", at=30, lasts=20, routes=("/b",), keys=("user-3",)),
            ByRate(arm="baseline", rate=3, clustering=clustering, payloads=("small",)),
        ),
    )


@pytest.mark.parametrize(
    "made",
    [everything(traffic) for traffic in TRAFFICS] + [all_of_it(each) for each in DEEP_TRAFFICS],
    ids=lambda made: type(made.traffic).__name__,
)
def test_a_report_depends_on_the_seed_alone(made: Scenario) -> None:
    first = report(run(made, 5))
    assert first == report(run(made, 5))
    assert first != report(run(made, 6))
    for chunk in (1, 7, 1000, 60_000):
        assert report(run(made, 5, chunk=chunk)) == first


def test_a_report_is_the_same_in_every_process() -> None:
    code = (
        "import sys; from canario_sim import report, run; "
        "from tests.simulator.test_laws import TRAFFICS, everything; "
        "sys.stdout.buffer.write(report(run(everything(TRAFFICS[1]), 3)))"
    )
    reports = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=os.path.dirname(os.path.dirname(os.path.dirname(__file__))),
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "12345")
    }
    assert reports == {report(run(everything(TRAFFICS[1]), 3))}


def test_draws_do_not_depend_on_the_arm_nor_on_faults() -> None:
    """Common random numbers: what the baseline does is the same, whatever the canary does."""
    calm = Scenario(
        name="calm",
        teaches="that two releases meet the same requests",
        plan=Plan(
            deployment=Deployment(
                canary_stages=(Stage(5, 60), Stage(100, 60)),
                rollback_thresholds=RollbackThresholds(min_samples=10**6),
            )
        ),
        traffic=Poisson(rate=50),
        baseline=Service(latency=Lognormal(p50_ms=80, p95_ms=250), error_rate=1),
    )
    wild = replace(
        calm,
        canary=Service(latency=Gamma(mean_ms=10), error_rate=9),
        faults=(AddedLatency(at=10, ms=20),),
    )
    assert run(calm).baseline == run(wild).baseline
    assert run(calm).canary != run(wild).canary
