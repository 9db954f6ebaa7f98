"""Many replications on any executor: the same rows whatever the workers and their order."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from .agenda import Agenda, Task
from .executor import Answers, Progress, work
from .experiment import Condition, Experiment, Policy, Row, rehearse
from .rows import Sheet
from .workers import Workers, processes

__all__ = ["Replications", "replicate", "run_task"]

# Rows, and the seconds that they took.
Result = tuple[list[Row], float]


class Replications(Struct, frozen=True, kw_only=True):
    """All rows by condition, replication and policy.

    `planned` replications were asked for, over all conditions; `complete` is False after Ctrl-C.
    """

    experiment: Experiment
    rows: tuple[Row, ...]
    planned: int
    complete: bool


def run_task(condition: Condition, policies: tuple[Policy, ...], seed: int, task: Task) -> Result:
    """What a worker does: it needs one condition, and not the whole experiment."""
    start = time.perf_counter()
    # A replication's seed does not depend on its condition, so a part gives the rows of the whole.
    part = Experiment(conditions=(condition,), policies=policies, seed=seed)
    rows = [
        _renumbered(rehearse(part, 0, policy, replication), task.condition)
        for replication in range(task.first, task.last)
        for policy in range(len(policies))
    ]
    return rows, time.perf_counter() - start


def replicate(
    experiment: Experiment,
    workers: Workers | None = None,
    *,
    most: int = 1000,
    precision: float | None = None,
    confidence: float = 0.95,
    file: Path | None = None,
    progress: Callable[[Progress], object] | None = None,
    so_far: Callable[[Replications, Progress], object] | None = None,
) -> Replications:
    """Run replications until there are `most`, or until every interval is narrow enough.

    Args:
        experiment: What is tried out.
        workers: Who does it; by default a process for each processor.
        most: Replications of each condition, at most.
        precision: A condition is done when half the width of Wilson's interval of the
            probability of a rollback is at most this under every policy; looked at after 100,
            200, 400, … replications.
        confidence: Of that interval.
        file: Rows are appended to it as they come, and put in order at the end. One that holds
            rows of this very experiment is taken up, and they are not made again.
        progress: Called at the beginning, and as rows come.
        so_far: Called with the rows that are there after `FIRST_ANSWER_SECONDS`, after twice as
            long, and so on, until it is done. The result does not depend on it.

    Returns:
        The rows. After Ctrl-C those that are there, with `complete` False.

    Raises:
        ConfigError: When `file` holds another experiment, or cannot be read or written.
        ValueError: When `most`, `precision` or `confidence` is out of range.
        KeyboardInterrupt: When Ctrl-C is pressed again, before the workers have stopped.
        BrokenExecutor: When workers keep dying; or whatever else `workers.lost` names.
    """
    if most < 1:
        raise ValueError(f"most is {most!r}; it must be at least 1")
    for name, value in (("precision", precision), ("confidence", confidence)):
        if value is not None and not 0 < value < 1:
            raise ValueError(f"{name} is {value!r}; it must lie between 0 and 1")
    with Sheet(experiment, file) as sheet:
        workers = workers or processes()
        agenda = Agenda(
            experiment,
            sheet,
            most=most,
            precision=precision,
            confidence=confidence,
            task_seconds=workers.task_seconds,
        )

        def made(*, complete: bool) -> Replications:
            return Replications(
                experiment=experiment,
                rows=sheet.ordered(agenda.upto),
                planned=agenda.planned,
                complete=complete,
            )

        answers = Answers()

        def tell(at: Progress) -> None:
            if progress is not None:
                progress(at)
            if so_far is not None and answers.due(at):
                so_far(made(complete=False), at)

        complete = work(_Cells(experiment, sheet, agenda), workers, progress=tell)
        if complete:
            sheet.tidy()
        return made(complete=complete)


class _Cells:
    """What is left of an experiment, as `Jobs`."""

    def __init__(self, experiment: Experiment, sheet: Sheet, agenda: Agenda) -> None:
        self._experiment = experiment
        self._sheet = sheet
        self._agenda = agenda
        self.next = agenda.next
        self.forget = agenda.forget

    @property
    def planned(self) -> int:
        return self._agenda.planned

    @property
    def done(self) -> int:
        return self._agenda.done

    def call(self, task: Task) -> tuple[Callable[..., Result], tuple[Any, ...]]:
        experiment = self._experiment
        condition = experiment.conditions[task.condition]
        return run_task, (condition, experiment.policies, experiment.seed, task)

    def merge(self, task: Task, result: Result) -> None:
        rows, seconds = result
        self._sheet.add(rows)
        self._agenda.took(task, seconds)


def _renumbered(row: Row, condition: int) -> Row:
    return replace(row, condition=condition)
