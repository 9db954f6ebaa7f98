"""Totals at the starts of past slices, so that any window of counts is one subtraction."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from math import inf

from msgspec import Struct

__all__ = ["Ring", "RingMemory"]


class RingMemory(Struct, frozen=True, array_like=True):
    """All that a ring holds: the present slice, and the rows as they lie."""

    at: int | None
    starts: list[int]


class Ring:
    """What a row of totals was at the start of the present slice and of the `slots` before it.

    Slice k spans [k · width, (k + 1) · width) seconds, on a grid that begins at 0. Memory is
    8 bytes for each column and slice, whatever was counted. Time never goes back.

    Args:
        width: Length of a slice, in seconds.
        slots: How many slices before the present one are kept.
        columns: Length of a row.
    """

    __slots__ = ("_columns", "_starts", "at", "ends", "reach", "slots", "width")

    def __init__(self, width: float, slots: int, columns: int) -> None:
        self.width = width
        self.slots = slots
        self.reach = width * slots  # the longest window, in seconds
        self.at: int | None = None  # number of the present slice; None before the first one
        self.ends = -inf  # when the present slice ends
        self._columns = columns
        self._starts = array("q", bytes(8 * columns * (slots + 1)))

    def memory(self) -> RingMemory:
        """What `recall` takes up again."""
        return RingMemory(self.at, self._starts.tolist())

    def recall(self, memory: RingMemory) -> None:
        """Go on where another ring of the same make stood."""
        self.at = memory.at
        self._starts = array("q", memory.starts)
        self.ends = -inf if memory.at is None else (memory.at + 1) * self.width

    @property
    def starts(self) -> float:
        """When the present slice began; -inf before the first one."""
        return -inf if self.at is None else self.at * self.width

    def advance(self, now: float, total: Sequence[int]) -> None:
        """Begin the slice of `now`, which is not before `ends`; `total` is what was counted."""
        at = self.number(now)
        if self.at is None:
            # What an observer counts it counts after its first slice has begun, so the totals
            # before it are 0, as they stand there.
            self.at = at
        else:
            # Slices that have passed without a count begin with the same row: one stretch of the
            # ring, or two where it begins anew.
            columns, size = self._columns, self.slots + 1
            rows = min(at - self.at, size)
            first = (at + 1 - rows) % size * columns
            stretch = array("q", total) * rows
            before = size * columns - first
            if before < rows * columns:
                self._starts[first:] = stretch[:before]
                self._starts[: rows * columns - before] = stretch[before:]
            else:
                self._starts[first : first + rows * columns] = stretch
            self.at = at
        self.ends = (at + 1) * self.width

    def back(self, slices: int) -> array[int]:
        """The totals at the start of the slice that many before the present one."""
        return self.at_start((self.at or 0) - slices)

    def at_start(self, number: int) -> array[int]:
        """The totals at the start of the slice `number`, which must be one that is kept."""
        columns = self._columns
        first = number % (self.slots + 1) * columns
        return self._starts[first : first + columns]

    def kept(self, instant: float) -> int:
        """The slice that holds `instant`, or the oldest one that is kept if that is later."""
        at = self.at or 0
        return min(max(self.number(instant), at - self.slots), at)

    def number(self, instant: float) -> int:
        """The slice that holds `instant`, such that the grid's products decide, in floats too."""
        at = int(instant // self.width)
        # The quotient is exact, so its product is not above the instant, however it is rounded;
        # that of the next one may be rounded down to it.
        return at + 1 if (at + 1) * self.width <= instant else at
