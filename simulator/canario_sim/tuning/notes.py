"""What has been counted so far, in a file that a later run takes up."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import msgspec
from msgspec import Struct

from canario.config import ConfigError

__all__ = ["Notes"]


class _Head(Struct, frozen=True, kw_only=True):
    """The first line: which search its lines are of."""

    tuning: str


class _Line(Struct, frozen=True, kw_only=True):
    """What came of one task."""

    task: str
    result: msgspec.Raw


_heads = msgspec.json.Decoder(_Head)
_lines = msgspec.json.Decoder(_Line)


class Notes:
    """Results of tasks by name; with a file they outlast the run.

    Raises `ConfigError` when the file is of another search, or cannot be read or written. A last
    line that was cut off is dropped.
    """

    def __init__(self, digest: str, path: Path | None = None) -> None:
        self._path = path
        self._file: IO[bytes] | None = None
        self._results: dict[str, bytes] = {}
        if path is None:
            return
        try:
            whole = self._read(path, digest) if path.exists() else 0
            self._file = path.open("ab")
            os.truncate(path, whole)
            if not whole:
                self._write(msgspec.json.encode(_Head(tuning=digest)))
        except OSError as error:
            raise ConfigError(str(path), "", f"cannot be used: {error.strerror}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()

    def get(self, task: str) -> bytes | None:
        """The result of a task, as JSON; None when it is not there."""
        return self._results.get(task)

    def put(self, task: str, result: object) -> None:
        """Keep a result."""
        content = msgspec.json.encode(result)
        self._results[task] = content
        if self._file is not None:
            try:
                self._write(msgspec.json.encode(_Line(task=task, result=msgspec.Raw(content))))
            except OSError as error:
                raise ConfigError(
                    str(self._path), "", f"cannot be written: {error.strerror}"
                ) from error

    def _write(self, line: bytes) -> None:
        assert self._file is not None
        self._file.write(line + b"\n")
        self._file.flush()

    def _read(self, path: Path, digest: str) -> int:
        """Take up what is there; returns the length of the whole lines."""
        content = path.read_bytes()
        whole = content.rfind(b"\n") + 1
        lines = content[:whole].splitlines()
        if not lines:
            if content:
                raise ConfigError(str(path), "line 1", "is not one of canario tune's files")
            return 0
        try:
            head = _heads.decode(lines[0])
        except msgspec.DecodeError as error:
            raise ConfigError(
                str(path), "line 1", f"is not one of canario tune's files: {error}"
            ) from error
        if head.tuning != digest:
            raise ConfigError(
                str(path),
                "tuning",
                f"{head.tuning} is another search than this one, {digest}; give another file, or "
                "the plan, conditions, candidates, goals and seed that it was begun with",
            )
        for number, text in enumerate(lines[1:], start=2):
            try:
                line = _lines.decode(text)
            except msgspec.DecodeError as error:
                raise ConfigError(
                    str(path), f"line {number}", f"cannot be read: {error}"
                ) from error
            self._results[line.task] = bytes(line.result)
        return whole
