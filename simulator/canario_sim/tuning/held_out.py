"""The recommended plan and the present one on seeds that the search has never seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf

from msgspec import Struct
from msgspec.structs import replace

from canario.plan import Deployment, FixedThresholds, Sequential
from canario_sim.lab.experiment import Condition, Experiment, Policy, Row, seed_number
from canario_sim.lab.intervals import wilson
from canario_sim.lab.summary import Estimate

from .goals import Goals
from .grid import Grid
from .judged import judge_all
from .result import Check, GoalName
from .sums import begins

__all__ = ["FIRST", "Trial", "checks", "rehearse", "under"]

# Replications of the search are numbered from 0 on, those held out from here on.
FIRST = 2**31


class Trial(Struct, frozen=True, kw_only=True):
    """Replications `first` to `last` − 1 of a condition, held out, under one policy."""

    condition: Condition
    number: int
    policy: int
    deployment: Deployment
    slow_above_ms: float
    seed: int
    first: int
    last: int


def under(condition: Condition, deployment: Deployment, window: float) -> Condition:
    """A condition as a plan meets it, to the end of the one with the longest window."""
    longest = replace(deployment.rollback_thresholds, metric_window_seconds=window)
    far = Policy(name="far", deployment=replace(deployment, rollback_thresholds=longest))
    horizon = far.scenario_of(condition.scenario).horizon_seconds
    own = Policy(name="own", deployment=deployment).scenario_of(condition.scenario)
    return replace(condition, scenario=replace(own, horizon_seconds=horizon))


def rehearse(trial: Trial) -> list[Row]:
    """What a worker does. `slow` and `bad` are by `slow_above_ms`, whatever the plan's limit."""
    deployment = trial.deployment
    grid = _alone(deployment)
    place = grid.find(deployment)
    assert place is not None  # it is the only one there, or beside one
    rows = []
    for replication in range(trial.first, trial.last):
        (judged,) = judge_all(
            trial.condition.scenario, seed_number(trial.seed, FIRST + replication), grid
        )
        ended = judged.ended(place, trial.slow_above_ms)
        rows.append(
            Row.of(ended, condition=trial.number, policy=trial.policy, replication=replication)
        )
    return rows


def _alone(deployment: Deployment) -> Grid:
    thresholds, judge = deployment.rollback_thresholds, deployment.judge
    rate = thresholds.max_error_rate
    if isinstance(judge, Sequential) and judge.max_error_rate is not None:
        rate = judge.max_error_rate
    return Grid(
        max_error_rate=(rate,),
        max_p95_latency_ms=(thresholds.max_p95_latency_ms,),
        metric_window_seconds=(thresholds.metric_window_seconds,),
        min_samples=(thresholds.min_samples,),
        alpha=() if isinstance(judge, FixedThresholds) else (judge.alpha,),
    )


def checks(
    experiment: Experiment, rows: Sequence[Row], goals: Goals, confidence: float
) -> Iterator[Check]:
    """Every goal, for each policy and condition that has rows."""
    for number, policy in enumerate(experiment.policies):
        for place, condition in enumerate(experiment.conditions):
            own = [row for row in rows if row.policy == number and row.condition == place]
            if own:
                for goal, wanted, count in _counts(condition, own, goals):
                    low, high = wilson(count, len(own), confidence)
                    share = Estimate(value=count / len(own), low=low, high=high)
                    most = goal == "false_rollback"
                    yield Check(
                        goal=goal,
                        policy=policy.name,
                        condition=condition.name,
                        wanted=wanted,
                        share=share,
                        met=share.value <= wanted if most else share.value >= wanted,
                        shown=high <= wanted if most else low >= wanted,
                    )


def _counts(
    condition: Condition, rows: Sequence[Row], goals: Goals
) -> Iterator[tuple[GoalName, float, int]]:
    back = [row for row in rows if row.outcome == "rolled_back"]
    if condition.kind == "healthy":
        yield "false_rollback", goals.false_rollback, len(back)
        return
    yield "detect", goals.detect, len(back)
    if goals.within_seconds is not None:
        latest = begins(condition) + (goals.within_seconds or inf)
        yield "within", goals.detect, sum(row.at <= latest for row in back)
    if goals.at_most is not None:
        yield "at_most", goals.detect, sum(row.bad <= goals.at_most for row in rows)
