"""What came of tuning, as one value: all that a table, a picture or a program needs."""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import Struct

from canario.plan import Deployment, Plan
from canario_sim.lab.assessment import Described
from canario_sim.lab.summary import Characteristics, Estimate

from .goals import Goals

__all__ = [
    "Check",
    "GoalName",
    "HeatMap",
    "Impossible",
    "Point",
    "Reason",
    "Scores",
    "Tuning",
    "json_text",
]

GoalName = Literal["false_rollback", "detect", "within", "at_most"]

_encoder = msgspec.json.Encoder(order="deterministic")


class Scores(Struct, frozen=True, kw_only=True):
    """How a plan did in the search; every share is that of the condition where it does worst.

    Attributes:
        false_rollback: Share of good releases that it rolls back.
        detect: Share of bad releases that it rolls back.
        within: Share that it rolls back soon enough; as `detect` without such a goal.
        at_most: Share with few enough bad requests; 1 without such a goal.
        exposure: Bad requests that the canary of a bad release serves: the mean over the
            replications of each regression, averaged over the regressions.
        duration_seconds: Mean time in which a good release is promoted, where it is; where none
            ever is, the holds.
        shortfall: By how much the goals are missed, added up over all conditions, as a
            probability; 0 when all are met.
    """

    false_rollback: Estimate
    detect: Estimate
    within: Estimate
    at_most: Estimate
    exposure: float
    duration_seconds: float
    shortfall: float


class Point(Struct, frozen=True, kw_only=True):
    """A plan that was tried: a point of the Pareto front."""

    deployment: Deployment
    scores: Scores

    @property
    def meets_goals(self) -> bool:
        """True when no goal is missed under any condition, as far as the search saw."""
        return self.scores.shortfall == 0


class HeatMap(Struct, frozen=True, kw_only=True):
    """Shares for each pair of thresholds, all else as in the recommended plan.

    `false_rollback[i][j]` is at `max_error_rate[i]` and `max_p95_latency_ms[j]`, under the
    condition where it is highest; `detect` likewise, where it is lowest. The marks are the pairs'
    places (i, j) of the recommended and of the present plan; None where it is not among them.
    """

    max_error_rate: tuple[float, ...]
    max_p95_latency_ms: tuple[float, ...]
    false_rollback: tuple[tuple[float, ...], ...]
    detect: tuple[tuple[float, ...], ...]
    replications: int
    recommended: tuple[int, int] | None
    present: tuple[int, int] | None


class Reason(Struct, frozen=True, kw_only=True):
    """Why a value of the recommended plan is what it is. `key` is its path in a plan file."""

    key: str
    value: str
    why: str


class Check(Struct, frozen=True, kw_only=True):
    """A goal, and how a plan does on the held-out seeds under one condition.

    Attributes:
        goal: Which.
        policy: `recommended` or `present`.
        condition: The condition's name.
        wanted: The share that is asked for: an upper limit of `false_rollback`, a lower one of
            the others.
        share: What was found, with Wilson's interval.
        met: Whether the share is on the right side of what is wanted.
        shown: Whether all of its interval is.
    """

    goal: GoalName
    policy: str
    condition: str
    wanted: float
    share: Estimate
    met: bool
    shown: bool

    @property
    def short_by(self) -> float:
        """How much is lacking, as a probability; 0 where it is met."""
        return 0.0 if self.met else abs(self.share.value - self.wanted)


class Impossible(Struct, frozen=True, kw_only=True):
    """What no candidate can do.

    Attributes:
        condition: Where.
        goal: Which.
        best: The best share that any candidate reaches which rolls back no more good releases
            than is allowed; of all candidates where there is none.
        why: In words: what it takes, and what can be done.
        requests: Requests of the canary that it takes to tell the two apart; None where that is
            not what is lacking.
    """

    condition: str
    goal: GoalName
    best: float
    why: str
    requests: int | None = None


class Tuning(Struct, frozen=True, kw_only=True):
    """The best plan for what matters to the user, and how it was found.

    Attributes:
        experiment: 16 hex digits that tell this search from any other.
        seed: Of the search; the held-out seeds are others.
        replications: Of each condition in the search.
        held_out: Of each condition afterwards, on seeds that the search never saw.
        confidence: Of every interval.
        complete: False when Ctrl-C ended the search early.
        goals: What was asked for.
        slow_above_ms: A request that takes longer is bad, whatever a candidate's own limit: so
            that bad requests of two candidates are the same thing.
        conditions: What was met.
        candidates: Plans that were tried.
        rehearsals: How often a rollout was simulated for that.
        repeated: Those of them that were made anew because a candidate had to wait for requests.
        front: Plans of which no other is better in one of false rollbacks, exposure and duration
            without being worse in another; by false rollbacks.
        recommended: The plan.
        present: The plan that was given, as it did on the same requests.
        plan: The recommended plan as a whole, with tracing and objectives as they were.
        reasons: Why its values are what they are.
        heat: Its neighbourhood: shares for each pair of thresholds.
        characteristics: Both plans on the held-out seeds; bad requests by `slow_above_ms`.
        checks: Both plans against the goals on the held-out seeds.
        impossible: What cannot be had.
    """

    experiment: str
    seed: int
    replications: int
    held_out: int
    confidence: float
    complete: bool
    goals: Goals
    slow_above_ms: float
    conditions: tuple[Described, ...]
    candidates: int
    rehearsals: int
    repeated: int
    front: tuple[Point, ...]
    recommended: Point
    present: Point
    plan: Plan
    reasons: tuple[Reason, ...]
    heat: HeatMap
    characteristics: tuple[Characteristics, ...]
    checks: tuple[Check, ...]
    impossible: tuple[Impossible, ...]

    @property
    def ok(self) -> bool:
        """True when the recommended plan meets every goal on the held-out seeds."""
        own = [check for check in self.checks if check.policy == "recommended"]
        return bool(own) and all(check.met for check in own)


def json_text(tuning: Tuning) -> bytes:
    """One JSON document, ending in a line feed. It holds no date, no path and no machine."""
    return msgspec.json.format(_encoder.encode(tuning), indent=2) + b"\n"
