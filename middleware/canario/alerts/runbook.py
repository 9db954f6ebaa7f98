"""What to look at when an alert fires: how to find the cause, then how to end it."""

from __future__ import annotations

from .alert import AlertType

__all__ = ["look_at"]

_SLO_BREACH = (
    "Check the SLO dashboard for affected flows",
    "Review the metrics history for trends",
    "Correlate with deployment events",
    "Investigate the root cause using distributed traces",
    "Implement fixes for the affected components",
    "Re-deploy with canary monitoring",
)

_STEPS: dict[AlertType, tuple[str, ...]] = {
    AlertType.CONTRACT_VIOLATION: (
        "Review the contract violation's details in the metrics",
        "Check the trace context of the failing request",
        "Examine the contract validation logs",
        "The canary is rolled back to the baseline version by itself; the baseline is not",
        "Fix the contract validation issue",
        "Re-deploy after validation passes",
    ),
    AlertType.LATENCY_EXCEEDED: (
        "Check distributed traces for slow operations",
        "Review the SLO dashboard for affected flows",
        "Compare with baseline metrics for a regression",
        "The canary is rolled back by itself when it exceeds the rollout's threshold",
        "Investigate the trace spans by hand",
        "Optimise the performance of the affected components",
    ),
    AlertType.AVAILABILITY_DEGRADED: _SLO_BREACH,
    AlertType.ERROR_RATE_EXCEEDED: _SLO_BREACH,
    AlertType.PERFORMANCE_REGRESSION: (
        "Compare the present latency with the baseline's, and with its date and version",
        "Check distributed traces for operations that have become slower",
        "Correlate with deployment events and with changes of the traffic",
        "Optimise the performance of the affected components, or roll the release back",
        "Set a new baseline if the change is meant",
    ),
    AlertType.FAULT_RECOVERY: (
        "Review which faults were recovered from slowly, and by which flows",
        "Check how the circuit breaker and the retries are set: attempts, back-off, time-outs",
        "Check the traces of requests that met the fault",
        "Investigate the dependency that failed",
        "Shorten the recovery, and inject the fault again to see that it is shorter",
    ),
    AlertType.BURN_RATE: (
        "Check the error budget that is left and when it will be spent",
        "Check the SLO dashboard for the flow and for when the errors began",
        "Correlate with deployment events; roll back the release that began it",
        "Investigate the root cause using distributed traces",
        "Hold further releases of this flow until its budget recovers",
    ),
}


def look_at(alert_type: AlertType) -> tuple[str, ...]:
    """The steps for one type of alert: first how to investigate, then how to resolve."""
    return _STEPS[alert_type]
