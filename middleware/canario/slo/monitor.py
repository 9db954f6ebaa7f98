"""The monitor of service-level objectives."""

from __future__ import annotations

from canario.control.violation import Violation

__all__ = ["SLOMonitor"]


class SLOMonitor:
    """Records requests by flow, and tells how they stand against the objectives."""

    def record_request(
        self,
        flow_name: str,
        success: bool,
        latency_ms: float | None,
        contract_valid: bool = True,
        *,
        trace_id: str | None = None,
    ) -> None:
        """Record one request of a flow."""
        raise NotImplementedError

    def record_violation(self, flow_name: str, violation: Violation) -> None:
        """Record a broken contract of a request that was recorded."""
        raise NotImplementedError
