"""How a flow stands: frozen values, and the exact decision whether an objective is met."""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

from msgspec import Struct

from canario.metrics.flow import FlowCounts
from canario.metrics.histogram import DurationTotals
from canario.plan import Objectives

from .baseline import Baseline, Comparison, compare
from .burn import CLEAR_SHARE
from .recoveries import RecoverySummary, beside_limit

__all__ = ["FlowTotals", "Limits", "Measure", "SLOStatus", "judge"]


class SLOStatus(Struct, frozen=True, kw_only=True):
    """How one flow stands over the aggregation window. What has no data is None.

    `samples` are the requests. `availability` is the percentage of them that succeeded and kept
    their contract, `error_rate_percent` the percentage that failed. `p95_latency_ms` is within
    1 %, and on the side of the limit that the exact count of slow requests puts it.
    `performance_regression_percent` is how far the p95 is above the baseline's, None where the
    two may not be compared. `p99_recovery_time_ms` is that of `recoveries` recoveries.
    """

    flow_name: str
    at: float
    samples: int
    availability: float | None
    p95_latency_ms: float | None
    error_rate_percent: float | None
    availability_met: bool | None
    latency_met: bool | None
    error_rate_met: bool | None
    overall_slo_met: bool | None
    contract_violations: int
    performance_regression_percent: float | None
    p99_recovery_time_ms: float | None
    recoveries: int


class FlowTotals(Struct, frozen=True, kw_only=True):
    """Everything counted of one flow since the start; `bad` failed or broke their contract."""

    flow_name: str
    requests: int
    errors: int
    bad: int
    timed: int
    slow: int
    violations: int
    recoveries: int
    recoveries_failed: int
    duration: DurationTotals


class Limits:
    """Objectives as ratios of integers, taken as the decimal numbers they are written as."""

    __slots__ = ("_bad", "_errors", "budget", "objectives")

    def __init__(self, objectives: Objectives) -> None:
        self.objectives = objectives
        self.budget = 1 - Fraction(str(objectives.availability_percent)) / 100
        self._bad = self.budget.as_integer_ratio()
        self._errors = (Fraction(str(objectives.error_rate_percent)) / 100).as_integer_ratio()

    def available(self, counts: FlowCounts) -> bool | None:
        """Whether no more requests are bad than may be; None with too few of them."""
        numerator, denominator = self._bad
        n = counts.requests
        return counts.bad * denominator <= n * numerator if self._enough(n) else None

    def few_errors(self, counts: FlowCounts) -> bool | None:
        """Whether no more requests failed than may; None with too few of them."""
        numerator, denominator = self._errors
        n = counts.requests
        return counts.errors * denominator <= n * numerator if self._enough(n) else None

    def fast(self, counts: FlowCounts) -> bool | None:
        """Whether the p95 is within its limit; None with too few timed requests.

        The p95 of n latencies is above the limit exactly when n - floor(0.95 n) of them are.
        """
        return not is_slow(counts) if self._enough(counts.timed) else None

    def clearly_available(self, counts: FlowCounts) -> bool:
        """Whether no more than `CLEAR_SHARE` of the bad requests that may be are there."""
        return counts.requests > 0 and _within_share(counts.bad, counts.requests, self._bad)

    def clearly_few_errors(self, counts: FlowCounts) -> bool:
        """The same for failed requests."""
        return counts.requests > 0 and _within_share(counts.errors, counts.requests, self._errors)

    def _enough(self, n: int) -> bool:
        return n >= self.objectives.min_samples


class Measure(NamedTuple):
    """What was measured of a flow over the aggregation window."""

    flow_name: str
    at: float
    counts: FlowCounts
    p95_ms: float | None
    recovery: RecoverySummary
    baseline: Baseline | None

    def shown_p95(self, limit: float) -> float | None:
        """The p95 on its side of the limit, which the histogram alone may miss by 1 %."""
        if self.p95_ms is None:
            return None
        return beside_limit(self.p95_ms, limit, above=is_slow(self.counts))

    def regression(self, objectives: Objectives) -> Comparison:
        """The p95 beside the baseline's."""
        p95 = self.shown_p95(objectives.p95_latency_ms)
        return compare(self.baseline, p95, self.counts.timed, objectives.baseline_min_samples)


def _within_share(n: int, of: int, ratio: tuple[int, int]) -> bool:
    numerator, denominator = ratio
    clear = CLEAR_SHARE
    return n * denominator * clear.denominator <= of * numerator * clear.numerator


def is_slow(counts: FlowCounts) -> bool:
    """Whether the p95 is above the latency limit."""
    n = counts.timed
    return n > 0 and counts.slow >= n - n * 95 // 100


def judge(measure: Measure, limits: Limits) -> SLOStatus:
    """The status that a measure amounts to."""
    counts, recovery = measure.counts, measure.recovery
    n = counts.requests
    met = (limits.available(counts), limits.fast(counts), limits.few_errors(counts))
    judged = [one for one in met if one is not None]
    return SLOStatus(
        flow_name=measure.flow_name,
        at=measure.at,
        samples=n,
        availability=availability(counts),
        p95_latency_ms=measure.shown_p95(limits.objectives.p95_latency_ms),
        error_rate_percent=100 * counts.errors / n if n else None,
        availability_met=met[0],
        latency_met=met[1],
        error_rate_met=met[2],
        overall_slo_met=all(judged) if judged else None,
        contract_violations=counts.violations,
        performance_regression_percent=measure.regression(limits.objectives).percent,
        p99_recovery_time_ms=recovery.p99_ms,
        recoveries=recovery.recoveries,
    )


def availability(counts: FlowCounts) -> float | None:
    """Percent of the requests that were not bad.

    Not below 0: of a request whose contract turns out broken twice, both are counted.
    """
    n = counts.requests
    return 100 * max(n - counts.bad, 0) / n if n else None
