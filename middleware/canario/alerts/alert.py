"""What an alert is, and the condition that it is about: frozen values."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

__all__ = ["Alert", "AlertState", "AlertType", "Condition", "Resolution", "Severity"]


class AlertType(StrEnum):
    """What is wrong."""

    CONTRACT_VIOLATION = "contract_violation"
    PERFORMANCE_REGRESSION = "performance_regression"
    FAULT_RECOVERY = "fault_recovery"
    AVAILABILITY_DEGRADED = "availability_degraded"
    LATENCY_EXCEEDED = "latency_exceeded"
    ERROR_RATE_EXCEEDED = "error_rate_exceeded"
    BURN_RATE = "burn_rate"


class Severity(StrEnum):
    """How soon somebody has to look."""

    CRITICAL = "CRITICAL"
    WARNING = "WARNING"


class AlertState(StrEnum):
    """Where an alert stands in its life."""

    PENDING = "pending"
    FIRING = "firing"
    RESOLVED = "resolved"


class Resolution(StrEnum):
    """How an alert ended."""

    CLEARED = "cleared"
    BY_HAND = "by_hand"
    STALE = "stale"


class Condition(Struct, frozen=True, kw_only=True):
    """One rule about one flow, as measured at one instant.

    `breached` tells whether the limit is passed, and is None where there is nothing to judge;
    `clear` whether the value is so far on the good side that an alert may end (hysteresis).
    `observed` and `limit` are in `unit`. `rule` tells apart rules of one type about one flow, as
    the windows of burn rates are.
    """

    alert_type: AlertType
    severity: Severity
    flow_name: str
    breached: bool | None
    clear: bool
    observed: float | None
    limit: float
    unit: str
    samples: int
    message: str
    rule: str = ""
    trace_id: str | None = None


class Alert(Struct, frozen=True, kw_only=True):
    """An alert as it stands. Instants are seconds since the epoch, on the monitor's clock.

    `observed` and `limit` are in `unit` (`%`, `ms`, `violations`, `x` for a burn rate), over
    `samples` requests; `trace_id` (32 hex digits) is that of an example request. `look_at` says
    what to look at, step by step. `silenced_until` is None while the sinks are told of it. An
    alert that is resolved keeps what was observed while it fired.
    """

    alert_id: str
    alert_type: AlertType
    severity: Severity
    flow_name: str
    state: AlertState
    message: str
    observed: float | None
    limit: float
    unit: str
    samples: int
    look_at: tuple[str, ...]
    pending_since: float
    rule: str = ""
    trace_id: str | None = None
    fired_at: float | None = None
    resolved_at: float | None = None
    resolution: Resolution | None = None
    acknowledged_at: float | None = None
    acknowledged_by: str | None = None
    silenced_until: float | None = None
