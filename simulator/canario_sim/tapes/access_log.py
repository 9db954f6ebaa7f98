"""Access logs whose format nobody has named: how their lines are built is learned from them.

Lines begin as in the common format, behind whatever a collector has put before them, and go on
with what a server's configuration adds. Only what stands outside of quotes and brackets can be a
field, and only where it stands in the other lines too: what a client sends cannot become one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from ipaddress import ip_address
from statistics import median

from msgspec import Struct

from .parsed import LineError, Stamp, Unit, client_of
from .pattern import Layout, layout_of

__all__ = ["KEYS", "NO_TIME", "AmbiguousError", "Learned", "explain", "learn"]

# What a log may tell users apart by.
KEYS = ("client", "user", "none")

_BASE = re.compile(
    r"(?P<head>.*?) +\[(?P<time>\d\d/[A-Z][a-z]{2}/\d{4}:[^\]]*)\] +"
    r'"(?P<request>[^"\\]*+(?:\\.[^"\\]*+)*+)" +(?P<status>\S+) +(?P<bytes>\d+|-)(?P<tail>.*)'
)
_FIRST = 8  # of what comes after these: host ident user [time] "request" status bytes

_TOKEN = re.compile(
    r' +(?:(?P<quoted>"[^"\\]*+(?:\\.[^"\\]*+)*+")|(?P<bracketed>\[[^\]]*\])'
    r'|(?P<name>[A-Za-z_][\w.-]*)(?P<sign>=|:)(?P<value>"[^"\\]*"|[^\s"\\]*(?:, [^\s"\\=]+)*)'
    r'|(?P<bare>[^\s"\\,]+(?:(?:, ?| : )[^\s"\\,]+)*,?))(?= |$)'
)

# Names of a request's time, with the unit that goes without saying (None: by the numbers).
_TIMES: dict[str, Unit | None] = {
    "request_time": None,
    "rt": None,
    "duration": None,
    "time": None,
    "took": None,
    "latency": None,
    "elapsed": None,
    "response_time": None,
    "request_duration": None,
    "D": "us",
    "T": "s",
    "M": "ms",
    "L": "s",
}
_UNITS: tuple[Unit, ...] = ("ms", "us", "ns", "s")

_HEAD = re.compile(r"[^\s,]+(?:, ?(?!- )[^\s,]+)*,?")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_WITH_UNIT = re.compile(r"\d+(?:\.\d+)?(?:ns|us|µs|ms|s|m\d+(?:\.\d+)?s)")

# Lines that are built otherwise than most are read too, where they are so many of the first ones.
_OTHERS = 0.2
# A median of more seconds than these says that the numbers may be none of seconds.
_MOST_S = 60.0

# In fewer lines than these a field may be the same in all of them by chance.
_FEW = 50


class AmbiguousError(ValueError):
    """What may be read in several ways: which ones, and what decides."""


class Learned(Struct, frozen=True):
    """How lines are built.

    Attributes:
        layouts: The most frequent one first.
        guessed: The time's unit is a guess, by how its numbers are written.
        field: What the time is, in words.
        parts: So many parts after its bytes a line needs, to tell the time.
        forwarded: Whether the client is the first of several addresses.
    """

    layouts: tuple[Layout, ...]
    guessed: bool
    field: str
    parts: int
    forwarded: bool


class _Built(Struct, frozen=True):
    """How one line is built: words before its address, and the shape of each part after its bytes:
    `"`, `[`, a name with its sign, or `.`."""

    before: int
    parts: tuple[str, ...]


class _Seen(Struct, frozen=True):
    """One line: how it is built, None where nobody can tell where its address is; its words before
    its instant, and the text of each part."""

    built: _Built | None
    head: tuple[str, ...]
    texts: tuple[str, ...]
    status: str


class _Time(Struct, frozen=True):
    """Where a line's time is, -1 for nowhere, its unit, and whether that is a guess."""

    place: int
    unit: Unit = "s"
    guessed: bool = False
    stamp: Stamp = "end"


def learn(
    lines: Iterable[str],
    *,
    unit: Unit | None = None,
    stamp: Stamp | None = None,
    field: str | None = None,
) -> Learned:
    """How the lines are built, by the first ones.

    Args:
        lines: So many of them as are looked at.
        unit: Of the time, where it is known.
        stamp: Which end of a request the instant is, where it is known.
        field: The time's name or number, as `awk` counts, but what is quoted or in brackets is
            one field, and what stands before the address is none; `none` where there is none.

    Raises:
        LineError: When the lines are none of an access log with times, with why not.
        AmbiguousError: When they do not say which number is the time, or who the client is.
    """
    seen = [each for each in map(_look, lines) if each is not None]
    if not seen:
        raise LineError(NO_LOG)
    clear = [each for each in seen if each.built is not None]
    if 2 * len(clear) < len(seen):
        raise _no_client(next(each for each in seen if each.built is None))
    counts = Counter(each.built for each in clear)
    first = counts.most_common(1)[0][0]
    assert first is not None
    _check_clients([each for each in clear if each.built == first])
    layouts: list[Layout] = []
    times: list[_Time] = []
    words = ""
    for one, count in counts.most_common():
        if one is None or (one != first and count < _OTHERS * len(seen)):
            continue
        telling = _telling(one)
        # A client can make a line look otherwise where a server does not escape its quotes. What
        # it adds is no field: others are read where the same names tell the same.
        if one.parts != first.parts and (not words.isidentifier() or telling != _telling(first)):
            continue
        if telling.count("arm") > 1:
            raise AmbiguousError("a line tells its arm twice; --pattern says which one holds")
        columns = [
            _Column(place, name, [each.texts[place] for each in clear if each.built == one])
            for place, name in enumerate(one.parts)
        ]
        statuses = [each.status for each in clear if each.built == one]
        time = _time_of(columns, statuses, unit, field)
        if time is None:
            continue
        words = words or ("none" if time.place < 0 else _name_of(one, time.place))
        layouts.append(layout_of(_pattern(one, time.place), time.unit, stamp or time.stamp))
        times.append(time)
    if not layouts:
        raise LineError(NO_TIME)
    return Learned(
        tuple(layouts),
        any(time.guessed for time in times),
        words,
        1 + min(time.place for time in times),
        any("," in each.head[each.built.before] for each in clear if each.built is not None),
    )


NO_LOG = 'it is not host ident user [time] "request" status bytes …'
NO_TIME = "it does not tell how long the request took"


def explain(line: str, learned: Learned) -> LineError:
    """Why a line is not read as the others are."""
    seen = _look(line)
    if seen is None:
        return LineError(NO_LOG)
    if len(seen.texts) < learned.parts:
        return LineError(NO_TIME)
    return LineError("its fields are not those of most other lines")


def _look(line: str) -> _Seen | None:
    base = _BASE.fullmatch(line)
    if base is None:
        return None
    parts: list[str] = []
    texts: list[str] = []
    head = tuple(_HEAD.findall(base["head"]))
    place, tail = 0, base["tail"].rstrip()
    while place < len(tail):
        token = _TOKEN.match(tail, place)
        if token is None:
            return _Seen(None, head, (), base["status"])
        place = token.end()
        quoted, bracketed, name, sign, value, bare = token.groups()
        if name is not None and (sign == "=" or name in _TIMES or name == "arm"):
            parts.append(f'{name}{sign}"' if value.startswith('"') else f"{name}{sign}")
            texts.append(value.strip('"'))
        else:
            parts.append('"' if quoted else "[" if bracketed else ".")
            texts.append(quoted or bracketed or bare or f"{name}{sign}{value}")
    before = _before(head)
    built = None if before is None else _Built(before, tuple(parts))
    return _Seen(built, head, tuple(texts), base["status"])


def _before(head: Sequence[str]) -> int | None:
    """How many words stand before the client's address; None where that cannot be told."""
    addresses = [number for number, word in enumerate(head) if _is_address(word)]
    place = len(head) - 3
    if place < 0 or any('"' in word for word in head):
        return None
    if place == 0 or (addresses[:1] == [0] and head[1] == "-"):
        return 0  # and the user's name may have blanks in it
    return place if addresses[:1] == [place] else None


def _is_address(word: str) -> bool:
    try:
        ip_address(client_of(word) or "")
    except ValueError:
        return False
    return True


def _no_client(seen: _Seen) -> AmbiguousError:
    return AmbiguousError(
        f"which word is the client's address cannot be told from {' '.join(seen.head)!r}; "
        "--pattern says how a line is built"
    )


def _check_clients(alike: Sequence[_Seen]) -> None:
    """That the first word is the client, where most lines begin with it."""
    for each in alike:
        if each.built is None or each.built.before:
            return
    spaced = [each for each in alike if len(each.head) > 3 and set(each.head[1:]) != {"-"}]
    if 2 * len(spaced) > len(alike):
        raise _no_client(spaced[0])
    second = [each for each in alike if _is_address(each.head[1]) and each.head[0] != each.head[1]]
    if 2 * len(second) > len(alike):
        raise _no_client(second[0])


def _telling(one: _Built) -> list[str]:
    """The names in a line that may be fields."""
    names = [part.rstrip('"=:') for part in one.parts if part not in ('"', "[", ".")]
    return sorted(name for name in names if name == "arm" or _known(name) is not None)


def _pattern(one: _Built, place: int) -> str:
    parts = []
    for number, part in enumerate(one.parts):
        name = "took" if number == place else "skip"
        if part == '"':
            parts.append(f'"${name}"')
        elif part == "[":
            parts.append(f"[${name}]")
        elif part == ".":
            parts.append(f"${name}")
        else:
            plain = part.rstrip('"')
            name = "arm" if plain in ("arm=", "arm:") else name
            parts.append(f'{plain}"${name}"' if part.endswith('"') else f"{plain}${name}")
    tail = "".join(f" {part}" for part in parts)
    return f'{"$skip " * one.before}$client $skip $user [$time] "$request" $status $skip{tail}'


def _name_of(one: _Built, place: int) -> str:
    part = one.parts[place]
    return f"field {place + _FIRST}" if part == "." else part.rstrip('"=:')


# -- which of the parts is the time


class _Column:
    """A part of the lines that are built alike."""

    def __init__(self, place: int, part: str, texts: list[str]) -> None:
        self.place = place
        self.name = part.rstrip('"=:') if part not in ('"', "[", ".") else ""
        self.bare = part == "."
        self.texts = texts
        told = [text for text in texts if text != "-"]
        self.with_unit = bool(told) and all(map(_WITH_UNIT.fullmatch, told))
        self.number = (
            bool(told) and all(map(_NUMBER.fullmatch, told)) and (2 * len(told) >= len(texts))
        )
        self.values = [float(text) for text in told] if self.number else []
        self.points = self.number and any("." in text for text in told)
        # As nginx (.123) and gunicorn (.123456) write seconds, and hardly anybody anything else.
        self.seconds = self.number and all(len(text.partition(".")[2]) in (3, 6) for text in told)

    @property
    def is_instant(self) -> bool:
        """Seconds, or ms, since the epoch."""
        middle = median(self.values)
        # From 2001 to 2096.
        return 1e9 <= middle < 4e9 or 1e12 <= middle < 4e12

    @property
    def constant(self) -> bool:
        """The same in so many lines that it is hardly a time."""
        return len(self.texts) >= _FEW and len(set(self.texts)) == 1

    def may_be_time(self, statuses: list[str]) -> bool:
        return self.bare and self.number and not self.is_instant and self.texts != statuses


def _time_of(
    columns: Sequence[_Column], statuses: list[str], unit: Unit | None, field: str | None
) -> _Time | None:
    """Which part is the time; None where there is none. Raises `AmbiguousError`."""
    if field is not None:
        if field == "none":
            return _Time(-1)
        column = next((each for each in columns if _is_field(each, field)), None)
        if column is None:
            there = ", ".join(each.name or str(each.place + _FIRST) for each in columns)
            raise AmbiguousError(
                f"it has no field {field} for --latency-field; behind the bytes there are "
                f"{there or 'none'}"
            )
        return _with_unit(column, unit, _known(field))
    named = [
        each
        for each in columns
        if each.name
        and _known(each.name) is not None
        and (each.with_unit or (each.number and not each.is_instant))
    ]
    if len(named) > 1:
        raise _several(named)
    if named:
        return _with_unit(named[0], unit, _known(named[0].name))
    telling = [each for each in columns if each.with_unit and not each.name]
    bare = [each for each in columns if each.may_be_time(statuses)]
    bare = [each for each in bare if not each.constant] or bare
    apart = [
        each
        for each in bare
        if each.place + 1 < len(columns) and set(columns[each.place + 1].texts) <= set(_UNITS)
    ]
    if len(telling) + len(apart) > 1:
        raise _several(telling + apart)
    if telling:
        return _with_unit(telling[0], unit, None)
    if apart:
        its: Unit = columns[apart[0].place + 1].texts[0]  # type: ignore[assignment]
        if unit is not None:
            raise AmbiguousError(f"its times tell their unit themselves ({its}); leave out --unit")
        return _Time(apart[0].place, its)
    if not bare:
        return None
    seconds = [each for each in bare if each.seconds]
    if len(bare) > 1 and seconds:
        whole = seconds[0]
        if all(each.seconds or not each.points for each in bare) and all(
            _is_part(each, whole) for each in seconds[1:]
        ):
            bare = [whole]
    if len(bare) > 1:
        raise _several(bare)
    return _with_unit(bare[0], unit, None)


def _is_part(part: _Column, whole: _Column) -> bool:
    """Whether one time is most of another one, as an upstream's is of the request's.

    It is never longer, but for its rounding. What is mostly much longer is no request's time: a
    connection's.
    """
    both = [
        (float(mine), float(its))
        for mine, its in zip(whole.texts, part.texts, strict=True)
        if mine != "-" and its != "-"
    ]
    return (
        # Both are rounded to a ms, so that either may be longer by one.
        all(mine >= its - 0.0011 for mine, its in both)
        and sum(mine for mine, _ in both) >= sum(its for _, its in both)
        and 2 * sum(its >= 0.5 * mine - 0.0011 for mine, its in both) >= len(both)
    )


def _is_field(column: _Column, field: str) -> bool:
    if field.isdecimal():
        return int(field) == column.place + _FIRST
    return column.name == field


def _known(name: str) -> tuple[Unit | None] | None:
    """The unit that a name of a time says (None where it says none); None for another name."""
    if name in _TIMES:
        return (_TIMES[name],)
    stem, _, unit = name.rpartition("_")
    if unit in _UNITS and stem in _TIMES:
        return (unit,)
    return None


def _several(columns: Sequence[_Column]) -> AmbiguousError:
    shown = ", ".join(
        f"{each.name or each.place + _FIRST} ({each.texts[0]})" for each in columns[:6]
    )
    return AmbiguousError(
        f"which field is the request's time cannot be told: {shown}; --latency-field says which "
        "(and --unit, of what), or --pattern how a line is built"
    )


def _with_unit(column: _Column, unit: Unit | None, named: tuple[Unit | None] | None) -> _Time:
    """The time's unit: as was said, by its name, or by how it is written."""
    if column.with_unit:
        if unit is not None:
            raise AmbiguousError(
                f"its times tell their unit themselves ({column.texts[0]}); leave out --unit"
            )
        told = column.texts[0].replace("µ", "u")
        return _Time(column.place, next((each for each in _UNITS if told.endswith(each)), "s"))
    its = unit or (named[0] if named else None)
    if its is not None:
        apache = column.name in ("D", "T") or not (column.name or column.points)
        return _Time(column.place, its, stamp="start" if apache else "end")
    if column.points:
        if column.values and median(column.values) > _MOST_S:
            raise _no_unit(column, f"as seconds their median is {median(column.values):g} s")
        return _Time(column.place, "s", guessed=True)
    raise _no_unit(column, "whole ones are Apache's %D in us, others' ms, lengths and counters")


def _no_unit(column: _Column, why: str) -> AmbiguousError:
    name = column.name or f"field {column.place + _FIRST}"
    return AmbiguousError(
        f"of what {name} is a number ({column.texts[0]}) cannot be told ({why}); --unit says of "
        "what the request's time is one (us, ms, s), --latency-field which other field is, or none"
    )
