"""Many replications on any executor: the same rows whatever the workers and their order."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from .agenda import Agenda, Task
from .experiment import Condition, Experiment, Policy, Row, rehearse
from .sheet import Sheet
from .workers import Interruption, Workers, interruptible, processes

__all__ = ["Progress", "Replications", "replicate", "run_task"]

# How often in a row workers may be lost, without anything done in between, before it is taken
# for more than bad luck.
_LOSSES = 5

# How long a wait for workers may last before Ctrl-C is looked at again (s).
_PATIENCE = 0.2

# Tasks handed out before any has come back; then two more for each that has. How large tasks
# should be is known only then, and a crowd of small ones costs more than it brings.
_START = 8

# Rows, and the seconds that they took.
Result = tuple[list[Row], float]


class Progress(Struct, frozen=True, kw_only=True):
    """Replications (of a condition, under all policies) that are done and that are planned.

    `taken_up` of those done were in the file already; `seconds` have passed since.
    """

    done: int
    planned: int
    taken_up: int
    seconds: float


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
        agenda = Agenda(experiment, sheet, most=most, precision=precision, confidence=confidence)
        work = _Work(experiment, sheet, agenda, progress)
        with interruptible() as interruption:
            complete = work.run(workers or processes(), interruption)
        if complete:
            sheet.tidy()
        return Replications(
            experiment=experiment,
            rows=sheet.ordered(agenda.upto),
            planned=agenda.planned,
            complete=complete,
        )


class _Work:
    """From tasks to rows."""

    def __init__(
        self,
        experiment: Experiment,
        sheet: Sheet,
        agenda: Agenda,
        progress: Callable[[Progress], object] | None,
    ) -> None:
        self._experiment = experiment
        self._sheet = sheet
        self._agenda = agenda
        self._progress = progress
        self._started = time.perf_counter()
        self._taken_up = agenda.done
        self._pending: dict[Future[Result], Task] = {}
        self._merged = 0

    def run(self, workers: Workers, interruption: Interruption) -> bool:
        """Work until all is done; False when it was interrupted."""
        self._tell()
        losses = 0
        while True:
            # Nothing to do, nobody to be called: a file may hold all that is asked for.
            task = self._agenda.next()
            if task is None or interruption.asked:
                return task is None
            self._agenda.forget()
            before = self._agenda.done
            try:
                with workers.open() as executor:
                    self._drive(executor, workers.slots, interruption)
            except workers.lost:
                if interruption.asked:
                    return False
                losses = 1 if self._agenda.done > before else losses + 1
                if losses == _LOSSES:
                    raise
            self._agenda.forget()

    def _drive(self, executor: Executor, slots: int, interruption: Interruption) -> None:
        try:
            while not interruption.asked:
                self._hand_out(executor, slots)
                if not self._pending:
                    return
                done, _ = wait(self._pending, _PATIENCE, FIRST_COMPLETED)
                for future in done:
                    self._merge(future)
                if done:
                    self._tell()
        finally:
            for future in self._pending:
                future.cancel()
            self._pending.clear()

    def _hand_out(self, executor: Executor, slots: int) -> None:
        experiment = self._experiment
        slots = min(slots, _START + 2 * self._merged)
        while len(self._pending) < slots and (task := self._agenda.next()) is not None:
            condition = experiment.conditions[task.condition]
            future = executor.submit(
                run_task, condition, experiment.policies, experiment.seed, task
            )
            self._pending[future] = task

    def _merge(self, future: Future[Result]) -> None:
        task = self._pending.pop(future)
        rows, seconds = future.result()
        self._sheet.add(rows)
        self._agenda.took(task, seconds)
        self._merged += 1

    def _tell(self) -> None:
        if self._progress is not None:
            self._progress(
                Progress(
                    done=self._agenda.done,
                    planned=self._agenda.planned,
                    taken_up=self._taken_up,
                    seconds=time.perf_counter() - self._started,
                )
            )


def _renumbered(row: Row, condition: int) -> Row:
    return replace(row, condition=condition)
