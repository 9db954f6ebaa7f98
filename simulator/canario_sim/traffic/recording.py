"""Recorded arrivals, read from a file."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from math import isfinite
from pathlib import Path

import numpy as np

from canario.config import ConfigError
from canario_sim.streams import Bytes, Floats, Ints, Numbers

__all__ = ["COLUMNS", "Recording", "read_recording"]

COLUMNS = ("at", "key", "route", "payload", "session")

_MOST_ROUTES, _MOST_PAYLOADS = 65_536, 256


@dataclass(frozen=True)
class Recording:
    """Recorded requests in order of arrival, as parallel arrays; None for what is not known.

    Attributes:
        at: Instants, in seconds.
        keys: The keys, in the order of their first request.
        key: Their numbers, request by request.
        routes: The routes, in the order of their first request.
        route: Their numbers.
        payloads: The payload classes, in the order of their first request.
        payload: Their numbers.
        session: Numbers of the sessions.
    """

    at: Floats
    keys: tuple[str, ...] = ()
    key: Ints | None = None
    routes: tuple[str, ...] = ()
    route: Numbers | None = None
    payloads: tuple[str, ...] = ()
    payload: Bytes | None = None
    session: Ints | None = None

    @cached_property
    def key_numbers(self) -> dict[str, int]:
        """The number of each key."""
        return {key: number for number, key in enumerate(self.keys)}


def read_recording(path: str) -> Recording:
    """The recording in a file. Raises `ConfigError` for one that cannot be read."""
    try:
        stat = Path(path).stat()
    except OSError as error:
        raise ConfigError(path, "", f"cannot be read: {error.strerror}") from error
    # Thousands of replications replay the same file.
    return _read(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=4)
def _read(path: str, changed: int, size: int) -> Recording:  # noqa: ARG001
    try:
        with Path(path).open(encoding="utf-8", newline="") as file:
            return _recording(csv.reader(file), path)
    except OSError as error:
        raise ConfigError(path, "", f"cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(path, "", f"is not a CSV file: {error}") from error


def _recording(rows: Iterable[Sequence[str]], path: str) -> Recording:
    numbered = ((number, row) for number, row in enumerate(rows, start=1) if row)
    columns: list[list[str]] = []
    at: list[float] = []
    heading: list[str] | None = None
    for number, row in numbered:
        if heading is None:
            heading = _heading(row, path)
            columns = [[] for _ in heading]
            if heading == [name.strip() for name in row]:
                continue
        if len(row) < len(heading):
            raise ConfigError(
                path, f"line {number}", f"has {len(row)} columns; it must have {len(heading)}"
            )
        at.append(_instant(row[heading.index("at")], path, number))
        for column, value in zip(columns, row, strict=False):
            column.append(value)
    if heading is None or not at:
        raise ConfigError(path, "", "holds no request; give an instant a line")
    return _in_order(at, dict(zip(heading, columns, strict=True)), path)


def _heading(row: Sequence[str], path: str) -> list[str]:
    """The names of the columns; without a heading the instants alone, in the first one."""
    names = [name.strip() for name in row]
    if "at" in names:
        if len(set(names)) < len(names):
            raise ConfigError(path, "line 1", "names a column twice")
        return names
    try:
        _instant(row[0], path, 1)
    except ConfigError as error:
        raise ConfigError(
            path,
            "line 1",
            f"{','.join(names)!r} has no column 'at'; the columns are {', '.join(COLUMNS)}",
        ) from error
    return ["at"]


def _in_order(at: list[float], columns: dict[str, list[str]], path: str) -> Recording:
    instants = np.array(at)
    order = np.argsort(instants, kind="stable")

    def numbered(name: str) -> tuple[tuple[str, ...], Ints | None]:
        if name not in columns:
            return (), None
        numbers: dict[str, int] = {}
        values = columns[name]
        found = [numbers.setdefault(values[row], len(numbers)) for row in order.tolist()]
        return tuple(numbers), np.array(found, np.int64)

    keys, key = numbered("key")
    routes, route = numbered("route")
    payloads, payload = numbered("payload")
    for what, names, most in (
        ("routes", routes, _MOST_ROUTES),
        ("payload classes", payloads, _MOST_PAYLOADS),
    ):
        if len(names) > most:
            raise ConfigError(path, "", f"has {len(names)} {what}; at most {most} are possible")
    return Recording(
        at=instants[order],
        keys=keys,
        key=key,
        routes=routes,
        route=None if route is None else route.astype(np.uint16),
        payloads=payloads,
        payload=None if payload is None else payload.astype(np.uint8),
        session=numbered("session")[1],
    )


def _instant(text: str, path: str, line: int) -> float:
    """Seconds, or those of a date and time since 1970."""
    try:
        value = float(text)
    except ValueError:
        try:
            when = datetime.fromisoformat(text.strip())
        except ValueError:
            value = float("nan")
        else:
            value = (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    if not isfinite(value):
        raise ConfigError(
            path,
            f"line {line}",
            f"{text!r} is no instant; it must be a finite number of seconds, or a date and time "
            "as in 2026-03-01T09:30:00Z",
        )
    return value
