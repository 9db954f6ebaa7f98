"""Requests as JSON lines or CSV, with keys of canario's or of one's own."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from math import isnan, nan
from typing import Any

from canario.arms import ARMS
from canario.limits import LONGEST_MS
from canario.tape.format import OUTCOMES

from .parsed import (
    LEFT,
    LIMIT_MS,
    Line,
    LineError,
    client_of,
    endless,
    route_of,
    untimed,
    worth_of_status,
)
from .pattern import STATUSES, instant, milliseconds
from .recording import BAD, NEUTRAL

__all__ = ["ALIASES", "FIELDS", "getter", "record_parser"]

Record = Mapping[str, Any]
Get = Callable[[Record], Any]

# The documented keys. A record tells one of the durations, and one of outcome, ok and status.
FIELDS = (
    "at",
    "latency_ms",
    "latency_s",
    "latency_us",
    "latency_ns",
    "outcome",
    "ok",
    "status",
    "key",
    "route",
    "method",
    "arm",
)

# What many programs call a key; taken for it where there is one of them alone.
ALIASES: Mapping[str, tuple[str, ...]] = {
    "status": ("response_code", "status_code", "http_status", "code"),
    "method": ("request_method", "http_method"),
}

_DURATIONS = {"latency_ms": 1.0, "latency_s": 1e3, "latency_us": 1e-3, "latency_ns": 1e-6}
_NOTHING = (None, "", "-")
_TRUTH = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
_METHODS = frozenset(
    ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")
)


def record_parser(
    names: Mapping[str, str],
    errors: Collection[int] = (),
    *,
    limit_ms: float = LIMIT_MS,
) -> Callable[[Record], Line]:
    """What reads one record; latencies are in ms afterwards.

    Args:
        names: For documented keys, what they are called here: `{"at": "time"}`. A dot leads into
            an inner object, `a|b` is the first that is there, `a+b` both: a date and a time.
        errors: Statuses below 500 that count as errors.
        limit_ms: Whoever left after a longer wait counts as slow.
    """
    called = [names.get(field, field) for field in FIELDS]
    at_name = names.get("at", "at")
    # Nearly all keys are plain ones, for which a call each would be half of the time.
    special = [(place, getter(name)) for place, name in enumerate(called) if not _is_plain(name)]
    durations = [(names.get(field, field), scale) for field, scale in _DURATIONS.items()]

    def parse(record: Record) -> Line:
        find = record.get
        values = [find(name) for name in called]
        for place, get in special:
            values[place] = get(record)
        at, ms, s, us, ns, outcome, ok, said, key, route, method, arm = values
        # `float` would take a truth value for an instant in 1970.
        if at in _NOTHING or at is True or at is False:
            raise LineError(f"it has no {at_name}")
        if ms is not None and s is None and us is None and ns is None:
            took = _time(ms, *durations[0])  # as most tell it
        else:
            took = _took((ms, s, us, ns), durations)
        verb, path, name = _route(method, route)
        if untimed(verb, path):
            took = nan
        status = "" if said is None else str(said)
        worth = _outcome(outcome, ok, status, took, errors, limit_ms)
        return Line(
            instant(at),
            worth[1],
            worth[0],
            None if key is None else client_of(str(key)),
            name,
            -1 if arm is None else _arm(arm),
            status,
        )

    return parse


def _is_plain(name: str) -> bool:
    return bool(name) and not any(sign in name for sign in ".|+")


def getter(name: str) -> Get:
    """What finds a key in a record: by its name, or else by a path of names with dots.

    Without a name it finds nothing.
    """
    if not name:
        return lambda record: None  # noqa: ARG005
    if "|" in name:
        several = [getter(each) for each in name.split("|")]

        def first(record: Record) -> Any:
            found = (get(record) for get in several)
            return next((value for value in found if value not in (None, "")), None)

        return first
    if "+" in name:
        parts = [getter(each) for each in name.split("+")]

        def joined(record: Record) -> Any:
            found = [get(record) for get in parts]
            return None if None in found else " ".join(map(str, found))

        return joined
    path = name.split(".")
    if len(path) == 1:
        return lambda record: record.get(name)

    def walk(record: Record) -> Any:
        if name in record:
            return record[name]
        found: Any = record
        for part in path:
            found = found.get(part) if isinstance(found, Mapping) else None
        return found

    return walk


def _took(values: tuple[Any, ...], durations: list[tuple[str, float]]) -> float:
    took, said_by = nan, ""
    for found, (name, scale) in zip(values, durations, strict=True):
        each = nan if found is None else _time(found, name, scale)
        if isnan(each):
            continue
        # Keys of one time may be rounded to other units; what lies further apart is two times.
        if said_by and abs(each - took) > 0.01 * took + 1:
            raise LineError(f"its {said_by} and its {name} tell different times")
        took, said_by = each, name
    return took


def _time(found: Any, name: str, scale: float) -> float:
    """In ms; NaN where there is none."""
    if found in _NOTHING:
        return nan
    try:
        took = milliseconds(found if type(found) is float else str(found), scale)
    except LineError:
        took = nan
    if isnan(took):
        hint = "; a decimal point is no comma" if "," in str(found) else ""
        raise LineError(f"its {name} is {found!r}{hint}")
    return took


def _outcome(
    outcome: Any,
    ok: Any,
    status: str,
    took: float,
    errors: Collection[int],
    limit_ms: float,
) -> tuple[int, float]:
    """What is said of a request in words, unless its status says that it failed."""
    by_status: tuple[int, float] | None = None
    number: int | None = None
    if status:
        number = STATUSES.get(status)
        if number is None:
            try:
                number = int(float(status))  # 200.0, as pandas writes it
            except (ValueError, OverflowError):
                number = -1
        if 0 <= number <= 999:
            by_status = worth_of_status(number, took, errors, limit_ms)
            if outcome is None and ok is None:
                return by_status
    told: int | None = None
    if outcome not in (None, ""):
        if outcome not in OUTCOMES:
            raise LineError(f"its outcome is {outcome!r}; valid are {', '.join(OUTCOMES)}")
        told = OUTCOMES.index(outcome)
    elif ok not in (None, ""):
        truth = ok if isinstance(ok, bool) else _TRUTH.get(str(ok).lower())
        if truth is None:
            raise LineError(f"its ok is {ok!r}; it must be true or false")
        told = 0 if truth else 1
    if by_status is None and took > LONGEST_MS:
        raise endless(took)
    if told is None:
        if by_status is None:
            raise LineError("it has neither outcome nor ok, and no status that is a number")
        return by_status
    if by_status is not None and (by_status[0] == BAD or number in LEFT):
        return by_status
    if by_status is not None and isnan(by_status[1]) and by_status[0] != NEUTRAL:
        took = nan  # a WebSocket, whose life is no latency
    return told, took


def _route(method: Any, route: Any) -> tuple[str, str, str | None]:
    """The method, the path as a template, and the name, which may tell both: `GET /items`."""
    verb = "" if method is None else str(method)
    text = _text(route)
    if text is None:
        return verb, "", None
    word, space, target = text.partition(" ")
    if not space or word not in _METHODS:
        path = route_of(text)
        return verb, path, path
    raw = target.rpartition(" HTTP/")[0]  # of a raw request line the path is the name
    path = route_of(raw or target)
    return verb or word, path, path if raw else f"{word} {path}"


def _arm(value: Any) -> int:
    if value in _NOTHING:
        return -1
    if value not in ARMS:
        raise LineError(f"its arm is {value!r}; valid are baseline and canary")
    return ARMS.index(value)


def _text(value: Any) -> str | None:
    return None if value in _NOTHING else str(value)
