"""What one process has counted of one arm for a while: what it tells to others that add it up."""

from __future__ import annotations

from typing import TypeVar

from msgspec import Struct

from .counts import NOTHING, Counts

__all__ = ["Tally"]


_Key = TypeVar("_Key")


class Tally(Struct, frozen=True, array_like=True):
    """Numbers of requests, and how long they took; all are integers, so sums are exact.

    Attributes:
        counts: What was counted.
        latencies: How many latencies lie in each bucket of a `SlidingHistogram`, by its number.
        sum_us: Their sum, in microseconds.
        broken: How many of the violations are of each contract that has a budget.
    """

    counts: Counts = NOTHING
    latencies: dict[int, int] = {}
    sum_us: int = 0
    broken: dict[str, int] = {}

    def __bool__(self) -> bool:
        return self.counts != NOTHING

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.counts + other.counts,
            _added(self.latencies, other.latencies),
            self.sum_us + other.sum_us,
            _added(self.broken, other.broken),
        )


def _added(one: dict[_Key, int], other: dict[_Key, int]) -> dict[_Key, int]:
    if not one or not other:
        return one or other
    both = one.copy()
    for key, n in other.items():
        both[key] = both.get(key, 0) + n
    return both
