"""A monitor from arguments, environment and file."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from canario.clock import Clock
from canario.config import load_plan

from .monitor import Sink, SLOMonitor

__all__ = ["create_slo_monitor"]


def create_slo_monitor(
    availability_threshold: float | None = None,
    p95_latency_threshold_ms: float | None = None,
    error_rate_threshold: float | None = None,
    performance_regression_threshold: float | None = None,
    p99_recovery_time_threshold_ms: float | None = None,
    *,
    aggregation_window_seconds: float | None = None,
    config: str | os.PathLike[str] | None = None,
    environ: Mapping[str, str] | None = None,
    clock: Clock | None = None,
    sinks: Iterable[Sink] = (),
    max_flows: int | None = None,
) -> SLOMonitor:
    """Make a monitor; each value comes from its argument, else the environment, else the file,
    else the documented default.

    Args:
        availability_threshold: Percent of the requests that must succeed and keep their
            contract.
        p95_latency_threshold_ms: What the 95th percentile of the latency may be.
        error_rate_threshold: Percent of the requests that may fail.
        performance_regression_threshold: Percent that the p95 may be above its baseline.
        p99_recovery_time_threshold_ms: What the 99th percentile of recoveries may be.
        aggregation_window_seconds: Length of the window that is judged.
        config: A plan file, TOML or JSON; its `slo` table is used.
        environ: The environment, `os.environ` by default.
        clock: See `SLOMonitor`, as for the rest.
        sinks: See above.
        max_flows: See above.

    Raises:
        ConfigError: When a value is wrong; it names where the value came from.
    """
    given = {
        "availability_percent": availability_threshold,
        "p95_latency_ms": p95_latency_threshold_ms,
        "error_rate_percent": error_rate_threshold,
        "performance_regression_percent": performance_regression_threshold,
        "p99_recovery_time_ms": p99_recovery_time_threshold_ms,
        "aggregation_window_seconds": aggregation_window_seconds,
        "max_flows": max_flows,
    }
    # A hold is the controller's, whose plan may have stages that this one has not.
    environ = os.environ if environ is None else environ
    plan = load_plan(
        config,
        environ={name: it for name, it in environ.items() if not name.startswith("CANARY_")},
        objectives={key: value for key, value in given.items() if value is not None},
    )
    return SLOMonitor(plan.slo, clock=clock, sinks=sinks, version=plan.tracing.service_version)
