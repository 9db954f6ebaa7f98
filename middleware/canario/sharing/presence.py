"""Who is there, and what died with whom: a small file for each worker.

Each worker has a file of its own, which it holds locked for as long as it lives, however it ends,
and maps into its memory: how many requests of either arm it has in flight stands there at every
instant. Whoever can lock the file of another finds that one gone, and reads what it left
unanswered. A process that is stopped still has its lock: it is not dead.
"""

from __future__ import annotations

import mmap
import os
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from weakref import finalize

from canario.routing.router import Arm
from canario.stores.lock import NoLocksError, lock

__all__ = ["Gone", "Page", "Presence", "make_presence"]

_BYTES = 8  # two unsigned integers of 4 bytes: the baseline's requests, then the canary's
_ENDING = ".worker"


class Page:
    """One byte that all workers of one log on this host see at every instant: whether the canary is
    withdrawn. It goes from 0 to 1 and never back, and needs no lock, so that nobody waits for a
    store, nor for who is stopped in the midst of using it.

    Args:
        folder: Where the workers of the release have their files.
        log: The id of the log's first entry: of another log the page is another one.

    Raises:
        OSError: When the file cannot be made.

    Attributes:
        flag: The byte, for whoever serves a request: `flag[0]`.
    """

    def __init__(self, folder: Path, log: str) -> None:
        self.log = log
        self._fd = os.open(folder / f"{log}.withdrawn", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if not os.fstat(self._fd).st_size:
                os.pwrite(self._fd, b"\0", 0)  # two who come first write the same
            self._map = mmap.mmap(self._fd, 1)
        except BaseException:
            os.close(self._fd)
            raise
        self.flag = memoryview(self._map)
        finalize(self, os.close, self._fd)

    def withdraw(self, how: bytes) -> None:
        """The canary is withdrawn, and `how` tells in what way; the first one is kept."""
        if not self.flag[0]:
            os.pwrite(self._fd, how, 1)  # first: whoever sees the byte finds the reason
            self.flag[0] = 1

    def how(self) -> bytes:
        """What it was withdrawn by."""
        return os.pread(self._fd, 1 << 20, 1)


class Gone(NamedTuple):
    """A worker that is dead, and what it had in flight; its file stays locked for this process
    until it is `bury`-ed or let go of."""

    worker: str
    baseline: int
    canary: int
    fd: int
    path: Path


class Presence:
    """This worker's file, and the sight of the others'.

    Args:
        folder: Where all workers of one release have their files; it is made.
        worker: Names this incarnation of the worker.

    Raises:
        OSError: When the file cannot be made.
        NoLocksError: When the file system knows no locks, so that nobody could be found gone.
    """

    def __init__(self, folder: Path, worker: str) -> None:
        self._folder = folder
        self._path = folder / f"{worker}{_ENDING}"
        folder.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            lock(self._fd)  # before there is anything to read in it
            # Written, and not only made longer: on a full disk this raises here, where a page that
            # has no room behind it would end the process at its first mark.
            os.write(self._fd, bytes(_BYTES))
            self._map = mmap.mmap(self._fd, _BYTES)
        except BaseException:
            os.close(self._fd)
            self._path.unlink(missing_ok=True)
            raise
        self._marks = memoryview(self._map).cast("I")
        self._in_flight = [0, 0]
        # Whoever lets go of it has left nothing unanswered, and so has a process that ends by
        # itself; but not a forked child, whose file this is not.
        self._let_go = finalize(self, _end, os.getpid(), self._fd, self._path)

    def enter(self, arm: Arm) -> None:
        """A request of `arm` goes to the app. Two threads may come to the same number: `correct`
        puts that right within a second."""
        which = arm == "canary"
        self._in_flight[which] += 1
        self._marks[which] = self._in_flight[which]

    def leave(self, arm: Arm) -> None:
        """It was answered, or it is over in another way."""
        which = arm == "canary"
        left = self._in_flight[which] - 1
        self._in_flight[which] = left if left > 0 else 0
        self._marks[which] = self._in_flight[which]

    def correct(self, baseline: int, canary: int) -> None:
        """So many are in flight."""
        self._in_flight[:] = baseline, canary
        self._marks[0], self._marks[1] = baseline, canary

    def gone(self) -> list[Gone]:
        """The workers that are dead and that nobody else is just burying."""
        found = []
        for path in sorted(self._folder.glob(f"*{_ENDING}")):
            if path == self._path:
                continue
            with suppress(OSError):  # another one was quicker, or has no right to
                dead = _look(path)
                if dead is not None:
                    found.append(dead)
        return found

    @staticmethod
    def bury(dead: Gone) -> None:
        """What it left is known to all: its file goes."""
        dead.path.unlink(missing_ok=True)
        os.close(dead.fd)

    @staticmethod
    def let_go(dead: Gone) -> None:
        """It is tried again, by whoever comes first."""
        os.close(dead.fd)

    def close(self) -> None:
        """This worker ends, and leaves nothing unanswered."""
        self._path.unlink(missing_ok=True)
        self.abandon()

    def abandon(self) -> None:
        """In a forked child: the file is the parent's, whose lock this does not open."""
        if self._let_go.detach() is not None:
            # The map has a descriptor of its own, which would keep the lock as well.
            self._marks.release()
            self._map.close()
            os.close(self._fd)


def _end(pid: int, fd: int, path: Path) -> None:
    if os.getpid() == pid:
        path.unlink(missing_ok=True)
    os.close(fd)


def _look(path: Path) -> Gone | None:
    fd = os.open(path, os.O_RDWR)
    try:
        marks = b""
        # A file without its bytes is of one that is just being born, and not locked yet.
        if lock(fd):
            marks = os.pread(fd, _BYTES, 0)
        if len(marks) < _BYTES or not path.exists():
            os.close(fd)
            return None
    except BaseException:
        os.close(fd)
        raise
    baseline, canary = memoryview(marks).cast("I")
    return Gone(path.name.removesuffix(_ENDING), baseline, canary, fd, path)


def make_presence(folder: Path, worker: str) -> Presence | str:
    """The presence of a worker, or why it has none, in words."""
    try:
        return Presence(folder, worker)
    except NoLocksError as error:
        return f"{folder} lies on a file system without locks ({error})"
    except (OSError, ValueError) as error:
        return f"{folder} cannot be used: {error}"
