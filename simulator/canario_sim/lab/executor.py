"""Tasks on any executor of `concurrent.futures`: lost ones done again, a clean end at Ctrl-C."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from typing import Any, Generic, Protocol, TypeVar

from msgspec import Struct

from canario.control.words import seconds_in_words

from .workers import TASK_SECONDS, Interruption, Workers, interruptible, processes

__all__ = [
    "FIRST_ANSWER_SECONDS",
    "Answers",
    "Jobs",
    "Progress",
    "Results",
    "fitting",
    "run_all",
    "work",
]

# How often in a row workers may be lost, without anything done in between, before it is taken
# for more than bad luck.
_LOSSES = 5

# How long a wait for workers may last before Ctrl-C is looked at again (s).
_PATIENCE = 0.2

# Tasks handed out before any has come back; then two more for each that has. How large tasks
# should be is known only then, and a crowd of small ones costs more than it brings.
_START = 8

# When whoever waits hears for the first time what there is to say (s).
FIRST_ANSWER_SECONDS = 15.0

T = TypeVar("T")
R = TypeVar("R")


class Progress(Struct, frozen=True, kw_only=True):
    """How many pieces of work are done and how many are planned by now.

    `taken_up` of those done were there at the beginning; `seconds` have passed since.
    """

    done: int
    planned: int
    taken_up: int
    seconds: float

    @property
    def seconds_left(self) -> float | None:
        """How long the rest takes at the pace so far; None while nothing has been done."""
        made = self.done - self.taken_up
        return self.seconds / made * (self.planned - self.done) if made else None

    def in_words(self, pieces: str) -> str:
        """`after 30 s, 201 of 16,800 tasks, some 42 min left`, with a word for the pieces."""
        left, words = self.seconds_left, ""
        if left is not None:
            # To the minute where seconds are a guess.
            unit = 60 if left > 120 else 1
            words = f", some {seconds_in_words(round(left / unit) * unit)} left"
        after = seconds_in_words(round(self.seconds))
        return f"after {after}, {self.done:,} of {self.planned:,} {pieces}{words}"


class Answers:
    """When whoever waits hears what there is to say by then: after `FIRST_ANSWER_SECONDS`, after
    twice as long, and so on, until it is done."""

    def __init__(self) -> None:
        self._at = FIRST_ANSWER_SECONDS

    def due(self, progress: Progress) -> bool:
        """Whether it is time, which is so once for each of those instants."""
        if progress.seconds < self._at or not 0 < progress.done < progress.planned:
            return False
        self._at = 2 * progress.seconds
        return True


class Jobs(Protocol[T, R]):
    """What there is to do. Tasks are handed out in one thread, and come back in any order.

    Whatever order that is, the outcome must be the same: a task holds all that its result
    depends on.
    """

    @property
    def planned(self) -> int:
        """Pieces of work that are planned by now."""

    @property
    def done(self) -> int:
        """Those of them that are there."""

    def next(self) -> T | None:
        """A task of about `Workers.task_seconds`; None when all is done or under way."""

    def call(self, task: T) -> tuple[Callable[..., R], tuple[Any, ...]]:
        """What a worker does for it: a function and its arguments, both to be pickled."""

    def merge(self, task: T, result: R) -> None:
        """A result has come."""

    def forget(self) -> None:
        """What was under way is lost: hand it out again."""


def work(
    jobs: Jobs[T, R],
    workers: Workers | None = None,
    interruption: Interruption | None = None,
    progress: Callable[[Progress], object] | None = None,
) -> bool:
    """Do all that there is to do; False when it was interrupted first.

    Args:
        jobs: What there is to do.
        workers: Who does it; by default a process for each processor.
        interruption: Ctrl-C, where the caller watches it; by default it is watched here.
        progress: Called at the beginning, and as results come.

    Raises:
        KeyboardInterrupt: When Ctrl-C is pressed again, before the workers have stopped.
        BrokenExecutor: When workers keep dying; or whatever else `workers.lost` names.
        Exception: What a task raises, whatever it is.
    """
    dispatch = _Dispatch(jobs, workers or processes(), progress)
    if interruption is not None:
        return dispatch.run(interruption)
    with interruptible() as own:
        return dispatch.run(own)


class _Dispatch(Generic[T, R]):
    """Hands tasks to workers, and takes results back until none is left."""

    def __init__(
        self,
        jobs: Jobs[T, R],
        workers: Workers,
        progress: Callable[[Progress], object] | None,
    ) -> None:
        self._jobs = jobs
        self._workers = workers
        self._progress = progress
        self._started = time.perf_counter()
        self._taken_up = jobs.done
        self._pending: dict[Future[R], T] = {}
        self._merged = 0

    def run(self, interruption: Interruption) -> bool:
        """See `work`."""
        self._tell()
        losses = 0
        while True:
            # Nothing to do, nobody to be called: all that is asked for may be there.
            task = self._jobs.next()
            if task is None or interruption.asked:
                return task is None
            # What `next` has handed out was only to see whether there is any.
            self._jobs.forget()
            before = self._merged
            try:
                with self._workers.open() as executor:
                    self._drive(executor, interruption)
            except self._workers.lost:
                if interruption.asked:
                    return False
                losses = 1 if self._merged > before else losses + 1
                if losses == _LOSSES:
                    raise
            self._jobs.forget()

    def _drive(self, executor: Executor, interruption: Interruption) -> None:
        try:
            while not interruption.asked:
                self._hand_out(executor)
                if not self._pending:
                    return
                done, _ = wait(self._pending, _PATIENCE, FIRST_COMPLETED)
                for future in done:
                    self._jobs.merge(self._pending.pop(future), future.result())
                    self._merged += 1
                if done:
                    self._tell()
                elif self._workers.check is not None:
                    self._workers.check()
        finally:
            # What is under way is lost to this executor; whoever comes next hands it out again.
            for future in self._pending:
                future.cancel()
            self._pending.clear()

    def _hand_out(self, executor: Executor) -> None:
        slots = min(self._workers.slots, _START + 2 * self._merged)
        while len(self._pending) < slots and (task := self._jobs.next()) is not None:
            function, arguments = self._jobs.call(task)
            self._pending[executor.submit(function, *arguments)] = task

    def _tell(self) -> None:
        if self._progress is not None:
            self._progress(
                Progress(
                    done=self._jobs.done,
                    planned=self._jobs.planned,
                    taken_up=self._taken_up,
                    seconds=time.perf_counter() - self._started,
                )
            )


def fitting(size: int, pieces: int, seconds: float, aim: float = TASK_SECONDS) -> int:
    """How many pieces the next task should have to take `aim` seconds.

    The last one was to have `size`, had `pieces` and took so long. It at most doubles.
    """
    # A clock may not have moved.
    each = max(seconds / pieces, 1e-6)
    return max(1, min(int(aim / each), 2 * size))


class Results(Struct, Generic[R], frozen=True, kw_only=True):
    """What came of many calls: `values` by the number of the item; not all of them after Ctrl-C."""

    values: dict[int, R]
    complete: bool


def run_all(
    items: Sequence[T],
    function: Callable[[T], R],
    workers: Workers | None = None,
    *,
    interruption: Interruption | None = None,
    on_result: Callable[[int, R], object] | None = None,
    progress: Callable[[Progress], object] | None = None,
    done: Iterable[int] = (),
) -> Results[R]:
    """Call `function` with each of the items, on any executor.

    Items are sent in tasks of about `Workers.task_seconds`, and those of a lost worker again.

    Args:
        items: What it is called with. They are pickled, as the function is: what is large and
            the same for all belongs into neither, but into a file or into what makes it.
        function: A pure function, of a module's top level or a `partial` of one.
        workers: Who does it; by default a process for each processor.
        interruption: Ctrl-C, where the caller watches it; by default it is watched here.
        on_result: Called with an item's number and its result, as they come, in any order.
        progress: Called at the beginning, and as results come.
        done: Numbers of the items that are not to be done, as an earlier run has done them.

    Returns:
        The results in the order of the items. After Ctrl-C those that are there.

    Raises what `work` does.
    """
    workers = workers or processes()
    jobs = _Calls(items, function, on_result, frozenset(done), workers.task_seconds)
    complete = work(jobs, workers, interruption, progress)
    return Results(values=dict(sorted(jobs.values.items())), complete=complete)


class _Calls(Generic[T, R]):
    """Calls of one function, in tasks of several."""

    def __init__(
        self,
        items: Sequence[T],
        function: Callable[[T], R],
        on_result: Callable[[int, R], object] | None,
        before: frozenset[int],
        task_seconds: float,
    ) -> None:
        self.values: dict[int, R] = {}
        self._items = items
        self._function = function
        self._on_result = on_result
        self._before = before
        self._task_seconds = task_seconds
        self._size = 1
        self._next = 0

    @property
    def planned(self) -> int:
        return len(self._items)

    @property
    def done(self) -> int:
        return len(self.values) + len(self._before)

    def next(self) -> tuple[int, ...] | None:
        task: list[int] = []
        while self._next < len(self._items) and len(task) < self._size:
            if self._next not in self.values and self._next not in self._before:
                task.append(self._next)
            self._next += 1
        return tuple(task) or None

    def call(self, task: tuple[int, ...]) -> tuple[Callable[..., _Called[R]], tuple[Any, ...]]:
        return _call, (self._function, [self._items[number] for number in task])

    def merge(self, task: tuple[int, ...], result: _Called[R]) -> None:
        results, seconds = result
        for number, value in zip(task, results, strict=True):
            self.values[number] = value
            if self._on_result is not None:
                self._on_result(number, value)
        self._size = fitting(self._size, len(task), seconds, self._task_seconds)

    def forget(self) -> None:
        self._next = 0


# Results, and the seconds that they took.
_Called = tuple[list[R], float]


def _call(function: Callable[[T], R], items: Sequence[T]) -> _Called[R]:
    """What a worker does."""
    start = time.perf_counter()
    results = [function(item) for item in items]
    return results, time.perf_counter() - start
