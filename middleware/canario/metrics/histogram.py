"""Latency quantiles from a histogram with logarithmic buckets, over a sliding window.

A bucket spans a factor of γ = (1 + α) / (1 − α) and answers with 2 lower γ / (1 + γ), which is
within α of every value in it: the bound of DDSketch (Masson, Rim and Lee, VLDB 2019). With
α = 1 % the buckets between 0.01 ms and 10⁶ ms are 922, so memory is fixed.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from itertools import accumulate
from math import ceil, log

__all__ = ["RELATIVE_ERROR", "SlidingHistogram"]

RELATIVE_ERROR = 0.01
LOWEST_MS = 0.01
HIGHEST_MS = 1e6

_GAMMA = (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR)
_BUCKETS = ceil(log(HIGHEST_MS / LOWEST_MS) / log(_GAMMA)) + 1
# The highest latency of each bucket but the last, which has no end. Looking a latency up among
# them costs less than its logarithm.
_BOUNDS = [LOWEST_MS * _GAMMA**i for i in range(_BUCKETS - 1)]
_ZEROS = array("I", bytes(4 * _BUCKETS))
# What a bucket answers with; bucket 0 holds what is at or below the lowest latency.
_VALUES = [LOWEST_MS * 2 * _GAMMA**i / (1 + _GAMMA) for i in range(_BUCKETS)]
_VALUES[0] = LOWEST_MS


class SlidingHistogram:
    """Latencies (ms) of the last `seconds`, forgotten in `slices` slices like the counts."""

    __slots__ = ("_at", "_n", "_next", "_present", "_ring", "_total", "_width")

    def __init__(self, seconds: float, slices: int = 60) -> None:
        self._width = seconds / slices
        self._ring: list[array[int] | None] = [None] * (slices + 1)
        self._total = array("I", _ZEROS)
        self._present = array("I", _ZEROS)
        self._n = 0
        self._at = 0
        self._next = float("-inf")

    def add(self, now: float, latency_ms: float) -> None:
        """Count one latency at the instant `now` (seconds)."""
        if now >= self._next:
            self._advance(now)
        bucket = bisect_left(_BOUNDS, latency_ms)
        self._present[bucket] += 1
        self._total[bucket] += 1
        self._n += 1

    def quantiles(self, now: float, *quantiles: float) -> tuple[float | None, ...]:
        """The quantiles (0 to 1) of the window at `now`, in ms; None when it is empty.

        The q-quantile of n latencies is the one of rank ⌊q n⌋ + 1 from below, at most n: the
        definition that the latency threshold uses too.
        """
        if now >= self._next:
            self._advance(now)
        n = self._n
        if not n:
            return (None,) * len(quantiles)
        upto = list(accumulate(self._total))
        ranks = (min(int(q * n) + 1, n) for q in quantiles)
        return tuple(_VALUES[bisect_left(upto, rank)] for rank in ranks)

    def _advance(self, now: float) -> None:
        at = max(int(now // self._width), self._at)
        slots = len(self._ring)
        for number in range(max(self._at + 1, at - slots + 1), at + 1):
            self._forget(number % slots)
        present = self._ring[at % slots]
        if present is None:
            present = self._ring[at % slots] = array("I", _ZEROS)
        self._present = present
        self._at = at
        self._next = (at + 1) * self._width

    def _forget(self, slot: int) -> None:
        old = self._ring[slot]
        if old is not None:
            total = self._total
            for bucket, n in enumerate(old):
                if n:
                    total[bucket] -= n
                    self._n -= n
            self._ring[slot] = None
