"""Arrivals in a CSV file: instants, and perhaps keys, routes, payload classes and sessions."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from canario.config import ConfigError
from canario.limits import LATEST

from .recorded import Named, Recording, recording_of

__all__ = ["COLUMNS", "from_csv"]

COLUMNS = ("at", "key", "route", "payload", "session")

# A longer key is refused by the router.
_KEY_BYTES = 512


def from_csv(path: str) -> Recording:
    """The arrivals in a CSV file.

    Its first line names the columns; other columns than `COLUMNS` are passed over. Without such
    a line the first column is that of the instants, and the only one that counts.

    Raises `ConfigError` for the first line that is wrong.
    """
    try:
        # Spreadsheets begin a file with a byte order mark.
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            return _recording(csv.reader(file), path)
    except OSError as error:
        raise ConfigError(path, "", f"cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(path, "", f"is neither a tape nor a CSV file: {error}") from error


def _recording(rows: Iterable[Sequence[str]], path: str) -> Recording:
    places: dict[str, int] = {}
    at: list[float] = []
    names: dict[str, list[str]] = {}
    for number, row in enumerate(rows, start=1):
        if not row:
            continue
        if not places:
            places = _places(row, path, number)
            names = {name: [] for name in places if name != "at"}
            if "at" in map(str.strip, row):
                continue
        if len(row) <= max(places.values()):
            raise ConfigError(path, f"line {number}", f"has too few columns: {','.join(row)!r}")
        at.append(_instant(row[places["at"]], path, number))
        for name, values in names.items():
            values.append(row[places[name]])
        if "key" in names and len(names["key"][-1].encode()) > _KEY_BYTES:
            raise ConfigError(path, f"line {number}", f"has a key of over {_KEY_BYTES} bytes")
    named = {name: _numbered(values) for name, values in names.items()}
    session = named.get("session")
    return recording_of(
        path,
        np.array(at, np.float64),
        named.get("key"),
        named.get("route"),
        named.get("payload"),
        None if session is None else session[1],
    )


def _places(row: Sequence[str], path: str, line: int) -> dict[str, int]:
    """Where each column of ours stands in a row."""
    heading = [name.strip() for name in row]
    if "at" not in heading:
        try:
            _instant(row[0], path, line)
        except ConfigError as error:
            raise ConfigError(
                path,
                f"line {line}",
                f"{','.join(heading)!r} names no column 'at'; the columns are {', '.join(COLUMNS)}",
            ) from error
        return {"at": 0}
    for name in COLUMNS:
        if heading.count(name) > 1:
            raise ConfigError(path, f"line {line}", f"names the column {name!r} twice")
    return {name: heading.index(name) for name in COLUMNS if name in heading}


def _numbered(values: Sequence[str]) -> Named:
    """The names in the order of their first request, and their numbers; empty is none."""
    numbers: dict[str, int] = {}
    found = [numbers.setdefault(value, len(numbers)) if value else -1 for value in values]
    return tuple(numbers), np.array(found, np.int64)


def _instant(text: str, path: str, line: int) -> float:
    """Seconds, or those of a date and time since 1970; without a zone it is UTC."""
    try:
        value = float(text)
    except ValueError:
        try:
            when = datetime.fromisoformat(text.strip())
        except ValueError:
            value = float("nan")
        else:
            value = (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    if not abs(value) <= LATEST:
        raise ConfigError(
            path,
            f"line {line}",
            f"{text!r} is no instant; it must be a finite number of seconds, or a date and time "
            "as in 2026-03-01T09:30:00Z",
        )
    return value
