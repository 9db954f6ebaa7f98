"""The simulator decides what a process-per-request model decides, and sees the same windows."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from tests.simulator.oracle import Oracle, windows

from canario.plan import (
    Deployment,
    MissingEvidence,
    Plan,
    RollbackThresholds,
    Stage,
)
from canario_sim import Run, Scenario, run
from canario_sim.distributions import Empirical, Gamma, Lognormal
from canario_sim.scenario.broken_contracts import (
    ByKey,
    ByPayload,
    ByRate,
    ByRoute,
    ContractFailure,
    Single,
)
from canario_sim.scenario.clustering import Clustering
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
from canario_sim.scenario.onset import AfterWaiting, WithChance
from canario_sim.scenario.request_kinds import Answer, Payload, Route
from canario_sim.scenario.scenario import Order
from canario_sim.scenario.service import Service, WarmUp
from canario_sim.traffic import (
    Bursts,
    Constant,
    LognormalActivity,
    MarkovModulated,
    Poisson,
    Population,
    Schedule,
    SelfExciting,
    Sessions,
    State,
    Traffic,
)

WEB = Service(latency=Lognormal(p50_ms=80, p95_ms=250), error_rate=1.0)
CALM = Service(latency=Lognormal(p50_ms=80, p95_ms=250))
QUEUE = Service(latency=Gamma(mean_ms=300), error_rate=0.5, servers=5)
STAGES = (Stage(5, 60), Stage(25, 120), Stage(100, 180))


def deployment(
    stages: tuple[Stage, ...] = STAGES,
    missing: MissingEvidence | None = None,
    **thresholds: float | dict[str, float],
) -> Plan:
    return Plan(
        deployment=Deployment(
            canary_stages=stages,
            rollback_thresholds=RollbackThresholds(**thresholds),  # type: ignore[arg-type]
            missing_evidence=missing or MissingEvidence(),
        )
    )


def scenario(
    *,
    plan: Plan | None = None,
    traffic: Traffic | None = None,
    baseline: Service = WEB,
    canary: Service | None = None,
    faults: tuple[Fault, ...] = (),
    contract_failures: tuple[ContractFailure, ...] = (),
    orders: tuple[Order, ...] = (),
    routes: tuple[Route, ...] = (),
    payloads: tuple[Payload, ...] = (),
) -> Scenario:
    return Scenario(
        name="compared",
        teaches="that two simulators agree",
        plan=plan or deployment(),
        traffic=traffic or Poisson(rate=20, keys=Population(size=300)),
        baseline=baseline,
        canary=canary,
        faults=faults,
        contract_failures=contract_failures,
        orders=orders,
        routes=routes,
        payloads=payloads,
    )


PATIENT = deployment(max_p95_latency_ms=2500)

# Title -> the scenario, and how it must end for the comparison to mean something.
SCENARIOS: dict[str, tuple[Scenario, str]] = {
    "healthy": (scenario(), "completed"),
    "errors that grow": (scenario(faults=(Errors(at=70, rate=40, ramp=60),)), "rolled_back"),
    "outage in the second stage": (scenario(faults=(Outage(at=100, lasts=40),)), "rolled_back"),
    "outage of both arms": (
        scenario(faults=(Outage(arm="both", at=181.5, lasts=7),)),
        "rolled_back",
    ),
    "added latency": (scenario(faults=(AddedLatency(at=200, ms=600),)), "rolled_back"),
    "repeated latency, below the limit": (
        scenario(faults=(MultipliedLatency(at=10, factor=2, lasts=2, every=40),)),
        "completed",
    ),
    "slow leak": (scenario(faults=(SlowLeak(ms_per_second=4),)), "rolled_back"),
    "warm-up": (
        scenario(
            canary=Service(
                latency=Lognormal(p50_ms=80, p95_ms=250), warm_up=WarmUp(seconds=100, factor=4)
            )
        ),
        "rolled_back",
    ),
    "one big tenant suffers": (
        scenario(
            traffic=Poisson(rate=20, keys=Population(size=300, skew=1.2)),
            faults=(Errors(rate=100, keys=("user-0", "user-3")),),
        ),
        "rolled_back",
    ),
    "contract broken once": (
        scenario(contract_failures=(Single(at=93.21, detail="no score"),)),
        "rolled_back",
    ),
    "contract broken at once on the baseline, later on both": (
        scenario(
            contract_failures=(
                Single(arm="baseline", at=3),
                ByRate(arm="both", at=150, rate=1, detail="rare"),
            )
        ),
        "rolled_back",
    ),
    "contract broken for one key": (
        scenario(contract_failures=(ByKey(keys=("user-7", "user-8", "user-9")),)),
        "rolled_back",
    ),
    "an imperfect validator within its budget": (
        scenario(
            plan=deployment(contract_budgets={"summary": 12.0}),
            contract_failures=(ByRate(arm="both", rate=1.5, contract="summary"),),
        ),
        "completed",
    ),
    "a budget that is used up": (
        scenario(
            plan=deployment(contract_budgets={"summary": 5.0}, check_interval_seconds=3.7),
            contract_failures=(
                ByRate(rate=0.8, contract="summary"),
                ByRate(at=200, rate=25, contract="summary", rule="maxLength", path="/text"),
            ),
        ),
        "rolled_back",
    ),
    "a contract without a budget beside one with": (
        scenario(
            plan=deployment(contract_budgets={"summary": 30.0}),
            contract_failures=(
                ByRate(arm="both", rate=6, contract="summary"),
                Single(at=220, contract="score"),
            ),
        ),
        "rolled_back",
    ),
    "two budgets, ties everywhere": (
        scenario(
            plan=deployment(contract_budgets={"a": 40.0, "b": 8.0}),
            traffic=Constant(rate=10, keys=Population(size=40)),
            baseline=Service(latency=Empirical(values_ms=(100, 200, 500))),
            contract_failures=(
                ByRate(arm="both", rate=20, contract="a"),
                ByRate(arm="both", rate=2, contract="b"),
                ByRate(at=230, rate=10, contract="b"),
            ),
        ),
        "rolled_back",
    ),
    "a budget with queues, pauses and a restart": (
        scenario(
            plan=deployment(max_p95_latency_ms=20_000, contract_budgets={"summary": 25.0}),
            baseline=QUEUE,
            traffic=Poisson(rate=12),
            contract_failures=(ByRate(rate=3, contract="summary"),),
            orders=(
                Order(at=33.3, order="pause"),
                Order(at=71, order="resume"),
                Order(at=130.5, order="restart"),
            ),
        ),
        "completed",
    ),
    "few requests under a budget, judged by the stage": (
        scenario(
            plan=deployment(
                stages=(Stage(20, 60), Stage(100, 600)),
                min_samples=5,
                contract_budgets={"summary": 20.0},
            ),
            traffic=Poisson(rate=0.1, keys=Population(size=50)),
            baseline=CALM,
            contract_failures=(ByRate(rate=12, contract="summary"),),
        ),
        "rolled_back",
    ),
    "windows and checks off every grid": (
        scenario(
            plan=deployment(
                stages=(Stage(10, 33.3), Stage(50, 71.7), Stage(100, 100)),
                metric_window_seconds=17.3,
                check_interval_seconds=3.7,
            ),
            faults=(Errors(at=90, rate=12),),
        ),
        "rolled_back",
    ),
    "a check more often than a slice ends": (
        scenario(plan=deployment(check_interval_seconds=0.3), faults=(Errors(at=80, rate=15),)),
        "rolled_back",
    ),
    "low traffic, held until enough have come": (
        scenario(
            plan=deployment(stages=(Stage(20, 60), Stage(100, 600)), min_samples=5),
            traffic=Poisson(rate=0.1, keys=Population(size=50)),
            baseline=CALM,
        ),
        "completed",
    ),
    "low traffic, held for ever": (
        scenario(traffic=Poisson(rate=0.02, keys=Population(size=50))),
        "held",
    ),
    "low traffic, rolled back at the deadline": (
        scenario(
            plan=deployment(missing=MissingEvidence(deadline_seconds=47.3, then="rollback")),
            traffic=Poisson(rate=0.05, keys=Population(size=50)),
        ),
        "rolled_back",
    ),
    "low traffic, paused at the deadline": (
        scenario(
            plan=deployment(missing=MissingEvidence(deadline_seconds=31, then="pause")),
            traffic=Poisson(rate=0.05, keys=Population(size=50)),
        ),
        "paused",
    ),
    "low traffic, advanced at the deadline": (
        scenario(
            plan=deployment(missing=MissingEvidence(deadline_seconds=12.5, then="advance")),
            traffic=Poisson(rate=0.05, keys=Population(size=50)),
        ),
        "completed",
    ),
    "a steady line of requests, ties everywhere": (
        scenario(
            traffic=Constant(rate=10, keys=Population(size=40)),
            baseline=Service(latency=Empirical(values_ms=(100, 200, 500))),
            faults=(AddedLatency(at=100, ms=400),),
        ),
        "rolled_back",
    ),
    "queues, healthy": (
        scenario(plan=PATIENT, baseline=QUEUE, traffic=Poisson(rate=12)),
        "completed",
    ),
    "queues, saturated at the full share": (
        scenario(plan=PATIENT, baseline=QUEUE, traffic=Poisson(rate=25)),
        "rolled_back",
    ),
    "queues, in bursts": (
        scenario(
            plan=PATIENT,
            baseline=QUEUE,
            traffic=Bursts(rate=8, burst_rate=40, every_seconds=80, burst_seconds=6),
        ),
        "rolled_back",
    ),
    "queues, capacity lost": (
        scenario(
            plan=PATIENT,
            baseline=QUEUE,
            traffic=Poisson(rate=12),
            faults=(LostCapacity(arm="both", at=200.4, lasts=30, servers=3),),
        ),
        "rolled_back",
    ),
    "queues, capacity lost again and again": (
        scenario(
            plan=PATIENT,
            baseline=Service(latency=Gamma(mean_ms=300), servers=8),
            traffic=Poisson(rate=10),
            faults=(LostCapacity(at=3, lasts=5, every=20, servers=5),),
        ),
        "completed",
    ),
    "queues, a contract broken in line": (
        scenario(
            baseline=QUEUE,
            traffic=Poisson(rate=18),
            plan=deployment(max_p95_latency_ms=20_000),
            contract_failures=(Single(at=250),),
        ),
        "rolled_back",
    ),
    "hangs, and nobody comes back": (
        scenario(faults=(Hang(at=130),)),
        "rolled_back",
    ),
    "hangs that are given up, on both arms, for ever or not": (
        scenario(
            plan=deployment(
                max_error_rate=60, abandoned_after_seconds=4, check_interval_seconds=3.7
            ),
            faults=(
                AddedLatency(arm="both", at=70, lasts=0.3, every=30, ms=20_000),
                Hang(arm="both", at=75, lasts=0.2, every=40),
            ),
        ),
        "completed",
    ),
    "hangs, a budget that is broken meanwhile, pauses and a restart": (
        scenario(
            plan=deployment(
                max_error_rate=50,
                max_p95_latency_ms=20_000,
                abandoned_after_seconds=20,
                contract_budgets={"summary": 60.0},
            ),
            faults=(Hang(arm="both", at=20, keys=("user-7", "user-8", "user-9", "user-10")),),
            contract_failures=(ByRate(rate=4, contract="summary"),),
            orders=(
                Order(at=33.3, order="pause"),
                Order(at=71, order="resume"),
                Order(at=130.5, order="restart"),
            ),
        ),
        "completed",
    ),
    "long answers, quick failures": (
        scenario(
            plan=deployment(max_p95_latency_ms=90_000),
            baseline=Service(latency=Gamma(mean_ms=30_000, shape=20), error_rate=2, failure_ms=5),
        ),
        "completed",
    ),
    "routes that are waited for in other ways": (
        scenario(
            plan=deployment(
                max_error_rate=70,
                max_p95_latency_ms=4000,
                abandoned_after_seconds=5,
                abandoned_after_by_route={"/slow": 40.0},
            ),
            routes=(
                Route(name="/slow", weight=1, baseline=Answer(latency=Gamma(mean_ms=300))),
                Route(name="/quick", weight=9),
            ),
            faults=(MultipliedLatency(arm="both", at=61.5, factor=90, lasts=0.2, every=60),),
        ),
        "completed",
    ),
    "queues, in which everybody is given up": (
        scenario(
            plan=deployment(max_error_rate=99, max_p95_latency_ms=3000, abandoned_after_seconds=3),
            baseline=QUEUE,
            traffic=Poisson(rate=25),
        ),
        "rolled_back",
    ),
    "self-exciting arrivals into queues": (
        scenario(
            plan=PATIENT,
            baseline=QUEUE,
            traffic=SelfExciting(rate=15, branching=0.85, decay_seconds=2),
        ),
        "rolled_back",
    ),
    "sessions and failures that cluster by them": (
        scenario(
            traffic=Poisson(
                rate=20,
                keys=Population(size=300, activity=LognormalActivity(sigma=1.5)),
                sessions=Sessions(requests=5, think=Gamma(mean_ms=4000)),
            ),
            baseline=replace(WEB, clustering=Clustering(by="session", correlation=0.3)),
        ),
        "completed",
    ),
    "moods of the traffic, and some users prone to a fault": (
        scenario(
            traffic=MarkovModulated(
                states=(State(rate=5, mean_seconds=20), State(rate=60, mean_seconds=4)),
                keys=Population(size=300),
            ),
            faults=(Errors(at=100, rate=20, clustering=Clustering(prone=25)),),
        ),
        "rolled_back",
    ),
    "a stage that is held, some of whose requests have no key": (
        scenario(
            plan=deployment((Stage(5, 60), Stage(100, 30)), min_samples=40),
            traffic=Poisson(rate=6, keys=Population(size=300)),
            routes=(
                Route(name="/a", weight=4),
                Route(name="/login", weight=2, keyed=False),
                Route(name="OPTIONS /a", keyed=False),
            ),
        ),
        "held",
    ),
    "routes, one of which breaks, and large payloads": (
        scenario(
            baseline=CALM,
            routes=(
                Route(name="/a", weight=4, baseline=Answer(error_rate=0.5)),
                Route(name="/b", canary=Answer(latency=Gamma(mean_ms=120), error_rate=2)),
            ),
            payloads=(Payload(name="small", weight=9), Payload(name="large", factor=2)),
            faults=(
                AddedLatency(at=50, ms=30, payloads=("large",)),
                Errors(at=200, rate=80, routes=("/b",)),
            ),
        ),
        "rolled_back",
    ),
    "a contract that breaks on one route for large payloads": (
        scenario(
            plan=deployment(contract_budgets={"schema": 3.0}),
            routes=(Route(name="/a", weight=4), Route(name="/b")),
            payloads=(Payload(name="small", weight=9), Payload(name="large")),
            contract_failures=(
                ByRoute(routes=("/b",), payloads=("large",), contract="schema"),
                ByPayload(at=200, payloads=("large",), contract="schema"),
            ),
        ),
        "rolled_back",
    ),
    "queues, and capacity lost by chance": (
        scenario(
            plan=PATIENT,
            baseline=QUEUE,
            traffic=Schedule(points=((0, 8), (200, 14))),
            faults=(
                LostCapacity(
                    arm="both",
                    at=20,
                    lasts=20,
                    servers=3,
                    onset=AfterWaiting(mean_seconds=100),
                ),
                Outage(at=10, lasts=1, onset=WithChance(probability=50)),
            ),
            contract_failures=(Single(at=355, onset=WithChance(probability=30)),),
        ),
        "completed",
    ),
    "an operator pauses and resumes": (
        scenario(orders=(Order(at=33.3, order="pause"), Order(at=71, order="resume"))),
        "completed",
    ),
    "an operator skips, with queues": (
        scenario(
            plan=PATIENT,
            baseline=QUEUE,
            traffic=Poisson(rate=12),
            orders=(Order(at=12.34, order="skip"),),
        ),
        "completed",
    ),
    "an operator restarts": (scenario(orders=(Order(at=130.5, order="restart"),)), "completed"),
    "an operator aborts": (
        scenario(orders=(Order(at=40, order="resume"), Order(at=77.7, order="abort"))),
        "aborted",
    ),
    "an operator promotes": (scenario(orders=(Order(at=10, order="promote"),)), "completed"),
}


@pytest.mark.parametrize("title", SCENARIOS)
def test_events_windows_and_totals_are_the_oracles(title: str) -> None:
    made, outcome = SCENARIOS[title]
    for seed in (1, 2):
        fast, slow = run(made, seed), Oracle(made, seed).run()
        assert (fast.outcome if seed == 1 else outcome) == outcome
        assert fast.events == slow.events
        assert windows(fast.history) == windows(slow.controller.metrics_history)
        assert _exposure(fast) == (slow.bad, len(slow.users))
        assert _in_flight(fast) == slow.in_flight


def test_a_pool_of_many_servers_is_as_good_as_no_limit() -> None:
    free = scenario(faults=(Errors(at=70, rate=30),))
    pooled = replace(free, baseline=replace(WEB, servers=1000))
    assert run(free).events == run(pooled).events
    assert run(free).canary == run(pooled).canary


def _exposure(made: Run) -> tuple[int, int]:
    return made.exposure.bad_requests, made.exposure.users


def _in_flight(made: Run) -> dict[str, int]:
    return {"baseline": made.baseline.in_flight, "canary": made.canary.in_flight}
