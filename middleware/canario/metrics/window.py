"""A sliding window of counts, cut in slices; memory does not depend on the traffic.

Time is cut in slices of `seconds / slices`, on a grid that begins at 0. The window at `now` holds
the slice that `now` lies in and the `slices` before it: nothing of the last `seconds` is missing,
and nothing is older than `seconds` plus one slice. At an instant on the grid it is exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from msgspec import Struct

from .counts import Counts
from .ring import Ring, RingMemory

__all__ = ["SlidingWindow", "WindowMemory"]

# Columns of a slice.
_REQUESTS, _ERRORS, _TIMED, _SLOW, _VIOLATIONS, _NEUTRAL, _ABANDONED = range(7)
_COLUMNS = 7


class WindowMemory(Struct, frozen=True, array_like=True):
    """All that a window holds."""

    total: list[int]
    ring: RingMemory


class SlidingWindow:
    """Counts of one arm over the last `seconds`, and since the beginning.

    Time never goes back: an observation that comes with an older time than the window has seen
    (two threads may overtake each other) is counted in the present slice.
    """

    __slots__ = ("_ring", "_total", "ends", "slices")

    def __init__(self, seconds: float, slices: int = 60) -> None:
        self.slices = slices
        self._total = [0] * _COLUMNS
        self._ring = Ring(seconds / slices, slices, _COLUMNS)
        # When the present slice ends: the ring's own, at hand for each request.
        self.ends = -inf

    @property
    def slice_seconds(self) -> float:
        """Length of one slice."""
        return self._ring.width

    def memory(self) -> WindowMemory:
        """What `recall` takes up again."""
        return WindowMemory(self._total, self._ring.memory())

    def recall(self, memory: WindowMemory) -> None:
        """Go on where another window of the same make stood."""
        self._total = list(memory.total)
        self._ring.recall(memory.ring)
        self.ends = self._ring.ends

    def add(
        self,
        now: float,
        requests: int,
        errors: int = 0,
        timed: int = 0,
        slow: int = 0,
        violations: int = 0,
        neutral: int = 0,
        abandoned: int = 0,
    ) -> None:
        """Count observations of the instant `now` (seconds). O(1)."""
        if now >= self.ends:
            self._advance(now)
        total = self._total
        total[_REQUESTS] += requests
        total[_ERRORS] += errors
        total[_TIMED] += timed
        total[_SLOW] += slow
        total[_VIOLATIONS] += violations
        total[_NEUTRAL] += neutral
        total[_ABANDONED] += abandoned

    def add_one(self, now: float, bad: bool, slow: bool) -> None:
        """`add` for one request that was timed."""
        if now >= self.ends:
            self._advance(now)
        total = self._total
        total[_REQUESTS] += 1
        total[_TIMED] += 1
        if bad:
            total[_ERRORS] += 1
        if slow:
            total[_SLOW] += 1

    def add_good(self, requests: int, slow: int) -> None:
        """Count so many requests that were timed and good, in the present slice."""
        total = self._total
        total[_REQUESTS] += requests
        total[_TIMED] += requests
        total[_SLOW] += slow

    def add_counts(self, now: float, counts: Counts) -> None:
        """`add` for what was counted elsewhere."""
        self.add(
            now,
            counts.requests,
            counts.errors,
            counts.timed,
            counts.slow,
            counts.violations,
            counts.neutral,
            counts.abandoned,
        )

    def counts(self, now: float) -> Counts:
        """The counts in the window at `now`."""
        if now >= self.ends:
            self._advance(now)
        return _difference(self._total, self._ring.back(self.slices))

    def total(self) -> Counts:
        """The counts since the window was made or cleared."""
        return _difference(self._total, [0] * _COLUMNS)

    def clear(self) -> None:
        """Forget everything."""
        self.__init__(self._ring.width * self.slices, self.slices)  # type: ignore[misc]

    def _advance(self, now: float) -> None:
        """Close the present slice and drop those that the window has left behind."""
        self._ring.advance(now, self._total)
        self.ends = self._ring.ends


def _difference(a: Sequence[int], b: Sequence[int]) -> Counts:
    return Counts(
        requests=a[0] - b[0],
        errors=a[1] - b[1],
        timed=a[2] - b[2],
        slow=a[3] - b[3],
        violations=a[4] - b[4],
        neutral=a[5] - b[5],
        abandoned=a[6] - b[6],
    )
