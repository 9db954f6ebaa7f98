"""From sums to scores: how each candidate of a shape does against the goals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from canario.plan import Deployment
from canario_sim.lab.experiment import Condition
from canario_sim.lab.intervals import wilson
from canario_sim.lab.summary import Estimate
from canario_sim.streams import Floats, Ints

from .goals import Goals
from .grid import Grid, Place
from .result import GoalName, Point, Scores
from .sums import Sums

__all__ = ["Asked", "Scored", "asked"]


@dataclass(frozen=True, slots=True)
class Asked:
    """A goal under one condition: how many of the replications of each candidate did it.

    Of `false_rollback` as few are wanted as may be, of the others as many.
    """

    goal: GoalName
    condition: int
    counts: Ints
    wanted: float

    @property
    def at_most(self) -> bool:
        """Whether what is wanted is an upper limit."""
        return self.goal == "false_rollback"


def asked(conditions: Sequence[Condition], sums: Sequence[Sums], goals: Goals) -> Iterator[Asked]:
    """Every goal under every condition that it is about."""
    for number, (condition, own) in enumerate(zip(conditions, sums, strict=True)):
        if condition.kind == "healthy":
            yield Asked("false_rollback", number, own.rolled_back, goals.false_rollback)
            continue
        yield Asked("detect", number, own.rolled_back, goals.detect)
        if goals.within_seconds is not None:
            yield Asked("within", number, own.within, goals.detect)
        if goals.at_most is not None:
            yield Asked("at_most", number, own.at_most, goals.detect)


class Scored:
    """All candidates of one shape.

    Attributes:
        deployment: The shape, with thresholds that are not tried.
        grid: The candidates.
        replications: Of each condition.
        sums: By condition.
        asked: The goals, by condition.
        false_rollback: The highest share over the healthy conditions.
        exposure: See `Scores`, as `duration` and `shortfall`.
        doubt: By how much the ends of the intervals miss the goals, added up: 0 where every goal
            is shown to be met.
    """

    def __init__(
        self,
        deployment: Deployment,
        grid: Grid,
        conditions: Sequence[Condition],
        sums: Sequence[Sums],
        replications: int,
        goals: Goals,
        confidence: float,
    ) -> None:
        self.deployment = deployment
        self.grid = grid
        self.replications = replications
        self.sums = tuple(sums)
        self.asked = tuple(asked(conditions, sums, goals))
        self._goals = goals
        # Of every count once, to be looked up: there are thousands of candidates.
        self._bounds = np.array(
            [wilson(k, replications, confidence) for k in range(replications + 1)]
        )
        healthy = [each.kind == "healthy" for each in conditions]
        self.exposure = self._exposure(healthy)
        self.duration = self._duration(healthy)
        self.false_rollback = self._worst("false_rollback") / replications
        self.shortfall, self.doubt = np.zeros(grid.shape), np.zeros(grid.shape)
        for each in self.asked:
            self.shortfall += _lacking(each.counts / replications, each)
            bound = self._bounds[each.counts, int(each.at_most)]
            self.doubt += _lacking(bound, each)

    def point(self, place: Place) -> Point:
        """One candidate."""
        return Point(
            deployment=self.grid.at(place, self.deployment),
            scores=Scores(
                false_rollback=self._estimate("false_rollback", place),
                detect=self._estimate("detect", place),
                within=self._estimate(
                    "detect" if self._goals.within_seconds is None else "within", place
                ),
                at_most=self._estimate("at_most", place),
                exposure=float(self.exposure[place]),
                duration_seconds=float(self.duration[place]),
                shortfall=float(self.shortfall[place]),
            ),
        )

    def share(self, goal: GoalName) -> Floats:
        """Each candidate's share under the condition where it does worst."""
        return self._worst(goal) / self.replications

    def _worst(self, goal: GoalName) -> Ints:
        counts = [each.counts for each in self.asked if each.goal == goal]
        most = goal == "false_rollback"
        if not counts:
            return np.full(self.grid.shape, 0 if most else self.replications)
        worst: Ints = np.max(counts, axis=0) if most else np.min(counts, axis=0)
        return worst

    def _estimate(self, goal: GoalName, place: Place) -> Estimate:
        count = int(self._worst(goal)[place])
        low, high = self._bounds[count].tolist()
        return Estimate(value=count / self.replications, low=low, high=high)

    def _exposure(self, healthy: Sequence[bool]) -> Floats:
        bad = [own.bad for own, good in zip(self.sums, healthy, strict=True) if not good]
        whole: Floats = np.sum(bad, axis=0) / (max(len(bad), 1) * self.replications)
        return whole if bad else np.zeros(self.grid.shape)

    def _duration(self, healthy: Sequence[bool]) -> Floats:
        own = [own for own, good in zip(self.sums, healthy, strict=True) if good]
        if not own:
            return np.full(self.grid.shape, self.deployment.hold_seconds)
        seconds = np.sum([each.seconds for each in own], axis=0)
        promoted = np.sum([each.promoted for each in own], axis=0)
        mean: Floats = np.where(
            promoted > 0, seconds / np.maximum(promoted, 1), self.deployment.hold_seconds
        )
        return mean


def _lacking(share: Floats, goal: Asked) -> Floats:
    lacking = share - goal.wanted if goal.at_most else goal.wanted - share
    # A share that is a hair away by rounding is not lacking.
    return np.where(lacking > 1e-12, lacking, 0.0)
