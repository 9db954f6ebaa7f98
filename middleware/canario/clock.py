"""Clocks: callables that give the instant in seconds."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["Clock", "ManualClock", "system_clock"]

Clock = Callable[[], float]


def system_clock() -> Clock:
    """Seconds since the epoch that never go back and do not jump when the host's date is set.

    The date is read once; from there on the process's performance counter goes on.
    """
    counter = time.perf_counter
    base = time.time() - counter()
    return lambda: base + counter()


class ManualClock:
    """A clock that stands still until it is moved: for tests and for rehearsals."""

    __slots__ = ("now",)

    def __init__(self, now: float = 0.0) -> None:
        self.now = float(now)

    def __call__(self) -> float:
        return self.now

    def __repr__(self) -> str:
        return f"ManualClock({self.now!r})"

    def advance(self, seconds: float) -> None:
        """Move on by `seconds`. Raises `ValueError` when that is negative."""
        if seconds < 0:
            raise ValueError(f"seconds is {seconds!r}; a clock does not go back")
        self.now += seconds
