"""What the gate tells the monitor of objectives, and when alerts are looked at."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from canario.alerts.evaluator import AlertEvaluator
from canario.contracts.by_route import Lookup
from canario.control.rollout import Outcome
from canario.control.violation import Violation
from canario.controller import CanaryDeploymentController
from canario.exchange import Exchange, Finished

if TYPE_CHECKING:
    from canario.slo import SLOMonitor

__all__ = ["Objectives"]

# The flow of requests whose route has no name.
_UNNAMED = "other"


class Objectives:
    """Tells a monitor what a controller is told, under the names of the flows.

    Args:
        monitor: Records it.
        controller: Whose stages the windows of burn rates are to fit.
        flows: Names of flows for routes.
        on_error: Called with what goes wrong while alerts are evaluated.
    """

    def __init__(
        self,
        monitor: SLOMonitor,
        controller: CanaryDeploymentController,
        flows: Lookup,
        on_error: Callable[[BaseException], object],
    ) -> None:
        monitor.follow(controller)  # burn rates over windows that fit the present stage
        self.alerts = AlertEvaluator(
            monitor.evaluate_alert_rules,
            interval=monitor.objectives.evaluation_interval_seconds,
            on_error=on_error,
        )
        self._monitor = monitor
        self._flows = flows
        slow_ms = controller.deployment.rollback_thresholds.max_p95_latency_ms
        # Slow by either limit, the rollout's or the objectives', makes an example worth finding.
        self._telling_ms = min(slow_ms, monitor.objectives.p95_latency_ms)

    def observe(self, exchange: Exchange, finished: Finished) -> None:
        """A request has ended. One that was given up has been recorded as failed already."""
        route, outcome, latency_ms, at = finished
        if exchange.abandoned_at is None and outcome is not Outcome.NEUTRAL:
            good = outcome is Outcome.GOOD
            span = exchange.span
            slow = latency_ms is not None and latency_ms > self._telling_ms
            if span is not None and span.kept and (slow or not good):
                # An example for an alert: whoever is told shall find the trace.
                self._monitor.record_request(
                    self.flow_of(route), good, latency_ms, trace_id=span.trace_id
                )
            else:
                self._monitor.record_request(self.flow_of(route), good, latency_ms)
        if at >= self.alerts.due:
            self.alerts.look(at)

    def give_up(self, route: str | None) -> None:
        """A request has been counted as failed while it was in flight."""
        self._monitor.record_request(self.flow_of(route), False, None)

    def violated(self, violation: Violation) -> None:
        """A contract was broken."""
        self._monitor.record_violation(self.flow_of(violation.route), violation)
        self.alerts.soon()

    def flow_of(self, route: str | None) -> str:
        """What the monitor calls the requests of a route."""
        return self._flows(route or "") or route or _UNNAMED
