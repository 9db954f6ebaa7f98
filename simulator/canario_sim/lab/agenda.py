"""Which replications are to be made next, and when there are enough."""

from __future__ import annotations

from collections import deque

from msgspec import Struct

from .executor import fitting
from .experiment import Experiment
from .intervals import wilson
from .rows import Sheet

__all__ = ["FIRST_LOOK", "Agenda", "Task"]

# An interval is looked at after so many replications, after twice as many, and so on: at fixed
# numbers, so that when it stops does not depend on who was first.
FIRST_LOOK = 100


class Task(Struct, frozen=True):
    """Replications `first` to `last` − 1 of one condition, under every policy."""

    condition: int
    first: int
    last: int


class Agenda:
    """Hands out tasks; conditions take turns, so that all get on alike.

    Args:
        experiment: What is tried out.
        sheet: The rows that are there, which are not made again.
        most: Replications of a condition, at most.
        precision: A condition is done when half the width of Wilson's interval of the
            probability of a rollback is at most this under every policy; None: at `most`.
        confidence: Of that interval.
        task_seconds: How long a task should take.
    """

    def __init__(
        self,
        experiment: Experiment,
        sheet: Sheet,
        *,
        most: int,
        precision: float | None,
        confidence: float,
        task_seconds: float,
    ) -> None:
        self._sheet = sheet
        self._policies = range(len(experiment.policies))
        self._most = most
        self._precision = precision
        self._confidence = confidence
        self._task_seconds = task_seconds
        count = len(experiment.conditions)
        first = most if precision is None else min(FIRST_LOOK, most)
        self.upto = [first] * count
        self._handed = [0] * count
        # One at first: how long a replication takes is known after it.
        self._size = [1] * count
        self._turns = deque(range(count))
        # Conditions that are done; what is asked again and again must not be counted again.
        self._closed: set[int] = set()

    @property
    def planned(self) -> int:
        """Replications that are planned by now, over all conditions."""
        return sum(self.upto)

    @property
    def done(self) -> int:
        """Those of them that are there."""
        return sum(self._sheet.below(condition, upto) for condition, upto in enumerate(self.upto))

    def next(self) -> Task | None:
        """Something to do; None when all that is planned is done or under way."""
        for _ in range(len(self._turns)):
            condition = self._turns[0]
            task = self._next_of(condition)
            while task is None and self._look_on(condition):
                task = self._next_of(condition)
            self._turns.rotate(-1)
            if task is not None:
                return task
        return None

    def took(self, task: Task, seconds: float) -> None:
        """Learn how long a replication takes, to cut tasks of the right size."""
        size = self._size[task.condition]
        pieces = task.last - task.first
        self._size[task.condition] = fitting(size, pieces, seconds, self._task_seconds)

    def forget(self) -> None:
        """What was under way is lost: hand it out again."""
        self._handed = [0] * len(self._handed)

    def _next_of(self, condition: int) -> Task | None:
        upto, has = self.upto[condition], self._sheet.has
        first = self._handed[condition]
        while first < upto and has(condition, first):
            first += 1
        last = first
        while last < min(upto, first + self._size[condition]) and not has(condition, last):
            last += 1
        self._handed[condition] = last
        return Task(condition, first, last) if first < last else None

    def _look_on(self, condition: int) -> bool:
        """Plan more of a condition, when all planned ones are there and do not suffice."""
        upto = self.upto[condition]
        if condition in self._closed or self._sheet.below(condition, upto) < upto:
            return False
        if upto >= self._most or self._is_narrow(condition, upto):
            self._closed.add(condition)
            return False
        self.upto[condition] = min(2 * upto, self._most)
        return True

    def _is_narrow(self, condition: int, upto: int) -> bool:
        assert self._precision is not None  # else all are planned from the beginning
        for policy in self._policies:
            count = self._sheet.rollbacks(condition, policy, upto)
            low, high = wilson(count, upto, self._confidence)
            if (high - low) / 2 > self._precision:
                return False
        return True
