"""One flow of a monitor: what was measured of it, behind a lock of its own."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock

from canario.control.violation import Violation
from canario.metrics.flow import RETENTION_SECONDS, FlowMetrics

from .baseline import Baseline
from .burn import BurnRate, BurnWindows, ErrorBudget, burn_rate, error_budget, measure_burn
from .recoveries import Recoveries, RecoverySummary
from .rules import Example, Examples
from .status import FlowTotals, Limits, Measure

__all__ = ["Flow"]


class Flow(FlowMetrics):
    """Counts, recoveries and examples of one flow. Methods are called with `lock` held."""

    __slots__ = ("bad_example", "lock", "name", "recoveries", "slow_example", "violation")

    def __init__(self, name: str, now: float, limits: Limits) -> None:
        objectives = limits.objectives
        super().__init__(now, objectives.aggregation_window_seconds, objectives.p95_latency_ms)
        self.name = name
        self.lock = Lock()
        self.recoveries: Recoveries | None = None  # most flows have none
        self.bad_example: Example | None = None
        self.slow_example: Example | None = None
        self.violation: tuple[float, Violation] | None = None

    def measure(self, now: float, baseline: Baseline | None) -> Measure:
        """The aggregation window as it is now."""
        return Measure(
            flow_name=self.name,
            at=now,
            counts=self.present(now),
            p95_ms=self.p95(now),
            recovery=self.recoveries.summary(now) if self.recoveries else RecoverySummary(),
            baseline=baseline,
        )

    def recover(self, now: float, success: bool, recovery_ms: float, limits: Limits) -> None:
        """Count a recovery."""
        if self.recoveries is None:
            objectives = limits.objectives
            self.recoveries = Recoveries(
                now, objectives.aggregation_window_seconds, objectives.p99_recovery_time_ms
            )
        self.recoveries.add(now, success, recovery_ms)

    def examples(self, now: float, seconds: float) -> Examples:
        """What is not older than `seconds`: the traces of examples, and the last violation."""

        def recent(example: Example | None) -> str | None:
            return example.trace_id if example and example.at >= now - seconds else None

        at, violation = self.violation or (now, None)
        return Examples(
            recent(self.bad_example),
            recent(self.slow_example),
            violation if at >= now - seconds else None,
        )

    def burn(
        self, now: float, windows: tuple[BurnWindows, ...], limits: Limits
    ) -> tuple[BurnRate, ...]:
        """The burn rates over those windows."""
        counted = self._counter(now)
        least = limits.objectives.min_samples
        return tuple(measure_burn(rule, counted, limits.budget, least) for rule in windows)

    def budget(self, now: float, rate_seconds: float, limits: Limits) -> ErrorBudget:
        """The error budget, and when it is spent at the burn rate of the last `rate_seconds`."""
        counted = self._counter(now)
        bad, events = counted(RETENTION_SECONDS)
        rate = burn_rate(*counted(rate_seconds), float(limits.budget))
        return error_budget(bad, events, limits.budget, rate)

    def totals(self) -> FlowTotals:
        """Everything since the start."""
        counts = self.total()
        return FlowTotals(
            flow_name=self.name,
            requests=counts.requests,
            errors=counts.errors,
            bad=counts.bad,
            timed=counts.timed,
            slow=counts.slow,
            violations=counts.violations,
            recoveries=self.recoveries.total if self.recoveries else 0,
            recoveries_failed=self.recoveries.failed if self.recoveries else 0,
            duration=self.duration(),
        )

    def _counter(self, now: float) -> Callable[[float], tuple[int, int]]:
        def counted(seconds: float) -> tuple[int, int]:
            counts = self.window(now, seconds)
            return min(counts.bad, counts.requests), counts.requests

        return counted
