"""Queues of finite servers and worlds that act back, compiled and interpreted, beside SimPy.

python -m benchmarks.queues [--quick]
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from msgspec.structs import replace
from tests.simulator.closed_oracle import ClosedOracle

from canario.plan import Stage
from canario_sim import Scenario, run
from canario_sim.distributions import Gamma
from canario_sim.scenario.capacity import Autoscaling, Pauses
from canario_sim.scenario.clients import Clients, RetryBudget
from canario_sim.scenario.dependencies import Breaker, Dependency, Trouble
from canario_sim.world import pool
from canario_sim.world.rehearsal import closed_driver_of

from .measure import Rounds, Row, Table, options, report, rounds_of, time_text
from .simulation import (
    QUICK_STAGES,
    STAGES,
    Decisions,
    decisions_of,
    process_with_resource,
    scenario_of,
    timer,
    trace_of,
)

SERVERS = (8, 64)

# What a process pays once: the difference between these two.
_BARE = "import canario_sim.world.pool, numpy"
_LOADED = (
    "import numpy as np; from canario_sim.world import fifo as line, jit; "
    "jit.compiled(line).serve(np.zeros(8), np.zeros(1), np.ones(1), np.empty(1))"
)


def main() -> None:
    """Measure everything and print the tables."""
    quick = options("Queues of finite servers, beside SimPy's Resource.")
    stages, rounds = (QUICK_STAGES, 2) if quick else (STAGES, 5)
    short = tuple(Stage(each.percentage, each.hold_seconds / 10) for each in STAGES)
    report(
        [
            *(queue(scenario_of(stages, servers=n), n, rounds) for n in SERVERS),
            acting_back(_acting_back(QUICK_STAGES if quick else short), rounds - 2 or 1),
            loading(2 if quick else 5),
        ]
    )


def queue(scenario: Scenario, servers: int, rounds: int) -> Table:
    """A rollout whose requests wait in line."""
    requests, measured = _compare(scenario, servers, rounds)
    compiled, interpreted = (measured.ratio("resource", way) for way in ("compiled", "interpreted"))
    return Table(
        f"One rollout of {requests:,} requests, {servers} servers per version, first come, first "
        "served",
        [
            Row(
                "`canario_sim.run` with numba, generation included",
                time_text(measured.median("compiled")),
                f"{compiled:.0f} × faster than the Resource",
                "≥ 50 × faster",
                compiled >= 50,
            ),
            Row(
                "`canario_sim.run` without",
                time_text(measured.median("interpreted")),
                f"{interpreted:.0f} × faster than the Resource",
            ),
            Row(
                "SimPy, a process and a Resource per request",
                time_text(measured.median("resource")),
            ),
        ],
        "CPU time. SimPy is given the requests ready-made. In every round all must give the same "
        f"journal and the same counts at every check. Medians of {rounds} rounds.",
    )


def acting_back(scenario: Scenario, rounds: int) -> Table:
    """A rollout whose requests act on each other."""
    expected = decisions_of(run(scenario))
    ways: dict[str, Callable[[], Decisions]] = {
        "compiled": partial(_lived, scenario, compiled=True),
        "interpreted": partial(_lived, scenario, compiled=False),
        "processes": partial(_by_processes, scenario),
    }
    measured = rounds_of({name: timer(way, expected) for name, way in ways.items()}, rounds)
    told = run(scenario).feedback
    assert told is not None
    rows = [
        Row(
            what,
            time_text(measured.median(way)),
            f"{measured.ratio('processes', way):.0f} × faster than the processes",
        )
        for way, what in (
            ("compiled", "`canario_sim.run` with numba, generation included"),
            ("interpreted", "`canario_sim.run` without"),
        )
    ]
    rows.append(
        Row(
            "SimPy, a process per attempt, call and server that comes",
            time_text(measured.median("processes")),
        )
    )
    return Table(
        f"A rollout of {told.first:,} requests and {told.retries:,} retries that act back",
        rows,
        "Clients time out and retry under a budget, servers are scaled and pause, a shared "
        "database has a circuit breaker. The processes are those of the tests' oracle, its draws "
        "included. Measured and compared as above.",
    )


def loading(rounds: int) -> Table:
    """What a process pays for the compiled loop."""
    programs = {"bare": _BARE, "loaded": _LOADED}
    measured = rounds_of(
        {name: partial(_process_seconds, code) for name, code in programs.items()}, rounds
    )
    return Table(
        "Loading the compiled queue, once in a process that has served "
        f"{pool.COMPILED_AFTER:,} requests",
        [
            Row("numba and the loop from its cache", time_text(measured.added("loaded", "bare"))),
        ],
        "CPU time of a process that loads it, less one that does not; the first process after an "
        f"installation compiles it, in some seconds. Medians of {rounds} rounds.",
    )


def _compare(scenario: Scenario, servers: int, rounds: int) -> tuple[int, Rounds]:
    result = run(scenario)
    expected = decisions_of(result)
    ways: dict[str, Callable[[], Decisions]] = {
        "compiled": partial(_ours, scenario, 0),
        "interpreted": partial(_ours, scenario, sys.maxsize),
        "resource": partial(process_with_resource, scenario, trace_of(scenario), servers),
    }
    timers = {name: timer(way, expected) for name, way in ways.items()}
    return result.baseline.requests + result.canary.requests, rounds_of(timers, rounds)


def _ours(scenario: Scenario, compiled_after: int) -> Decisions:
    with _compiled_after(compiled_after):
        return decisions_of(run(scenario))


@contextmanager
def _compiled_after(requests: int) -> Iterator[None]:
    before = pool.COMPILED_AFTER
    pool.COMPILED_AFTER = requests
    try:
        yield
    finally:
        pool.COMPILED_AFTER = before


def _acting_back(stages: tuple[Stage, ...]) -> Scenario:
    """A rollout in which all of it happens."""
    plain = scenario_of(stages, servers=12)
    service = replace(
        plain.baseline,
        latency=Gamma(mean_ms=60, shape=2),
        autoscaling=Autoscaling(min_servers=4, max_servers=40, provisioning_seconds=20),
        pauses=Pauses(ms=200, every_seconds=30),
    )
    budget = RetryBudget(percent=20)
    database = Dependency(
        name="database",
        latency=Gamma(mean_ms=10),
        servers=20,
        timeout_ms=200,
        breaker=Breaker(open_seconds=5),
        troubles=(Trouble(at=1, lasts=2, every=30, error_rate=20),),
    )
    patient = replace(
        plain.plan.deployment.rollback_thresholds, max_error_rate=100, max_p95_latency_ms=5000
    )
    deployment = replace(plain.plan.deployment, rollback_thresholds=patient)
    return replace(
        plain,
        plan=replace(plain.plan, deployment=deployment),
        baseline=service,
        clients=Clients(timeout_ms=400, attempts=3, budget=budget),
        dependencies=(database,),
    )


def _lived(scenario: Scenario, *, compiled: bool) -> Decisions:
    driver = closed_driver_of(scenario, scenario.seed, compiled=compiled)
    driver.run()
    return decisions_of(driver.controller)


def _by_processes(scenario: Scenario) -> Decisions:
    return decisions_of(ClosedOracle(scenario, scenario.seed).run().controller)


def _process_seconds(code: str) -> float:
    """CPU time of a new process."""
    measure = f"import time; {code}; print(time.process_time())"
    done = subprocess.run(
        [sys.executable, "-c", measure], stdout=subprocess.PIPE, check=True, timeout=120
    )
    return float(done.stdout)


if __name__ == "__main__":
    main()
