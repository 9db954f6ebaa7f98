"""Recoveries from faults, in a window like that of the requests: counted, never dropped."""

from __future__ import annotations

from collections import deque
from math import inf, nextafter
from operator import sub
from typing import NamedTuple

from canario.metrics.flow import SLICES
from canario.metrics.histogram import SlidingHistogram
from canario.metrics.ring import Ring

__all__ = ["KEPT", "Recoveries", "RecoverySummary", "beside_limit"]

# Recoveries are rare and may take hours, so the latest are also kept one by one: with no more
# than these in the window its p99 is exact.
KEPT = 1000


class RecoverySummary(NamedTuple):
    """The recoveries of a window; `late` took longer than the limit, or failed (`failed`)."""

    recoveries: int = 0
    failed: int = 0
    late: int = 0
    p99_ms: float | None = None

    @property
    def breached(self) -> bool | None:
        """Whether the p99 is above the limit; None without recoveries."""
        n = self.recoveries
        return self.late >= n - n * 99 // 100 if n else None


class Recoveries:
    """The recoveries of one flow over the aggregation window, in its slices.

    One that failed counts as longer than the limit, whatever time it was given. `total` and
    `failed` count all since the start.
    """

    __slots__ = ("_histogram", "_kept", "_limit_ms", "_ring", "_total")

    def __init__(self, now: float, window_seconds: float, limit_ms: float) -> None:
        self._limit_ms = limit_ms
        self._total = [0, 0, 0]  # recoveries, failed, late
        self._ring = Ring(window_seconds / SLICES, SLICES, len(self._total))
        self._histogram = SlidingHistogram(window_seconds, SLICES)
        self._kept: deque[tuple[int, float]] = deque(maxlen=KEPT)  # number of the slice, and ms
        self._advance(now)

    @property
    def total(self) -> int:
        """All recoveries, those that failed too."""
        return self._total[0]

    @property
    def failed(self) -> int:
        """Those that failed."""
        return self._total[1]

    def add(self, now: float, success: bool, recovery_ms: float) -> None:
        """Count one recovery, or one that did not succeed."""
        self._advance(now)
        if not success:
            recovery_ms = max(recovery_ms, nextafter(self._limit_ms, inf))
        total = self._total
        total[0] += 1
        total[1] += not success
        total[2] += recovery_ms > self._limit_ms
        self._histogram.add_sorted([recovery_ms])
        self._kept.append((self._ring.at or 0, recovery_ms))

    def summary(self, now: float) -> RecoverySummary:
        """The recoveries of the window.

        The p99 of n is the one of rank floor(0.99 n) + 1 from below. It is exact up to `KEPT`
        recoveries; with more it is within 1 %, at most 1,000 s, and on the side of the limit that
        the exact count of late ones puts it.
        """
        self._advance(now)
        counted = RecoverySummary(*map(sub, self._total, self._ring.back(SLICES)))
        n = counted.recoveries
        if not n:
            return counted
        if len(self._kept) == n:
            times = sorted(ms for _, ms in self._kept)
            return counted._replace(p99_ms=times[n * 99 // 100])
        p99 = self._histogram.highest(n - n * 99 // 100)
        return counted._replace(p99_ms=beside_limit(p99, self._limit_ms, above=counted.breached))

    def _advance(self, now: float) -> None:
        if now >= self._ring.ends:
            self._ring.advance(now, self._total)
        self._histogram.advance(now)
        oldest, kept = (self._ring.at or 0) - SLICES, self._kept
        while kept and kept[0][0] < oldest:
            kept.popleft()


def beside_limit(measured: float, limit: float, *, above: bool | None) -> float:
    """A percentile on its side of the limit, which a histogram alone may miss by 1 %."""
    return max(measured, 1.0001 * limit) if above else min(measured, limit)
