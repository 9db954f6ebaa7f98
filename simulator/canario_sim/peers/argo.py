"""Argo Rollouts' rule: an analysis in the background of a rollout's steps."""

from __future__ import annotations

from math import gcd
from typing import Annotated, Literal

from msgspec import Meta

from canario.judges.verdict import Evidence, Trigger, Verdict
from canario.metrics.counts import NOTHING, Counts
from canario.plan import Deployment, RollbackThresholds, Stage
from canario.spec import Count, Percent, Positive, Spec

from .measures import healthy, slower, succeeds, undecided, unhealthy

__all__ = ["Argo"]

Limit = Annotated[int, Meta(ge=0)]
Phase = Literal["successful", "failed", "inconclusive", "error"]

# Where no latency is asked for, what counts as a slow request in the reports (ms).
_SLOW_MS = 500.0

# The percentile of the latency metric.
_PERCENTILE = 95.0


class Argo(Spec, frozen=True, kw_only=True, tag_field="kind", tag="argo"):
    """An Argo Rollouts canary whose background analysis measures the success rate.

    The steps go on whatever is measured, until a metric has failed more often than
    `failure_limit` or has had more errors in a row than `consecutive_error_limit`: that aborts.
    More than `inconclusive_limit` inconclusive measurements pause it for good. At the end of its
    steps it is promoted, even if nothing was measured.
    """

    weights: Annotated[
        tuple[Annotated[float, Meta(gt=0, le=100)], ...],
        Meta(min_length=1, description="`setWeight` of each step, rising."),
    ] = (20.0, 40.0, 60.0, 80.0)
    pause_seconds: Annotated[Count, Meta(description="`pause` after each, in whole seconds.")] = 600
    interval_seconds: Annotated[
        Count, Meta(description="From one measurement to the next, in whole seconds.")
    ] = 300
    count: Annotated[
        Count | None, Meta(description="Measurements in all; none: as long as there are steps.")
    ] = None
    success_rate_percent: Annotated[
        Percent, Meta(description="`successCondition`: at least so many percent succeed.")
    ] = 95.0
    failure_rate_percent: Annotated[
        Percent | None,
        Meta(
            description="`failureCondition`: fewer than so many percent succeed; what lies "
            "between the two is inconclusive. None: what is no success is a failure."
        ),
    ] = None
    latency_ms: Annotated[
        Positive | None,
        Meta(description="A second metric: the p95 is at most this, in ms. None: no such metric."),
    ] = None
    # These defaults are Argo's own.
    failure_limit: Annotated[Limit, Meta(description="`failureLimit`.")] = 0
    inconclusive_limit: Annotated[Limit, Meta(description="`inconclusiveLimit`.")] = 0
    consecutive_error_limit: Annotated[Limit, Meta(description="`consecutiveErrorLimit`.")] = 4
    no_data: Annotated[
        Phase,
        Meta(
            description="What a measurement without a request is. `result[0]` of an empty result "
            "is an error; a condition that allows for it makes it a success or a failure."
        ),
    ] = "error"

    def __post_init__(self) -> None:
        super().__post_init__()
        low, high = self.failure_rate_percent, self.success_rate_percent
        if low is not None and low > high:
            raise ValueError(
                f"failure_rate_percent is {low!r}; it must be at most success_rate_percent, "
                f"which is {high:g}"
            )
        self.deployment()

    def deployment(self) -> Deployment:
        """A stage for each weight; the controller looks wherever a step or a measurement is due."""
        return Deployment(
            canary_stages=tuple(Stage(weight, self.pause_seconds) for weight in self.weights),
            rollback_thresholds=RollbackThresholds(
                max_p95_latency_ms=self.latency_ms or _SLOW_MS,
                metric_window_seconds=self.interval_seconds,
                check_interval_seconds=self.look_seconds,
                min_samples=1,
            ),
        )

    @property
    def look_seconds(self) -> int:
        """Steps and measurements both lie on a grid of so many seconds."""
        return gcd(self.pause_seconds, self.interval_seconds)

    @property
    def horizon_seconds(self) -> float:
        """By then it has ended, or is paused for good."""
        return float(len(self.weights) * self.pause_seconds + self.look_seconds)

    def judge(self) -> ArgoJudge:
        """A new one, for one rollout."""
        return ArgoJudge(self)


class _Metric:
    """The measurements of one metric so far."""

    def __init__(self, trigger: Trigger) -> None:
        self.trigger = trigger
        self.taken = self.failed = self.inconclusive = self.errors = 0
        self.last = NOTHING

    def add(self, phase: Phase, counts: Counts) -> None:
        self.last = counts
        if phase == "error":
            # An error is no measurement: it is tried again.
            self.errors += 1
            return
        self.errors = 0
        self.taken += 1
        self.failed += phase == "failed"
        self.inconclusive += phase == "inconclusive"


class ArgoJudge:
    """The analysis run of one rollout."""

    def __init__(self, rule: Argo) -> None:
        self._rule = rule
        self.begin()

    def begin(self) -> None:
        """See `Judge`."""
        self._metrics = [_Metric(Trigger.ERROR_RATE)]
        if self._rule.latency_ms is not None:
            self._metrics.append(_Metric(Trigger.P95_LATENCY))
        self._due: float | None = None

    def broken(self, evidence: Evidence) -> Verdict | None:  # noqa: ARG002
        """It knows no contracts."""
        return None

    def check(self, evidence: Evidence) -> Verdict:
        """Measure if it is time, and assess all measurements."""
        rule = self._rule
        if self._due is None:
            # The first look is `look_seconds` after the start, the first measurement an interval:
            # one that is taken at once, as Argo does without a delay, finds no canary's request.
            self._due = evidence.at - rule.look_seconds + rule.interval_seconds
        if evidence.at >= self._due:
            self._due += rule.interval_seconds
            for metric in self._metrics:
                if rule.count is None or metric.taken < rule.count:
                    metric.add(self._measure(metric, evidence.window), evidence.window)
        return self._assess(evidence)

    def end_of_stage(self, evidence: Evidence) -> Verdict:
        """The same: steps do not wait for measurements."""
        return self.check(evidence)

    def _measure(self, metric: _Metric, window: Counts) -> Phase:
        rule = self._rule
        if metric.trigger is Trigger.P95_LATENCY:
            if not window.timed:
                return rule.no_data
            return "failed" if slower(window, _PERCENTILE) else "successful"
        if not window.requests:
            return rule.no_data
        if succeeds(window, rule.success_rate_percent):
            return "successful"
        low = rule.failure_rate_percent
        return "inconclusive" if low is not None and succeeds(window, low) else "failed"

    def _assess(self, evidence: Evidence) -> Verdict:
        rule, window = self._rule, evidence.window
        for metric in self._metrics:
            if metric.failed > rule.failure_limit:
                return unhealthy(
                    metric.last,
                    metric.trigger,
                    f"{metric.failed} of {metric.taken} measurements failed; "
                    f"{rule.failure_limit} may",
                )
            if metric.errors > rule.consecutive_error_limit:
                return unhealthy(
                    metric.last,
                    None,
                    f"{metric.errors} measurements in a row found no data; "
                    f"{rule.consecutive_error_limit} may",
                )
        if any(metric.inconclusive > rule.inconclusive_limit for metric in self._metrics):
            return undecided(window, "the analysis is inconclusive: paused for an operator")
        taken = self._metrics[0].taken
        return healthy(window, f"{taken} measurement{'s'[: taken != 1]} so far")
