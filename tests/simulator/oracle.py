"""The same rehearsal the slow way: one SimPy process per request, a Resource per pool.

It knows nothing of blocks, cells or numpy's traffic: every request is routed by name when it
arrives and observed by itself when it is done, on the same draws. What it shares with the
simulator is the scenario's draws and the controller.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass
from itertools import takewhile
from math import inf, nextafter

import simpy
from simpy.events import NORMAL, EventPriority

from canario.arms import ARMS, Arm
from canario.control.events import Event
from canario.control.machine import CommandRefusedError
from canario.control.rollout import MetricsSnapshot, Outcome
from canario.controller import CanaryDeploymentController
from canario.metrics.counts import Counts
from canario.metrics.in_flight import InFlight, Seen, SeenOfArm
from canario.plan import Plan, RollbackThresholds
from canario_sim.chance.draws import Draws
from canario_sim.chance.requests import Fates, Requests
from canario_sim.scenario.broken_contracts import Single
from canario_sim.scenario.faults import LostCapacity
from canario_sim.scenario.scenario import Scenario

__all__ = ["OpenOnes", "Oracle", "Waiting", "Window", "windows"]

Steps = Generator[simpy.Event, object, None]
Window = tuple[float, int, float, str, Counts, Counts, int, int, int, int]

# SimPy's own priorities are 0 and 1: at one instant an arrival comes after all else.
ARRIVAL = EventPriority(2)


@dataclass(frozen=True)
class One:
    """A request that has not been routed: what either arm would do to it."""

    at: float
    key: str
    route: str
    seconds: dict[Arm, float]
    failed: dict[Arm, bool]
    broken: dict[Arm, int]


def windows(history: tuple[MetricsSnapshot, ...]) -> list[Window]:
    """What each check saw, but for the latency quantiles that only single requests give."""
    return [
        (
            seen.at,
            seen.stage,
            seen.share,
            seen.verdict,
            seen.baseline.counts,
            seen.canary.counts,
            seen.baseline.in_flight,
            seen.baseline.overdue,
            seen.canary.in_flight,
            seen.canary.overdue,
        )
        for seen in history
    ]


@dataclass(eq=False)
class Waiting:
    """A request that somebody waits for."""

    at: float
    arm: Arm
    route: str
    given_up: bool = False


class OpenOnes:
    """Tells a controller what is in flight, request by request."""

    def __init__(self, thresholds: RollbackThresholds) -> None:
        self.thresholds = thresholds
        self.there: list[Waiting] = []
        self.answered = {"baseline": -inf, "canary": -inf}
        self.abandoned = {"baseline": 0, "canary": 0}

    def begin(self, at: float, arm: Arm, route: str = "") -> Waiting:
        one = Waiting(at, arm, route)
        self.there.append(one)
        return one

    def end(self, one: Waiting, at: float, *, answers: bool = True) -> bool:
        """Whether it is to be counted."""
        if answers:
            self.answered[one.arm] = max(at, self.answered[one.arm])
        if not one.given_up:
            self.there.remove(one)
        return not one.given_up

    def look(self, at: float, *, settle: bool) -> Seen:
        arms = []
        for arm in ARMS:
            mine = [one for one in self.there if one.arm == arm and one.at < at]
            lost = [one for one in mine if settle and self.is_lost(one, at)]
            for one in lost:
                one.given_up = True
                self.there.remove(one)
            n = len(lost)
            self.abandoned[arm] += n
            left = [one for one in mine if not one.given_up]
            arms.append(
                SeenOfArm(
                    InFlight(
                        requests=len(left),
                        overdue=sum(
                            (at - one.at) * 1000 > self.thresholds.max_p95_latency_ms
                            for one in left
                        ),
                        unanswered=sum(one.at > self.answered[arm] for one in left),
                    ),
                    Counts(requests=n, errors=n, timed=n, slow=n, abandoned=n),
                )
            )
        return Seen(*arms)

    def is_lost(self, one: Waiting, at: float) -> bool:
        limits = self.thresholds
        after = limits.abandoned_after_by_route.get(one.route, limits.abandoned_after)
        return at - one.at > after


class Oracle:
    """One rehearsal of a scenario, process by process."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        plan = Plan(deployment=scenario.deployment)
        self.env = simpy.Environment()
        self.open = OpenOnes(plan.deployment.rollback_thresholds)
        self.controller = CanaryDeploymentController(
            plan, clock=lambda: float(self.env.now), telemetry=False, flights=self.open
        )
        self.scenario = scenario.settled(seed)
        self.source = Draws(self.scenario, seed)
        self.pools: dict[Arm, simpy.Resource | None] = {
            "baseline": self._pool("baseline"),
            "canary": self._pool("canary"),
        }
        self.singles = {
            (number, arm): failure.at
            for number, failure in enumerate(self.scenario.contract_failures, start=1)
            if isinstance(failure, Single)
            for arm in ARMS
            if failure.strikes(arm)
        }
        self.bad_ends = 0
        self.users: set[str] = set()

    @property
    def bad(self) -> int:
        return self.bad_ends + self.open.abandoned["canary"]

    @property
    def in_flight(self) -> dict[Arm, int]:
        return {arm: sum(one.arm == arm for one in self.open.there) for arm in ARMS}

    @property
    def events(self) -> tuple[Event, ...]:
        return self.controller.events

    def run(self) -> Oracle:
        env = self.env
        self.controller.start()
        for arm in ARMS:
            self._lose_capacity(arm)
        for order in self.scenario.orders:
            env.process(self._order(order.at, order.order))
        self.ended = env.event()
        env.process(self._horizon())
        env.process(self._arrive())
        env.run(until=self.ended)
        return self

    def _pool(self, arm: Arm) -> simpy.Resource | None:
        servers = self.scenario.service(arm).servers
        return None if servers is None else simpy.Resource(self.env, servers)

    def _arrive(self) -> Steps:
        for one in requests_of(self.source, self.scenario.horizon):
            yield self._until(one.at, ARRIVAL)
            self._tick()
            if self.ended.triggered:
                return
            arm = self.controller.router.route_request(one.key)
            if one.route in self.scenario.keyless:
                arm = "baseline"
                count_without_key(self.controller, one.route)
            waiting = self.open.begin(one.at, arm, one.route)
            if arm == "canary":
                self.users.add(one.key)
            self.env.process(self._serve(one, arm, waiting))

    def _serve(self, one: One, arm: Arm, waiting: Waiting) -> Steps:
        broken = one.broken[arm]
        for (number, where), since in list(self.singles.items()):
            if where == arm and one.at >= since:
                del self.singles[number, where]
                broken = number
        pool = self.pools[arm]
        if pool is None:
            yield self.env.timeout(one.seconds[arm])
        else:
            with pool.request() as turn:
                yield turn
                yield self.env.timeout(one.seconds[arm])
        self._observe(one, arm, broken, waiting)

    def _observe(self, one: One, arm: Arm, broken: int, waiting: Waiting) -> None:
        self._tick()
        if self.ended.triggered:
            return
        now = float(self.env.now)
        latency_ms = (now - one.at) * 1000
        outcome = Outcome.BAD if one.failed[arm] else Outcome.GOOD
        if not self.open.end(waiting, now):
            return
        limit = self.scenario.deployment.rollback_thresholds.max_p95_latency_ms
        if arm == "canary":
            self.bad_ends += outcome is Outcome.BAD or latency_ms > limit or broken > 0
        self.controller.observe(arm, outcome, latency_ms, now=now)
        if broken:
            violation = self.source.violations[broken - 1]
            self.controller.report_violation(arm, violation, now=now)
        self._end_if_over()

    def _lose_capacity(self, arm: Arm) -> None:
        for fault in self.scenario.faults:
            if isinstance(fault, LostCapacity) and fault.strikes(arm):
                for start, end in self.scenario.occurrences(fault):
                    self.env.process(self._lose(arm, start, end, fault.servers))

    def _lose(self, arm: Arm, start: float, end: float, servers: int) -> Steps:
        yield self._until(start)
        for _ in range(servers):
            self.env.process(self._hold(arm, end))

    def _hold(self, arm: Arm, end: float) -> Steps:
        pool = self.pools[arm]
        assert pool is not None
        with pool.request() as turn:
            yield turn
            if end == inf:
                yield self.env.event()
            elif end > self.env.now:
                yield self._until(end)

    def _order(self, at: float, order: str) -> Steps:
        yield self._until(at)
        self._tick()
        with suppress(CommandRefusedError):
            getattr(self.controller, order)()
        self._end_if_over()

    def _horizon(self) -> Steps:
        yield self._until(self.scenario.horizon)
        self._tick()
        if not self.ended.triggered:
            self.ended.succeed()

    def _tick(self) -> None:
        self.controller.tick()
        self._end_if_over()

    def _end_if_over(self) -> None:
        if self.controller.state.phase.terminal and not self.ended.triggered:
            self.ended.succeed()

    def _until(self, at: float, priority: EventPriority = NORMAL) -> simpy.Event:
        delay = at - float(self.env.now)
        while self.env.now + delay < at:
            delay = nextafter(delay, inf)
        while self.env.now + delay > at:
            delay = nextafter(delay, 0)
        event = simpy.Event(self.env)
        event._ok = True
        event._value = None
        self.env.schedule(event, priority, delay)
        return event


def requests_of(source: Draws, until: float) -> Generator[One]:
    """The requests that arrive before `until`, one by one."""
    for chunk in source.chunks(5000):
        yield from takewhile(lambda one: one.at < until, _ones(chunk, source))
        if len(chunk) and chunk.at[-1] >= until:
            return


def _ones(chunk: Requests, source: Draws) -> Generator[One]:
    fates: dict[Arm, Fates] = {"baseline": chunk.baseline, "canary": chunk.canary}
    routes = source.routes or ("",)
    for number in range(len(chunk)):
        yield One(
            at=float(chunk.at[number]),
            key=source.keys[chunk.key[number]],
            route=routes[chunk.route[number]],
            seconds={arm: float(fate.seconds[number]) for arm, fate in fates.items()},
            failed={arm: bool(fate.failed[number]) for arm, fate in fates.items()},
            broken={arm: int(fate.broken[number]) for arm, fate in fates.items()},
        )


def count_without_key(controller: CanaryDeploymentController, route: str) -> None:
    """As the middleware does at the request's arrival, but for preflights."""
    if not route.startswith("OPTIONS "):
        controller.count_without_key("no_key", controller.deployment.routing.key_sources)
