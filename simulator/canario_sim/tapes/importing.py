"""Logs, JSON lines and CSV as recorded traffic: what cannot be read is counted, and said."""

from __future__ import annotations

import csv
import gzip
import io
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Literal

import msgspec
from msgspec import Struct

from canario.tape.schema import TapeError

from .access_log import access_log_parser
from .parsed import Collector, LineError, Stamp, Unit
from .recording import Recording
from .records import FIELDS, record_parser

__all__ = ["FORMATS", "Format", "Imported", "Skipped", "format_of", "import_log"]

Format = Literal["log", "jsonl", "csv"]
FORMATS: tuple[Format, ...] = ("log", "jsonl", "csv")

# Among so many lines the first that is not empty tells a format; of lines that are left out so many
# are named for each reason.
_LOOK = 20
_EXAMPLES = 3

# What is a line's own in why it was left out.
_VALUE = re.compile(r"'.*'|\".*\"|-?[\d.]+")


class Skipped(Struct, frozen=True):
    """Lines that were left out for one reason: how many, and the numbers of the first ones."""

    why: str
    count: int
    lines: tuple[int, ...]


class Imported(Struct, frozen=True):
    """What was read.

    `unit` and `stamp` tell how the log's times were taken, `guessed` whether nobody had said so.
    """

    recording: Recording
    lines: int
    format: Format
    unit: Unit
    stamp: Stamp
    guessed: bool
    skipped: tuple[Skipped, ...]


def import_log(
    path: str | os.PathLike[str],
    *,
    format: Format | None = None,  # noqa: A002 - it is called so
    unit: Unit | None = None,
    stamp: Stamp | None = None,
    key: str = "client",
    names: Mapping[str, str] | None = None,
    errors: Collection[int] = (),
    salt: str = "import",
    secret: bytes | None = None,
    strict: bool = False,
    progress: Callable[[int], object] | None = None,
) -> Imported:
    """Read a log.

    Args:
        path: A file; one that ends in .gz is decompressed.
        format: `log` (common or combined), `jsonl` or `csv`; by default what it looks like.
        unit: Of an access log's request times. By default times with a point are seconds, as
            nginx writes them, and whole numbers microseconds, as Apache's %D does.
        stamp: Which end of a request the instant is: nginx logs the end, Apache the start, which
            are the defaults for times with a point and without. Of records it is the end.
        key: What an access log's users are told apart by.
        names: What a record's keys are called; see `record_parser`.
        errors: Statuses below 500 that count as errors.
        salt: Under which keys fall into buckets.
        secret: With what keys are hashed; a random one by default.
        strict: Whether the first line that cannot be read is an error.
        progress: Called with the bytes that were read, now and then.

    Raises:
        TapeError: For a file that cannot be read, or of which no line or less than half can be.
        ValueError: For a name that is no documented key.
    """
    path = Path(path)
    wrong = set(names or {}) - set(FIELDS)
    if wrong:
        raise ValueError(f"{min(wrong)!r} is no key of a record; valid are {', '.join(FIELDS)}")
    kind = format or format_of(path)
    collector = Collector(salt, secret)
    skipped: dict[str, list[int]] = {}
    number = 0
    parse = access_log_parser(key=key, errors=errors)
    parse_record = record_parser(names or {}, errors)
    try:
        for number, line in _read(path, kind, progress):
            try:
                if isinstance(line, LineError):
                    raise line
                collector.add(parse(line) if isinstance(line, str) else parse_record(line))
            except LineError as error:
                if strict:
                    raise TapeError(f"{path}, line {number}: {error}") from error
                skipped.setdefault(str(error), []).append(number)
    except (OSError, EOFError, UnicodeError) as error:
        raise TapeError(f"{path} cannot be read: {error}") from error
    left_out = sum(map(len, skipped.values()))
    if not len(collector) or left_out > len(collector):
        raise TapeError(_nothing(path, kind, number, left_out, skipped))
    guess: Unit = "ms"
    if kind == "log":
        points = any(took != int(took) for took in islice(collector.took(), 10_000))
        guess = "s" if points else "us"
    own_stamp: Stamp = "start" if kind == "log" and guess == "us" else "end"
    return Imported(
        recording=collector.recording(
            unit or guess, stamp or own_stamp, path.name, rounded=kind == "log"
        ),
        lines=number,
        format=kind,
        unit=unit or guess,
        stamp=stamp or own_stamp,
        guessed=kind == "log" and unit is None,
        skipped=tuple(
            Skipped(why, len(lines), tuple(lines[:_EXAMPLES]))
            for why, lines in sorted(_alike(skipped), key=lambda each: -len(each[1]))
        ),
    )


def format_of(path: Path) -> Format:
    """What a file looks like, by its name or else its first lines."""
    suffixes = [suffix for suffix in path.suffixes if suffix != ".gz"]
    named = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}.get(
        suffixes[-1] if suffixes else ""
    )
    if named == "csv":
        return "csv"
    if named == "jsonl":
        return "jsonl"
    try:
        with _open(path) as file:
            first = next(filter(None, (line.strip() for line in islice(file, _LOOK))), b"")
    except (OSError, EOFError) as error:
        raise TapeError(f"{path} cannot be read: {error}") from error
    return "jsonl" if first.startswith(b"{") else "log"


def _open(path: Path) -> BinaryIO:
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]


def _read(
    path: Path, kind: Format, progress: Callable[[int], object] | None
) -> Iterator[tuple[int, str | Mapping[str, Any] | LineError]]:
    with _open(path) as file:
        if kind == "csv":
            text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="replace", newline="")
            rows = csv.DictReader(text)
            for row in rows:
                yield rows.line_num, row
            return
        read = 0
        for number, raw in enumerate(file, start=1):
            read += len(raw)
            if progress is not None and not number % 10_000:
                progress(read)
            line = raw.decode("utf-8", "replace").strip()
            if line and not line.startswith("#"):
                yield number, _record(line) if kind == "jsonl" else line


def _record(line: str) -> Mapping[str, Any] | LineError:
    try:
        record = msgspec.json.decode(line)
    except msgspec.DecodeError as error:
        return LineError(f"it is no JSON: {str(error).partition(' (')[0]}")
    return record if isinstance(record, dict) else LineError("it is no JSON object")


def _alike(skipped: Mapping[str, list[int]]) -> list[tuple[str, list[int]]]:
    """The reasons, but only so many of them: values in them may make each one another."""
    kinds: dict[str, tuple[str, list[int]]] = {}
    for why, lines in skipped.items():
        kinds.setdefault(_VALUE.sub("", why), (why, []))[1].extend(lines)
    return [(why, sorted(lines)) for why, lines in kinds.values()]


def _nothing(
    path: Path, kind: Format, lines: int, left_out: int, skipped: Mapping[str, list[int]]
) -> str:
    if not skipped:
        return f"{path} holds no request"
    why, numbers = max(skipped.items(), key=lambda each: len(each[1]))
    return (
        f"{path}: {left_out} of {lines} lines cannot be read as {kind}; line {numbers[0]}: {why}. "
        f"Is it another format? --format takes {', '.join(FORMATS)}"
    )
