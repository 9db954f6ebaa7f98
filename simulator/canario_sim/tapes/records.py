"""Requests as JSON lines or CSV, with keys of canario's or of one's own."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from math import isnan, nan
from typing import Any

from canario.limits import LONGEST_MS
from canario.tape.schema import ARMS, OUTCOMES

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
from .pattern import instant, milliseconds
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
    get = {field: getter(names.get(field, field)) for field in FIELDS}
    at_name = names.get("at", "at")
    durations = [
        (names.get(field, field), get[field], scale) for field, scale in _DURATIONS.items()
    ]
    get_at, get_status, get_route = get["at"], get["status"], get["route"]
    get_method, get_key, get_arm = get["method"], get["key"], get["arm"]
    get_outcome, get_ok = get["outcome"], get["ok"]

    def parse(record: Record) -> Line:
        at = get_at(record)
        if at in (None, "") or isinstance(at, bool):
            raise LineError(f"it has no {at_name}")
        took = _took(record, durations)
        said = get_status(record)
        status = None if said in (None, "") else str(said)
        method, path, route = _route(get_method(record), get_route(record))
        if untimed(method, path):
            took = nan
        outcome, took = _outcome(
            get_outcome(record), get_ok(record), status, took, errors, limit_ms
        )
        key = get_key(record)
        return Line(
            instant(at),
            took,
            outcome,
            None if key is None else client_of(str(key)),
            route,
            _arm(get_arm(record)),
            status or "",
        )

    return parse


def getter(name: str) -> Get:
    """What finds a key in a record: by its name, or else by a path of names with dots."""
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


def _took(record: Record, durations: list[tuple[str, Get, float]]) -> float:
    took, said_by = nan, ""
    for name, get, scale in durations:
        found = get(record)
        if found in (None, "", "-"):
            continue
        try:
            each = milliseconds(str(found), scale)
        except LineError:
            each = nan
        if isnan(each):
            hint = "; a decimal point is no comma" if "," in str(found) else ""
            raise LineError(f"its {name} is {found!r}{hint}")
        if said_by and abs(each - took) > 0.01 * took + 1:
            raise LineError(f"its {said_by} and its {name} tell different times")
        took, said_by = each, name
    return took


def _outcome(
    outcome: Any,
    ok: Any,
    status: str | None,
    took: float,
    errors: Collection[int],
    limit_ms: float,
) -> tuple[int, float]:
    """What is said of a request in words, unless its status says that it failed."""
    by_status: tuple[int, float] | None = None
    number: int | None = None
    if status is not None:
        try:
            number = 0 if status in ("-", "-1") else int(float(status))
        except (ValueError, OverflowError):
            number = None
        if number is not None and 0 <= number <= 999:
            by_status = worth_of_status(number, took, errors, limit_ms)
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
    if not (space and word in _METHODS):
        path = route_of(text)
        return verb, path, path
    raw = target.rpartition(" HTTP/")[0]  # of a raw request line the path is the name
    path = route_of(raw or target)
    return verb or word, path, path if raw else f"{word} {path}"


def _arm(value: Any) -> int:
    if value in (None, "", "-"):
        return -1
    if value not in ARMS:
        raise LineError(f"its arm is {value!r}; valid are baseline and canary")
    return ARMS.index(value)


def _text(value: Any) -> str | None:
    return None if value in (None, "", "-") else str(value)
