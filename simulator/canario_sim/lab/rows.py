"""The rows of an experiment: in memory, and in a file that a run takes up again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec
from msgspec import Struct

from canario.config import ConfigError

from .experiment import Experiment, Row
from .resumable import ResumableFile

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
        self._file = (
            None
            if file is None
            else ResumableFile(
                file,
                self._heading(),
                self._take,
                foreign="is no heading of an experiment's rows",
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
            self._file.append(_lines(rows))

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
        if self._file is not None:
            self._file.rewrite(_lines(self.ordered()))

    def _keep(self, row: Row) -> None:
        cell = self._cells[row.condition].get(row.replication)
        if cell is None:
            cell = [None] * len(self._experiment.policies)
            self._cells[row.condition][row.replication] = cell
        cell[row.policy] = row
        if None not in cell:
            self._whole[row.condition].add(row.replication)
            self._last[row.condition] = max(self._last[row.condition], row.replication)

    def _head(self) -> _Head:
        experiment = self._experiment
        return _Head(
            experiment=experiment.digest,
            conditions=tuple(condition.name for condition in experiment.conditions),
            policies=tuple(policy.name for policy in experiment.policies),
        )

    def _heading(self) -> bytes:
        return msgspec.json.encode(self._head()) + b"\n"

    def _take(self, number: int, line: bytes) -> None:
        """Take up a line of the file."""
        try:
            if number == 1:
                self._match(_heads.decode(line))
            else:
                self._keep(self._checked(_rows.decode(line)))
        except (msgspec.DecodeError, IndexError) as error:
            raise ConfigError(
                str(self._path), f"line {number}", f"is no row of an experiment: {error}"
            ) from error

    def _match(self, head: _Head) -> None:
        own = self._head()
        if head != own:
            raise ConfigError(
                str(self._path),
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
