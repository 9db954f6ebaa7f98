"""A rollout that nobody rolls back: all that any thresholds need to know of it.

Up to its rollback a rollout does not depend on the thresholds that judge it. So it is rehearsed
once by a judge that only looks on, and every candidate is told afterwards when it would have
stepped in. What candidates do not share is how long a stage waits for `min_samples`; so a
trajectory belongs to one such number, and to all others that would have waited just as long.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from msgspec.structs import replace

from canario.control.events import Restarted
from canario.control.state import Phase
from canario.judges.verdict import Evidence, Trigger, Verdict, VerdictKind
from canario.metrics.window import SlidingWindow
from canario_sim.block import Flown
from canario_sim.expect import Outcome
from canario_sim.flights import CANARY, FAILED, FLAGS
from canario_sim.runner import outcome_of, world_of
from canario_sim.scenario import Scenario
from canario_sim.streams import Flags, Floats, Ints

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

    Requests are the canary's, in the order in which they were done (at one instant in that of
    their arrival); looks are in the order in which a judge is asked.

    Attributes:
        done: When each request was done, in seconds.
        failed: Whether it failed.
        broken: 0, or 1 + the number of the contract that it broke.
        latency_ms: How long it took.
        contracts: Names of the contracts, by number.
        first: For each user, in rising order, how many requests had arrived before the first.
        at: When each look was.
        kind: Why, see `Look`.
        stage: In which stage, from 0 on.
        seen: How many requests were done by then.
        since: How many of those were done before the window was cleared by a restart.
        restarts: How many restarts there had been.
        begun: How many were done when the stage began.
        arrived: How many had arrived.
        waited: At the end of a stage, whether it then waited for requests.
        baseline: What the baseline did; None where nobody asked for it.
        end: How it ended when nobody stepped in; None when it was not followed to its end.
    """

    done: Floats
    failed: Flags
    broken: Ints
    latency_ms: Floats
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
    baseline: Baseline | None
    end: End | None

    def departs(self, min_samples: int) -> int:
        """The first look at which a rollout with this number would have gone on otherwise; the
        number of looks when there is none."""
        own = self.seen - self.begun < min_samples
        otherwise = np.flatnonzero((self.kind == Look.END_OF_STAGE) & (own != self.waited))
        return int(otherwise[0]) if len(otherwise) else len(self.at)


class _Onlooker:
    """The judge that only looks on. It ends the rollout where every candidate would: at a broken
    contract without a budget, or once it is told that there is nothing left to see."""

    def __init__(self, min_samples: int, tolerated: frozenset[str]) -> None:
        self.looks: list[tuple[float, Look, int, int, bool]] = []
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
        waits = min(evidence.stage.requests, evidence.stage.timed) < self._min_samples
        self._look(Look.END_OF_STAGE, evidence, waits)
        if self.over:
            return _OVER
        return _WAITING if waits else _HEALTHY

    def _look(self, kind: Look, evidence: Evidence, waits: bool = False) -> None:
        self.looks.append((evidence.at, kind, evidence.number, evidence.stage.requests, waits))


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
        scenario: What to rehearse; of its plan's thresholds only the check interval and the
            contracts' budgets matter.
        seed: Of all that is random.
        min_samples: What a stage waits for.
        baseline: Whether what the baseline does is recorded too.
        enough: Is asked now and then whether what there is suffices; the rest is then left out.
    """
    thresholds = scenario.plan.deployment.rollback_thresholds
    scenario = _in_one_slice(scenario)
    onlooker = _Onlooker(min_samples, frozenset(thresholds.tolerated))
    parts: list[Flown] = []
    due = 8

    def witness(flown: Flown) -> None:
        nonlocal due
        parts.append(flown)
        looks = len(onlooker.looks)
        if enough is not None and looks >= due and not world.controller.state.phase.terminal:
            onlooker.over = onlooker.over or enough(made(None))
            due = 2 * looks

    def made(end: tuple[Outcome, str | None, float, int] | None) -> Trajectory:
        restarts = [event.at for event in world.controller.events if isinstance(event, Restarted)]
        names = tuple(each.contract for each in scenario.contract_failures)
        return _assembled(parts, onlooker.looks, restarts, names, end, baseline)

    world = world_of(scenario, seed, judge=onlooker, witness=witness)
    world.run()
    state = world.controller.state
    if onlooker.over:
        return made(None)
    reason = str(state.reason) if state.phase is Phase.ROLLED_BACK else None
    return made((outcome_of(state), reason, world.now, state.stage))


def _in_one_slice(scenario: Scenario) -> Scenario:
    """The same, with a window of which one slice is longer than the rehearsal: the onlooker does
    not look at it, and the fewer slices there are, the less there is to be counted."""
    deployment = scenario.plan.deployment
    seconds = SlidingWindow(1).slices * scenario.horizon
    thresholds = replace(deployment.rollback_thresholds, metric_window_seconds=seconds)
    deployment = replace(deployment, rollback_thresholds=thresholds)
    plan = replace(scenario.plan, deployment=deployment)
    return replace(scenario, plan=plan, horizon_seconds=scenario.horizon)


def _assembled(
    parts: list[Flown],
    looks: list[tuple[float, Look, int, int, bool]],
    restarts: list[float],
    contracts: tuple[str, ...],
    end: tuple[Outcome, str | None, float, int] | None,
    both: bool,
) -> Trajectory:
    arrivals, key, finished, code = _arm(parts, CANARY)
    order = np.argsort(finished, kind="stable")
    done, code = finished[order], code[order].astype(np.int64)
    at = np.array([look[0] for look in looks])
    kind = np.array([look[1] for look in looks], np.int64)
    seen, arrived = _seen(at, kind, arrivals, done, code, order)
    # A check at the instant of a restart comes before it, a broken contract after it.
    before = np.searchsorted(restarts, at, "left")
    broken = kind == Look.BROKEN
    before[broken] = np.searchsorted(restarts, at[broken], "right")
    return Trajectory(
        done=done,
        failed=code & FAILED > 0,
        broken=code // FLAGS,
        latency_ms=(done - arrivals[order]) * 1000,
        contracts=contracts,
        first=_first(key),
        at=at,
        kind=kind,
        stage=np.array([look[2] for look in looks], np.int64),
        seen=seen,
        since=_cleared(done, restarts)[before],
        restarts=before,
        begun=seen - np.array([look[3] for look in looks], np.int64),
        arrived=arrived,
        waited=np.array([look[4] for look in looks], np.bool_),
        baseline=_baseline(parts, at, restarts, before) if both else None,
        end=None
        if end is None
        else End(
            *end,
            done=int(np.searchsorted(done, end[2], "left")),
            arrived=int(np.searchsorted(arrivals, end[2], "left")),
        ),
    )


def _baseline(parts: list[Flown], at: Floats, restarts: list[float], before: Ints) -> Baseline:
    arrivals, _, finished, code = _arm(parts, 0)
    order = np.argsort(finished, kind="stable")
    done = finished[order]
    return Baseline(
        failed=code[order] & FAILED > 0,
        latency_ms=(done - arrivals[order]) * 1000,
        seen=np.searchsorted(done, at, "left"),
        since=_cleared(done, restarts)[before],
    )


def _cleared(done: Floats, restarts: list[float]) -> Ints:
    """How many requests were done before the start, and before each restart."""
    return np.append(0, np.searchsorted(done, restarts, "left")).astype(np.int64)


def _arm(parts: list[Flown], arm: int) -> tuple[Floats, Ints, Floats, Ints]:
    """Arrival, key, end and code of one arm's requests, in order of arrival."""
    if not parts:
        return np.empty(0), np.empty(0, np.int64), np.empty(0), np.empty(0, np.int64)
    mine = [part.flights.code & CANARY == arm for part in parts]
    pairs = list(zip(parts, mine, strict=True))
    return (
        np.concatenate([part.at[own] for part, own in pairs]),
        np.concatenate([part.key[own] for part, own in pairs]),
        np.concatenate([part.flights.done[own] for part, own in pairs]),
        np.concatenate([part.flights.code[own] for part, own in pairs]),
    )


def _first(key: Ints) -> Ints:
    """For each key that occurs, the place of its first occurrence; in rising order."""
    places = np.full(int(key.max(initial=-1)) + 1, -1)
    # Of several values for one place the last one stays: here that of the first occurrence.
    places[key[::-1]] = np.arange(len(key))[::-1]
    return np.sort(places[places >= 0])


def _seen(
    at: Floats, kind: Ints, arrivals: Floats, done: Floats, code: Ints, order: Ints
) -> tuple[Ints, Ints]:
    """For each look, how many of the canary's requests were done, and how many had arrived.

    At one instant a check comes before requests that are done then. A broken contract is looked
    at when its own request is done, and those before it at the same instant.
    """
    seen = np.searchsorted(done, at, "left")
    arrived = np.searchsorted(arrivals, at, "left")
    looks = np.flatnonzero(kind == Look.BROKEN)
    # They come in the order of their requests, so the n-th look belongs to the n-th of them.
    own = np.flatnonzero(code // FLAGS)[: len(looks)]
    seen[looks] = own + 1
    arrived[looks] = np.maximum(arrived[looks], order[own] + 1)
    return seen, arrived
