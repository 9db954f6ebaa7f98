"""A file of JSON lines that one run at a time appends to, and a later one takes up."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import IO

from canario.config import ConfigError

__all__ = ["ResumableFile"]


class ResumableFile:
    """Lines behind a heading that says what they are of.

    Args:
        path: The file; it and its folders are made where there are none.
        heading: The first line, with its line feed.
        take: Is called with the number and the content of each whole line that is there, the
            heading's first; raises `ConfigError` for what is not this run's.
        foreign: What is said of a file that has no heading.

    Raises:
        ConfigError: When the file is in use by another run, is no such file, or cannot be read
            or written.
    """

    def __init__(
        self, path: Path, heading: bytes, take: Callable[[int, bytes], object], *, foreign: str
    ) -> None:
        self._path = path
        self._heading = heading
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = _locked(path)
        except OSError as error:
            raise self._problem("used", error) from error
        try:
            self._take_up(take, foreign)
        except OSError as error:
            self.close()
            raise self._problem("used", error) from error
        except BaseException:
            self.close()
            raise

    def append(self, lines: bytes) -> None:
        """Write whole lines. Raises `ConfigError` when they cannot be written."""
        try:
            self._file.write(lines)
            self._file.flush()
        except OSError as error:
            raise self._problem("written", error) from error

    def rewrite(self, lines: bytes) -> None:
        """Write the file again, with these lines behind its heading. Raises `ConfigError`."""
        fresh = self._path.with_name(f".{self._path.name}.new")
        try:
            # Whoever finds the new file finds it locked.
            file = _open(fresh)
            try:
                _lock(file, fresh)
                file.truncate(0)
                file.write(self._heading + lines)
                file.flush()
                # In one step: at no instant are there fewer rows than before.
                fresh.replace(self._path)
            except BaseException:
                file.close()
                raise
        except OSError as error:
            raise self._problem("written", error) from error
        self._file.close()
        self._file = file

    def close(self) -> None:
        """Let another run have it."""
        self._file.close()

    def _take_up(self, take: Callable[[int, bytes], object], foreign: str) -> None:
        content = self._file.read()
        lines = content.splitlines(keepends=True)
        if lines and not lines[-1].endswith(b"\n"):
            lines.pop()
        # A heading that was cut off leaves nothing to lose; another file would be written over.
        if content and not lines and not self._heading.startswith(content):
            raise ConfigError(str(self._path), "line 1", foreign)
        for number, line in enumerate(lines, start=1):
            take(number, line)
        # What a crash has cut off, behind the last whole line, is written over.
        kept = sum(map(len, lines))
        self._file.truncate(kept)
        self._file.seek(kept)
        if not kept:
            self._file.write(self._heading)
            self._file.flush()

    def _problem(self, done: str, error: OSError) -> ConfigError:
        return ConfigError(str(self._path), "", f"cannot be {done}: {error.strerror}")


def _locked(path: Path) -> IO[bytes]:
    """The file that stands there, open and locked: while one waits it may be another one."""
    while True:
        file = _open(path)
        try:
            _lock(file, path)
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        except FileNotFoundError:
            pass
        except BaseException:
            file.close()
            raise
        file.close()


def _open(path: Path) -> IO[bytes]:
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")


def _lock(file: IO[bytes], path: Path) -> None:
    """Two runs would write over each other's rows. The lock goes with the process."""
    try:
        import fcntl
    except ImportError:  # pragma: no cover - where there is no fcntl there is no lock
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ConfigError(
            str(path), "", "is being written by another run; wait for it, or give another file"
        ) from None
