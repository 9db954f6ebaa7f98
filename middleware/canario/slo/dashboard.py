"""Dashboard data: how every flow stands against its objectives, as one JSON document."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from canario._version import __version__
from canario.clock import Clock
from canario.host.whole_files import write_whole

from .dashboard_parts import (
    alert_part,
    baseline_part,
    finite_fields,
    indicator,
    instant,
    left,
    overall_part,
    rollout_part,
    shown,
    used,
    within,
)
from .dashboard_schema import SCHEMA_VERSION, dashboard_schema

if TYPE_CHECKING:
    from canario.controller import CanaryDeploymentController

    from .monitor import SLOMonitor
    from .status import SLOStatus

__all__ = ["DashboardDataGenerator", "dashboard_schema"]


class DashboardDataGenerator:
    """Makes the dashboard's document from a monitor.

    Args:
        monitor: The flows and their objectives.
        controller: Its rollout is shown as well.
        clock: Gives the instant of the timestamp; the monitor's by default.
    """

    def __init__(
        self,
        monitor: SLOMonitor,
        controller: CanaryDeploymentController | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.monitor = monitor
        self.controller = controller
        self.clock = monitor.clock if clock is None else clock

    def generate_dashboard_data(self) -> dict[str, Any]:
        """The document that `dashboard_schema` describes, of JSON values alone.

        Instants are in UTC without saying so, to the second: `2024-01-15T10:30:00`.
        """
        limits = self.monitor.objectives
        statuses = self.monitor.check_all_slos()
        alerts = self.monitor.get_active_alerts()
        made: dict[str, Any] = {
            "timestamp": instant(self.clock()),
            "overall": overall_part(statuses, len(alerts)),
            "thresholds": {
                "availability_percent": limits.availability_percent,
                "p95_latency_ms": limits.p95_latency_ms,
                "error_rate_percent": limits.error_rate_percent,
                "performance_regression_percent": limits.performance_regression_percent,
                "p99_recovery_time_ms": limits.p99_recovery_time_ms,
                "aggregation_window_seconds": limits.aggregation_window_seconds,
            },
            "flows": {flow: self._flow(flow, status) for flow, status in statuses.items()},
            "alerts": [alert_part(alert) for alert in alerts],
        }
        if self.controller is not None:
            made["rollout"] = rollout_part(self.controller)
        made["schema_version"] = SCHEMA_VERSION
        made["generator"] = f"canario {__version__}"
        return made

    def export_dashboard_json(self, path: str | os.PathLike[str]) -> None:
        """Write the document to `path`, with its folders. A reader sees the old or the new one."""
        text = json.dumps(self.generate_dashboard_data(), indent=2, ensure_ascii=False)
        write_whole(path, text + "\n")

    def _flow(self, flow: str, status: SLOStatus) -> dict[str, Any]:
        limits = self.monitor.objectives
        availability = indicator(
            "",
            shown(status.availability, limits.availability_percent, 4),
            limits.availability_percent,
            status.availability_met,
            left(status.availability, limits.availability_percent),
        )
        latency = indicator(
            "_ms",
            shown(status.p95_latency_ms, limits.p95_latency_ms, 1),
            limits.p95_latency_ms,
            status.latency_met,
            used(status.p95_latency_ms, limits.p95_latency_ms),
        )
        errors = indicator(
            "_percent",
            shown(status.error_rate_percent, limits.error_rate_percent, 4),
            limits.error_rate_percent,
            status.error_rate_met,
            used(status.error_rate_percent, limits.error_rate_percent),
        )
        return {
            "availability": availability,
            "p95_latency": latency,
            "error_rate": errors,
            "overall_slo_met": status.overall_slo_met,
            "samples": status.samples,
            "contract_violations": status.contract_violations,
            **self._more(flow, status),
        }

    def _more(self, flow: str, status: SLOStatus) -> dict[str, Any]:
        monitor, limits = self.monitor, self.monitor.objectives
        regression = shown(
            status.performance_regression_percent, limits.performance_regression_percent, 2
        )
        recovery = shown(status.p99_recovery_time_ms, limits.p99_recovery_time_ms, 1)
        return {
            "performance_regression": {
                "value_percent": regression,
                "threshold_percent": limits.performance_regression_percent,
                "slo_met": within(regression, limits.performance_regression_percent),
                "baseline": baseline_part(monitor.baselines.get(flow)),
            },
            "fault_recovery": {
                "p99_ms": recovery,
                "threshold_ms": limits.p99_recovery_time_ms,
                "slo_met": within(recovery, limits.p99_recovery_time_ms),
                "recoveries": status.recoveries,
            },
            "error_budget": finite_fields(monitor.error_budget(flow)),
            "burn_rates": [finite_fields(rate) for rate in monitor.burn_rates(flow)],
        }
