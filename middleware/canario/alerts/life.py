"""One alert as the book keeps it, and how its condition is read."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from .alert import Alert, AlertState, AlertType, Condition, Severity
from .runbook import look_at

__all__ = [
    "Key",
    "Life",
    "PerType",
    "badness",
    "known_type",
    "muted",
    "observed",
    "pending",
    "per_type",
    "seconds",
    "urgency",
]

Key = tuple[AlertType, str, str]
PerType = Mapping[AlertType, float] | float


class Life:
    """One key's alert: pending or firing, or resolved by hand while its condition goes on."""

    __slots__ = ("alert", "clear_since", "seen_at", "told")

    def __init__(self, alert: Alert, now: float) -> None:
        self.alert = alert
        self.seen_at = now  # when its condition last had data
        self.clear_since: float | None = None
        self.told = False


def pending(condition: Condition, now: float) -> Alert:
    """The alert of a condition that is breached since `now`; it has no id until it fires."""
    return Alert(
        alert_id="",
        alert_type=condition.alert_type,
        severity=condition.severity,
        flow_name=condition.flow_name,
        state=AlertState.PENDING,
        message=condition.message,
        observed=condition.observed,
        limit=condition.limit,
        unit=condition.unit,
        samples=condition.samples,
        look_at=look_at(condition.alert_type),
        pending_since=now,
        rule=condition.rule,
        trace_id=condition.trace_id,
    )


def observed(alert: Alert, condition: Condition) -> Alert:
    """The alert with what was measured last."""
    return replace(
        alert,
        severity=condition.severity,
        message=condition.message,
        observed=condition.observed,
        limit=condition.limit,
        unit=condition.unit,
        samples=condition.samples,
        trace_id=condition.trace_id or alert.trace_id,
    )


def muted(alert: Alert) -> bool:
    """Whether the sinks are not to be told that it fires: it is silenced, or looked after."""
    return alert.silenced_until is not None or alert.acknowledged_at is not None


def badness(condition: Condition) -> tuple[object, ...]:
    """By which of two conditions with one key the worse one counts.

    A total order over all that they have, so that the order in which they come cannot matter.
    """
    return (
        condition.breached is True,
        condition.breached is False,
        not condition.clear,
        condition.severity is Severity.CRITICAL,
        condition.samples,
        condition.message,
        condition.observed is not None,
        condition.observed or 0.0,
        condition.limit,
        condition.unit,
        condition.trace_id or "",
    )


def urgency(alert: Alert) -> tuple[object, ...]:
    """The order in which alerts are listed: critical ones first, then the oldest."""
    since = alert.pending_since if alert.fired_at is None else alert.fired_at
    critical = alert.severity is Severity.CRITICAL
    return (not critical, since, alert.alert_type, alert.flow_name, alert.rule)


def per_type(name: str, given: PerType, default: float) -> dict[AlertType, float]:
    """Seconds for every type of alert; `default` for those that a mapping leaves out.

    Raises `ValueError` and `TypeError` as `seconds` and `known_type` do.
    """
    if not isinstance(given, Mapping):
        return dict.fromkeys(AlertType, seconds(name, given))
    chosen = {known_type(name, kind): seconds(f"{name}[{kind}]", s) for kind, s in given.items()}
    return {kind: chosen.get(kind, default) for kind in AlertType}


def known_type(name: str, given: str) -> AlertType:
    """The type of alert of that name. Raises `ValueError` that lists them."""
    try:
        return AlertType(given)
    except ValueError:
        raise ValueError(f"{name} has {given!r}; valid are {', '.join(AlertType)}") from None


def seconds(name: str, value: float) -> float:
    """A length of time. Raises `TypeError` for no number, `ValueError` below 0 and for NaN."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} is {value!r}; it must be a number of seconds")
    if not value >= 0:
        raise ValueError(f"{name} is {value!r}; it must be 0 seconds or more")
    return float(value)
