"""Clocks: callables that give the instant in seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from math import inf, isfinite

__all__ = ["Clock", "ManualClock", "system_clock"]

Clock = Callable[[], float]
"""Gives the instant in seconds.

With a true attribute `live` it goes on by itself, as the world does: time may then pass that nobody
watches, while a process is stopped or its host sleeps. Any other is moved by whoever drives it, who
thereby watches all of it.
"""


def system_clock() -> Clock:
    """Seconds since the epoch that never go back and do not jump when the host's date is set.

    The date is read once; from there on a steady counter goes on, which also counts while the host
    is suspended, on Linux, macOS and Windows.
    """
    counter = _counter()
    base = time.time() - counter()

    def clock() -> float:
        return base + counter()

    clock.live = True  # type: ignore[attr-defined]
    return clock


def _counter() -> Callable[[], float]:
    # On Linux and on macOS `time.monotonic` and `time.perf_counter` stand still while the host is
    # suspended.
    number = getattr(time, "CLOCK_BOOTTIME", None)
    if number is None and sys.platform == "darwin":
        number = getattr(time, "CLOCK_MONOTONIC", None)
    if number is not None:
        counter = partial(time.clock_gettime, number)
        with suppress(OSError):  # some sandboxes do not know it
            counter()
            return counter
    return time.perf_counter


class ManualClock:
    """A clock that stands still until it is moved: for tests and for rehearsals."""

    __slots__ = ("now",)

    def __init__(self, now: float = 0.0) -> None:
        if not isfinite(now):
            raise ValueError(f"now is {now!r}; it must be a finite number of seconds")
        self.now = float(now)

    def __call__(self) -> float:
        return self.now

    def __repr__(self) -> str:
        return f"ManualClock({self.now!r})"

    def advance(self, seconds: float) -> None:
        """Move on by `seconds`. Raises `ValueError` when that is negative or not finite."""
        if not 0 <= seconds < inf:
            raise ValueError(f"seconds is {seconds!r}; a clock does not go back, nor to no instant")
        self.now += seconds
