"""Access logs in common and combined format, with the time that each request took."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from math import isfinite, nan

from .parsed import Line, LineError, outcome_of_status, route_of, untimed

__all__ = ["KEYS", "access_log_parser"]

# What a log may tell users apart by.
KEYS = ("client", "user", "none")

# host ident user [time] "request" status bytes, and what a format adds to it.
_COMMON = re.compile(
    r'(?P<host>\S+) \S+ (?P<user>.+?) \[(?P<time>[^\]]+)\] "(?P<request>(?:[^"\\]|\\.)*)" '
    r"(?P<status>\S+) (?:\d+|-)(?P<rest>.*)"
)
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
# 0.123, or rt=0.123 and the like; nginx writes 0.1, 0.2 where it has asked two upstreams.
_NAMED_TIME = re.compile(r"\b(?:request_time|rt|duration|time|took|D|T)[=:]\"?([\d.]+)")
_TIME = re.compile(r"(?:^|\s)([\d.]+)(?=\s|$)")
_ARM = re.compile(r'\barm[=:]"?(baseline|canary)\b')
_MONTHS = {
    name: number
    for number, name in enumerate(
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"],
        start=1,
    )
}
_STAMP = re.compile(r"(\d{2})/([A-Z][a-z]{2})/(\d{4}):(\d{2}):(\d{2}):(\d{2}) ([+-])(\d{2})(\d{2})")


def access_log_parser(
    *, key: str = "client", errors: Collection[int] = (), timed: bool = True
) -> Callable[[str], Line]:
    """What reads one line.

    Args:
        key: What users are told apart by: one of `KEYS`.
        errors: Statuses below 500 that count as errors.
        timed: Whether each line must tell how long its request took.

    The time is the value of `rt=`, `request_time=`, `duration=`, …, where there is one, else the
    first number after the quoted fields. What it raises is a `LineError`.
    """

    def parse(line: str) -> Line:
        found = _COMMON.match(line)
        if found is None:
            raise LineError('it is not host ident user [time] "request" status bytes …')
        status = found["status"]
        if not (status.isdecimal() and len(status) == 3):
            raise LineError(f"its status is {status!r}")
        method, _, target = found["request"].partition(" ")
        path = target.rpartition(" ")[0] or target
        rest = found["rest"]
        took = _took(rest) if timed else nan
        if untimed(method, path):
            took = nan
        arm = _ARM.search(rest)
        return Line(
            _instant(found["time"]),
            took,
            outcome_of_status(int(status), errors),
            _key_of(found["host"], found["user"], key),
            route_of(path) if path.startswith("/") else None,
            -1 if arm is None else int(arm[1] == "canary"),
        )

    return parse


def _key_of(host: str, user: str, kind: str) -> str | None:
    value = {"client": host, "user": user}.get(kind, "-")
    return None if value == "-" else value


def _took(rest: str) -> float:
    found = _NAMED_TIME.search(rest) or _TIME.search(_QUOTED.sub('""', rest))
    if found is None:
        raise LineError("it does not tell how long the request took")
    try:
        took = float(found[1])
    except ValueError:
        took = nan
    if not isfinite(took):
        raise LineError(f"its time is {found[1]!r}")
    return took


@lru_cache(maxsize=4096)
def _instant(text: str) -> float:
    """`10/Oct/2000:13:55:36 -0700`, in seconds since the epoch, in any locale."""
    found = _STAMP.fullmatch(text)
    if found is None or found[2] not in _MONTHS:
        raise LineError(f"its instant is {text!r}, not like 10/Oct/2000:13:55:36 -0700")
    day, _, year, hour, minute, second = found.groups()[:6]
    offset = timedelta(hours=int(found[8]), minutes=int(found[9]))
    try:
        moment = datetime(
            int(year), _MONTHS[found[2]], int(day), int(hour), int(minute), int(second), tzinfo=UTC
        )
    except ValueError as error:
        raise LineError(f"its instant is {text!r}: {error}") from error
    return (moment - offset if found[7] == "+" else moment + offset).timestamp()
