"""The seam of a shared rollout: an ordered log in which each entry names the one before it.

A store knows nothing of rollouts. It keeps bytes, appends by compare-and-set, and hands over what
the workers have told. Each call is done whole or not at all, or raises `StoreError`; then nobody
knows which, until the log is read again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from msgspec import Struct
from msgspec.structs import replace

__all__ = [
    "FORGOTTEN_SECONDS",
    "KEPT",
    "NOBODY",
    "Head",
    "MemoryStore",
    "Part",
    "Reading",
    "SharedStore",
    "Still",
    "StoreError",
    "StoredEntry",
    "Told",
    "Untold",
]

# A worker that was not heard for so long (s, on the log's time) is forgotten.
FORGOTTEN_SECONDS = 3600.0

# Of entries that say what a check saw, so many are kept for the history.
KEPT = 5000

# Asked while the log cannot change: whether what was decided still holds.
Still = Callable[[], bool]


class StoreError(OSError):
    """A store that cannot be reached, read or written; the message says why."""


class Head(NamedTuple):
    """The last entry of a log: its number, for pruning alone, and its random id."""

    number: int
    id: str


NOBODY = Head(0, "")  # of a log that has no entry


class StoredEntry(Struct, frozen=True, kw_only=True):
    """One entry: `body` is the input, which is dropped when a checkpoint has it; `journal` and
    `seen` are kept, the events that it led to and what the check saw."""

    number: int
    id: str
    before: str
    at: float
    body: bytes
    journal: bytes = b""
    seen: bytes = b""

    @property
    def head(self) -> Head:
        """The head of a log that ends here."""
        return Head(self.number, self.id)


class Part(Struct, frozen=True, kw_only=True):
    """What a worker has counted since its last one, up to the instant `at` of the log's time.

    `number` counts the worker's parts, so that one that is told twice is counted once. `rows` is
    empty where nothing came. `open` is what it has in flight, which the next part replaces.
    """

    worker: str
    number: int
    at: float
    rows: bytes
    open: bytes


class Untold(NamedTuple):
    """An entry, by its id, whose events are to be told."""

    id: str
    journal: bytes


class Told(NamedTuple):
    """The last that a worker said: see `Part`."""

    worker: str
    number: int
    at: float
    open: bytes


class Reading(Struct, frozen=True, kw_only=True):
    """What a log holds after the entry that the reader knows.

    `entries` are in order. A reader that knows nothing, or an entry that the log does not have
    (`gone`), gets all: `checkpoint` if there is one, the entries after it, and from those up to it
    the `journal` and the `history`. `workers` are those who were heard, `parts` what no entry has
    taken yet.
    """

    entries: Sequence[StoredEntry] = ()
    workers: Sequence[Told] = ()
    parts: Sequence[Part] = ()
    checkpoint: tuple[Head, bytes] | None = None
    journal: Sequence[bytes] = ()
    history: Sequence[bytes] = ()
    gone: bool = False


class SharedStore(Protocol):
    """Keeps one log for each release. Safe to call from one thread at a time."""

    @property
    def folder(self) -> Path | None:
        """Where the workers of this host may have files beside it; None where nobody sees them."""

    def releases(self) -> list[str]:
        """The names of those that have a log."""

    def head(self, release: str) -> str:
        """The id of the last entry: cheap, for whoever only wants to know whether to read."""

    def read(self, release: str, known: Head) -> Reading:
        """What came after `known`."""

    def flush(self, release: str, part: Part) -> None:
        """Keep what a worker has counted. A number that it has told already is left alone."""

    def append(
        self, release: str, entry: StoredEntry, *, taken: Sequence[tuple[str, int]], still: Still
    ) -> bool:
        """Append `entry`, and drop the parts that it has taken, by worker and number.

        False, and nothing is changed, where the log's head is not `entry.before`, or `still` says
        no.
        """

    def claim(self, release: str, *, at: float, before: float) -> Sequence[Untold]:
        """The entries whose events nobody has been told of, and whose teller has had them since
        `before`: whoever asks is their teller from `at` on. Whoever appends one is its first."""

    def told(self, release: str, ids: Sequence[str]) -> None:
        """All who are to be told of these entries have been."""

    def checkpoint(self, release: str, head: Head, memory: bytes) -> None:
        """Keep what all entries up to `head` have led to: a reader may begin there."""

    def leave(self, release: str, worker: str) -> None:
        """Wait for that worker no more: it serves no longer."""

    def close(self) -> None:
        """Let go of it."""

    def after_fork(self) -> None:
        """In a forked child: what is the parent's is left to it."""


class _Log:
    def __init__(self) -> None:
        self.entries: list[StoredEntry] = []
        self.workers: dict[str, Told] = {}
        self.parts: dict[tuple[str, int], Part] = {}
        self.checkpoint: tuple[Head, bytes] | None = None
        self.tellers: dict[str, float] = {}  # since when somebody is to tell of an entry


class MemoryStore:
    """A store in this process's memory: what the others are measured by."""

    def __init__(self) -> None:
        self._logs: dict[str, _Log] = {}
        self._lock = threading.RLock()

    def __repr__(self) -> str:
        return "<MemoryStore>"

    folder = None

    def releases(self) -> list[str]:
        """See `SharedStore`."""
        with self._lock:
            return sorted(name for name, log in self._logs.items() if log.entries)

    def head(self, release: str) -> str:
        """See `SharedStore`."""
        with self._lock:
            entries = self._log(release).entries
            return entries[-1].id if entries else NOBODY.id

    def read(self, release: str, known: Head) -> Reading:
        """See `SharedStore`."""
        with self._lock:
            log = self._log(release)
            entries = log.entries
            place = next((n for n, each in enumerate(entries) if each.id == known.id), None)
            if known == NOBODY or place is None:
                begin, checkpoint = 0, log.checkpoint
                if checkpoint is not None:
                    begin = 1 + next(
                        n for n, each in enumerate(entries) if each.id == checkpoint[0].id
                    )
                past = entries[:begin]
                return Reading(
                    entries=tuple(entries[begin:]),
                    workers=tuple(log.workers.values()),
                    parts=tuple(log.parts.values()),
                    checkpoint=checkpoint,
                    journal=tuple(each.journal for each in past if each.journal),
                    history=tuple(each.seen for each in past if each.seen)[-KEPT:],
                    gone=known != NOBODY,
                )
            return Reading(
                entries=tuple(entries[place + 1 :]),
                workers=tuple(log.workers.values()),
                parts=tuple(log.parts.values()),
            )

    def flush(self, release: str, part: Part) -> None:
        """See `SharedStore`."""
        with self._lock:
            log = self._log(release)
            told = log.workers.get(part.worker)
            if told is not None and part.number <= told.number:
                return
            log.workers[part.worker] = Told(part.worker, part.number, part.at, part.open)
            if part.rows:
                log.parts[part.worker, part.number] = part

    def append(
        self, release: str, entry: StoredEntry, *, taken: Sequence[tuple[str, int]], still: Still
    ) -> bool:
        """See `SharedStore`."""
        with self._lock:
            log = self._log(release)
            head = log.entries[-1].id if log.entries else NOBODY.id
            if head != entry.before or not still():
                return False
            log.entries.append(entry)
            if entry.journal:
                log.tellers[entry.id] = entry.at
            for each in taken:
                log.parts.pop(each, None)
            for worker, told in list(log.workers.items()):
                if told.at < entry.at - FORGOTTEN_SECONDS:
                    del log.workers[worker]
            return True

    def claim(self, release: str, *, at: float, before: float) -> Sequence[Untold]:
        """See `SharedStore`."""
        with self._lock:
            log = self._log(release)
            late = {id_ for id_, since in log.tellers.items() if since < before}
            log.tellers |= dict.fromkeys(late, at)
            return [Untold(each.id, each.journal) for each in log.entries if each.id in late]

    def told(self, release: str, ids: Sequence[str]) -> None:
        """See `SharedStore`."""
        with self._lock:
            for id_ in ids:
                self._log(release).tellers.pop(id_, None)

    def checkpoint(self, release: str, head: Head, memory: bytes) -> None:
        """See `SharedStore`."""
        with self._lock:
            log = self._log(release)
            if all(each.id != head.id for each in log.entries):
                return
            log.checkpoint = (head, memory)
            # The checkpoint has what they led to; nobody in this process is behind it.
            log.entries = [
                each if each.number > head.number else replace(each, body=b"")
                for each in log.entries
                if each.journal or each.number > head.number - KEPT
            ]

    def leave(self, release: str, worker: str) -> None:
        """See `SharedStore`."""
        with self._lock:
            self._log(release).workers.pop(worker, None)

    def close(self) -> None:
        """Nothing."""

    def after_fork(self) -> None:
        """A child has a copy of its own, which nobody else sees."""
        self._lock = threading.RLock()

    def _log(self, release: str) -> _Log:
        return self._logs.setdefault(release, _Log())
