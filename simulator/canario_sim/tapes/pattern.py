"""The pattern of a log's lines, as a server's configuration writes it, and what reads by it.

A pattern is text with fields: `$client - $user [$time] "$request" $status $bytes $took`. Fields
have nginx's names, or the short ones of `FIELDS`; Apache's and gunicorn's (`%h`, `%(D)s`) are
translated. What is between quotes or brackets is read to their end, whatever a client has put
between them, and a line is read as a whole or not at all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from math import isnan, nan
from typing import TypeVar

import numpy as np
from msgspec import Struct

from canario.arms import ARMS
from canario.limits import LONGEST_MS
from canario_sim.streams import Floats, Ints

from .parsed import (
    LIMIT_MS,
    SECONDS,
    Columns,
    LineError,
    Stamp,
    Unit,
    client_of,
    route_of,
    untimed,
    worth_of_status,
)
from .recording import GOOD

__all__ = ["FIELDS", "STATUSES", "Layout", "instant", "layout_of", "milliseconds", "reader"]

# What a pattern may tell; every other name is read over.
FIELDS = (
    "client", "user", "time", "iso", "epoch", "request", "method", "path", "status", "took",
    "took_s", "took_ms", "took_us", "took_ns", "arm", "kind", "created", "skip", "lead", "rest",
)  # fmt: skip

# nginx's names, Apache's letters and gunicorn's, for the same.
_NGINX = {
    "remote_addr": "client",
    "remote_user": "user",
    "time_local": "time",
    "time_iso8601": "iso",
    "msec": "epoch",
    "request_method": "method",
    "request_uri": "path",
    "uri": "path",
    "request_time": "took_s",
}
_LETTERS = {
    "h": "$client",
    "a": "$client",
    "u": "$user",
    "t": "[$time]",
    "r": "$request",
    "m": "$method",
    "U": "$path",
    "s": "$status",
    "D": "$took_us",
    "T": "$took_s",
}
_WORDS = _LETTERS | {"a": "$skip", "M": "$took_ms", "L": "$took_s"}  # gunicorn's and hypercorn's
_APACHE = re.compile(r"%(?:\((\w+|\{[^}]*\}\w)\)s|[<>!\d,]*(?:\{([^}]*)\})?([A-Za-z])|(%))")
_APACHE_UNITS = {"s": "took_s", "ms": "took_ms", "us": "took_us"}

_QUOTED = r'[^"\\]*+(?:\\.[^"\\]*+)*+'
_BRACKETED = r"[^\]]*+"
# One word, or several between commas, as nginx writes the times of several upstreams. What has been
# taken is not given back, or a client's list of words would be tried in all ways to part it.
_BARE = r'[^\s"\\,]++(?:(?:, ?| : )[^\s"\\,]++)*+,?+'
_WORD = r'[^\s"\\,]+'
_SPECIAL = {
    # Behind the comma after the last address stands no address.
    "client": r'[^\s"\\,]++(?:, ?(?!- )[^\s"\\,]++)*+,?+',
    "user": r".+?",
    "time": r"[^\[\]]+",
    "iso": r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:[.,]\d+)?(?: ?(?:Z|[+-]\d\d:?\d\d))?",
    "lead": r'[^",]*',
    "rest": r".*",
}
_PART = re.compile(r'("?)(\[?)\$(?:\{(\w+)\}|(\w+))(\]?)("?)|( +)|([^$ ]|\$)')


class Layout(Struct, frozen=True):
    """How lines are read.

    Attributes:
        pattern: As a person reads it.
        matches: What it is for a machine; its groups are named as in `FIELDS`.
        unit: Of a time that does not tell its own.
        stamp: Which end of a request the instant is.
    """

    pattern: str
    matches: re.Pattern[str]
    unit: Unit = "s"
    stamp: Stamp = "end"

    @property
    def times(self) -> tuple[str, ...]:
        """The groups that tell how long a request took."""
        return tuple(name for name in self.matches.groupindex if name.startswith("took"))

    @property
    def own_unit(self) -> Unit | None:
        """The unit that the pattern itself says; None where `unit` does."""
        told = [_unit_of(name) for name in self.times]
        return told[0] if told else None


@lru_cache(maxsize=64)
def layout_of(pattern: str, unit: Unit = "s", stamp: Stamp = "end") -> Layout:
    """What a pattern says. Raises `ValueError` for one that does not tell what an import needs."""
    text = _translated(pattern)
    taken: dict[str, int] = {}
    parts: list[str] = []
    for found in _PART.finditer(text):
        quote, bracket, braced, plain, unbracket, unquote, space, literal = found.groups()
        name = braced or plain
        if name is None:
            parts.append(" +" if space else re.escape(literal))
            continue
        name = _NGINX.get(name, name)
        if quote and unquote:
            inside = _QUOTED
        elif quote or unquote:
            inside = r'[^\s"]+'  # one of several between the same quotes
        else:
            other = _BRACKETED if bracket and unbracket else _BARE
            inside = _WORD if name.startswith("took") else _SPECIAL.get(name, other)
        if name in FIELDS and name not in ("skip", "lead", "rest"):
            number = taken[name] = taken.get(name, 0) + 1
            # Several times of one request are one time: see `reader`.
            group = name if number == 1 else f"{name}_{number}"
            inside = f"(?P<{group}>{inside})"
        parts.append(
            f"{re.escape(quote)}{re.escape(bracket)}{inside}"
            f"{re.escape(unbracket)}{re.escape(unquote)}"
        )
    for name, number in taken.items():
        if number > 1 and not name.startswith("took"):
            raise ValueError(f"the pattern {pattern!r} has ${name} {number} times")
    missing = [
        " or ".join(f"${name}" for name in names)
        for names in (("time", "iso", "epoch"), ("status",))
        if not taken.keys() & set(names)
    ]
    if missing:
        raise ValueError(
            f"the pattern {pattern!r} has no {' and no '.join(missing)}; its fields are "
            f"{', '.join(f'${name}' for name in FIELDS)}, and nginx's, Apache's and gunicorn's own"
        )
    return Layout(pattern, re.compile("".join(parts) + " *"), unit, stamp)


def _translated(pattern: str) -> str:
    def field(found: re.Match[str]) -> str:
        word, argument, letter, percent = found.groups()
        if percent:
            return "%"
        if letter == "T" and argument is not None:
            return f"${_APACHE_UNITS.get(argument, 'skip')}"
        if letter == "t" and argument is not None:
            return "$skip"
        if argument is not None:
            return "$skip"
        return _LETTERS.get(letter, "$skip") if letter else _WORDS.get(word, "$skip")

    return _APACHE.sub(field, pattern) if "%" in pattern else pattern


def reader(
    layout: Layout,
    *,
    key: str = "client",
    errors: Collection[int] = (),
    limit_ms: float = LIMIT_MS,
    timed: bool = True,
) -> Callable[[Sequence[re.Match[str]]], Columns]:
    """What makes columns of matches.

    Column by column, and what stands there several times once: of a million lines few are
    without a twin in a column.
    """
    has = layout.matches.groupindex
    took_names = layout.times if timed else ()
    scales = {name: SECONDS[_unit_of(name) or layout.unit] * 1000 for name in took_names}
    instant_name = next(name for name in ("time", "iso", "epoch") if name in has)
    to_instant: Callable[[str], float] = _clf if instant_name == "time" else instant
    who = key if key in has else ""
    wanted = (who, "request", "method", "path", "arm", "kind", "created", *took_names)
    groups = [instant_name, "status", *(name for name in wanted if name in has)]

    def read(matches: Sequence[re.Match[str]]) -> Columns:
        made = Columns(len(matches))
        if not matches:
            return made
        rows = [match.group(*groups) for match in matches]
        texts = dict(zip(groups, zip(*rows, strict=True), strict=True))
        made.at[:] = _each(texts[instant_name], to_instant, made.wrong, 0.0)
        made.status = list(texts["status"])
        status = np.array(_each(made.status, _status, made.wrong, 0), np.int64)
        if "request" in has:
            asked = _each(texts["request"], _asked, made.wrong, _NOTHING)
        else:
            nothing = ("",) * len(matches)
            both = zip(texts.get("method", nothing), texts.get("path", nothing), strict=True)
            asked = [_name(method, path) for method, path in both]
        made.route = [route for route, _ in asked]
        for name in took_names[:1]:
            made.took[:] = _milliseconds(texts[name], scales[name], made.wrong)
        for name in took_names[1:]:
            made.took += _milliseconds(texts[name], scales[name], made.wrong)
        if "created" in has and took_names:
            for place in np.flatnonzero(np.isnan(made.took)).tolist():
                try:
                    since = made.at[place] - instant(texts["created"][place])
                    made.took[place] = max(since, 0.0) * 1000
                except LineError as error:
                    made.wrong.setdefault(place, error)
        made.took[[place for place, (_, no_work) in enumerate(asked) if no_work]] = nan
        if "kind" in has:
            sockets = [place for place, kind in enumerate(texts["kind"]) if kind in ("ws", "wss")]
            made.took[sockets] = nan
        _judge(made, status, errors, limit_ms)
        if who:
            made.key = _each(texts[who], client_of, made.wrong, None)
        if "arm" in has:
            made.arm[:] = _each(texts["arm"], _arm, made.wrong, -1)
        return made

    return read


T = TypeVar("T")


def _each(
    texts: Sequence[str], read: Callable[[str], T], wrong: dict[int, LineError], nothing: T
) -> list[T]:
    """What each text says, `nothing` for one that is wrong."""
    made: dict[str, T] = {}
    errors: dict[str, LineError] = {}
    for text in set(texts):
        try:
            made[text] = read(text)
        except LineError as error:
            made[text], errors[text] = nothing, error
    for place, text in enumerate(texts) if errors else ():
        if text in errors:
            wrong.setdefault(place, errors[text])
    return [made[text] for text in texts]


def _status(text: str) -> int:
    number = STATUSES.get(text)
    if number is None:
        raise LineError(f"its status is {text!r}")
    return number


# A request's route, if it has one, and whether it does no work that is timed.
_Asked = tuple[str | None, bool]
_NOTHING: _Asked = (None, False)


def _asked(request: str) -> _Asked:
    method, _, target = request.partition(" ")
    # The protocol stands behind the last blank; `GET /path`, of HTTP/0.9, has none.
    return _name(method, target.rpartition(" ")[0] or target)


def _name(method: str, path: str) -> _Asked:
    route = route_of(path) if path else ""
    return (route if route.startswith("/") else None), untimed(method, route)


def _milliseconds(texts: Sequence[str], scale: float, wrong: dict[int, LineError]) -> Floats:
    """Times in ms, by `milliseconds`; at once where they are plain numbers, as nearly always."""
    try:
        took: Floats = np.array(list(map(float, texts))) * scale
        if bool(((took >= 0) & (took <= _LONGEST_MS)).all()):
            return took
    except ValueError:
        pass
    return np.array(_each(texts, partial(milliseconds, scale=scale), wrong, nan))


def _judge(made: Columns, status: Ints, errors: Collection[int], limit_ms: float) -> None:
    """What each request says of the service, by `worth_of_status`: nearly all are plainly good."""
    good = (status >= 200) & (status < 400) & ~(made.took > LONGEST_MS)
    if errors:
        good[:] = False
    made.outcome[good] = GOOD
    for place in np.flatnonzero(~good).tolist():
        if place not in made.wrong:
            try:
                made.outcome[place], made.took[place] = worth_of_status(
                    int(status[place]), float(made.took[place]), errors, limit_ms
                )
            except LineError as error:
                made.wrong[place] = error


def _unit_of(name: str) -> Unit | None:
    """`took_ms`, `took_ms_2`: the name tells it; `took` does not."""
    return next((unit for unit in SECONDS if name.split("_")[1:2] == [unit]), None)


def _arm(text: str) -> int:
    word = text.strip('"')
    if word in ("", "-"):
        return -1
    if word not in ARMS:
        raise LineError(f"its arm is {word!r}; valid are baseline and canary")
    return ARMS.index(word)


# Three digits; 0, -1 and - are no response.
STATUSES = {f"{number:03d}": number for number in range(1000)} | {"0": 0, "-1": 0, "-": 0}


# 135, 0.135, 135ms, and what Go writes: 1m2.5s.
_DURATION = re.compile(r"(?:\d+(?:\.\d*)?|\.\d+)(?:h|min|m(?!s)|s|ms|us|µs|μs|ns)")
_OF_UNIT = {
    "h": 3.6e6, "min": 6e4, "m": 6e4, "s": 1e3, "ms": 1.0, "us": 1e-3, "µs": 1e-3, "μs": 1e-3,
    "ns": 1e-6,
}  # fmt: skip
_NUMBER = re.compile(r"(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?")

# No request takes longer, a year, and no WebSocket lives longer (`LONGEST_MS` is for requests that
# are timed); what says so says something else.
_LONGEST_MS = 365 * 86_400 * 1000.0


def milliseconds(text: str | float, scale: float) -> float:
    """A time in ms: `scale` is that of a number, which does not tell its unit.

    NaN for `-` and -1, by which servers say that there is none. Raises `LineError`.
    """
    try:
        took = float(text) * scale
    except ValueError:
        took = _with_unit(str(text))
    if took < 0:
        if float(text) == -1:
            return nan
        raise LineError(f"its time is {text!r}")
    if took > _LONGEST_MS or (isnan(took) and text != "-"):
        raise LineError(f"its time is {text!r}")
    return took


def _with_unit(text: str) -> float:
    plain = text.strip('"').replace(" ", "")
    if plain == "-":
        return nan
    total = 0.0
    rest = plain
    while found := _DURATION.match(rest):
        number = _NUMBER.match(found[0])
        assert number is not None
        total += float(number[0]) * _OF_UNIT[found[0][number.end() :]]
        rest = rest[found.end() :]
    if rest and _NUMBER.fullmatch(rest) and rest == plain:
        return float(rest)
    if rest or not plain:
        raise LineError(f"its time is {text!r}")
    return total


_MONTHS = {
    name: number
    for number, name in enumerate(
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"],
        start=1,
    )
}
_STAMP = re.compile(
    r"(\d{2})/([A-Z][a-z]{2})/(\d{4}):(\d{2}):(\d{2}):(\d{2})(\.\d+)? ([+-])(\d{2})(\d{2})"
)


# A busy log has many lines of one second.
@lru_cache(maxsize=4096)
def _clf(text: str) -> float:
    """`10/Oct/2000:13:55:36 -0700`, in seconds since the epoch, in any locale."""
    found = _STAMP.fullmatch(text)
    if found is None or found[2] not in _MONTHS:
        raise LineError(f"its instant is {text!r}, not like 10/Oct/2000:13:55:36 -0700")
    day, _, year, hour, minute, second = found.groups()[:6]
    offset = timedelta(hours=int(found[9]), minutes=int(found[10]))
    try:
        moment = datetime(
            int(year), _MONTHS[found[2]], int(day), int(hour), int(minute), int(second), tzinfo=UTC
        )
        moment = moment - offset if found[8] == "+" else moment + offset
    except (ValueError, OverflowError) as error:
        raise LineError(f"its instant is {text!r}: {error}") from error
    return _possible(moment.timestamp() + float(found[7] or 0), text)


# Seconds since the epoch have up to ten digits until the year 2286; with more they are a finer
# unit. What lies between is no instant of anybody's.
_EPOCHS = ((1e11, 1.0), (1e14, 1e3), (1e17, 1e6), (1e20, 1e9))
_YEAR_2100 = 4_102_444_800.0


def instant(value: object) -> float:
    """Seconds since the epoch of a number (s, ms, µs or ns, by its size) or of text (ISO 8601).

    Text that says no zone is in UTC. Raises `LineError`.
    """
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return _of_text(str(value))
    except OverflowError:
        number = nan
    if 0 <= number < _YEAR_2100:
        return number  # seconds, as most are
    scale = next((scale for limit, scale in _EPOCHS if abs(number) < limit), nan)
    return _possible(number / scale, value)


def _of_text(text: str) -> float:
    if "/" in text:
        return _clf(text.strip("[]"))
    try:
        moment = datetime.fromisoformat(text)
        at = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise LineError(
            f"its instant is {text!r}, neither seconds since the epoch nor ISO 8601"
        ) from None
    return _possible(at, text)


def _possible(at: float, said: object) -> float:
    if not 0 <= at < _YEAR_2100:
        raise LineError(f"its instant is {said!r}, which is none between 1970 and 2100")
    return at
