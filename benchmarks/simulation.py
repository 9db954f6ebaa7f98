"""One rehearsal of a rollout, beside event loops that carry each request by itself.

python -m benchmarks.simulation [--quick]
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Mapping
from functools import partial
from math import inf
from typing import NamedTuple

import simpy
from msgspec.structs import replace
from tests.simulator.oracle import Window, windows

from canario.control.events import Event
from canario.control.rollout import Outcome
from canario.controller import CanaryDeploymentController
from canario.metrics.in_flight import InFlight, Seen, SeenOfArm
from canario.plan import Deployment, Plan, Stage
from canario.routing.router import Arm
from canario_sim import Run, Scenario, run
from canario_sim.chance.draws import Draws
from canario_sim.chance.requests import CHUNK
from canario_sim.distributions import Lognormal
from canario_sim.scenario.faults import Errors, Fault
from canario_sim.scenario.service import Service
from canario_sim.traffic import Poisson

from .measure import Rounds, Row, Table, Timer, options, ratio_text, report, rounds_of, time_text

STAGES = Deployment().canary_stages
QUICK_STAGES = tuple(Stage(stage.percentage, stage.hold_seconds / 90) for stage in STAGES)

# 271,000 requests in the 2,700 s of the documented stages.
RATE = 271_000 / 2_700

# Where most of the checks are about a handful of requests; short stages would wait for more.
LOW_RATE = 0.5

SERVERS = 8

# More than are ever in flight: a Resource at which nobody waits.
PLENTY = 10_000

# Seconds of arrivals beyond the last hold: enough to learn that it is over.
BEYOND = 30

# A rehearsal's rollback must not look like a live one's.
QUIET = logging.getLogger("canario.benchmarks")
QUIET.setLevel(logging.CRITICAL)

# What a rollout decided, and what each of its checks saw.
Decisions = tuple[tuple[Event, ...], list[Window]]

Steps = Generator[simpy.Event, object, None]

NAMES = {
    "resource": "SimPy, a process and a Resource per request",
    "process": "SimPy, a process per request",
    "callbacks": "SimPy, callbacks",
}


def main() -> None:
    """Measure everything and print the tables."""
    quick = options("One rehearsal of a rollout, beside SimPy with each request by itself.")
    stages, rounds = (QUICK_STAGES, 2) if quick else (STAGES, 5)
    long = tuple(Stage(each.percentage, each.hold_seconds * 10) for each in stages)
    failing = Errors(rate=50, at=sum(stage.hold_seconds for stage in stages) / 4)
    report(
        [
            completed(scenario_of(stages), rounds),
            queued(scenario_of(stages, servers=SERVERS), rounds),
            rolled_back(scenario_of(stages, faults=(failing,)), rounds),
            checked(scenario_of(long, rate=RATE if quick else LOW_RATE), rounds),
        ]
    )


def scenario_of(
    stages: tuple[Stage, ...],
    *,
    servers: int | None = None,
    faults: tuple[Fault, ...] = (),
    rate: float = RATE,
) -> Scenario:
    """The documented plan with these stages, on a steady service."""
    return Scenario(
        name="rollout",
        teaches="What one rehearsal costs.",
        plan=Plan(deployment=Deployment(canary_stages=stages)),
        traffic=Poisson(rate=rate),
        baseline=Service(latency=Lognormal(p50_ms=40, p95_ms=100), error_rate=0.5, servers=servers),
        faults=faults,
    )


# -- the tables


def checked(scenario: Scenario, rounds: int) -> Table:
    """A rollout whose checks are what there is to do."""
    healthy = replace(scenario, baseline=replace(scenario.baseline, error_rate=0))
    trace = trace_of(healthy)
    peers = {"resource": partial(process_with_resource, healthy, trace, PLENTY)}
    _, measured = compare(healthy, peers, rounds)
    deployment = healthy.deployment
    checks = deployment.hold_seconds / deployment.rollback_thresholds.check_interval_seconds
    seconds, peer = measured.median("canario"), measured.median("resource")
    return Table(
        f"A rollout of {checks:,.0f} checks with {healthy.traffic.peak:g} requests/s",
        [
            Row("`canario_sim.run`", time_text(seconds), f"{time_text(seconds / checks)} a check"),
            Row(NAMES["resource"], time_text(peer), f"{time_text(peer / checks)} a check"),
        ],
        "Measured and compared as above. What bounds it is the controller, which is the same in "
        "both: at each check it counts both windows, judges them, writes history and looks for the "
        "next instant, as it does live.",
    )


def completed(scenario: Scenario, rounds: int) -> Table:
    """A rollout that is promoted."""
    trace = trace_of(scenario)
    peers = {
        "resource": partial(process_with_resource, scenario, trace, PLENTY),
        "process": partial(process_only, scenario, trace),
        "callbacks": partial(callbacks, scenario, trace),
    }
    requests, measured = compare(scenario, peers, rounds)
    many = measured.median("canario") * 10_000 / 3600
    return Table(
        f"One rollout of {requests:,} requests that is promoted",
        [
            *rows(measured, 100),
            Row(
                "10,000 such rollouts, one after the other",
                f"{many:.3f} core-hours",
                "10,000 times the first row",
                "≤ 0.15 core-hours",
                many <= 0.15,
            ),
        ],
        "CPU time. The SimPy models are given the requests ready-made and do nothing but carry "
        "them to the same controller, one by one; `canario_sim.run` draws them first, and that is "
        "in its time. In every round all must give the same journal and the same counts at every "
        f"check. Medians of {rounds} rounds.",
    )


def queued(scenario: Scenario, rounds: int) -> Table:
    """A rollout whose requests wait in line."""
    peers = {"resource": partial(process_with_resource, scenario, trace_of(scenario), SERVERS)}
    _, measured = compare(scenario, peers, rounds)
    return Table(
        f"The same with {SERVERS} servers per version, first come, first served",
        rows(measured, 50),
        "Measured and compared as above.",
    )


def rolled_back(scenario: Scenario, rounds: int) -> Table:
    """A rollout that does not come to its end."""
    peers = {"resource": partial(process_with_resource, scenario, trace_of(scenario), PLENTY)}
    requests, measured = compare(scenario, peers, rounds)
    return Table(
        f"A rollout that is rolled back after {requests:,} requests",
        rows(measured, 100),
        "Half of the canary's requests fail from a quarter of the rollout on. Measured and "
        "compared as above.",
    )


def rows(measured: Rounds, aim: int) -> list[Row]:
    """The simulator and its peers; the aim is to be so many times as fast as the Resource."""
    ratio = measured.ratio("resource", "canario")
    return [
        Row(
            "`canario_sim.run`, generation included",
            time_text(measured.median("canario")),
            f"{ratio:.0f} × faster than the Resource",
            f"≥ {aim} × faster",
            ratio >= aim,
        ),
        *(
            Row(
                what,
                time_text(measured.median(name)),
                ratio_text(measured.ratio(name, "canario"), "canario_sim"),
            )
            for name, what in NAMES.items()
            if name in measured.seconds
        ),
    ]


def compare(
    scenario: Scenario, peers: Mapping[str, Callable[[], Decisions]], rounds: int
) -> tuple[int, Rounds]:
    """The number of requests, and what each way to rehearse them takes."""
    result = run(scenario)
    expected = decisions_of(result)

    def ours() -> Decisions:
        return decisions_of(run(scenario))

    timers = {name: timer(way, expected) for name, way in {"canario": ours, **peers}.items()}
    return result.baseline.requests + result.canary.requests, rounds_of(timers, rounds)


def timer(way: Callable[[], Decisions], expected: Decisions) -> Timer:
    def measure() -> float:
        start = time.process_time()
        decisions = way()
        seconds = time.process_time() - start
        if decisions != expected:
            raise RuntimeError("two ways to rehearse the same requests decided differently")
        return seconds

    return measure


def decisions_of(result: Run | CanaryDeploymentController) -> Decisions:
    """The journal, and the counts of every check."""
    history = result.history if isinstance(result, Run) else result.metrics_history
    return result.events, windows(history)


# -- the peers


class Fate(NamedTuple):
    """What one version does to a request."""

    seconds: float
    outcome: Outcome


class Request(NamedTuple):
    """A request before it is routed."""

    at: float
    key: str
    baseline: Fate
    canary: Fate


def trace_of(scenario: Scenario) -> list[Request]:
    """The requests that `canario_sim.run` draws, one by one."""
    outcomes = (Outcome.GOOD, Outcome.BAD)
    until = scenario.deployment.hold_seconds + BEYOND
    source = Draws(scenario.settled(scenario.seed), scenario.seed)
    trace: list[Request] = []
    for chunk in source.chunks(CHUNK):
        columns = []
        for fates in (chunk.baseline, chunk.canary):
            ends = (outcomes[failed] for failed in fates.failed.tolist())
            columns.append(map(Fate, fates.seconds.tolist(), ends))
        keys = (source.keys[number] for number in chunk.key)
        trace.extend(map(Request, chunk.at.tolist(), keys, *columns))
        if trace[-1].at > until:
            break
    return trace


class Guarded:
    """A SimPy environment, and the controller that routes and observes in it."""

    def __init__(self, scenario: Scenario) -> None:
        self.env = simpy.Environment()
        self.controller = CanaryDeploymentController(
            Plan(deployment=scenario.deployment),
            clock=lambda: float(self.env.now),
            log=QUIET,
            telemetry=False,
            flights=self,
        )
        self._limit_ms = scenario.deployment.rollback_thresholds.max_p95_latency_ms
        self._open: dict[Arm, dict[float, None]] = {"baseline": {}, "canary": {}}
        self._answered: dict[Arm, float] = {"baseline": -inf, "canary": -inf}
        self.controller.start()

    def arrive(self, request: Request) -> tuple[Arm, Fate] | None:
        """Where the request goes; None when the rollout is over."""
        controller = self.controller
        if self.env.now >= controller.due:
            controller.tick()
        if controller.due == inf:
            return None
        arm = controller.router.route_request(request.key)
        self._open[arm][request.at] = None
        return arm, request.canary if arm == "canary" else request.baseline

    def finish(self, at: float, arm: Arm, outcome: Outcome) -> None:
        """Observe a request that arrived at `at`."""
        now = self.env.now
        if now >= self.controller.due:
            self.controller.tick()
        del self._open[arm][at]
        self._answered[arm] = now
        self.controller.observe(arm, outcome, (now - at) * 1000, now=now)

    def look(self, at: float, *, settle: bool) -> Seen:  # noqa: ARG002
        """What is in flight at a check; nobody waits for so long that they are given up."""
        return Seen(*(SeenOfArm(self._seen(arm, at)) for arm in self._open))

    def _seen(self, arm: Arm, now: float) -> InFlight:
        there, answered = self._open[arm], self._answered[arm]
        return InFlight(
            requests=len(there),
            overdue=sum((now - at) * 1000 > self._limit_ms for at in there),
            unanswered=sum(at > answered for at in there),
        )

    def run(self) -> Decisions:
        """Live until nothing is left to do."""
        self.env.run()
        return decisions_of(self.controller)


def process_with_resource(scenario: Scenario, trace: list[Request], servers: int) -> Decisions:
    """A process for each request, that waits for its turn at a Resource of its version."""
    world = Guarded(scenario)
    env = world.env
    pools: dict[Arm, simpy.Resource] = {
        "baseline": simpy.Resource(env, servers),
        "canary": simpy.Resource(env, servers),
    }

    def serve(at: float, arm: Arm, fate: Fate) -> Steps:
        with pools[arm].request() as turn:
            yield turn
            yield env.timeout(fate.seconds)
        world.finish(at, arm, fate.outcome)

    env.process(_arrivals(world, trace, serve))
    return world.run()


def process_only(scenario: Scenario, trace: list[Request]) -> Decisions:
    """A process for each request."""
    world = Guarded(scenario)
    env = world.env

    def serve(at: float, arm: Arm, fate: Fate) -> Steps:
        yield env.timeout(fate.seconds)
        world.finish(at, arm, fate.outcome)

    env.process(_arrivals(world, trace, serve))
    return world.run()


def _arrivals(
    world: Guarded, trace: list[Request], serve: Callable[[float, Arm, Fate], Steps]
) -> Steps:
    env = world.env
    for request in trace:
        yield env.timeout(request.at - env.now)
        routed = world.arrive(request)
        if routed is None:
            return
        env.process(serve(request.at, *routed))


def callbacks(scenario: Scenario, trace: list[Request]) -> Decisions:
    """Two events for each request, and no process."""
    world = Guarded(scenario)
    env = world.env
    requests = iter(trace)

    def expect_next() -> None:
        request = next(requests)
        arrival = env.timeout(request.at - env.now)
        arrival.callbacks.append(lambda _: arrive(request))

    def arrive(request: Request) -> None:
        routed = world.arrive(request)
        if routed is None:
            return
        arm, fate = routed
        done = env.timeout(fate.seconds)
        done.callbacks.append(lambda _: world.finish(request.at, arm, fate.outcome))
        expect_next()

    expect_next()
    return world.run()


if __name__ == "__main__":
    main()
