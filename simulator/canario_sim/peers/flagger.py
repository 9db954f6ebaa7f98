"""Flagger's rule: failed checks halt the advance, and too many of them end it."""

from __future__ import annotations

from math import ceil
from typing import Annotated

from msgspec import Meta

from canario.judges.verdict import Evidence, Trigger, Verdict
from canario.metrics.counts import NOTHING, Counts
from canario.plan import Deployment, RollbackThresholds, Stage
from canario.spec import Count, Percent, Positive, Spec

from .measures import healthy, slower, succeeds, undecided, unhealthy

__all__ = ["Flagger"]

# The percentile that `request-duration` asks for.
_PERCENTILE = 99.0


class Flagger(Spec, frozen=True, kw_only=True, tag_field="kind", tag="flagger"):
    """Flagger's canary analysis with its built-in checks.

    Every interval both checks are made. One that passes raises the weight by a step, and at the
    largest weight it promotes. One that fails, for want of requests too, leaves the weight; when
    `threshold` have failed in all, the next tick rolls back.
    """

    interval_seconds: Annotated[
        float, Meta(ge=10, description="From one check to the next; 10 s at least.")
    ] = 60.0
    threshold: Annotated[Count, Meta(description="Failed checks that end the canary.")] = 5
    step_weight: Annotated[
        float, Meta(gt=0, le=100, description="By how much a passed check raises the share.")
    ] = 10.0
    max_weight: Annotated[
        float, Meta(gt=0, le=100, description="The share at which a passed check promotes.")
    ] = 50.0
    success_rate_percent: Annotated[
        Percent, Meta(description="`request-success-rate`: at least so many percent succeed.")
    ] = 99.0
    latency_ms: Annotated[
        Positive, Meta(description="`request-duration`: the p99 is at most this, in ms.")
    ] = 500.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.deployment()

    def deployment(self) -> Deployment:
        """A stage for each weight, held for one interval."""
        step = Stage(self.step_weight, self.interval_seconds).percentage  # refuses a wrong one
        # Rounded first: 2.1 / 0.3 is a little more than 7 in floats.
        number = ceil(round(self.max_weight / step, 9))
        # A bucket is a thousandth of a percent.
        weights = [min(round(step * (k + 1), 3), 100.0) for k in range(number)]
        return Deployment(
            canary_stages=tuple(Stage(weight, self.interval_seconds) for weight in weights),
            rollback_thresholds=RollbackThresholds(
                max_p95_latency_ms=self.latency_ms,
                metric_window_seconds=self.interval_seconds,
                check_interval_seconds=self.interval_seconds,
                min_samples=1,
            ),
        )

    @property
    def horizon_seconds(self) -> float:
        """By then it has ended: every check has passed, or enough of them have failed."""
        checks = len(self.deployment().canary_stages) + self.threshold
        return (checks + 1) * self.interval_seconds

    def judge(self) -> FlaggerJudge:
        """A new one, for one rollout."""
        return FlaggerJudge(self)


class FlaggerJudge:
    """Counts the failed checks of one rollout."""

    def __init__(self, rule: Flagger) -> None:
        self._rule = rule
        self.begin()

    def begin(self) -> None:
        """See `Judge`."""
        self._failed = 0
        self._trigger: Trigger | None = None
        self._last = NOTHING

    def broken(self, evidence: Evidence) -> Verdict | None:  # noqa: ARG002
        """It knows no contracts."""
        return None

    def check(self, evidence: Evidence) -> Verdict:
        """Between two ticks nothing is looked at."""
        return undecided(evidence.window, "Flagger looks at the end of its interval")

    def end_of_stage(self, evidence: Evidence) -> Verdict:
        """One tick."""
        rule, window = self._rule, evidence.window
        if self._failed >= rule.threshold:
            return unhealthy(self._last, self._trigger, f"{self._failed} checks have failed")
        trigger, why = self._measure(window)
        if why is None:
            return healthy(window, f"{window.errors} of {window.requests} requests failed")
        self._failed += 1
        self._trigger, self._last = trigger, window
        return undecided(window, f"failed check {self._failed} of {rule.threshold}: {why}")

    def _measure(self, window: Counts) -> tuple[Trigger | None, str | None]:
        """Why a check fails, or None."""
        rule = self._rule
        if not window.requests or not window.timed:
            return None, "no values found"
        if not succeeds(window, rule.success_rate_percent):
            return Trigger.ERROR_RATE, (
                f"{window.errors} of {window.requests} requests failed; "
                f"{rule.success_rate_percent:g} % must succeed"
            )
        if slower(window, _PERCENTILE):
            return Trigger.P95_LATENCY, (
                f"{window.slow} of {window.timed} requests took longer than {rule.latency_ms:g} ms,"
                " so the p99 is above it"
            )
        return None, None
