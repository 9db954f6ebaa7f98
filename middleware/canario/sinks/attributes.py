"""Attributes of the log events: facts about rollouts and flows, never about a user."""

from __future__ import annotations

from collections.abc import Mapping

from canario.alerts.alert import Alert, AlertState
from canario.control.events import Event, Held, RolledBack, Started, Unwatched
from canario.control.violation import Violation
from canario.judges.verdict import Verdict
from canario.plan import Deployment

__all__ = ["Attributes", "alert_attributes", "event_attributes", "violation_attributes"]

Value = str | int | float | tuple[str, ...] | tuple[float, ...]
Attributes = Mapping[str, Value]


def event_attributes(event: Event, deployment: Deployment | None) -> Attributes:
    """What is known of an event of a rollout."""
    if isinstance(event, Started):
        deployment = event.deployment
    found: dict[str, Value | None] = {
        "canario.deployment.id": None if deployment is None else deployment.deployment_id,
        "canario.by": getattr(event, "by", None),
    }
    if isinstance(event, Started):
        shares = tuple(stage.percentage for stage in event.deployment.canary_stages)
        found["canario.rollout.percentages"] = shares
    stage = getattr(event, "stage", None)
    if stage is not None:
        found["canario.stage.index"] = stage
        if deployment is not None:
            found["canario.stage.name"] = deployment.canary_stages[stage].name
            found["canario.stage.percentage"] = deployment.canary_stages[stage].percentage
    verdict = getattr(event, "verdict", None)
    if verdict is not None:
        found |= _verdict(verdict)
    for name in ("samples", "needed"):
        if hasattr(event, name):
            found[f"canario.verdict.{name}"] = getattr(event, name)
    if isinstance(event, Held) and event.without_key:
        found["canario.keys.missing"] = event.without_key
        found["canario.keys.asked"] = event.key_sources
    if isinstance(event, Unwatched) and not event.restart:
        found["canario.unwatched.seconds"] = event.at - event.since
    if isinstance(event, RolledBack):
        found["canario.rollback.reason"] = event.reason.value
        if event.violation is not None:
            found |= _contract(event.violation)
    return _known(found)


def violation_attributes(
    violation: Violation, arm: str | None, deployment_id: str | None
) -> Attributes:
    """What is known of a broken contract."""
    return _known(
        {
            "canario.deployment.id": deployment_id,
            "canario.arm": arm,
            "canario.contract.trace_id": violation.trace_id,
            **_contract(violation),
        }
    )


def alert_attributes(alert: Alert) -> Attributes:
    """What is known of an alert."""
    found: dict[str, Value | None] = {
        "canario.alert.id": alert.alert_id,
        "canario.alert.type": alert.alert_type.value,
        "canario.alert.severity": alert.severity.value,
        "canario.alert.rule": alert.rule or None,
        "canario.alert.observed": alert.observed,
        "canario.alert.limit": alert.limit,
        "canario.alert.unit": alert.unit,
        "canario.alert.samples": alert.samples,
        "canario.alert.trace_id": alert.trace_id,
        "canario.alert.look_at": alert.look_at,
        "canario.flow.name": alert.flow_name,
    }
    if alert.state is AlertState.RESOLVED:
        found["canario.alert.resolution"] = alert.resolution
        if alert.resolved_at is not None and alert.fired_at is not None:
            found["canario.alert.fired_seconds"] = alert.resolved_at - alert.fired_at
    return _known(found)


def _verdict(verdict: Verdict) -> dict[str, Value | None]:
    return {
        "canario.verdict.kind": verdict.kind.value,
        "canario.verdict.trigger": verdict.trigger,
        "canario.verdict.observed": verdict.observed,
        "canario.verdict.limit": verdict.limit,
        "canario.verdict.samples": verdict.samples,
        "canario.verdict.needed": verdict.needed,
    }


def _contract(violation: Violation) -> dict[str, Value | None]:
    return {
        "canario.contract.name": violation.contract,
        "canario.contract.rule": violation.rule,
        "canario.contract.path": violation.path,
        "http.route": violation.route,
    }


def _known(found: Mapping[str, Value | None]) -> Attributes:
    return {
        name: str(value) if isinstance(value, str) else value
        for name, value in found.items()
        if value is not None
    }
