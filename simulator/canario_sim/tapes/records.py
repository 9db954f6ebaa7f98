"""Requests as JSON lines or CSV, with keys of canario's or of one's own."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from math import isfinite, nan
from typing import Any

from canario.tape.schema import ARMS, OUTCOMES

from .parsed import Line, LineError, outcome_of_status

__all__ = ["FIELDS", "record_parser"]

# The documented keys. A record tells one of the durations, and one of outcome, ok and status.
FIELDS = (
    "at",
    "latency_ms",
    "latency_s",
    "latency_us",
    "outcome",
    "ok",
    "status",
    "key",
    "route",
    "arm",
)

_DURATIONS = {"latency_ms": 1.0, "latency_s": 1e3, "latency_us": 1e-3}
_TRUTH = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def record_parser(
    names: Mapping[str, str], errors: Collection[int]
) -> Callable[[Mapping[str, Any]], Line]:
    """What reads one record; latencies are in ms afterwards.

    Args:
        names: For documented keys, what they are called here: `{"at": "time"}`. A dot leads into
            an inner object.
        errors: Statuses below 500 that count as errors.
    """

    def value(record: Mapping[str, Any], field: str) -> Any:
        name = names.get(field, field)
        if name in record:
            return record[name]
        found: Any = record
        for part in name.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
        return found

    def parse(record: Mapping[str, Any]) -> Line:
        at = value(record, "at")
        if at in (None, ""):
            raise LineError(f"it has no {names.get('at', 'at')}")
        return Line(
            _instant(at),
            _took(record, value, names),
            _outcome(record, value, errors),
            _text(value(record, "key")),
            _text(value(record, "route")),
            _arm(value(record, "arm")),
        )

    return parse


Value = Callable[[Mapping[str, Any], str], Any]


def _instant(value: Any) -> float:
    """Seconds since the epoch, or an instant as ISO 8601 writes it (UTC where it says no zone)."""
    try:
        at = float(value)
    except (TypeError, ValueError):
        try:
            moment = datetime.fromisoformat(str(value))
        except ValueError:
            raise LineError(
                f"its instant is {value!r}, neither seconds since the epoch nor ISO 8601"
            ) from None
        at = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if not isfinite(at):
        raise LineError(f"its instant is {value!r}")
    return at


def _took(record: Mapping[str, Any], value: Value, names: Mapping[str, str]) -> float:
    for field, scale in _DURATIONS.items():
        found = value(record, field)
        if found in (None, ""):
            continue
        try:
            took = float(found) * scale
        except (TypeError, ValueError):
            took = nan
        if not (isfinite(took) and took >= 0):
            raise LineError(f"its {names.get(field, field)} is {found!r}")
        return took
    return nan


def _outcome(record: Mapping[str, Any], value: Value, errors: Collection[int]) -> int:
    outcome, ok, status = (value(record, field) for field in ("outcome", "ok", "status"))
    if outcome not in (None, ""):
        if outcome not in OUTCOMES:
            raise LineError(f"its outcome is {outcome!r}; valid are {', '.join(OUTCOMES)}")
        return OUTCOMES.index(outcome)
    if ok not in (None, ""):
        truth = ok if isinstance(ok, bool) else _TRUTH.get(str(ok).lower())
        if truth is None:
            raise LineError(f"its ok is {ok!r}; it must be true or false")
        return 0 if truth else 1
    try:
        return outcome_of_status(int(status), errors)
    except (TypeError, ValueError):
        raise LineError("it has neither outcome nor ok, and no status that is a number") from None


def _arm(value: Any) -> int:
    if value in (None, ""):
        return -1
    if value not in ARMS:
        raise LineError(f"its arm is {value!r}; valid are baseline and canary")
    return ARMS.index(value)


def _text(value: Any) -> str | None:
    return None if value in (None, "", "-") else str(value)
