"""The alert rules: what was measured of a flow beside its limits, with the reason in words. Pure.

A condition is breached beyond its limit. It is clear, so that its alert may end, when the value is
back by a tenth of what the limit allows: an availability limit of 99.5 % allows 0.5 points, so it
is clear from 99.55 % on; an upper limit at nine tenths of it; a burn rate when one of its two
windows is at nine tenths of the factor; a contract when no violation is in the window.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from canario.alerts.alert import AlertType, Condition, Severity
from canario.control.violation import Violation
from canario.control.words import seconds_in_words

from .burn import CLEAR_SHARE, BurnRate
from .status import Limits, Measure, SLOStatus, judge

_CLEAR = float(CLEAR_SHARE)

__all__ = ["Example", "Examples", "conditions_of"]


class Example(NamedTuple):
    """The trace of one request, and when it was recorded."""

    at: float
    trace_id: str


class Examples(NamedTuple):
    """The last traced request of the window that was bad, and the last one that was slow; the
    last violation that was described.
    """

    bad: str | None = None
    slow: str | None = None
    violation: Violation | None = None


def conditions_of(
    measure: Measure, limits: Limits, burns: Iterable[BurnRate], examples: Examples
) -> list[Condition]:
    """Every rule about one flow."""
    made = _Conditions(measure, limits, examples)
    return [
        made.contract(),
        made.availability(),
        made.error_rate(),
        made.latency(),
        made.regression(),
        made.recovery(),
        *(made.burn(rate) for rate in burns),
    ]


class _Conditions:
    """The rules of one flow."""

    def __init__(self, measure: Measure, limits: Limits, examples: Examples) -> None:
        self.measure = measure
        self.limits = limits
        self.objectives = limits.objectives
        self.examples = examples
        self.status: SLOStatus = judge(measure, limits)
        self.window = f"in the last {seconds_in_words(self.objectives.aggregation_window_seconds)}"

    def contract(self) -> Condition:
        counts = self.measure.counts
        n = counts.violations
        what = "one contract violation" if n == 1 else f"{n:,} contract violations"
        last = self.examples.violation
        return self._condition(
            AlertType.CONTRACT_VIOLATION,
            Severity.CRITICAL,
            breached=n > 0 if n or counts.requests else None,
            clear=n == 0,
            observed=float(n),
            limit=0.0,
            unit="violations",
            samples=counts.requests,
            message=f"{what} {self.window}; none is allowed" + (f" ({last})" if last else ""),
            trace_id=(last.trace_id if last else None) or self.examples.bad,
        )

    def availability(self) -> Condition:
        counts, value = self.measure.counts, self.status.availability
        limit = self.objectives.availability_percent
        n = counts.requests
        return self._condition(
            AlertType.AVAILABILITY_DEGRADED,
            Severity.CRITICAL,
            breached=_not(self.status.availability_met),
            clear=self.limits.clearly_available(counts),
            observed=value,
            limit=limit,
            unit="%",
            samples=n,
            message=self._said(
                value,
                f"availability {_number(value)} % {self.window}, at least {limit:g} % is wanted: "
                f"{counts.bad:,} of {n:,} requests failed or broke their contract",
            ),
            trace_id=self.examples.bad,
        )

    def error_rate(self) -> Condition:
        counts, value = self.measure.counts, self.status.error_rate_percent
        limit = self.objectives.error_rate_percent
        n = counts.requests
        return self._condition(
            AlertType.ERROR_RATE_EXCEEDED,
            Severity.CRITICAL,
            breached=_not(self.status.error_rate_met),
            clear=self.limits.clearly_few_errors(counts),
            observed=value,
            limit=limit,
            unit="%",
            samples=n,
            message=self._said(
                value,
                f"error rate {_number(value)} % {self.window}, at most {limit:g} % is allowed: "
                f"{counts.errors:,} of {n:,} requests failed",
            ),
            trace_id=self.examples.bad,
        )

    def latency(self) -> Condition:
        counts, value = self.measure.counts, self.status.p95_latency_ms
        limit = self.objectives.p95_latency_ms
        return self._condition(
            AlertType.LATENCY_EXCEEDED,
            Severity.WARNING,
            breached=_not(self.status.latency_met),
            clear=value is not None and value <= _CLEAR * limit,
            observed=value,
            limit=limit,
            unit="ms",
            samples=counts.timed,
            message=self._said(
                value,
                f"p95 latency {_number(value)} ms {self.window}, at most {limit:g} ms is allowed: "
                f"{counts.slow:,} of {counts.timed:,} requests took longer",
            ),
            trace_id=self.examples.slow,
        )

    def regression(self) -> Condition:
        comparison = self.measure.regression(self.objectives)
        limit, value = self.objectives.performance_regression_percent, comparison.percent
        return self._condition(
            AlertType.PERFORMANCE_REGRESSION,
            Severity.WARNING,
            breached=None if value is None else value > limit,
            clear=value is not None and value <= _CLEAR * limit,
            observed=value,
            limit=limit,
            unit="%",
            samples=self.measure.counts.timed,
            message=f"{comparison.reason}; at most {limit:g} % above is allowed",
            trace_id=self.examples.slow,
        )

    def recovery(self) -> Condition:
        found = self.measure.recovery
        limit, value = self.objectives.p99_recovery_time_ms, found.p99_ms
        failed = f", {found.failed:,} of them in vain" if found.failed else ""
        what = "recovery" if found.recoveries == 1 else "recoveries"
        return self._condition(
            AlertType.FAULT_RECOVERY,
            Severity.CRITICAL,
            breached=found.breached,
            clear=value is not None and value <= _CLEAR * limit,
            observed=value,
            limit=limit,
            unit="ms",
            samples=found.recoveries,
            message=f"p99 of {found.recoveries:,} {what} from faults{failed} is "
            f"{_number(value)} ms {self.window}, at most {limit:g} ms is allowed"
            if found.recoveries
            else f"no recovery from a fault {self.window}",
            trace_id=self.examples.bad,
        )

    def burn(self, rate: BurnRate) -> Condition:
        long, short = seconds_in_words(rate.long_seconds), seconds_in_words(rate.short_seconds)
        were = "was" if rate.bad == 1 else "were"
        return self._condition(
            AlertType.BURN_RATE,
            rate.severity,
            breached=rate.breached,
            clear=rate.clear,
            observed=rate.rate,
            limit=rate.factor,
            unit="x",
            samples=rate.samples,
            message=f"the error budget burns {_number(rate.rate)} times too fast over {long} and "
            f"{_number(rate.short_rate)} times over {short}, at most {rate.factor:g} times is "
            f"allowed: {rate.bad:,} of {rate.samples:,} requests {were} bad",
            trace_id=self.examples.bad,
            rule=rate.name,
        )

    def _said(self, value: float | None, message: str) -> str:
        return f"no data {self.window}" if value is None else message

    def _condition(
        self,
        alert_type: AlertType,
        severity: Severity,
        *,
        breached: bool | None,
        clear: bool,
        observed: float | None,
        limit: float,
        unit: str,
        samples: int,
        message: str,
        trace_id: str | None,
        rule: str = "",
    ) -> Condition:
        return Condition(
            alert_type=alert_type,
            severity=severity,
            flow_name=self.measure.flow_name,
            breached=breached,
            clear=clear and not breached,
            observed=observed,
            limit=limit,
            unit=unit,
            samples=samples,
            message=f"{self.measure.flow_name}: {message}",
            trace_id=trace_id,
            rule=rule,
        )


def _not(met: bool | None) -> bool | None:
    return None if met is None else not met


def _number(value: float | None) -> str:
    """To four digits, and as many more as tell 99.96 from 100."""
    if value is None:
        return "no"
    if 99 < value < 100:
        return f"{value:.6g}"
    return f"{value:,.0f}" if value >= 10_000 else f"{value:.4g}"
