"""From files to recorded traffic."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from msgspec import DecodeError, json

from canario.control.events import Event
from canario.control.violation import Violation
from canario.limits import LATEST, LONGEST_MS
from canario.plan import Plan
from canario.routing.bucket import BUCKETS
from canario.tape.format import FORMAT, VERSIONS, TapeError
from canario_sim.streams import Ints

from .join import joined
from .recording import Breaking, Noted, Recording, Restart, Unfinished

__all__ = ["find_tapes", "is_tape", "read_sessions", "read_tape"]

PathLike = str | os.PathLike[str]

_events = json.Decoder(Event)
_violations = json.Decoder(Violation)

# Rows that are turned into arrays at a time.
_ROWS = 65_536

_REQUESTS = """
SELECT n, at, ended, ifnull(arm, -1), outcome, latency_ms, ifnull(bucket, -1), key,
       ifnull(route, -1), {flight}
FROM requests ORDER BY n
"""


def read_tape(*paths: PathLike) -> Recording:
    """The traffic in tapes: files, or folders of them.

    Parts of one session are put together, and so are a session and the one that took its rollout
    up after a restart. Sessions beside each other (workers) become one stream in the order of
    time, judged as if one controller had seen it.

    Raises `TapeError` for what is no tape.
    """
    return joined(read_sessions(*paths))


def read_sessions(*paths: PathLike) -> list[Recording]:
    """The same, session by session, in the order in which they began."""
    parts = [_Part(path) for path in find_tapes(paths)]
    sessions: dict[str, list[_Part]] = {}
    for part in parts:
        sessions.setdefault(part.meta["session"], []).append(part)
    made = [_session(sorted(each, key=lambda part: part.number)) for each in sessions.values()]
    return sorted(made, key=lambda recording: recording.starts)


def find_tapes(paths: Iterable[PathLike]) -> list[Path]:
    """The files that are named, and the tapes in the folders that are named, in name order.

    Raises `TapeError` for a path that does not exist, and for a folder without tapes.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            tapes = sorted(file for file in path.iterdir() if file.is_file() and is_tape(file))
            if not tapes:
                raise TapeError(f"{path} holds no tape")
            found += tapes
        elif path.exists():
            found.append(path)
        else:
            raise TapeError(f"{path} does not exist; give tapes, or folders of them")
    return list(dict.fromkeys(found))


def is_tape(path: PathLike) -> bool:
    """Whether a file is a tape, by its first bytes: SQLite's name and ours."""
    try:
        with Path(path).open("rb") as file:
            head = file.read(72)
    except OSError:
        return False
    # SQLite keeps a file's `application_id` there.
    return head.startswith(b"SQLite format 3\0") and head[68:72] == b"cnry"


class _Part:
    """One file, read as a whole."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not is_tape(path):
            raise TapeError(
                f"{path} is no tape; `canario tape import` makes one of a log, JSON lines or CSV"
            )
        try:
            with closing(_open(path)) as tape:
                self.meta: dict[str, str] = dict(tape.execute("SELECT name, value FROM meta"))
                self._check()
                tape.execute("BEGIN")  # one state of all tables, however busy the writer is
                self.routes = [
                    str(name) for (name,) in tape.execute("SELECT name FROM routes ORDER BY id")
                ]
                old = self.meta["version"] == "1"
                self.columns = _columns(tape, "0" if old else "flight")
                self.unfinished = (
                    []
                    if old
                    else tape.execute(
                        "SELECT at, ifnull(arm, -1), timed, route FROM unfinished"
                    ).fetchall()
                )
                self.violations = tape.execute(
                    "SELECT n, request, at, ifnull(arm, -1), violation FROM violations ORDER BY n"
                ).fetchall()
                self.journal = tape.execute(
                    "SELECT number, after, event FROM journal ORDER BY number"
                ).fetchall()
        except sqlite3.Error as error:
            raise TapeError(f"{path} cannot be read: {error}") from error
        except (OverflowError, TypeError, ValueError) as error:
            problem = f"{path} has a value of another kind than its column: {error}"
            raise TapeError(problem) from error
        self._check_rows()
        self.number = int(self.meta["part"])

    def _check_rows(self) -> None:
        """Refuse what no controller can have been told: one NaN would be judged as fast."""
        n, at, ended, arm, outcome, latency_ms, bucket, *_, route, _ = self.columns
        told = {
            "at": (at, -LATEST, LATEST),
            "ended": (ended, -LATEST, LATEST),
            "arm": (arm, -1, 1),
            "outcome": (outcome, 0, 2),
            "latency_ms": (latency_ms, 0, LONGEST_MS),  # NaN, for none, is not compared
            "bucket": (bucket, -1, BUCKETS - 1),
            "route": (route, -1, len(self.routes) - 1),
        }
        for name, (values, least, most) in told.items():
            wrong = np.flatnonzero((values < least) | (values > most))
            if len(wrong):
                where = f"row {n[wrong[0]]} of its requests"
                self._refuse(where, name, values[wrong[0]], least, most)
        for what, rows in (("unfinished", self.unfinished), ("violations", self.violations)):
            for number, row in enumerate(rows, start=1):
                instant = row[0] if what == "unfinished" else row[2]
                if not -LATEST <= instant <= LATEST:
                    self._refuse(f"row {number} of its {what}", "at", instant, -LATEST, LATEST)

    def _refuse(self, where: str, name: str, value: object, least: float, most: float) -> NoReturn:
        raise TapeError(
            f"{self.path}: {where} has {name} {value}; it must be at least {least:,g} and at most "
            f"{most:,g}"
        )

    def _check(self) -> None:
        if self.meta.get("format") != FORMAT:
            raise TapeError(f"{self.path} is no tape: its format is {self.meta.get('format')!r}")
        if self.meta["version"] not in map(str, VERSIONS):
            raise TapeError(
                f"{self.path} is a tape of version {self.meta['version']}; this canario reads "
                f"version {' and '.join(map(str, VERSIONS))}"
            )


def _open(path: Path) -> sqlite3.Connection:
    uri = path.absolute().as_uri()
    try:
        tape = sqlite3.connect(f"{uri}?mode=ro", uri=True, isolation_level=None)
        tape.execute("SELECT 1 FROM meta")
    except sqlite3.OperationalError:
        # In a folder that cannot be written a log beside the file cannot be opened, nor is any.
        tape = sqlite3.connect(f"{uri}?mode=ro&immutable=1", uri=True, isolation_level=None)
    return tape


def _columns(tape: sqlite3.Connection, flight: str) -> list[np.ndarray[Any, Any]]:
    kinds = (np.int64, np.float64, np.float64, np.int8, np.uint8, np.float64, np.int64)
    parts: list[list[Any]] = [[] for _ in range(10)]
    cursor = tape.execute(_REQUESTS.format(flight=flight))
    while rows := cursor.fetchmany(_ROWS):
        *plain, keys, routes, flights = zip(*rows, strict=True)
        for part, values, kind in zip(parts, plain, kinds, strict=False):
            part.append(np.array(values, kind))  # None is NaN
        # A hash may be 0 as well, so whether there is one stands beside it.
        named = np.array([key is not None for key in keys])
        hashed = np.array([key or 0 for key in keys], np.int64)
        parts[7].append(np.stack([hashed, named.astype(np.int64)]))
        parts[8].append(np.array(routes, np.int64))
        parts[9].append(np.array(flights, np.uint8))
    if not parts[0]:
        empty = [np.empty(0, kind) for kind in kinds]
        nobody = np.empty((2, 0), np.int64)
        return [*empty, nobody, np.empty(0, np.int64), np.empty(0, np.uint8)]
    return [np.concatenate(part, axis=-1) for part in parts]


def _session(parts: Sequence[_Part]) -> Recording:
    """One session, of the parts that are there."""
    routes: dict[str, int] = {}
    columns = [np.concatenate(arrays, axis=-1) for arrays in _side_by_side(parts)]
    n, at, ended, arm, outcome, latency_ms, bucket, keys, _, flight = columns
    route = [
        _renumbered(part.columns[8], [routes.setdefault(name, len(routes)) for name in part.routes])
        for part in parts
    ]
    identities, key = np.unique(keys[0][keys[1] == 1], return_inverse=True)
    users = np.full(len(at), -1, np.int64)
    users[keys[1] == 1] = key
    broken_n = [row[0] for part in parts for row in part.violations]
    first = parts[0].meta
    complete = [part.number for part in parts] == list(range(1, len(parts) + 1))
    dropped = max(int(part.meta.get("dropped", 0)) for part in parts)
    return Recording(
        at=at,
        ended=ended,
        arm=arm,
        outcome=outcome,
        latency_ms=latency_ms,
        bucket=bucket,
        key=users,
        route=np.concatenate(route),
        routes=tuple(routes),
        identities=identities,
        broken=tuple(_breakings(parts, n)),
        journal=tuple(_journal(parts, n, np.array(broken_n, np.int64))),
        plan=_plan(first, parts[0].path),
        whole=first["whole"] == "1" and complete and not dropped,
        dropped=dropped,
        sources=len(parts),
        source=parts[0].path.name,
        restarts=_restarts(first),
        takes_up=first.get("takes_up") == "1",
        closed=parts[-1].meta.get("closed") == "1",
        flight=flight,
        unfinished=tuple(
            Unfinished(at, arm == 1, bool(timed), route)
            for at, arm, timed, route in parts[-1].unfinished
        ),
    )


def _restarts(meta: dict[str, str]) -> tuple[Restart, ...]:
    """The one with which a session begins that took its rollout up from a journal."""
    past = int(meta["restored"])
    return (Restart(0, 0, float(meta["began"]), past),) if past else ()


def _side_by_side(parts: Sequence[_Part]) -> Iterator[tuple[np.ndarray[Any, Any], ...]]:
    return zip(*(part.columns for part in parts), strict=True)


def _renumbered(route: Ints, numbers: Sequence[int]) -> Ints:
    # The last place is where -1, no name, leads to.
    return np.array([*numbers, -1], np.int64)[route]


def _breakings(parts: Sequence[_Part], n: Ints) -> Iterator[Breaking]:
    for part in parts:
        for number, request, at, arm, text in part.violations:
            position = int(np.searchsorted(n, number))
            place = -1
            if request is not None:
                found = int(np.searchsorted(n, request))
                place = found if found < len(n) and n[found] == request else -1
            yield Breaking(
                position, at, arm == 1, _decoded(_violations, text, part.path), request=place
            )


def _journal(parts: Sequence[_Part], n: Ints, broken: Ints) -> Iterator[Noted]:
    """Each event where it was written first: later parts repeat what came before them."""
    seen = -1
    for part in parts:
        for number, after, text in part.journal:
            if number > seen:
                seen = number
                yield Noted(
                    int(np.searchsorted(n, after, "right")),
                    int(np.searchsorted(broken, after, "right")),
                    _decoded(_events, text, part.path),
                )


def _decoded(decoder: json.Decoder[Any], text: str, path: Path) -> Any:
    try:
        return decoder.decode(text)
    except DecodeError as error:
        raise TapeError(f"{path} holds {text[:60]!r}, which cannot be read: {error}") from error


def _plan(meta: dict[str, str], path: Path) -> Plan | None:
    if "plan" not in meta:
        return None
    try:
        plan = json.decode(meta["plan"], type=Plan)
    except DecodeError as error:
        raise TapeError(f"{path} has a plan that cannot be read: {error}") from error
    return plan
