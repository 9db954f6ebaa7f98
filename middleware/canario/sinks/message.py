"""What is told to sinks, in words: a name, a level and one line for each event and alert."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from msgspec import Struct

from canario.alerts.alert import Alert, AlertState, Severity
from canario.control.events import Event, Held, RolledBack, StageEntered
from canario.control.words import describe
from canario.plan import Deployment
from canario.printable import printable

__all__ = ["Level", "Message", "Sink", "message_of"]

# Any callable that takes an event of a rollout or an alert.
Sink = Callable[[Event | Alert], object]


class Level(StrEnum):
    """How much a message matters."""

    INFO = "INFO"
    WARNING = "WARNING"
    CRITICAL = "CRITICAL"


class Message(Struct, frozen=True, kw_only=True):
    """An event or an alert, ready to be shown.

    `name` is that of its OpenTelemetry event, `at` the instant in seconds on the clock of whoever
    tells it, and `text` one line.
    """

    name: str
    level: Level
    at: float
    text: str
    deployment_id: str | None
    told: Event | Alert


def message_of(told: Event | Alert, deployment: Deployment | None = None) -> Message:
    """What to show of an event or an alert; `deployment` is the rollout it belongs to, if any."""
    name = None if deployment is None else deployment.deployment_id
    text = _alert_text(told) if isinstance(told, Alert) else _event_text(told, deployment)
    return Message(
        name=name_of(told),
        level=level_of(told),
        at=_instant(told),
        text=printable(text if name is None else f"{name}: {text}"),
        deployment_id=name,
        told=told,
    )


def name_of(told: Event | Alert) -> str:
    """`canario.rollout.rolled_back`, `canario.alert.firing` and so on."""
    if isinstance(told, Alert):
        return f"canario.alert.{told.state}"
    return f"canario.rollout.{told.__struct_config__.tag}"


def level_of(told: Event | Alert) -> Level:
    """An alert's severity while it fires; a rollback and a wait for evidence are warnings."""
    if isinstance(told, Alert):
        critical = told.severity is Severity.CRITICAL
        fires = told.state is AlertState.FIRING
        return (Level.CRITICAL if critical else Level.WARNING) if fires else Level.INFO
    return Level.WARNING if isinstance(told, RolledBack | Held) else Level.INFO


def _alert_text(alert: Alert) -> str:
    if alert.state is AlertState.RESOLVED:
        how = "" if alert.resolution is None else f" ({alert.resolution.replace('_', ' ')})"
        return f"resolved{how}: {alert.message}"
    return f"{alert.state}: {alert.message}"


def _event_text(event: Event, deployment: Deployment | None) -> str:
    if deployment is None and isinstance(event, StageEntered):
        return f"stage {event.stage} entered: {event.percentage:g} % of the keys"
    return describe(event, deployment or Deployment())


def _instant(told: Event | Alert) -> float:
    if not isinstance(told, Alert):
        return told.at
    ends = (told.resolved_at, told.fired_at, told.pending_since)
    return next(at for at in ends if at is not None)
