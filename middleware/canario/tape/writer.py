"""Rows into files, on one thread: hashing, numbering, rotation."""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path

from msgspec import json

from canario.control.events import Event
from canario.plan import Plan
from canario.routing.bucket import bucket_of

from .format import (
    FORMAT,
    INSERT_EVENT,
    INSERT_REQUEST,
    INSERT_ROUTE,
    INSERT_UNFINISHED,
    INSERT_VIOLATION,
    VERSION,
    discard,
    put_meta,
    reopen,
)
from .items import Began, Item, Row, Told, Unfinished, Violated
from .rotation import begin_file, remove_oldest

__all__ = ["TapeWriter", "identity"]

# Names of routes of one file; what a callable makes up beyond them is `other`.
_ROUTES = 1000
_OTHER = "other"

# Connections of a parent: closing one here would write into the parent's file.
_inherited: list[sqlite3.Connection] = []


def identity(secret: bytes, key: bytes) -> int:
    """What names a user on a tape: 64 bits of BLAKE2b, keyed with the secret."""
    digest = blake2b(key, key=secret, digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)  # as SQLite's integers are


class TapeWriter:
    """Writes what a recorder hands it; nothing else may touch it meanwhile.

    Args:
        path: Of the first file.
        secret: With what keys are hashed.
        max_bytes: When a file is longer, the next is begun.
        max_files: How many files of the name may be there.
    """

    def __init__(self, path: str, secret: bytes, *, max_bytes: int, max_files: int) -> None:
        self.plan = Plan()  # until there is a controller to follow
        self.recorded = 0
        self.removed = 0  # rows of files that were too many
        self._path = Path(path)
        self._secret = secret
        self._max_bytes = max_bytes
        self._max_files = max_files
        self._file: Path | None = None
        self._ended: Path | None = None  # what `close` has ended, and may be gone on with
        self._tape: sqlite3.Connection | None = None
        self._inode: tuple[int, int] | None = None
        self._routes: dict[str, int] = {}
        self._pid = os.getpid()
        self._began: float | None = None
        self._past: list[Event] = []
        self._new_session((), whole=True)

    @property
    def writing(self) -> bool:
        """Whether there is a file that has not ended."""
        return self._tape is not None

    def write(self, items: Sequence[Item], dropped: int) -> None:
        """Write `items`. Raises `OSError` or `sqlite3.Error` when they cannot be."""
        self._look_around()
        try:
            for part in _sessions(items):
                self._write(part, dropped)
        except BaseException:
            self._abandon()
            raise
        if self._tape is not None and self._bytes() > self._max_bytes:
            self._end("part")

    def close(self) -> None:
        """End the file. What comes later goes on in it, as long as it is there."""
        self._look_around()
        if self._tape is not None:
            self._shut("1")

    def _write(self, items: Sequence[Item], dropped: int) -> None:
        if isinstance(items[0], Began):
            if self._inputs or self._past:
                self._end("1")
            self._began = items[0].at
            self._new_session(items[0].past, whole=items[0].whole)
            self._takes_up = bool(items[0].past) and items[0].whole
            items = items[1:]
        past = len(self._past)
        try:
            tape = self._tape or self._resume() or self._begin()
            tape.execute("BEGIN")
            try:
                self._insert(tape, items)
                if dropped:
                    put_meta(tape, {"dropped": dropped})
                tape.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    tape.execute("ROLLBACK")
                raise
        except BaseException:
            # The rows are lost, and counted so; the journal is told anew by the next file.
            told = [event for item in items if isinstance(item, Told) for event in item.events]
            self._past[past:] = told
            raise

    def _insert(self, tape: sqlite3.Connection, items: Sequence[Item]) -> None:
        rows = []
        salt = self.plan.deployment.routing_salt.encode("utf-8", "surrogateescape")
        for item in items:
            if type(item) is tuple:
                self._inputs += 1
                rows.append(self._row(tape, item, salt))
            elif isinstance(item, Violated):
                self._inputs += 1
                self._violation(tape, item)
            elif isinstance(item, Unfinished):
                # As it is now: what was in flight at an earlier end has gone on since.
                tape.execute("DELETE FROM unfinished")
                tape.executemany(
                    INSERT_UNFINISHED,
                    [
                        (at, arm == "canary", timed, route)
                        for at, arm, timed, route in item.requests
                    ],
                )
            else:
                assert not isinstance(item, tuple | Began)
                self._journal(tape, item.events)
        tape.executemany(INSERT_REQUEST, rows)
        self.recorded += len(rows)

    def _row(self, tape: sqlite3.Connection, row: Row, salt: bytes) -> tuple[object, ...]:
        ended, arm, outcome, latency_ms, mark = row
        at, key, route = ended, None, None
        bucket = None
        flight = 0
        if mark is not None:
            mark.n = self._inputs  # a contract that it breaks comes later, and names it by this
            flight = mark.flight
            if mark.at is not None:
                at = mark.at
            if mark.key is not None:
                key, bucket = identity(self._secret, mark.key), bucket_of(salt, mark.key)
            if mark.route is not None:
                route = self._route(tape, mark.route)
        canary = 1 if arm == "canary" else 0
        return (
            self._inputs, at, ended, canary, outcome, latency_ms, bucket, key, route, flight,
        )  # fmt: skip

    def _route(self, tape: sqlite3.Connection, name: str) -> int:
        number = self._routes.get(name)
        if number is None:
            if len(self._routes) >= _ROUTES and name != _OTHER:
                return self._route(tape, _OTHER)
            number = self._routes[name] = len(self._routes)
            tape.execute(INSERT_ROUTE, (number, name.encode("utf-8", "replace").decode()))
        return number

    def _violation(self, tape: sqlite3.Connection, item: Violated) -> None:
        violation = item.violation
        tape.execute(
            INSERT_VIOLATION,
            (
                self._inputs,
                None if item.mark is None else item.mark.n,
                item.at,
                1 if item.arm == "canary" else 0,
                violation.contract,
                json.encode(violation).decode(),
            ),
        )

    def _journal(self, tape: sqlite3.Connection, events: Sequence[Event]) -> None:
        self._tell(tape, events, len(self._past))
        self._past += events

    def _tell(self, tape: sqlite3.Connection, events: Sequence[Event], first: int) -> None:
        tape.executemany(
            INSERT_EVENT,
            [
                (number, self._inputs, event.at, json.encode(event).decode())
                for number, event in enumerate(events, start=first)
            ],
        )

    # -- files

    def _new_session(self, past: Sequence[Event], *, whole: bool) -> None:
        self._session = secrets.token_hex(8)
        self._part = 0
        self._inputs = 0
        self._past = list(past)
        self._restored = len(past)
        self._whole = whole
        self._takes_up = False  # a child that was forked has its parent's journal, and is no heir

    def _begin(self) -> sqlite3.Connection:
        file, tape = begin_file(self._path)
        self._part += 1
        self._routes = {}
        meta: dict[str, object] = {
            "format": FORMAT,
            "version": VERSION,
            "session": self._session,
            "part": self._part,
            "inputs_before": self._inputs,
            "whole": int(self._whole),
            "restored": self._restored,
            "plan": json.encode(self.plan).decode(),
        }
        if self._takes_up:
            meta["takes_up"] = 1
        if self._began is not None:
            meta["began"] = repr(self._began)
        try:
            tape.execute("BEGIN")
            put_meta(tape, meta)
            self._tell(tape, self._past, 0)
            tape.execute("COMMIT")
        except BaseException:
            discard(file, tape)
            raise
        status = file.stat()
        self._file, self._tape, self._inode = file, tape, (status.st_dev, status.st_ino)
        self.removed += remove_oldest(self._path, self._max_files, file)
        return tape

    def _resume(self) -> sqlite3.Connection | None:
        """The file that `close` has ended, if it still is there and can be gone on with."""
        if self._ended is None or self._ended != self._file:
            return None
        self._ended = None
        if self._is_there():
            with suppress(sqlite3.Error):
                self._tape = reopen(self._file)
                # What was in flight at that end goes on, and will have rows of its own.
                self._tape.execute("DELETE FROM unfinished")
        return self._tape

    def _is_there(self) -> bool:
        """Whether the file is the one that was made."""
        if self._file is None:
            return False
        try:
            status = self._file.stat()
        except OSError:
            return False
        return (status.st_dev, status.st_ino) == self._inode

    def _look_around(self) -> None:
        """Leave a file that is another process's, or that somebody has taken away."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            if self._tape is not None:
                _inherited.append(self._tape)
            self._tape = self._ended = None
            self._new_session(self._past, whole=self._whole and self._inputs == 0)
        elif self._tape is not None and not self._is_there():
            self._abandon()

    def _bytes(self) -> int:
        assert self._tape is not None
        (pages,) = self._tape.execute("PRAGMA page_count").fetchone()
        (size,) = self._tape.execute("PRAGMA page_size").fetchone()
        return int(pages) * int(size)

    def _end(self, how: str) -> None:
        """Close the file for good, without a log beside it; `part`: its session goes on."""
        self._shut(how)
        self._ended = None
        if how != "part":
            self._new_session(self._past, whole=False)

    def _shut(self, how: str) -> None:
        tape, self._tape = self._tape, None
        self._ended = self._file
        if tape is not None:
            try:
                put_meta(tape, {"closed": how})
                with suppress(sqlite3.OperationalError):  # somebody is reading it
                    tape.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                    tape.execute("PRAGMA journal_mode = DELETE")
            finally:
                tape.close()

    def _abandon(self) -> None:
        """Go on in another file, with whatever this one has."""
        tape, self._tape = self._tape, None
        if tape is not None:
            with suppress(sqlite3.Error):
                tape.close()


def _sessions(items: Sequence[Item]) -> list[Sequence[Item]]:
    """The items, cut before each beginning of a rollout."""
    cuts = [at for at, item in enumerate(items) if at and isinstance(item, Began)]
    edges = [0, *cuts, len(items)]
    return [items[a:b] for a, b in pairwise(edges) if b > a]
