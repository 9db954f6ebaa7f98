"""The format of a tape: a SQLite database that any tool reads. `docs/tapes.md` describes it.

A tape is one file, or several parts of one session, in which the inputs (requests and broken
contracts) are numbered on from one part to the next in the order in which the controller took
them in. So they can be given to a controller again, and it decides what it decided.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlite3 import Connection

__all__ = [
    "FLIGHTS",
    "FORMAT",
    "INSERT_EVENT",
    "INSERT_REQUEST",
    "INSERT_ROUTE",
    "INSERT_UNFINISHED",
    "INSERT_VIOLATION",
    "OUTCOMES",
    "VERSION",
    "VERSIONS",
    "TapeError",
    "create",
    "put_meta",
    "reopen",
]

FORMAT = "canario tape"
VERSION = 2
# A tape of version 1 says nothing of what was in flight.
VERSIONS = (1, VERSION)

# What the numbers in the column `outcome` mean. Those in `arm` index `canario.arms.ARMS`; one that
# is not known is NULL.
OUTCOMES = ("good", "bad", "neutral")

# What the controller knew of a request before it ended: nothing; that it was in flight, untimed or
# timed; that it was a stream, answered with its first message; that it was given up at `ended`.
FLIGHTS = ("unseen", "untimed", "timed", "stream", "abandoned")

# "cnry", so that `file` and SQLite's own tools can tell a tape from another database.
APPLICATION_ID = 0x636E7279

_TABLES = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE routes (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE requests (
    n INTEGER PRIMARY KEY,
    at REAL NOT NULL,
    ended REAL NOT NULL,
    arm INTEGER,
    outcome INTEGER NOT NULL,
    latency_ms REAL,
    bucket INTEGER,
    key INTEGER,
    route INTEGER,
    flight INTEGER NOT NULL
);
CREATE TABLE unfinished (at REAL NOT NULL, arm INTEGER, timed INTEGER NOT NULL, route TEXT);
CREATE TABLE violations (
    n INTEGER PRIMARY KEY,
    request INTEGER,
    at REAL NOT NULL,
    arm INTEGER,
    contract TEXT NOT NULL,
    violation TEXT NOT NULL
);
CREATE TABLE journal (
    number INTEGER PRIMARY KEY,
    after INTEGER NOT NULL,
    at REAL NOT NULL,
    event TEXT NOT NULL
);
CREATE VIEW traffic AS
SELECT
    r.n,
    r.at,
    r.ended,
    CASE r.arm WHEN 0 THEN 'baseline' WHEN 1 THEN 'canary' END AS arm,
    CASE WHEN r.key IS NOT NULL THEN printf('%016x', r.key) END AS key,
    r.bucket,
    names.name AS route,
    r.latency_ms,
    CASE r.outcome WHEN 0 THEN 'good' WHEN 1 THEN 'bad' ELSE 'neutral' END AS outcome,
    (SELECT min(v.contract) FROM violations AS v WHERE v.request = r.n) AS contract
FROM requests AS r LEFT JOIN routes AS names ON names.id = r.route;
CREATE INDEX violations_request ON violations (request);
"""

INSERT_REQUEST = "INSERT INTO requests VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
INSERT_UNFINISHED = "INSERT INTO unfinished VALUES (?, ?, ?, ?)"
INSERT_ROUTE = "INSERT INTO routes VALUES (?, ?)"
INSERT_VIOLATION = "INSERT INTO violations VALUES (?, ?, ?, ?, ?, ?)"
INSERT_EVENT = "INSERT INTO journal VALUES (?, ?, ?, ?)"


class TapeError(ValueError):
    """A file that is no tape, or one that cannot be read; the message names it and says why."""


def create(path: str | os.PathLike[str]) -> Connection:
    """Make an empty tape. Raises `FileExistsError` when there is a file, else `OSError`."""
    import sqlite3

    # To make the file is to claim its name: of two workers only one can.
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o640))
    connection = None
    try:
        # Transactions are begun by hand. Of the thread that writes there may be several, one after
        # the other: it ends when there is nothing to write for a while.
        connection = sqlite3.connect(Path(path), isolation_level=None, check_same_thread=False)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.executescript(f"BEGIN;{_TABLES}COMMIT;")
        # From now on only: what the file is must stand in the file itself, whatever befalls.
        connection.execute("PRAGMA journal_mode = WAL")
        # A commit is on the disk, not only in the host's memory: there is one a second.
        connection.execute("PRAGMA synchronous = FULL")
    except sqlite3.Error as error:
        discard(path, connection)
        raise OSError(f"{path} cannot be written: {error}") from error
    return connection


def discard(path: str | os.PathLike[str], connection: Connection | None) -> None:
    """Take a tape away that never came to hold anything: a disk that is full is tried again and
    again, and each try makes one."""
    if connection is not None:
        with suppress(Exception):
            connection.close()
    for each in (path, f"{os.fspath(path)}-wal", f"{os.fspath(path)}-shm"):
        with suppress(OSError):
            os.unlink(each)


def reopen(path: str | os.PathLike[str]) -> Connection:
    """Go on with a tape that was ended. Raises `sqlite3.Error` when that is not possible."""
    import sqlite3

    uri = f"{Path(path).absolute().as_uri()}?mode=rw"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("DELETE FROM meta WHERE name = 'closed'")
        with suppress(sqlite3.OperationalError):  # somebody is reading it: it does without
            connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def put_meta(connection: Connection, values: Mapping[str, object]) -> None:
    """Say something about the tape as a whole."""
    connection.executemany(
        "INSERT OR REPLACE INTO meta VALUES (?, ?)",
        [(name, str(value)) for name, value in values.items()],
    )
