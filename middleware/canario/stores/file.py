"""A journal in a file: one writer at a time, which nobody waits for."""

from __future__ import annotations

import logging
import os
import stat
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from canario.control.events import Event
from canario.control.journal import Journal, JournalError, Watched, dump_journal, parse_journal
from canario.host.fork import Forkable, renew_in_child

from .lock import NoLocksError, lock

if TYPE_CHECKING:
    from .protocol import Check

__all__ = ["JournalFile", "JournalLockedError"]

# A journal with notes every 15 s is as long after half a year; what is longer is something else.
_LARGEST_BYTES = 64 * 1024 * 1024

# After a write that failed; then twice as long, and again, up to the longest.
_FIRST_PATIENCE = 0.1
_LONGEST_PATIENCE = 5.0

OnError = Callable[[Exception, bool], object]


class JournalLockedError(JournalError):
    """A journal that another process, or another controller, is writing."""


class JournalFile(Forkable):
    """Appends to one file on a thread of its own, in order, each line on the disk before the next.

    The file is locked as long as it is open; closing it, or the end of the process however it
    comes, lets go of it. A write that fails is tried again until it succeeds, and what it left of
    a line is cut off first. A file that was taken away is written anew. A forked child has no
    part in it: the file is the parent's.

    Args:
        path: The file; folders are made.
        on_error: Told of each failure, and whether it is the first since all was well; on the
            writer's thread.
        log: Where else something is to be said.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, on_error: OnError, log: logging.Logger
    ) -> None:
        self.path = Path(path)
        self._on_error = on_error
        self._log = log
        self._fd: int | None = None
        self._size = 0  # up to where the file holds whole lines
        self._torn = False  # a write failed and may have left something behind that
        self._written: list[bytes] = []  # all events, for a file that has to be written anew
        self._begin()
        renew_in_child(self)

    def __repr__(self) -> str:
        return f"<JournalFile {str(self.path)!r}>"

    @property
    def waiting(self) -> int:
        """How many appends are not on the disk."""
        return len(self._waiting)

    # -- opening it

    def open(self, check: Check) -> Journal:
        """Claim the file, and read it.

        Raises:
            JournalLockedError: When somebody else writes it.
            JournalError: When it is no journal.
            OSError: When it cannot be read or written.
        """
        if self.path.is_dir():
            raise JournalError(f"{self.path} is a folder; a journal is a file: give its whole path")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            fd = _open(self.path)
        except ValueError as error:
            raise JournalError(f"{str(self.path)!r} is no name of a file: {error}") from error
        try:
            mine = self._claim(fd)
            journal = self._read(fd)
            try:
                check(journal.events)
            except JournalError as error:
                raise type(error)(f"{self.path}: {error}") from error
            if not mine:  # only now, since the journal itself tells whose process it is
                raise JournalLockedError(self._locked(journal.pid))
            if journal.truncated:
                self._log.warning(
                    "%s ends in the middle of an event; the %d whole ones are used, %d bytes "
                    "dropped",
                    self.path,
                    len(journal.events),
                    len(journal.truncated),
                )
                os.ftruncate(fd, journal.whole_bytes)
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd
        self._size, self._torn = journal.whole_bytes, False
        self._written = [dump_journal(journal.events)]
        self._closing = False
        return journal

    def _claim(self, fd: int) -> bool:
        try:
            return lock(fd)
        except NoLocksError as error:
            self._log.warning(
                "%s cannot be locked (%s): see to it that no other process writes it",
                self.path,
                error,
            )
            return True

    def _read(self, fd: int) -> Journal:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise JournalError(f"{self.path} is no regular file; a journal is one")
        if status.st_size > _LARGEST_BYTES:
            raise JournalError(f"{self.path} is {status.st_size} bytes long; no journal is")
        parts = []
        while part := os.read(fd, 1 << 20):
            parts.append(part)
        try:
            return parse_journal(b"".join(parts))
        except JournalError as error:
            raise JournalError(f"{self.path}: {error}") from error

    def _locked(self, pid: int | None) -> str:
        who = "another process" if pid is None else f"process {pid}"
        if pid == os.getpid():
            who = f"another controller of this process ({pid})"
        return (
            f"the journal {self.path} is being written by {who}, and it can have one writer; end "
            "that one, or give this release a single worker process or this controller a journal "
            "of its own"
        )

    # -- writing it

    def append(self, events: Sequence[Event]) -> None:
        """Have events written. Never waits, never raises."""
        self._add(dump_journal(events), note=False)

    def watched(self, at: float) -> None:
        """Have it written that this process has watched until `at`."""
        self._add(dump_journal([Watched(at=at, pid=os.getpid())]), note=True)

    def drain(self, timeout: float | None = None) -> bool:
        """Wait until all is on the disk.

        False when `timeout` (s) was too short, or a write that was begun since has failed.
        """
        with self._changed:
            if not (self._waiting or self._busy):
                return True
            self._hurry = True
            if not self._work_begins():
                return False
            begun = self._begun
            self._changed.notify_all()
            self._changed.wait_for(
                lambda: not (self._waiting or self._busy) or self._failed > begun, timeout
            )
            return not (self._waiting or self._busy)

    def close(self, timeout: float | None = None) -> bool:
        """Write what waits, and let go of the file. False when something could not be written,
        or not within `timeout` (s): then it goes on beside the caller, and lets go after it."""
        with self._changed:
            self._closing = self._hurry = True
            thread = self._thread
            if thread is None or not thread.is_alive():
                done = not self._waiting
                self._let_go()
                return done
            self._changed.notify_all()
        if thread is not threading.current_thread():  # `on_error` is called on it, and may close
            thread.join(timeout)
        return not thread.is_alive() and not self._waiting

    def _begin(self) -> None:
        self._waiting: deque[tuple[bytes, bool]] = deque()
        # Not a plain lock: an order may come from a signal handler while this thread is in here.
        self._changed = threading.Condition(threading.RLock())
        self._thread: threading.Thread | None = None
        self._busy = False
        self._hurry = False
        self._closing = False
        self._begun = 0  # attempts to write
        self._failed = 0  # the last of them that failed

    def _add(self, lines: bytes, *, note: bool) -> None:
        with self._changed:
            if self._fd is None:
                if not note:
                    self._say(RuntimeError(f"{self.path} is closed"), first=True)
                return
            if note and self._waiting and self._waiting[-1][1]:
                self._waiting.pop()  # of two notes the last one says all
            self._waiting.append((lines, note))
            self._work_begins()
            self._changed.notify_all()

    def _work_begins(self) -> bool:
        if self._thread is not None and self._thread.is_alive():
            return True
        thread = threading.Thread(target=self._work, name="canario-journal", daemon=True)
        self._thread = thread
        try:
            thread.start()
        except RuntimeError:  # the interpreter ends, or the host allows no more threads
            self._thread = None
            self._work(once=True)
            return not self._waiting
        return True

    def _work(self, *, once: bool = False) -> None:
        patience = 0.0
        while True:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                if patience:
                    self._changed.wait_for(lambda: self._hurry, patience)
                while not (self._waiting or self._closing or once):
                    self._changed.wait()
                if not self._waiting:
                    if self._closing:
                        self._let_go()
                    return
                batch = list(self._waiting)
                self._waiting.clear()
                last = self._closing or once
                self._hurry = False
                self._busy = True
                self._begun += 1
            try:
                self._write(batch)
            except Exception as error:
                self._say(error, first=not patience)
                with self._changed:
                    self._waiting.extendleft(reversed(batch))
                    self._failed = self._begun
                    if last:
                        self._busy = False
                        self._changed.notify_all()
                        if self._closing:
                            self._let_go()
                        return
                patience = min(max(2 * patience, _FIRST_PATIENCE), _LONGEST_PATIENCE)
            else:
                if patience:
                    self._log.warning("the journal %s is written again", self.path)
                patience = 0.0

    def _write(self, batch: Sequence[tuple[bytes, bool]]) -> None:
        """On the disk with it, all or nothing. Raises `OSError`."""
        before = self._look_around()
        lines = before + b"".join(each for each, _ in batch)
        assert self._fd is not None
        self._torn = True  # until it is known to be whole, for an error may come anywhere below
        rest = memoryview(lines)
        while rest:
            rest = rest[os.write(self._fd, rest) :]
        os.fsync(self._fd)
        self._torn = False
        self._size += len(lines)
        self._written += [each for each, note in batch if not note]

    def _look_around(self) -> bytes:
        """See to it that the file is there and ends with a whole line; what must come first."""
        assert self._fd is not None
        if not _same(self.path, self._fd):
            self._log.warning("the journal %s was taken away; it is written anew", self.path)
            fd = _open(self.path)
            try:
                if os.fstat(fd).st_size or not self._claim(fd):
                    raise OSError(f"{self.path} was replaced by a file of somebody else's")
            except BaseException:
                os.close(fd)
                raise
            os.close(self._fd)
            self._fd, self._size = fd, 0
            return b"".join(self._written)
        size = os.fstat(self._fd).st_size
        if size < self._size:
            self._log.warning("the journal %s was cut short; it is written anew", self.path)
            os.ftruncate(self._fd, 0)
            self._size = 0
            return b"".join(self._written)
        if self._torn and size > self._size:
            os.ftruncate(self._fd, self._size)
        elif size:
            # A journal is read up to its last event even if that has lost its line feed.
            os.lseek(self._fd, size - 1, os.SEEK_SET)
            if os.read(self._fd, 1) != b"\n":
                return b"\n"
        return b""

    def _say(self, error: Exception, *, first: bool) -> None:
        with suppress(Exception):
            self._on_error(error, first)

    def _let_go(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    def after_fork_in_child(self) -> None:
        """Leave the file to the parent. To close it here does not unlock it there."""
        with suppress(OSError):
            self._let_go()
        self._begin()


def _open(path: Path) -> int:
    # Python makes no descriptor inheritable: a program that is started does not keep the lock.
    binary = getattr(os, "O_BINARY", 0)
    wait_for_nobody = getattr(os, "O_NONBLOCK", 0)  # as a pipe would have it
    return os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | binary | wait_for_nobody, 0o666)


def _same(path: Path, fd: int) -> bool:
    """Whether the file that is open still is the one of that name."""
    try:
        there = os.stat(path)
    except FileNotFoundError:
        return False
    here = os.fstat(fd)
    return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)
