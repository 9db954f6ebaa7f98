"""The parts of the dashboard's document: numbers and colours, alerts, the rollout."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from math import isfinite
from typing import TYPE_CHECKING, Any

import msgspec

from canario.alerts import Alert
from canario.arms import ARMS
from canario.control.words import describe

if TYPE_CHECKING:
    from canario.controller import CanaryDeploymentController

    from .baseline import Baseline
    from .status import SLOStatus

__all__ = [
    "alert_part",
    "baseline_part",
    "finite_fields",
    "indicator",
    "instant",
    "left",
    "overall_part",
    "rollout_part",
    "shown",
    "used",
    "within",
]

# With less than this share of an objective's allowance left, it is met but yellow.
_NARROW = 0.05


def overall_part(statuses: Mapping[str, SLOStatus], alerts: int) -> dict[str, Any]:
    """How many flows there are, and how many of those with data meet their objectives."""
    judged = [status for status in statuses.values() if status.overall_slo_met is not None]
    meeting = sum(status.overall_slo_met is True for status in judged)
    return {
        "total_flows": len(statuses),
        "flows_meeting_slo": meeting,
        "slo_compliance_percent": _compliance(meeting, len(judged)),
        "active_alerts": alerts,
        "flows_without_data": len(statuses) - len(judged),
    }


def _compliance(meeting: int, judged: int) -> float | None:
    """Percent to one decimal; 100 only when every flow meets, 0 only when none does."""
    if not judged:
        return None
    percent = round(100 * meeting / judged, 1)
    if percent == 100 and meeting < judged:
        return 99.9
    return 0.1 if percent == 0 and meeting else percent


def indicator(
    unit: str, value: float | None, limit: float, met: bool | None, used: float
) -> dict[str, Any]:
    """A value beside its threshold; `used` is the share of its allowance that is used up."""
    if met is None:
        color = "gray"
    elif not met:
        color = "red"
    else:
        color = "yellow" if used > 1 - _NARROW else "green"
    return {
        f"value{unit}": value,
        f"threshold{unit}": limit,
        "slo_met": met,
        "status_indicator": color,
    }


def used(value: float | None, limit: float) -> float:
    """The share of an upper limit that is used up; a limit of 0 that is met is not used at all."""
    return value / limit if value is not None and limit else 0.0


def left(value: float | None, limit: float) -> float:
    """The same for a lower limit: what is missing to 100, of what may be."""
    return used(None if value is None else 100 - value, 100 - limit)


def shown(value: float | None, limit: float, places: int) -> float | None:
    """Rounded, unless that would put it on the other side of the limit."""
    if value is None:
        return None
    rounded = round(value, places)
    same_side = (rounded > limit) == (value > limit) and (rounded < limit) == (value < limit)
    return rounded if same_side else value


def within(value: float | None, limit: float) -> bool | None:
    """Whether an upper limit is kept; None without a value."""
    return None if value is None else value <= limit


def baseline_part(baseline: Baseline | None) -> dict[str, Any] | None:
    """What a flow is compared with; None where nothing is set."""
    if baseline is None:
        return None
    return {
        "p95_latency_ms": round(baseline.p95_latency_ms, 1),
        "samples": baseline.samples,
        "since": instant(baseline.at),
        "version": baseline.version,
    }


def finite_fields(values: msgspec.Struct) -> dict[str, Any]:
    """A value's fields, with null for what is infinite: JSON has no number for it."""
    fields: dict[str, Any] = msgspec.to_builtins(values)
    return {key: _finite(value) for key, value in fields.items()}


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not isfinite(value) else value


def instant(at: float) -> str:
    """Seconds since the epoch as UTC, to the second."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _instant_or_none(at: float | None) -> str | None:
    return None if at is None else instant(at)


def alert_part(alert: Alert) -> dict[str, Any]:
    """One alert."""
    return {
        "id": alert.alert_id,
        "type": str(alert.alert_type),
        "severity": str(alert.severity),
        "flow": alert.flow_name,
        "message": alert.message,
        "observed": _finite(alert.observed),
        "limit": alert.limit,
        "unit": alert.unit,
        "samples": alert.samples,
        "since": instant(alert.pending_since if alert.fired_at is None else alert.fired_at),
        "trace_id": alert.trace_id,
        "look_at": list(alert.look_at),
        "state": str(alert.state),
        "rule": alert.rule,
        "acknowledged": alert.acknowledged_at is not None,
        "acknowledged_by": alert.acknowledged_by,
        "silenced_until": _instant_or_none(alert.silenced_until),
    }


def rollout_part(controller: CanaryDeploymentController) -> dict[str, Any]:
    """Where a rollout stands, and what the window holds of both arms."""
    state, events = controller.state, controller.events
    stage = controller.deployment.canary_stages[state.stage]
    arms = {}
    for arm in ARMS:
        counts = controller.counts(arm)
        arms[arm] = {
            "requests": counts.requests,
            "errors": counts.errors,
            "slow": counts.slow,
            "contract_violations": counts.violations,
        }
    begun = state.phase.value != "pending"
    return {
        "deployment_id": controller.deployment_id,
        "phase": str(state.phase),
        "stage": stage.name if begun else None,
        "share_percent": state.share,
        "last_verdict": None if state.last_verdict is None else str(state.last_verdict),
        "rollback_reason": None if state.reason is None else str(state.reason),
        "last_event": describe(events[-1], controller.deployment) if events else None,
        "window": arms,
        "counters": msgspec.to_builtins(dict(controller.counters)),
    }
