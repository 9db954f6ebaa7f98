"""The life of alerts: conditions and instants go in, what is to be told comes out."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from math import inf

from msgspec import Struct
from msgspec.structs import replace

from canario.control.words import seconds_in_words

from .alert import Alert, AlertState, AlertType, Condition, Resolution
from .life import (
    Key,
    Life,
    PerType,
    badness,
    known_type,
    muted,
    observed,
    pending,
    per_type,
    seconds,
    urgency,
)

__all__ = ["AlertBook", "Silence", "UnknownAlertError"]


class UnknownAlertError(LookupError):
    """No alert, or no silence, has this id."""


class Silence(Struct, frozen=True, kw_only=True):
    """Until an instant, no sink is told of alerts of this type and flow; None means every one."""

    silence_id: int
    until: float
    alert_type: AlertType | None = None
    flow_name: str | None = None
    by: str | None = None

    def covers(self, alert: Alert) -> bool:
        """Whether it is about this alert."""
        return self.alert_type in (None, alert.alert_type) and self.flow_name in (
            None,
            alert.flow_name,
        )


class AlertBook:
    """Keeps every alert from its condition's first breach to its resolution. Not thread-safe.

    Every method takes the instant `now` in seconds; one before an instant already seen counts
    as that one. At most one alert of a type, flow and rule is active at a time.

    Args:
        pending_seconds: How long a condition must have been breached before it fires; one
            number, or one for each type (0 for those left out).
        resolve_seconds: How long a condition must be clear before its alert resolves; likewise
            (60 for those left out).
        stale_seconds: An alert whose condition had no data for so long resolves as stale.
        quiet_seconds: A condition whose alert was resolved by hand fires anew once it was clear,
            or when it is still breached after so long.
        keep: How many resolved alerts the history keeps.
    """

    def __init__(
        self,
        *,
        pending_seconds: PerType = 0.0,
        resolve_seconds: PerType = 60.0,
        stale_seconds: float = 3600.0,
        quiet_seconds: float = 3600.0,
        keep: int = 1000,
    ) -> None:
        self._pending = per_type("pending_seconds", pending_seconds, 0.0)
        self._resolve = per_type("resolve_seconds", resolve_seconds, 60.0)
        self._stale = seconds("stale_seconds", stale_seconds)
        self._quiet = seconds("quiet_seconds", quiet_seconds)
        self._lives: dict[Key, Life] = {}
        self._history: deque[Alert] = deque(maxlen=keep)
        self._silences: list[Silence] = []
        self._to_tell: list[Alert] = []
        self._fired = 0
        self._silenced = 0
        self._now = -inf

    def __repr__(self) -> str:
        return f"<AlertBook {len(self.active())} firing, {len(self._history)} resolved>"

    # -- what happens

    def update(self, conditions: Iterable[Condition], now: float) -> list[Alert]:
        """Take in the conditions as they are now; see `take` for what is returned.

        Their order does not matter. A condition that is left out has no data; of two with one
        type, flow and rule the worse one counts.
        """
        now = self._advance(now)
        worst: dict[Key, Condition] = {}
        for condition in conditions:
            key = (condition.alert_type, condition.flow_name, condition.rule)
            other = worst.get(key)
            if other is None or badness(condition) > badness(other):
                worst[key] = condition
        # In one order, so that the same conditions are told, and numbered, alike.
        for key in sorted(worst.keys() | self._lives.keys()):
            self._follow(key, worst.get(key), now)
        return self.take(now)

    def take(self, now: float) -> list[Alert]:
        """What is to be told to the sinks now, each once: alerts that fire, and resolved ones.

        A silenced alert is told when its silence ends while it fires, unless somebody has
        acknowledged it. A resolution is told to whoever was told that the alert fires, silenced
        or not, since they wait for it.
        """
        now = self._advance(now)
        for _, life in sorted(self._lives.items()):
            alert = self._dressed(life.alert)
            if alert.state is AlertState.FIRING and not life.told and not muted(alert):
                life.told = True
                self._to_tell.append(alert)
        told, self._to_tell = self._to_tell, []
        return told

    def resolve(self, alert_id: str, now: float) -> Alert:
        """End an alert by hand. One that is resolved already stays as it is.

        Raises `UnknownAlertError`.
        """
        now = self._advance(now)
        for key, life in self._lives.items():
            if life.alert.alert_id == alert_id and life.alert.state is AlertState.FIRING:
                return self._end(key, life, Resolution.BY_HAND, now)
        return self.by_id(alert_id)

    def acknowledge(self, alert_id: str, by: str | None, now: float) -> Alert:
        """Note that somebody looks after an alert; it fires on, and is not told again.

        One that is resolved, or was acknowledged before, stays as it is. Raises
        `UnknownAlertError`.
        """
        now = self._advance(now)
        for life in self._lives.values():
            alert = life.alert
            if alert.alert_id == alert_id and alert.acknowledged_at is None:
                if alert.state is AlertState.FIRING:
                    life.alert = replace(alert, acknowledged_at=now, acknowledged_by=by)
                break
        return self.by_id(alert_id)

    def silence(
        self,
        until: float,
        *,
        alert_type: AlertType | None = None,
        flow_name: str | None = None,
        by: str | None = None,
    ) -> Silence:
        """Tell the sinks nothing of some alerts until an instant; they live on in the book."""
        self._silenced += 1
        made = Silence(
            silence_id=self._silenced,
            until=until,
            alert_type=None if alert_type is None else known_type("alert_type", alert_type),
            flow_name=flow_name,
            by=by,
        )
        self._silences.append(made)
        return made

    def lift(self, silence_id: int) -> None:
        """End a silence now. Raises `UnknownAlertError`; one that is over is unknown."""
        left = [silence for silence in self._silences if silence.silence_id != silence_id]
        if len(left) == len(self._silences):
            raise UnknownAlertError(f"no silence has the id {silence_id!r}")
        self._silences = left

    # -- what is known

    def active(self, now: float | None = None) -> list[Alert]:
        """The alerts that fire, silenced ones too: critical ones first, then the oldest."""
        return self._in_state(AlertState.FIRING, now)

    def pending(self, now: float | None = None) -> list[Alert]:
        """Those whose condition is breached, but not for long enough yet."""
        return self._in_state(AlertState.PENDING, now)

    def history(self) -> list[Alert]:
        """The resolved alerts, oldest first; the last `keep` of them."""
        return list(self._history)

    def silences(self, now: float | None = None) -> list[Silence]:
        """The silences that hold."""
        self._advance(self._now if now is None else now)
        return list(self._silences)

    def by_id(self, alert_id: str) -> Alert:
        """An alert that fires or is in the history. Raises `UnknownAlertError`."""
        fires = self.active()
        for alert in (*fires, *reversed(self._history)):
            if alert.alert_id == alert_id:
                return alert
        known = ", ".join(alert.alert_id for alert in fires) or "none"
        raise UnknownAlertError(f"no alert has the id {alert_id!r}; those that fire are: {known}")

    # -- inside

    def _advance(self, now: float) -> float:
        self._now = max(now, self._now)
        self._silences = [silence for silence in self._silences if silence.until > self._now]
        return self._now

    def _follow(self, key: Key, condition: Condition | None, now: float) -> None:
        life = self._lives.get(key)
        if condition is None or condition.breached is None:
            if life is not None and now - life.seen_at >= self._stale:
                self._end(key, life, Resolution.STALE, now)
            return
        if life is None:
            if not condition.breached:
                return
            life = self._lives[key] = Life(pending(condition, now), now)
        else:
            life.seen_at = now
        match life.alert.state:
            case AlertState.PENDING:
                self._follow_pending(key, life, condition, now)
            case AlertState.FIRING:
                self._follow_firing(key, life, condition, now)
            case AlertState.RESOLVED:
                self._follow_quiet(key, life, condition, now)

    def _follow_pending(self, key: Key, life: Life, condition: Condition, now: float) -> None:
        if not condition.breached:
            del self._lives[key]
            return
        alert = observed(life.alert, condition)
        if now - alert.pending_since >= self._pending[key[0]]:
            self._fired += 1
            # The number is the book's, so that no two names of flows can give one id.
            alert_id = ":".join(filter(None, (*key, str(self._fired))))
            alert = replace(alert, alert_id=alert_id, state=AlertState.FIRING, fired_at=now)
        life.alert = alert

    def _follow_firing(self, key: Key, life: Life, condition: Condition, now: float) -> None:
        if condition.breached:
            life.alert = observed(life.alert, condition)
        if condition.breached or not condition.clear:
            life.clear_since = None
            return
        if life.clear_since is None:
            life.clear_since = now
        if now - life.clear_since >= self._resolve[key[0]]:
            self._end(key, life, Resolution.CLEARED, now)

    def _follow_quiet(self, key: Key, life: Life, condition: Condition, now: float) -> None:
        long_ago = now - (life.alert.resolved_at or 0.0) >= self._quiet
        if long_ago or (condition.clear and not condition.breached):
            del self._lives[key]
            self._follow(key, condition, now)

    def _end(self, key: Key, life: Life, how: Resolution, now: float) -> Alert:
        """End what is known of a key; by hand, it is remembered until its condition is clear."""
        alert = life.alert
        if alert.state is not AlertState.FIRING:  # nobody has heard of it
            del self._lives[key]
            return alert
        message = alert.message
        if how is Resolution.STALE:
            message += f" (stale: no data for {seconds_in_words(round(now - life.seen_at))})"
        ended = replace(
            self._dressed(alert),
            state=AlertState.RESOLVED,
            resolved_at=now,
            resolution=how,
            message=message,
        )
        self._history.append(ended)
        if life.told:
            self._to_tell.append(ended)
        if how is Resolution.BY_HAND:
            life.alert = ended
        else:
            del self._lives[key]
        return ended

    def _dressed(self, alert: Alert) -> Alert:
        """An alert with the silence that holds for it now."""
        until = max((s.until for s in self._silences if s.covers(alert)), default=None)
        return alert if until is None else replace(alert, silenced_until=until)

    def _in_state(self, state: AlertState, now: float | None) -> list[Alert]:
        self._advance(self._now if now is None else now)
        found = [life.alert for life in self._lives.values() if life.alert.state is state]
        return sorted(map(self._dressed, found), key=urgency)
