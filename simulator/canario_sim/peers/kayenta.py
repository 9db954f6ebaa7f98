"""Kayenta's rule: series of the canary and of the baseline, compared by ranks, and a score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from msgspec import Meta, Struct

from canario.judges.verdict import Evidence, Trigger, Verdict
from canario.metrics.counts import Counts
from canario.plan import Deployment, RollbackThresholds, Stage
from canario.spec import Percent, Positive, Spec

from .measures import healthy, undecided, unhealthy

__all__ = ["Classification", "Kayenta", "classify"]

Label = Literal["pass", "high", "no data"]

# Metrics, each a group of its own with half of the weight.
_TRIGGERS = (Trigger.ERROR_RATE, Trigger.P95_LATENCY)


class Kayenta(Spec, frozen=True, kw_only=True, tag_field="kind", tag="kayenta"):
    """A canary stage of Spinnaker whose runs Kayenta's default judge scores.

    Each step both arms give one point of two series: the share of their requests that failed, and
    the share that took longer than `latency_ms`. At each interval the series so far are compared.
    A score under `marginal` ends the canary, and so does one under `pass_score` in the last run.
    """

    percentage: Annotated[
        float, Meta(gt=0, le=100, description="The canary's share, for all of its life.")
    ] = 10.0
    lifetime_seconds: Annotated[Positive, Meta(description="How long it is analysed.")] = 10_800.0
    interval_seconds: Annotated[Positive, Meta(description="From one run to the next.")] = 3_600.0
    step_seconds: Annotated[Positive, Meta(description="From one point to the next.")] = 60.0
    lookback: Annotated[
        Literal["growing", "sliding"],
        Meta(description="Whether a run looks at all points, or at those of its interval."),
    ] = "growing"
    marginal: Annotated[Percent, Meta(description="A run with a lower score ends it.")] = 75.0
    pass_score: Annotated[Percent, Meta(description="The last run must reach it.")] = 95.0
    # This and the tolerance are what Kayenta's default judge has (NetflixACAJudge).
    confidence: Annotated[
        float, Meta(gt=0, lt=1, description="Of the interval that the test gives.")
    ] = 0.98
    tolerance: Annotated[
        float, Meta(ge=0, description="The interval must lie beyond so much of the estimate.")
    ] = 0.25
    allowed_increase: Annotated[
        float, Meta(ge=1, description="Effect size: up to so many times the baseline's mean pass.")
    ] = 1.0
    critical_increase: Annotated[
        Annotated[float, Meta(ge=1)] | None,
        Meta(
            description="Effect size: a metric that rises so far ends it. None: none is critical."
        ),
    ] = None
    latency_ms: Annotated[
        Positive, Meta(description="What takes longer is slow, for the second series.")
    ] = 500.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, whole, part in (
            ("lifetime_seconds", self.lifetime_seconds, "interval_seconds"),
            ("interval_seconds", self.interval_seconds, "step_seconds"),
        ):
            length = getattr(self, part)
            if whole < length or abs(whole / length - round(whole / length)) > 1e-9:
                raise ValueError(
                    f"{name} is {whole!r}; it must be a multiple of {part}, {length:g}"
                )
        if self.marginal > self.pass_score:
            raise ValueError(
                f"marginal is {self.marginal!r}; it must be at most pass_score, which is "
                f"{self.pass_score:g}"
            )

    def deployment(self) -> Deployment:
        """One stage; the controller looks at each step."""
        return Deployment(
            canary_stages=(Stage(self.percentage, self.lifetime_seconds),),
            rollback_thresholds=RollbackThresholds(
                max_p95_latency_ms=self.latency_ms,
                metric_window_seconds=self.step_seconds,
                check_interval_seconds=self.step_seconds,
                min_samples=1,
            ),
        )

    @property
    def horizon_seconds(self) -> float:
        """It has ended by then."""
        return self.lifetime_seconds + self.step_seconds

    def judge(self) -> KayentaJudge:
        """A new one, for one rollout."""
        return KayentaJudge(self)


class Classification(Struct, frozen=True, kw_only=True):
    """What one metric came to: `effect` is the canary's mean over the baseline's."""

    label: Label
    effect: float


def classify(
    experiment: Sequence[float],
    control: Sequence[float],
    *,
    confidence: float = 0.98,
    tolerance: float = 0.25,
    allowed_increase: float = 1.0,
) -> Classification:
    """Kayenta's classification of one metric of which an increase is bad.

    It is high when the interval of the shift lies beyond `tolerance` times the estimate, and the
    mean has grown at least to `allowed_increase` times the baseline's.
    """
    # Here, since it loads numpy: naming a peer on a command line does not need it.
    from .ranks import shift

    if not (experiment and control):
        return Classification(label="no data", effect=1.0)
    effect = _ratio(sum(experiment) / len(experiment), sum(control) / len(control))
    # Kayenta passes these without a test.
    if sorted(experiment) == sorted(control) or len({*experiment, *control}) == 1:
        return Classification(label="pass", effect=1.0)
    found = shift(experiment, control, confidence)
    high = found.low > tolerance * abs(found.estimate) and effect >= allowed_increase
    return Classification(label="high" if high else "pass", effect=effect)


def _ratio(experiment: float, control: float) -> float:
    if control:
        return experiment / control
    return float("inf") if experiment else 1.0


class KayentaJudge:
    """The series of one rollout."""

    def __init__(self, rule: Kayenta) -> None:
        self._rule = rule
        self._run_points = round(rule.interval_seconds / rule.step_seconds)
        self.begin()

    def begin(self) -> None:
        """See `Judge`."""
        self._points: list[tuple[Counts, Counts]] = []

    def broken(self, evidence: Evidence) -> Verdict | None:  # noqa: ARG002
        """It knows no contracts."""
        return None

    def check(self, evidence: Evidence) -> Verdict:
        """Take a point of each series, and judge them where an interval ends."""
        self._points.append((evidence.window, evidence.baseline))
        if len(self._points) % self._run_points:
            return undecided(evidence.stage, f"{len(self._points)} points so far")
        return self._judge(evidence, self._rule.marginal)

    def end_of_stage(self, evidence: Evidence) -> Verdict:
        """The last run."""
        self._points.append((evidence.window, evidence.baseline))
        return self._judge(evidence, self._rule.pass_score)

    def _judge(self, evidence: Evidence, least: float) -> Verdict:
        rule = self._rule
        found = [
            classify(
                *self._series(trigger),
                confidence=rule.confidence,
                tolerance=rule.tolerance,
                allowed_increase=rule.allowed_increase,
            )
            for trigger in _TRIGGERS
        ]
        critical = rule.critical_increase
        if critical is not None and any(
            each.label == "high" and each.effect >= critical for each in found
        ):
            score = 0.0
        else:
            # A metric without data has no part in the score, and none of the weight is given on.
            score = 100 * sum(each.label == "pass" for each in found) / len(found)
        words = f"a score of {score:g} after {len(self._points)} points"
        if score >= least:
            return healthy(evidence.stage, words)
        high = [
            trigger for trigger, each in zip(_TRIGGERS, found, strict=True) if each.label == "high"
        ]
        return unhealthy(evidence.stage, high[0] if high else None, f"{words}, under {least:g}")

    def _series(self, trigger: Trigger) -> tuple[list[float], list[float]]:
        """The canary's and the baseline's points of one metric; none of a step without requests."""
        rule = self._rule
        points = self._points[-self._run_points :] if rule.lookback == "sliding" else self._points
        canary, baseline = (
            [rate for counts in arm if (rate := _rate(counts, trigger)) is not None]
            for arm in zip(*points, strict=True)
        )
        return canary, baseline


def _rate(counts: Counts, trigger: Trigger) -> float | None:
    return counts.error_rate if trigger is Trigger.ERROR_RATE else counts.slow_rate
