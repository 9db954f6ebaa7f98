"""A rollout that nobody rolls back: all that any thresholds need to know of it.

Up to its rollback a rollout does not depend on the thresholds that judge it. So it is rehearsed
once by a judge that only looks on, and every candidate is told afterwards when it would have
stepped in. What candidates do not share is how long a stage waits for `min_samples`; so a
trajectory belongs to one such number, and to all others that would have waited just as long.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import replace as replaced
from enum import IntEnum

import numpy as np
from msgspec.structs import replace

from canario.control.events import Restarted
from canario.control.state import Phase
from canario.judges.verdict import Evidence, Trigger, Verdict, VerdictKind
from canario.metrics.counts import Counts
from canario.metrics.in_flight import InFlight
from canario.metrics.window import SlidingWindow
from canario_sim.scenario.expect import Outcome
from canario_sim.scenario.scenario import Scenario, Settled
from canario_sim.streams import Flags, Floats, Ints
from canario_sim.world.block import Flown
from canario_sim.world.flights import CANARY, FAILED, FLAGS, GIVEN_UP, NO_FLIGHTS, Flights
from canario_sim.world.rehearsal import driver_of, outcome_of
from canario_sim.world.unfinished import Patience, during, given_up, waited

__all__ = ["Baseline", "End", "Look", "Trajectory", "record"]

_HEALTHY = Verdict(kind=VerdictKind.HEALTHY, samples=0, needed=0, why="looked on")
_WAITING = Verdict(kind=VerdictKind.INSUFFICIENT, samples=0, needed=0, why="looked on")
_OVER = Verdict(
    kind=VerdictKind.UNHEALTHY,
    samples=0,
    needed=0,
    why="nothing is left to be seen",
    trigger=Trigger.CONTRACT_VIOLATION,
)


class Look(IntEnum):
    """Why a judge looks: an ordinary check, the end of a stage, or a broken contract."""

    CHECK = 0
    END_OF_STAGE = 1
    BROKEN = 2


@dataclass(frozen=True, slots=True)
class End:
    """How the rollout ended of itself, by its stages, deadlines and orders.

    `done` is how many of the canary's requests were done by then, `arrived` how many had come.
    """

    outcome: Outcome
    reason: str | None
    at: float
    stage: int
    done: int
    arrived: int


@dataclass(frozen=True, slots=True)
class Baseline:
    """The baseline's requests, in the order in which they were done, as in `Trajectory`; `seen`
    and `since` are for its looks, of which only checks matter."""

    failed: Flags
    latency_ms: Floats
    seen: Ints
    since: Ints


@dataclass(frozen=True, slots=True)
class Trajectory:
    """What a judge may see of one rollout.

    Requests are the canary's, in the order in which they were counted: when they were done (at
    one instant in the order of their arrival), or given up at a check, which counts them first.
    Looks are in the order in which a judge is asked.

    Attributes:
        done: When each request was done or given up, in seconds.
        failed: Whether it failed.
        broken: 0, or 1 + the number of the contract that it broke.
        latency_ms: How long it took; inf for those that were given up.
        given_up: Which those are.
        came: When requests arrived, in that order.
        place: The place of each among those.
        contracts: Names of the contracts, by number.
        first: For each user, in rising order, how many requests had arrived before the first.
        at: When each look was.
        kind: Why, see `Look`.
        stage: In which stage, from 0 on.
        seen: How many requests were counted by then.
        since: How many of those were done before the window was cleared by a restart.
        restarts: How many restarts there had been.
        begun: How many were done when the stage began.
        arrived: How many had arrived.
        waited: At the end of a stage, whether it then waited for requests.
        in_flight: How many requests had arrived and were not counted.
        unanswered: How many of them had come after the last answer.
        overdue: How many had waited for longer than the limit of the rehearsal's own plan.
        limit_ms: That limit.
        came_since: How many had arrived since the start or the last restart, with those that were
            then in flight at the first look after it; of the baseline as well.
        baseline: What the baseline did; None where nobody asked for it.
        end: How it ended when nobody stepped in; None when it was not followed to its end.
    """

    done: Floats
    failed: Flags
    broken: Ints
    latency_ms: Floats
    given_up: Flags
    came: Floats
    place: Ints
    contracts: tuple[str, ...]
    first: Ints
    at: Floats
    kind: Ints
    stage: Ints
    seen: Ints
    since: Ints
    restarts: Ints
    begun: Ints
    arrived: Ints
    waited: Flags
    in_flight: Ints
    unanswered: Ints
    overdue: Ints
    limit_ms: float
    came_since: tuple[Ints, Ints]
    baseline: Baseline | None
    end: End | None

    def departs(self, min_samples: int) -> int:
        """The first look at which a rollout with this number would have gone on otherwise; the
        number of looks when there is none."""
        own = (self.seen - self.begun < min_samples) | (self.unanswered >= min_samples)
        otherwise = np.flatnonzero((self.kind == Look.END_OF_STAGE) & (own != self.waited))
        return int(otherwise[0]) if len(otherwise) else len(self.at)

    def overdue_by(self, limit_ms: float) -> Ints:
        """For each check, how many requests had waited for longer than any limit."""
        if limit_ms == self.limit_ms:
            return self.overdue
        checks = np.flatnonzero(self.kind != Look.BROKEN)
        at = self.at[checks]
        late = waited(self.came, at, limit_ms)
        slow = (self.latency_ms > limit_ms) & ~self.given_up
        ended = np.searchsorted(np.flatnonzero(slow), self.seen[checks])
        number = np.searchsorted(np.sort(self.place[slow]), late) - ended
        # Until they are given up they wait like others.
        first = np.searchsorted(late, self.place[self.given_up], "right")
        number += during(first, np.searchsorted(at, self.done[self.given_up]), len(at))
        overdue = np.zeros(len(self.at), np.int64)
        overdue[checks] = number
        return overdue


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the onlooker has noted of one look."""

    at: float
    kind: Look
    stage: int
    begun: int
    waits: bool
    flying: InFlight
    came: tuple[int, int]


class _Onlooker:
    """The judge that only looks on. It ends the rollout where every candidate would: at a broken
    contract without a budget, or once it is told that there is nothing left to see."""

    def __init__(self, min_samples: int, tolerated: frozenset[str]) -> None:
        self.looks: list[_Seen] = []
        self.restarts = -1
        self.over = False
        self._min_samples = min_samples
        self._tolerated = tolerated

    def begin(self) -> None:
        self.restarts += 1

    def broken(self, evidence: Evidence) -> Verdict | None:
        self._look(Look.BROKEN, evidence)
        within = sum(evidence.broken.get(name, 0) for name in self._tolerated)
        if self.over or evidence.window.violations > within:
            return _OVER
        return None

    def check(self, evidence: Evidence) -> Verdict:
        self._look(Look.CHECK, evidence)
        return _OVER if self.over else _HEALTHY

    def end_of_stage(self, evidence: Evidence) -> Verdict:
        least = self._min_samples
        waits = min(evidence.stage.requests, evidence.stage.timed) < least
        waits = waits or evidence.in_flight.unanswered >= least
        self._look(Look.END_OF_STAGE, evidence, waits)
        if self.over:
            return _OVER
        return _WAITING if waits else _HEALTHY

    def _look(self, kind: Look, evidence: Evidence, waits: bool = False) -> None:
        self.looks.append(
            _Seen(
                at=evidence.at,
                kind=kind,
                stage=evidence.number,
                begun=evidence.stage.requests,
                waits=waits,
                flying=evidence.in_flight,
                came=(
                    _came(evidence.total, evidence.in_flight),
                    _came(evidence.baseline_total, evidence.baseline_in_flight),
                ),
            )
        )


def _came(counts: Counts, flying: InFlight) -> int:
    """How many have arrived, whatever has become of them."""
    return counts.requests + counts.neutral + flying.requests


def record(
    scenario: Scenario,
    seed: int,
    min_samples: int,
    *,
    baseline: bool = False,
    enough: Callable[[Trajectory], bool] | None = None,
) -> Trajectory:
    """Rehearse a scenario without any rollback for its thresholds.

    Args:
        scenario: What to rehearse; of its plan's thresholds only the check interval, the
            contracts' budgets and how long a request is waited for matter.
        seed: Of all that is random.
        min_samples: What a stage waits for.
        baseline: Whether what the baseline does is recorded too.
        enough: Is asked now and then whether what there is suffices; the rest is then left out.
    """
    thresholds = scenario.plan.deployment.rollback_thresholds
    settled = _in_one_slice(scenario.settled(seed))
    onlooker = _Onlooker(min_samples, frozenset(thresholds.tolerated))
    parts: list[Flown] = []
    due = 8

    def witness(flown: Flown) -> None:
        nonlocal due
        parts.append(flown)
        looks = len(onlooker.looks)
        if enough is not None and looks >= due and not driver.state.phase.terminal:
            onlooker.over = onlooker.over or enough(made(None))
            # After twice as many: asking looks at all of them again.
            due = 2 * looks

    def made(end: tuple[Outcome, str | None, float, int] | None) -> Trajectory:
        restarts = [event.at for event in driver.controller.events if isinstance(event, Restarted)]
        names = tuple(each.contract for each in settled.contract_failures)
        patience = Patience.of(thresholds, settled.route_names)
        return _Assembly(onlooker.looks, restarts, patience, marked=settled.closed).trajectory(
            parts, names, end, baseline
        )

    driver = driver_of(settled, seed, judge=onlooker, witness=witness)
    driver.run()
    state = driver.state
    if onlooker.over:
        return made(None)
    reason = str(state.reason) if state.phase is Phase.ROLLED_BACK else None
    return made((outcome_of(state), reason, driver.now, state.stage))


def _in_one_slice(scenario: Settled) -> Settled:
    """The same, with a window of which one slice is longer than the rehearsal: the onlooker does
    not look at it, and the fewer slices there are, the less there is to be counted."""
    deployment = scenario.plan.deployment
    seconds = SlidingWindow(1).slices * scenario.horizon
    thresholds = replace(deployment.rollback_thresholds, metric_window_seconds=seconds)
    deployment = replace(deployment, rollback_thresholds=thresholds)
    plan = replace(scenario.plan, deployment=deployment)
    return replace(scenario, plan=plan, horizon_seconds=scenario.horizon)


@dataclass(frozen=True, slots=True)
class _Assembly:
    """Looks, and what they saw.

    Attributes:
        looks: In their order.
        restarts: When the rollout was restarted.
        patience: How long requests were waited for.
        marked: Whether those that were given up are marked as such; else those were who were in
            flight for too long.
    """

    looks: list[_Seen]
    restarts: list[float]
    patience: Patience
    marked: bool

    def trajectory(
        self,
        parts: list[Flown],
        contracts: tuple[str, ...],
        end: tuple[Outcome, str | None, float, int] | None,
        both: bool,
    ) -> Trajectory:
        """All of it."""
        looks = self.looks
        own = self._arm(parts, CANARY)
        at, kind = self._at(), np.array([look.kind for look in looks], np.int64)
        seen, arrived = _seen(at, kind, own)
        # A check at the instant of a restart comes before it, a broken contract after it.
        before = np.searchsorted(self.restarts, at, "left")
        broken = kind == Look.BROKEN
        before[broken] = np.searchsorted(self.restarts, at[broken], "right")
        return Trajectory(
            done=own.done,
            failed=own.failed,
            broken=own.broken,
            latency_ms=own.latency_ms,
            given_up=own.given_up,
            came=own.came,
            place=own.place,
            contracts=contracts,
            first=_first(own.key),
            at=at,
            kind=kind,
            stage=np.array([look.stage for look in looks], np.int64),
            seen=seen,
            since=self._cleared(own)[before],
            restarts=before,
            begun=seen - np.array([look.begun for look in looks], np.int64),
            arrived=arrived,
            waited=np.array([look.waits for look in looks], np.bool_),
            in_flight=np.array([look.flying.requests for look in looks], np.int64),
            unanswered=np.array([look.flying.unanswered for look in looks], np.int64),
            overdue=np.array([look.flying.overdue for look in looks], np.int64),
            limit_ms=self.patience.limit_ms,
            came_since=(
                np.array([look.came[0] for look in looks], np.int64),
                np.array([look.came[1] for look in looks], np.int64),
            ),
            baseline=self._baseline(parts, at, before) if both else None,
            end=None
            if end is None
            else End(
                *end,
                done=int(own.by(np.array([end[2]]))[0]),
                arrived=int(np.searchsorted(own.came, end[2], "left")),
            ),
        )

    def _at(self) -> Floats:
        return np.array([look.at for look in self.looks])

    def _baseline(self, parts: list[Flown], at: Floats, before: Ints) -> Baseline:
        own = self._arm(parts, 0)
        return Baseline(
            failed=own.failed,
            latency_ms=own.latency_ms,
            seen=own.by(at),
            since=self._cleared(own)[before],
        )

    def _cleared(self, own: _Requests) -> Ints:
        """How many requests were counted before the start, and before each restart."""
        return np.append(0, own.by(np.array(self.restarts))).astype(np.int64)

    def _arm(self, parts: list[Flown], arm: int) -> _Requests:
        """One arm's requests."""
        mine = [part.flights.code & CANARY == arm for part in parts]
        pairs = list(zip(parts, mine, strict=True))
        flights = Flights.joined([NO_FLIGHTS, *(part.flights[own] for part, own in pairs)])
        key = np.concatenate([np.empty(0, np.int64), *(part.key[own] for part, own in pairs)])
        checks = np.array([look.at for look in self.looks if look.kind is not Look.BROKEN])
        unmarked = replaced(flights, code=flights.code & ~np.uint16(GIVEN_UP))
        gone = given_up(unmarked, checks, self.patience)
        lost, counted = np.zeros(len(key), np.bool_), flights.done.copy()
        there = flights.code[gone.place] & GIVEN_UP > 0 if self.marked else slice(None)
        lost[gone.place[there]] = True
        counted[gone.place[there]] = gone.when[there]
        # At one instant those that a check gives up come first.
        order = np.lexsort((~lost, counted))
        code, latency = flights.code.astype(np.int64), (flights.done - flights.at) * 1000
        return _Requests(
            came=flights.at,
            key=key,
            place=order,
            done=counted[order],
            failed=(code & FAILED > 0)[order] | lost[order],
            broken=np.where(lost, 0, code // FLAGS)[order],
            latency_ms=np.where(lost, np.inf, latency)[order],
            given_up=lost[order],
        )


@dataclass(frozen=True, slots=True)
class _Requests:
    """One arm's requests, as in `Trajectory`; `key` in order of arrival, like `came`."""

    came: Floats
    key: Ints
    place: Ints
    done: Floats
    failed: Flags
    broken: Ints
    latency_ms: Floats
    given_up: Flags

    def by(self, at: Floats) -> Ints:
        """How many were counted before each instant, or given up at it."""
        counted = np.where(self.given_up, np.nextafter(self.done, -np.inf), self.done)
        return np.searchsorted(counted, at, "left")


def _first(key: Ints) -> Ints:
    """For each key that occurs, the place of its first occurrence; in rising order."""
    places = np.full(int(key.max(initial=-1)) + 1, -1)
    # Of several values for one place the last one stays: here that of the first occurrence.
    places[key[::-1]] = np.arange(len(key))[::-1]
    return np.sort(places[places >= 0])


def _seen(at: Floats, kind: Ints, own: _Requests) -> tuple[Ints, Ints]:
    """For each look, how many of the canary's requests were counted, and how many had arrived.

    At one instant a check comes before requests that are done then. A broken contract is looked
    at when its own request is done, and those before it at the same instant.
    """
    seen = own.by(at)
    arrived = np.searchsorted(own.came, at, "left")
    looks = np.flatnonzero(kind == Look.BROKEN)
    # They come in the order of their requests, so the n-th look belongs to the n-th of them.
    broken = np.flatnonzero(own.broken)[: len(looks)]
    seen[looks] = broken + 1
    arrived[looks] = np.maximum(arrived[looks], own.place[broken] + 1)
    return seen, arrived
