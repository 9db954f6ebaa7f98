"""What has been counted so far, in a file that a later run takes up."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec
from msgspec import Struct

from canario.config import ConfigError
from canario_sim.lab.resumable import ResumableFile

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

    Raises `ConfigError` when the file is of another search, is in use by another run, or cannot be
    read or written. A last line that was cut off is dropped.
    """

    def __init__(self, digest: str, path: Path | None = None) -> None:
        self._digest = digest
        self._path = path
        self._results: dict[str, bytes] = {}
        self._file = (
            None
            if path is None
            else ResumableFile(
                path,
                msgspec.json.encode(_Head(tuning=digest)) + b"\n",
                self._take,
                foreign="is not one of canario tune's files",
            )
        )

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
        """Keep a result. Raises `ConfigError` when it cannot be written."""
        content = msgspec.json.encode(result)
        self._results[task] = content
        if self._file is not None:
            line = _Line(task=task, result=msgspec.Raw(content))
            self._file.append(msgspec.json.encode(line) + b"\n")

    def _take(self, number: int, text: bytes) -> None:
        """Take up a line of the file."""
        if number == 1:
            self._match(text)
            return
        try:
            line = _lines.decode(text)
        except msgspec.DecodeError as error:
            raise ConfigError(
                str(self._path), f"line {number}", f"cannot be read: {error}"
            ) from error
        self._results[line.task] = bytes(line.result)

    def _match(self, text: bytes) -> None:
        try:
            head = _heads.decode(text)
        except msgspec.DecodeError as error:
            raise ConfigError(
                str(self._path), "line 1", f"is not one of canario tune's files: {error}"
            ) from error
        if head.tuning != self._digest:
            raise ConfigError(
                str(self._path),
                "tuning",
                f"{head.tuning} is another search than this one, {self._digest}; give another "
                "file, or the plan, conditions, candidates, goals and seed that it was begun with",
            )
