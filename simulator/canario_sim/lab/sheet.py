"""The rows of an experiment: in memory, and in a file that a run takes up again."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import msgspec
from msgspec import Struct

from canario.config import ConfigError

from .experiment import Experiment, Row

__all__ = ["Sheet"]

_rows = msgspec.json.Decoder(Row)


class _Head(Struct, frozen=True, kw_only=True):
    """The first line of a file: which experiment its rows are of, and what they hold."""

    experiment: str
    conditions: tuple[str, ...]
    policies: tuple[str, ...]
    columns: tuple[str, ...] = Row.__struct_fields__


_heads = msgspec.json.Decoder(_Head)


class Sheet:
    """Rows as they come, each replication whole: one row for every policy.

    Args:
        experiment: What they are of.
        file: Where they are appended as JSON lines; taken up if it is there.

    Raises:
        ConfigError: When the file holds another experiment, is in use by another run, or cannot
            be read or written.
    """

    def __init__(self, experiment: Experiment, file: Path | None = None) -> None:
        self._experiment = experiment
        # By condition and replication, a row for each policy. Of millions a list is the smallest.
        self._cells: list[dict[int, list[Row | None]]] = [{} for _ in experiment.conditions]
        self._whole: list[set[int]] = [set() for _ in experiment.conditions]
        self._last = [-1] * len(experiment.conditions)
        self._path = file
        self._file: IO[bytes] | None = None
        if file is not None:
            try:
                self._open(file)
            except BaseException:
                self._close()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._close()

    def has(self, condition: int, replication: int) -> bool:
        """True when a replication is whole."""
        return replication in self._whole[condition]

    def below(self, condition: int, upto: int) -> int:
        """How many of the replications numbered under `upto` are whole."""
        whole = self._whole[condition]
        if self._last[condition] < upto:
            return len(whole)
        return sum(replication < upto for replication in whole)

    def rollbacks(self, condition: int, policy: int, upto: int) -> int:
        """How many of them were rolled back."""
        cells = self._cells[condition]
        rows = (cells[number][policy] for number in self._whole[condition] if number < upto)
        return sum(row is not None and row.outcome == "rolled_back" for row in rows)

    def add(self, rows: Iterable[Row]) -> None:
        """Keep rows, and write them. Raises `ConfigError` when they cannot be written."""
        rows = list(rows)
        for row in rows:
            self._keep(row)
        if self._file is not None:
            try:
                self._file.write(_lines(rows))
                self._file.flush()
            except OSError as error:
                raise _problem(self._path, "written", error) from error

    def ordered(self, upto: Sequence[int] | None = None) -> tuple[Row, ...]:
        """Rows of whole replications by condition, replication and policy.

        With `upto` only those of each condition that are numbered under its number there.
        """
        return tuple(
            row
            for condition, whole in enumerate(self._whole)
            for replication in sorted(whole)
            if upto is None or replication < upto[condition]
            for row in self._cells[condition][replication]
            if row is not None
        )

    def tidy(self) -> None:
        """Write the file again, its rows in order: the same bytes whoever was first."""
        if self._path is None:
            return
        fresh = self._path.with_name(f".{self._path.name}.new")
        try:
            fresh.write_bytes(self._heading() + _lines(self.ordered()))
            # In one step: at no instant are there fewer rows than before.
            fresh.replace(self._path)
        except OSError as error:
            raise _problem(self._path, "written", error) from error

    def _keep(self, row: Row) -> None:
        cell = self._cells[row.condition].get(row.replication)
        if cell is None:
            cell = [None] * len(self._experiment.policies)
            self._cells[row.condition][row.replication] = cell
        cell[row.policy] = row
        if None not in cell:
            self._whole[row.condition].add(row.replication)
            self._last[row.condition] = max(self._last[row.condition], row.replication)

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _open(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
            self._lock(self._file, path)
            kept = self._read(path, self._file.read())
            # What a crash has cut off, behind the last whole line, is written over.
            self._file.truncate(kept)
            self._file.seek(kept)
            if not kept:
                self._file.write(self._heading())
                self._file.flush()
        except OSError as error:
            raise _problem(path, "used", error) from error

    @staticmethod
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

    def _head(self) -> _Head:
        experiment = self._experiment
        return _Head(
            experiment=experiment.digest,
            conditions=tuple(condition.name for condition in experiment.conditions),
            policies=tuple(policy.name for policy in experiment.policies),
        )

    def _heading(self) -> bytes:
        return msgspec.json.encode(self._head()) + b"\n"

    def _read(self, path: Path, content: bytes) -> int:
        """Take up the rows of a file; returns how many of its bytes are whole lines."""
        lines = content.splitlines(keepends=True)
        if lines and not lines[-1].endswith(b"\n"):
            lines.pop()
        # A heading that was cut off leaves nothing to lose; another file would be written over.
        if content and not lines and not self._heading().startswith(content):
            raise ConfigError(str(path), "line 1", "is no heading of an experiment's rows")
        for number, line in enumerate(lines, start=1):
            try:
                if number == 1:
                    self._match(path, _heads.decode(line))
                else:
                    self._keep(self._checked(_rows.decode(line)))
            except (msgspec.DecodeError, IndexError) as error:
                raise ConfigError(
                    str(path), f"line {number}", f"is no row of an experiment: {error}"
                ) from error
        return sum(map(len, lines))

    def _match(self, path: Path, head: _Head) -> None:
        own = self._head()
        if head != own:
            raise ConfigError(
                str(path),
                "experiment",
                f"is {head.experiment} ({', '.join(head.policies)} on "
                f"{_few(head.conditions)}), not {own.experiment}; give a file of its own, or the "
                "plan, scenarios, seed and version of canario that it was begun with",
            )

    def _checked(self, row: Row) -> Row:
        if not 0 <= row.condition < len(self._experiment.conditions):
            raise IndexError(f"there is no condition {row.condition}")
        if not 0 <= row.policy < len(self._experiment.policies):
            raise IndexError(f"there is no policy {row.policy}")
        return row


def _lines(rows: Iterable[Row]) -> bytes:
    return b"".join(msgspec.json.encode(row) + b"\n" for row in rows)


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _problem(path: Path | None, done: str, error: OSError) -> ConfigError:
    return ConfigError(str(path), "", f"cannot be {done}: {error.strerror}")
