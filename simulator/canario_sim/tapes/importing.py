"""Logs, JSON lines and CSV as recorded traffic: what cannot be read is counted, and said."""

from __future__ import annotations

import csv
import gc
import os
import re
from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import chain, islice
from math import isnan
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec
import numpy as np
from msgspec import Struct

from canario.arms import ARMS
from canario.tape.format import OUTCOMES, TapeError

from .access_log import KEYS, NO_TIME, AmbiguousError, Learned, explain, learn
from .doubts import doubts
from .formats import LOGS, NAMES, NO_INSTANT, RECORDS, KnownLog, KnownRecords
from .lines import Lines
from .parsed import LIMIT_MS, Collector, Columns, Line, LineError, Stamp, Unit
from .pattern import Layout, layout_of, reader
from .recording import Recording
from .records import ALIASES, FIELDS, getter, record_parser

__all__ = [
    "FORMATS",
    "Example",
    "Format",
    "Imported",
    "Skipped",
    "format_of",
    "import_log",
    "times_of",
]

# `log`, `jsonl` and `csv` are read by what stands in them; the others are known by name.
Format = str
FORMATS: tuple[Format, ...] = ("log", "jsonl", "csv", *NAMES)

Kind = Literal["log", "jsonl", "csv", "w3c"]

# By so many of the first lines a format is told; of lines that are left out, and of those that are
# read, so many are shown.
_LOOK = 2000
_EXAMPLES = 3

# What is a line's own in why it was left out.
_VALUE = re.compile(r"'.*'|\".*\"|-?[\d.]+")

_UNITS = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}


class _NoInstantError(LineError):
    """Known lines, of which no option makes a tape: what they lack, and what writes it."""


class Skipped(Struct, frozen=True):
    """Lines that were left out for one reason: how many, and the numbers of the first ones."""

    why: str
    count: int
    lines: tuple[int, ...]

    @property
    def text(self) -> str:
        """In words: `12 lines: it is no JSON (lines 3, 4, 9, …)`."""
        lines = "line" if self.count == 1 else "lines"
        numbers = ", ".join(map(str, self.lines))
        more = "" if self.count <= len(self.lines) else ", …"
        return f"{self.count:,} {lines}: {self.why} ({lines} {numbers}{more})"


class Example(Struct, frozen=True):
    """One line as it was understood."""

    number: int
    line: Line

    def text(self, *, users: bool = True) -> str:
        """In words; without its user where that is kept from others."""
        line = self.line
        moment = datetime.fromtimestamp(line.at, UTC)
        at = f"{moment:%Y-%m-%d %H:%M:%S}.{moment.microsecond // 1000:03d} UTC"
        user = "no user" if line.key is None else f"user {line.key}" if users else "a user"
        status = (
            f"status {line.status} ({OUTCOMES[line.outcome]})"
            if line.status
            else (OUTCOMES[line.outcome])
        )
        took = "not timed" if isnan(line.took) else f"{line.took:,.6g} ms"
        arm = "arm unknown" if line.arm < 0 else ARMS[line.arm]
        return (
            f"line {self.number}: {at}, {user}, {line.route or 'no route'}, {status}, {took}, {arm}"
        )


class Imported(Struct, frozen=True):
    """What was read.

    `unit` and `stamp` tell how the log's times were taken, `guessed` whether nobody had said so.
    `how` says it in words, `examples` by the first lines; `doubts` are what looks implausible, and
    `filtered` is how many records were no requests, by `where`. Of records, which are no `text`,
    the keys tell the units.
    """

    recording: Recording
    lines: int
    format: Format
    unit: Unit
    stamp: Stamp
    guessed: bool
    skipped: tuple[Skipped, ...]
    how: tuple[str, ...] = ()
    examples: tuple[Example, ...] = ()
    doubts: tuple[str, ...] = ()
    filtered: int = 0
    text: bool = True


def import_log(
    path: str | os.PathLike[str],
    *,
    format: Format | None = None,  # noqa: A002 - it is called so
    pattern: str | None = None,
    latency_field: str | None = None,
    unit: Unit | None = None,
    stamp: Stamp | None = None,
    key: str = "client",
    names: Mapping[str, str] | None = None,
    where: Mapping[str, str] | None = None,
    errors: Collection[int] = (),
    limit_ms: float = LIMIT_MS,
    salt: str = "import",
    secret: bytes | None = None,
    strict: bool = False,
    progress: Callable[[int], object] | None = None,
) -> Imported:
    """Read a log.

    Args:
        path: A file; one that is packed by gzip, xz or bzip2 is unpacked.
        format: One of `FORMATS`; by default the known one that fits the first lines alone, or else
            what they look like.
        pattern: How an access log's lines are built; see `canario_sim.tapes.pattern`.
        latency_field: An access log's field that is the request's time: its name, or its number
            behind the address (1); `none` leaves latencies out.
        unit: Of an access log's request times. By default times with a point are seconds, as
            nginx writes them; of whole numbers without a name that tells it has to be said.
        stamp: Which end of a request the instant is: nginx logs the end, Apache the start, which
            are the defaults for times with a point and without. Of records it is the end.
        key: What users are told apart by: one of `access_log.KEYS`.
        names: What a record's keys are called; see `record_parser`.
        where: Which records are requests: what their keys must hold.
        errors: Statuses below 500 that count as errors.
        limit_ms: A client that left (499) after a longer wait counts as slow, another says nothing.
        salt: Under which keys fall into buckets.
        secret: With what keys are hashed; a random one by default.
        strict: Whether the first line that cannot be read is an error.
        progress: Called with the bytes that were read, now and then.

    Raises:
        TapeError: For a file that cannot be read, of which no line or less than half can be, or
            which can be read in several ways: then the message names what decides.
        ValueError: For a name that is no documented key, a pattern that tells too little, and
            options that do not go together.
    """
    path = Path(path)
    wrong = set(names or {}) - set(FIELDS)
    if wrong:
        raise ValueError(f"{min(wrong)!r} is no key of a record; valid are {', '.join(FIELDS)}")
    if format is not None and format not in FORMATS:
        raise ValueError(f"{format!r} is no format; valid are {', '.join(FORMATS)}")
    if key not in KEYS:
        raise ValueError(f"{key!r} is no key; valid are {', '.join(KEYS)}")
    if pattern is not None and (format not in (None, "log") or latency_field is not None):
        raise ValueError("a pattern says all of a format; give no other and no field beside it")
    lines = Lines(path, progress)
    batches = _numbered(lines)
    first: list[list[tuple[int, str]]] = []
    while sum(map(len, first)) < _LOOK and (batch := next(batches, None)) is not None:
        first.append(batch)
    head = list(chain.from_iterable(first))[:_LOOK]
    options = _Options(
        format, pattern, latency_field, unit, stamp, key, names, where, errors, limit_ms
    )
    try:
        reading = options.reading(path, head)
    except (AmbiguousError, LineError) as error:
        kind = format or _kind_of(path, [line for _, line in head])
        raise TapeError(_refused(path, kind, head, error)) from error
    taken = _Taken(path, Collector(salt, secret, paths=True), strict)
    with _no_cycles():
        number = taken.all(reading, chain(first, batches))
    if lines.cut is not None:
        taken.leave_out(number, LineError(f"the file ends here before its end: {lines.cut}"))
    if not len(taken.collector) or taken.left_out > len(taken.collector):
        raise TapeError(_nothing(path, reading, number, taken))
    recording = taken.collector.recording("ms", reading.stamp, path.name, rounded=reading.rounded)
    twice = taken.duplicates()
    said = [
        f"{twice:,} lines are the same as one before, and are counted too: was a file put together "
        "twice?"
    ]
    return Imported(
        recording=recording,
        lines=number,
        format=reading.format,
        unit=reading.unit,
        stamp=reading.stamp,
        guessed=reading.guessed,
        skipped=taken.skipped(),
        how=reading.how,
        examples=tuple(taken.examples),
        doubts=(*(said if twice else ()), *doubts(recording)),
        filtered=taken.filtered,
        text=reading.text,
    )


def times_of(made: Imported) -> str:
    """How a log's times were taken, in words."""
    how = " (no --unit says otherwise)" if made.guessed else ""
    times = f"request times are {_UNITS[made.unit]}, " if made.text else ""
    return f"{times}instants the {made.stamp} of a request{how}"


def _numbered(lines: Lines) -> Iterator[list[tuple[int, str]]]:
    """The lines with their numbers, some thousands at a time, without those that are empty."""
    before = 0
    for batch in lines.batches():
        there = [(number, line) for number, line in enumerate(batch, before + 1) if line]
        before += len(batch)
        if there:
            yield there


@contextmanager
def _no_cycles() -> Iterator[None]:
    """Without Python's search for cycles: it would walk through all the texts again and again, of
    which none can be part of one."""
    there = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if there:
            gc.enable()


# -- what the lines are


class _Reading(Struct, frozen=True):
    """How a file is read: from its lines come units, and of each one is made a line; or, where a
    line is a unit, of many at once."""

    format: Format
    how: tuple[str, ...]
    units: Callable[[Iterable[tuple[int, str]]], Iterator[tuple[int, Any]]] | None = None
    parse: Callable[[Any], Line | None] | None = None
    parse_all: Callable[[Sequence[str]], Columns] | None = None
    unit: Unit = "ms"
    stamp: Stamp = "end"
    guessed: bool = False
    rounded: bool = False
    text: bool = False


class _Options(Struct, frozen=True):
    """What a caller has said of a file; the arguments of `import_log`."""

    format: Format | None
    pattern: str | None
    latency_field: str | None
    unit: Unit | None
    stamp: Stamp | None
    key: str
    names: Mapping[str, str] | None
    where: Mapping[str, str] | None
    errors: Collection[int]
    limit_ms: float

    def reading(self, path: Path, head: list[tuple[int, str]]) -> _Reading:
        """How to read a file that begins so."""
        lines = [line for _, line in head]
        log = next((known for known in LOGS if known.name == self.format), None)
        if self.pattern is not None or log is not None:
            return self._log(lines, log)
        records = next((known for known in RECORDS if known.name == self.format), None)
        if records is not None:
            return self._records(records.kind, head, records)  # type: ignore[arg-type]
        kind: Kind = self.format or _kind_of(path, lines)  # type: ignore[assignment]
        if kind != "log":
            found = self._known_records(kind, head)
            if self.names or self.format is not None:  # somebody knows better
                if found is not None and found.where and not self.where:
                    raise AmbiguousError(
                        f"its records look like those of {found.name}, of which not all are "
                        f"requests; give --format {found.name}, or --where {_shown(found.where)}"
                    )
                found = None
            return self._records(kind, head, found)
        return self._log(lines, self._known_log(lines))

    def _log(self, lines: list[str], known: KnownLog | None) -> _Reading:
        if self.where:
            raise ValueError("--where is for records; an access log has none")
        if self.names:
            raise ValueError("--map is for records; --pattern says how a log's lines are built")
        text = [line for line in lines if not line.startswith("#")]
        if self.pattern is None:
            _check_instants(text)
        learned: Learned | None = None
        if self.pattern is not None or known is not None:
            pattern = self.pattern or (known.pattern if known is not None else "")
            unit = self.unit or (known.unit if known is not None else "s")
            own: Stamp = known.stamp if known is not None else "end"
            if self.pattern is not None and re.search(r"%[<>]?[DT{]", self.pattern):
                own = "start"  # Apache's
            layouts: tuple[Layout, ...] = (layout_of(pattern, unit, self.stamp or own),)
            if not layouts[0].times and self.latency_field != "none":
                raise LineError(_untimed(known))
            if self.unit is not None and layouts[0].own_unit is not None:
                raise ValueError("the format tells the unit of its times itself; leave out --unit")
        else:
            learned = learn(text, unit=self.unit, stamp=self.stamp, field=self.latency_field)
            layouts = learned.layouts
        readers = [
            (
                layout.matches.fullmatch,
                reader(
                    layout,
                    key=self.key,
                    errors=self.errors,
                    limit_ms=self.limit_ms,
                    timed=self.latency_field != "none",
                ),
            )
            for layout in layouts
        ]
        how = [f"read as {layout.pattern}" for layout in layouts]
        how += [] if known is None else [f"see {known.source}"]
        if self.latency_field == "none":
            how.append("no latencies are taken")
        elif learned is not None:
            how.append(f"the request's time is {learned.field}")
        if learned is not None and learned.forwarded and self.key == "client":
            how.append("users are the first of several addresses, which a client may have made up")

        def parse(lines: Sequence[str]) -> Columns:
            made = Columns(len(lines))
            left = list(range(len(lines)))
            for match, read in readers:
                found = [match(lines[place]) for place in left]
                fitting = [one for one in found if one is not None]
                if len(fitting) == len(lines):
                    return read(fitting)
                there = zip(left, found, strict=True)
                made.put([place for place, one in there if one is not None], read(fitting))
                left = [place for place, one in zip(left, found, strict=True) if one is None]
            for place in left:
                made.wrong[place] = (
                    LineError(f"it is not built like {layouts[0].pattern}")
                    if learned is None
                    else explain(lines[place], learned)
                )
            return made

        return _Reading(
            format="log" if known is None else known.name,
            parse_all=parse,
            how=tuple(how),
            unit=layouts[0].own_unit or layouts[0].unit,
            stamp=layouts[0].stamp,
            guessed=learned is not None and learned.guessed,
            text=True,
            # Where any instant has a fraction, nothing is spread.
            rounded=True,
        )

    def _known_log(self, lines: list[str]) -> KnownLog | None:
        """The one known format that most of the lines fit."""
        if self.format == "log" or self.latency_field not in (None, "none"):
            return None
        fits = []
        for known in LOGS:
            if known.found:
                match = layout_of(known.pattern).matches.fullmatch
                fitting = sum(match(line) is not None for line in lines)
                if 2 * fitting > len(lines):
                    fits.append(known)
        return _only(fits, "lines")

    # -- records

    def _records(
        self, kind: Kind, head: list[tuple[int, str]], known: KnownRecords | None
    ) -> _Reading:
        if self.latency_field is not None:
            raise ValueError("--latency-field is for access logs; --map latency_ms=… for records")
        if self.unit is not None:
            raise ValueError(
                "--unit is for access logs; a record's key tells its unit: --map latency_us=…"
            )
        names = dict(known.names) if known is not None else {}
        if known is not None and self.key == "user":
            names["key"] = known.user or names.get("key", "key")
        names |= self.names or {}
        units = {"jsonl": _json, "csv": _csv, "w3c": _w3c}[kind]
        sample = [one for _, one in units(head) if isinstance(one, Mapping)]
        names |= {} if known is not None else _aliases(sample, names)
        if self.key == "none":
            names["key"] = ""
        where = {**(known.where if known is not None else {}), **(self.where or {})}
        conditions = [(getter(name), value) for name, value in where.items()]
        read = record_parser(names, self.errors, limit_ms=self.limit_ms)
        _check_records(sample, names, known)

        def parse(record: Mapping[str, Any]) -> Line | None:
            for get, value in conditions:
                if _plain(get(record)) != value:
                    return None
            return read(record)

        how = []
        if names:
            how.append(", ".join(f"{name}={its}" for name, its in names.items() if its))
        if where:
            how.append(f"only where {_shown(where)}")
        how += [] if known is None else [f"see {known.source}"]
        return _Reading(
            format=kind if known is None else known.name,
            units=units,
            parse=parse,
            how=tuple(how),
            stamp=self.stamp or ("end" if known is None else known.stamp),
            rounded=known is not None and known.rounded,
        )

    def _known_records(self, kind: Kind, head: list[tuple[int, str]]) -> KnownRecords | None:
        units = {"jsonl": _json, "csv": _csv, "w3c": _w3c}[kind]
        sample = [one for _, one in units(head[:200]) if isinstance(one, Mapping)]
        fits = []
        for known in RECORDS:
            if known.kind == kind:
                gets = [getter(name) for name in known.needs]
                fitting = sum(all(get(one) is not None for get in gets) for one in sample)
                if 2 * fitting > len(sample):
                    fits.append(known)
        return _only(fits, "records")


K = TypeVar("K", KnownLog, KnownRecords)


def _only(fits: Sequence[K], what: str) -> K | None:
    """The one format that fits. Raises `AmbiguousError` for several."""
    if len(fits) > 1:
        raise AmbiguousError(
            f"its {what} fit {' and '.join(known.name for known in fits)}; --format says which"
        )
    return fits[0] if fits else None


def _aliases(sample: list[Mapping[str, Any]], names: Mapping[str, str]) -> dict[str, str]:
    """Other names of keys that the records have. Raises `AmbiguousError` for several of one."""
    found: dict[str, str] = {}
    for field, others in ALIASES.items():
        if field in names or any(field in record for record in sample):
            continue
        there = [other for other in others if any(other in record for record in sample)]
        if len(there) > 1:
            raise AmbiguousError(
                f"its {field} may be {' or '.join(there)}; --map {field}=… says which"
            )
        if there:
            found[field] = there[0]
    return found


def _check_records(
    sample: list[Mapping[str, Any]], names: Mapping[str, str], known: KnownRecords | None
) -> None:
    """That there is an instant. Raises `LineError`."""
    at = names.get("at", "at")
    get = getter(at)
    if sample and known is None and all(get(record) in (None, "") for record in sample):
        keys = ", ".join(map(str, islice((name for name in sample[0] if name), 12)))
        raise LineError(f"it has no {at}, but {keys}; --map at=… says which is the instant")


def _check_instants(lines: list[str]) -> None:
    """That the lines are none of those that tell no instant. Raises `_NoInstantError`."""
    for known in NO_INSTANT:
        if 2 * sum(known.matches.fullmatch(line.strip()) is not None for line in lines) > len(
            lines
        ):
            raise _NoInstantError(
                f"its lines are {known.name}, which tells no instant of time, and a tape cannot do "
                f"without; {known.remedy}"
            )


def _shown(where: Mapping[str, str]) -> str:
    return " ".join(f"{name}={value}" for name, value in where.items())


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def _untimed(known: KnownLog | None) -> str:
    name = "a line" if known is None else f"{known.name}'s log"
    return (
        f"{name} does not tell how long a request took; --latency-field none imports it without "
        "latencies"
    )


# -- from lines to units


def _json(lines: Iterable[tuple[int, str]]) -> Iterator[tuple[int, Any]]:
    decode = msgspec.json.decode
    for number, line in lines:
        if line.startswith("#"):
            continue
        try:
            record = decode(line)
        except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
            yield number, LineError(f"it is no JSON: {str(error).partition(' (')[0]}")
            continue
        yield number, record if isinstance(record, dict) else LineError("it is no JSON object")


def _csv(lines: Iterable[tuple[int, str]]) -> Iterator[tuple[int, Any]]:
    lines = iter(lines)
    try:
        first = next(lines)
    except StopIteration:
        return
    # Where none is there, or two are as often, it is the comma.
    mark = max(",;\t|", key=first[1].count)
    last = 0

    def texts() -> Iterator[str]:
        nonlocal last
        for number, line in chain([first], lines):
            last = number
            yield line + "\n"

    rows = csv.reader(texts(), delimiter=mark)
    heading: list[str] | None = None
    while True:
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            yield last, LineError(f"it is no CSV: {error}")
            continue
        if heading is None:
            heading = [name.strip() for name in row]
            if len(set(heading)) < len(heading):
                twice = next(name for name in heading if heading.count(name) > 1)
                raise AmbiguousError(f"its heading has {twice!r} twice")
        elif len(row) == len(heading):
            yield last, dict(zip(heading, row, strict=True))
        else:
            yield last, LineError(f"it has {len(row)} fields, and the heading {len(heading)}")


def _w3c(lines: Iterable[tuple[int, str]]) -> Iterator[tuple[int, Any]]:
    """The extended format of the W3C: `#Fields:` names what stands in the lines after it."""
    fields: list[str] = []
    for number, line in lines:
        if line.startswith("#"):
            name, _, rest = line.partition(":")
            if name == "#Fields":
                fields = rest.split()
            continue
        values = line.split("\t") if "\t" in line else line.split(" ")
        if len(values) == len(fields):
            yield number, dict(zip(fields, values, strict=True))
        else:
            yield number, LineError(f"it has {len(values)} fields, and #Fields {len(fields)}")


# -- what is taken of them


class _Taken:
    """Lines that were read, and why others were not."""

    def __init__(self, path: Path, collector: Collector, strict: bool) -> None:
        self.collector = collector
        self.examples: list[Example] = []
        self.filtered = 0
        self.left_out = 0
        self._path = path
        self._strict = strict
        self._why: dict[str, tuple[str, int, list[int]]] = {}
        # Of each line a hash, not the line: of millions next to no two are alike by chance.
        self._hashes = array("q")

    def all(self, reading: _Reading, batches: Iterable[list[tuple[int, str]]]) -> int:
        """Take all of them; returns the number of the last line."""
        if reading.parse_all is not None:
            return self._many_at_once(reading.parse_all, batches)
        assert reading.units is not None
        assert reading.parse is not None
        number, current = 0, 0
        parse, add, hashes = reading.parse, self.collector.add, self._hashes

        def watched() -> Iterator[tuple[int, str]]:
            nonlocal number, current
            for number, line in chain.from_iterable(batches):
                current = hash(line)
                yield number, line

        for place, unit in reading.units(watched()):
            try:
                if isinstance(unit, LineError):
                    raise unit
                line = parse(unit)
                if line is None:
                    self.filtered += 1
                    continue
                add(line)
                hashes.append(current)
                if len(self.examples) < _EXAMPLES:
                    self.examples.append(Example(place, line))
            except LineError as error:
                self.leave_out(place, error)
        return number

    def _many_at_once(
        self, parse: Callable[[Sequence[str]], Columns], batches: Iterable[list[tuple[int, str]]]
    ) -> int:
        number = 0
        for batch in batches:
            number = batch[-1][0]
            there = [one for one in batch if one[1][0] != "#"]
            texts = [text for _, text in there]
            columns = parse(texts)
            kept = self.collector.add_all(columns)
            self._hashes.extend(
                map(hash, [texts[place] for place in kept] if columns.wrong else texts)
            )
            for place in kept[: _EXAMPLES - len(self.examples)]:
                self.examples.append(Example(there[place][0], columns.line(place)))
            for place in sorted(columns.wrong):
                self.leave_out(there[place][0], columns.wrong[place])
        return number

    def leave_out(self, number: int, error: LineError) -> None:
        """One more line that is not read. Values in a reason do not make another one of it.

        Raises `TapeError` where all are to be read.
        """
        if self._strict:
            raise TapeError(f"{self._path}, line {number}: {error}") from error
        self.left_out += 1
        why = str(error)
        kind = _VALUE.sub("", why)
        told, count, numbers = self._why.get(kind, (why, 0, []))
        if count < _EXAMPLES:
            numbers.append(number)
        self._why[kind] = (told, count + 1, numbers)

    def skipped(self) -> tuple[Skipped, ...]:
        """The reasons, the most frequent one first."""
        return tuple(
            Skipped(why, count, tuple(numbers))
            for why, count, numbers in sorted(self._why.values(), key=lambda each: -each[1])
        )

    def duplicates(self) -> int:
        """How many lines are the same as one before."""
        return len(self._hashes) - len(np.unique(np.array(self._hashes, np.int64)))


def format_of(path: Path) -> Kind:
    """What a file looks like, by its name or else its first lines."""
    return _kind_of(path, [line for line in islice(Lines(path), 20) if line])


def _kind_of(path: Path, lines: list[str]) -> Kind:
    suffixes = [suffix for suffix in path.suffixes if suffix not in (".gz", ".xz", ".bz2", ".zst")]
    named = {".csv": "csv", ".tsv": "csv", ".jtl": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
    kind = named.get(suffixes[-1] if suffixes else "")
    if kind is not None:
        return kind  # type: ignore[return-value]
    if any(line.startswith("#Fields:") for line in lines[:10]):
        return "w3c"
    first = lines[0] if lines else ""
    heading = set(re.split(r"[,;\t|]", first))
    if any(known.kind == "csv" and heading >= set(known.needs) for known in RECORDS):
        return "csv"
    return "jsonl" if first.startswith("{") else "log"


def _refused(
    path: Path, kind: str, head: list[tuple[int, str]], error: AmbiguousError | LineError
) -> str:
    if not head:
        return f"{path} holds no request"
    if isinstance(error, AmbiguousError | _NoInstantError):
        return f"{path}: {error}"
    remedy = " (--latency-field none imports it without)" if str(error) == NO_TIME else ""
    return (
        f"{path}: {len(head)} of {len(head)} lines cannot be read as {kind}; line {head[0][0]}: "
        f"{error}{remedy}. Is it another format? --format takes {', '.join(FORMATS)}"
    )


def _nothing(path: Path, reading: _Reading, lines: int, taken: _Taken) -> str:
    skipped = taken.skipped()
    if not skipped:
        where = ", of which none is a request by --where" if taken.filtered else ""
        return f"{path} holds no request{where}"
    most = skipped[0]
    return (
        f"{path}: {taken.left_out} of {lines} lines cannot be read as {reading.format}; line "
        f"{most.lines[0]}: {most.why}. Is it another format? --format takes {', '.join(FORMATS)}"
    )
