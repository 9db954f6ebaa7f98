"""A shared rollout in one SQLite file: any number of workers of one host.

The file is in WAL mode, so readers wait for nobody. A write takes the file's only lock for some
0.1 ms; a process that is stopped inside one stops the other writers, so nothing that must not wait
depends on it. Files of a network are refused: SQLite's locks do not hold there.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from .shared import (
    FORGOTTEN_SECONDS,
    KEPT,
    NOBODY,
    Head,
    Part,
    Reading,
    Still,
    StoredEntry,
    StoreError,
    Told,
    Untold,
)

__all__ = ["SqliteStore"]

# The layout of the tables, kept as the file's `user_version`.
_LAYOUT = 1

# How long a call waits for somebody who writes, s.
_TIMEOUT_SECONDS = 0.5

# File systems over which processes of other hosts, or of another kernel, may reach the file.
_REMOTE = {
    *("9p", "afs", "ceph", "cifs", "fuse.glusterfs", "fuse.s3fs", "fuse.sshfs", "glusterfs"),
    *("gpfs", "lustre", "nfs", "nfs4", "smb3", "smbfs", "virtiofs"),
}

_TABLES = """
CREATE TABLE entry (
    release TEXT NOT NULL,
    number INTEGER NOT NULL,
    id TEXT NOT NULL,
    before TEXT NOT NULL,
    at REAL NOT NULL,
    body BLOB NOT NULL,
    journal BLOB NOT NULL,
    seen BLOB NOT NULL,
    teller_since REAL,
    PRIMARY KEY (release, number)
);
CREATE INDEX entry_untold ON entry (release, teller_since) WHERE teller_since IS NOT NULL;
CREATE UNIQUE INDEX entry_id ON entry (release, id);
CREATE TABLE worker (
    release TEXT NOT NULL,
    worker TEXT NOT NULL,
    number INTEGER NOT NULL,
    at REAL NOT NULL,
    open BLOB NOT NULL,
    PRIMARY KEY (release, worker)
) WITHOUT ROWID;
CREATE TABLE part (
    release TEXT NOT NULL,
    worker TEXT NOT NULL,
    number INTEGER NOT NULL,
    at REAL NOT NULL,
    rows BLOB NOT NULL,
    open BLOB NOT NULL,
    PRIMARY KEY (release, worker, number)
) WITHOUT ROWID;
CREATE TABLE checkpoint (
    release TEXT PRIMARY KEY,
    number INTEGER NOT NULL,
    id TEXT NOT NULL,
    memory BLOB NOT NULL
);
"""

_ENTRY = "number, id, before, at, body, journal, seen"

# Connections of parents, in a forked child: to close one could fold the parent's log away.
_left: list[sqlite3.Connection] = []


class SqliteStore:
    """See `SharedStore`.

    Args:
        path: The file; folders are made.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._connection: sqlite3.Connection | None = None
        self._connection_file: tuple[int, int] | None = None

    def __repr__(self) -> str:
        return f"<SqliteStore {str(self.path)!r}>"

    @property
    def folder(self) -> Path:
        """See `SharedStore`."""
        return self.path.with_name(f"{self.path.name}-workers")

    def releases(self) -> list[str]:
        """See `SharedStore`."""
        with self._reads() as db:
            rows = db.execute("SELECT DISTINCT release FROM entry ORDER BY release")
            return [str(row[0]) for row in rows]

    def head(self, release: str) -> str:
        """See `SharedStore`."""
        with self._reads() as db:
            return _head(db, release)

    def read(self, release: str, known: Head) -> Reading:
        """See `SharedStore`."""
        with self._reads() as db:
            its = db.execute(
                "SELECT number FROM entry WHERE release = ? AND id = ?", (release, known.id)
            ).fetchone()
            checkpoint, journal, history = None, [], []
            after = -1
            if its is not None:
                after = its[0]
            else:
                row = db.execute(
                    "SELECT number, id, memory FROM checkpoint WHERE release = ?", (release,)
                ).fetchone()
                if row is not None:
                    checkpoint, after = (Head(row[0], row[1]), row[2]), row[0]
                    journal = _column(
                        db,
                        "SELECT journal FROM entry WHERE release = ? AND number <= ? "
                        "AND length(journal) > 0 ORDER BY number",
                        (release, after),
                    )
                    history = _column(
                        db,
                        "SELECT seen FROM entry WHERE release = ? AND number <= ? "
                        "AND length(seen) > 0 ORDER BY number DESC LIMIT ?",
                        (release, after, KEPT),
                    )[::-1]
            entries = db.execute(
                f"SELECT {_ENTRY} FROM entry WHERE release = ? AND number > ? ORDER BY number",
                (release, after),
            ).fetchall()
            workers = db.execute(
                "SELECT worker, number, at, open FROM worker WHERE release = ?", (release,)
            ).fetchall()
            parts = db.execute(
                "SELECT worker, number, at, rows, open FROM part WHERE release = ?", (release,)
            ).fetchall()
        return Reading(
            entries=tuple(_entry(row) for row in entries),
            workers=tuple(Told(*row) for row in workers),
            parts=tuple(
                Part(worker=worker, number=number, at=at, rows=rows, open=seen)
                for worker, number, at, rows, seen in parts
            ),
            checkpoint=checkpoint,
            journal=journal,
            history=history,
            gone=its is None and known != NOBODY,
        )

    def flush(self, release: str, part: Part) -> None:
        """See `SharedStore`."""
        with self._writes() as db:
            told = db.execute(
                "INSERT INTO worker VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
                "number = excluded.number, at = excluded.at, open = excluded.open "
                "WHERE excluded.number > worker.number",
                (release, part.worker, part.number, part.at, part.open),
            ).rowcount
            if told and part.rows:
                db.execute(
                    "INSERT INTO part VALUES (?, ?, ?, ?, ?, ?)",
                    (release, part.worker, part.number, part.at, part.rows, part.open),
                )

    def append(
        self, release: str, entry: StoredEntry, *, taken: Sequence[tuple[str, int]], still: Still
    ) -> bool:
        """See `SharedStore`."""
        # On the disk before it is in force: what everybody has seen no power cut takes back.
        with self._writes(durable=True) as db:
            if _head(db, release) != entry.before or not still():
                return False
            db.execute(
                "INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(release, entry.number, entry.id, entry.before, entry.at),
                    *(entry.body, entry.journal, entry.seen),
                    entry.at if entry.journal else None,
                ),
            )
            db.executemany(
                "DELETE FROM part WHERE release = ? AND worker = ? AND number = ?",
                [(release, worker, number) for worker, number in taken],
            )
            db.execute(
                "DELETE FROM worker WHERE release = ? AND at < ?",
                (release, entry.at - FORGOTTEN_SECONDS),
            )
            # What checks saw long ago; events stay.
            db.execute(
                "DELETE FROM entry WHERE release = ? AND number = ? AND length(journal) = 0 AND "
                "number < (SELECT number FROM checkpoint WHERE release = ?)",
                (release, entry.number - KEPT, release),
            )
        return True

    def claim(self, release: str, *, at: float, before: float) -> Sequence[Untold]:
        """See `SharedStore`."""
        late = "release = ? AND teller_since IS NOT NULL AND teller_since < ?"
        with self._reads() as db:
            if (
                db.execute(f"SELECT 1 FROM entry WHERE {late}", (release, before)).fetchone()
                is None
            ):
                return []
        with self._writes() as db:
            found = db.execute(
                f"SELECT id, journal FROM entry WHERE {late} ORDER BY number", (release, before)
            ).fetchall()
            db.execute(f"UPDATE entry SET teller_since = ? WHERE {late}", (at, release, before))
        return [Untold(*row) for row in found]

    def told(self, release: str, ids: Sequence[str]) -> None:
        """See `SharedStore`."""
        with self._writes() as db:
            db.executemany(
                "UPDATE entry SET teller_since = NULL WHERE release = ? AND id = ?",
                [(release, id_) for id_ in ids],
            )

    def checkpoint(self, release: str, head: Head, memory: bytes) -> None:
        """See `SharedStore`."""
        with self._writes() as db:
            there = db.execute(
                "SELECT 1 FROM entry WHERE release = ? AND id = ?", (release, head.id)
            ).fetchone()
            if there is None:
                return
            db.execute(
                "INSERT INTO checkpoint VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
                "number = excluded.number, id = excluded.id, memory = excluded.memory "
                "WHERE excluded.number > checkpoint.number",
                (release, head.number, head.id, memory),
            )
            # Who is far behind reads the checkpoint; some entries are left to who is just behind.
            db.execute(
                "UPDATE entry SET body = x'' WHERE release = ? AND number <= ? AND body <> x''",
                (release, head.number - 1000),
            )

    def leave(self, release: str, worker: str) -> None:
        """See `SharedStore`."""
        with self._writes() as db:
            db.execute("DELETE FROM worker WHERE release = ? AND worker = ?", (release, worker))

    def close(self) -> None:
        """See `SharedStore`."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()

    def after_fork(self) -> None:
        """See `SharedStore`."""
        if self._connection is not None:
            _left.append(self._connection)
            self._connection = None

    @contextmanager
    def _reads(self) -> Iterator[sqlite3.Connection]:
        with self._transaction("BEGIN") as db:
            yield db

    @contextmanager
    def _writes(self, *, durable: bool = False) -> Iterator[sqlite3.Connection]:
        begin = f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}", "BEGIN IMMEDIATE"
        with self._transaction(*begin) as db:
            yield db

    @contextmanager
    def _transaction(self, *begin: str) -> Iterator[sqlite3.Connection]:
        try:
            db = self._open()
            for statement in begin:
                db.execute(statement)
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    db.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            self.close()  # the file may have been taken away, or put in another's place
            raise StoreError(f"{self.path}: {error}") from error

    def _open(self) -> sqlite3.Connection:
        if self._connection is not None:
            if _same(self._connection_file, self.path):
                return self._connection
            self.close()
        self._refuse_remote()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except (OSError, ValueError) as error:
            raise StoreError(f"{self.path}: {error}") from error
        db = sqlite3.connect(
            self.path, timeout=_TIMEOUT_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            db.execute("PRAGMA journal_mode = WAL")
            self._make_tables(db)
        except BaseException:
            db.close()
            raise
        self._connection, self._connection_file = db, _file(self.path)
        return db

    def _make_tables(self, db: sqlite3.Connection) -> None:
        def layout() -> int:
            return int(db.execute("PRAGMA user_version").fetchone()[0])

        if layout() == 0:
            db.execute("BEGIN IMMEDIATE")
            try:
                if layout() == 0:  # nobody was quicker
                    if db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                        raise StoreError(
                            f"{self.path} is a database of something else; give the store a file "
                            "of its own"
                        )
                    for statement in _TABLES.split(";"):
                        db.execute(statement)
                    db.execute(f"PRAGMA user_version = {_LAYOUT}")
                db.execute("COMMIT")
            except BaseException:
                db.execute("ROLLBACK")
                raise
        if layout() > _LAYOUT:
            raise StoreError(
                f"{self.path} was written by a newer canario, in layout {layout()}; this one "
                f"knows up to {_LAYOUT}: upgrade it, or give this release a store of its own"
            )

    def _refuse_remote(self) -> None:
        kind = _file_system(self.path)
        if kind in _REMOTE:
            raise StoreError(
                f"{self.path} lies on a file system of a network ({kind}), where SQLite's locks "
                "do not hold; use a local disk, or redis:// for several hosts"
            )


def _head(db: sqlite3.Connection, release: str) -> str:
    row = db.execute(
        "SELECT id FROM entry WHERE release = ? ORDER BY number DESC LIMIT 1", (release,)
    ).fetchone()
    return NOBODY.id if row is None else str(row[0])


def _column(db: sqlite3.Connection, query: str, arguments: Sequence[object]) -> list[bytes]:
    return [row[0] for row in db.execute(query, arguments)]


def _entry(row: tuple[int, str, str, float, bytes, bytes, bytes]) -> StoredEntry:
    number, id_, before, at, body, journal, seen = row
    return StoredEntry(
        number=number, id=id_, before=before, at=at, body=body, journal=journal, seen=seen
    )


def _file(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _same(opened: tuple[int, int] | None, path: Path) -> bool:
    return opened is not None and opened == _file(path)


def _file_system(path: Path) -> str:
    """The kind of file system that a file lies on, as Linux tells it; empty where it does not."""
    try:
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
        device = None
        for folder in path.absolute().parents:
            with suppress(OSError):
                device = folder.stat().st_dev
                break
        for line in mounts:
            fields, _, rest = line.partition(" - ")
            major, minor = map(int, fields.split()[2].split(":"))
            if device is not None and (os.major(device), os.minor(device)) == (major, minor):
                return rest.split()[0]
    except (OSError, ValueError, IndexError):
        pass
    return ""
