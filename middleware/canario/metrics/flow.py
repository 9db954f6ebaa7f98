"""What is kept of one flow: a window with its latencies, and counts of 30 days. Pure.

All counts are totals since the start; a window is what they are now less what they were then.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from itertools import pairwise
from operator import attrgetter, sub

from msgspec import Struct

from .histogram import BATCH, DurationTotals, SlidingHistogram
from .ring import Ring

__all__ = ["RETENTION_SECONDS", "SLICES", "FlowCounts", "FlowMetrics", "Point"]

SLICES = 60
RETENTION_SECONDS = 30 * 86_400.0

# Beside the slices of the window, (seconds, how many): minutes for 6 hours, half hours for
# 3 days, quarters of a day for 30 days.
_LAYERS = ((60.0, 360), (1800.0, 144), (21_600.0, 120))

# The slices of the window are kept for so many windows, for the short windows of burn rates.
_WINDOWS = 6

# Columns of a row of totals.
_REQUESTS, _ERRORS, _BAD, _TIMED, _SLOW, _VIOLATIONS = range(6)


class FlowCounts(Struct, frozen=True):
    """Numbers of requests of a flow.

    `errors` failed; `bad` failed or broke their contract, once each. `timed` have a latency,
    `slow` one above the limit. `violations` counts broken contracts.
    """

    requests: int = 0
    errors: int = 0
    bad: int = 0
    timed: int = 0
    slow: int = 0
    violations: int = 0


class Point(Struct, frozen=True):
    """What was counted in the `seconds` from the instant `at` on."""

    at: float
    seconds: float
    requests: int
    errors: int
    bad: int
    timed: int
    slow: int
    violations: int


class FlowMetrics:
    """Counts of one flow. Every method takes one caller at a time.

    A request that kept its contract and was timed may also be recorded by appending its latency
    to `waiting`, or to `failing` if it failed, at an instant before `ends`. An append is atomic,
    and what waits is counted before anything is read and before the present slice ends. Time
    never goes back.

    Args:
        now: When it begins.
        window_seconds: Length of the window whose latencies are kept.
        slow_ms: Latencies above this are slow.
    """

    __slots__ = (
        "_fine",
        "_histogram",
        "_longest",
        "_rings",
        "_slow_ms",
        "_total",
        "ends",
        "failing",
        "since",
        "waiting",
    )

    def __init__(self, now: float, window_seconds: float, slow_ms: float) -> None:
        self.since = now
        self.waiting: list[float] = []
        self.failing: list[float] = []
        self._slow_ms = slow_ms
        self._total = [0] * 6
        layers = ((window_seconds / SLICES, _WINDOWS * SLICES), *_LAYERS)
        rings = [Ring(width, slots, 6) for width, slots in layers]
        self._fine = rings[0]
        self._longest = max(rings, key=attrgetter("reach"))
        self._rings = tuple(sorted(rings, key=attrgetter("width")))
        self._histogram = SlidingHistogram(window_seconds, SLICES)
        self._advance(now)

    def settle(self, now: float) -> None:
        """Count what waits, and end the present slice if `now` is past it."""
        self._fold()
        if now >= self.ends:
            self._advance(now)

    def record(self, now: float, success: bool, latency_ms: float | None, valid: bool) -> None:
        """Count one request."""
        if now >= self.ends:
            self.settle(now)
        if valid and latency_ms is not None:
            waiting = self.waiting if success else self.failing
            waiting.append(latency_ms)
            if len(waiting) >= BATCH:
                self._fold()
            return
        total = self._total
        total[_REQUESTS] += 1
        if not success:
            total[_ERRORS] += 1
        if not valid:
            total[_VIOLATIONS] += 1
        if not (success and valid):
            total[_BAD] += 1
        if latency_ms is not None:
            total[_TIMED] += 1
            total[_SLOW] += latency_ms > self._slow_ms
            self._histogram.add_sorted([latency_ms])

    def violate(self, now: float) -> None:
        """Count a broken contract of a request that was counted as a good one."""
        if now >= self.ends:
            self.settle(now)
        self._total[_VIOLATIONS] += 1
        self._total[_BAD] += 1

    def present(self, now: float) -> FlowCounts:
        """The counts of the window whose latencies are kept."""
        self.settle(now)
        return self._less(self._fine.back(SLICES))

    def p95(self, now: float) -> float | None:
        """The 95th percentile of the same window, in ms, within 1 %; None without a latency.

        It is the latency of rank ⌊0.95 n⌋ + 1 from below.
        """
        self.settle(now)
        n = len(self._histogram)
        return self._histogram.highest(n - n * 95 // 100) if n else None

    def window(self, now: float, seconds: float) -> FlowCounts:
        """The counts of the last `seconds`, and of up to one slice before them.

        The slices are the shortest of those that reach back so far, see `slice_seconds`; beyond
        30 days, the longest.
        """
        self.settle(now)
        ring = self._ring(seconds)
        return self._less(ring.at_start(ring.kept(max(now, ring.starts) - seconds)))

    def slice_seconds(self, seconds: float) -> float:
        """By how much a window of `seconds` may be too long."""
        return self._ring(seconds).width

    def total(self) -> FlowCounts:
        """The counts since the start."""
        self._fold()
        return FlowCounts(*self._total)

    def duration(self) -> DurationTotals:
        """The latencies since the start."""
        self._fold()
        return self._histogram.totals()

    def history(self, now: float, seconds: float) -> list[Point]:
        """The last `seconds` slice by slice, oldest first; the last slice is not over yet."""
        self.settle(now)
        ring = self._ring(seconds)
        at = ring.at or 0
        first = max(ring.kept(max(now, ring.starts) - seconds), ring.kept(self.since))
        rows = [ring.at_start(number) for number in range(first, at + 1)]
        rows.append(array("q", self._total))
        return [
            Point((first + i) * ring.width, ring.width, *map(sub, after, before))
            for i, (before, after) in enumerate(pairwise(rows))
        ]

    def _fold(self) -> None:
        total = self._total
        if self.waiting:
            total[_REQUESTS] += self._take(self.waiting)
        if self.failing:
            n = self._take(self.failing)
            total[_REQUESTS] += n
            total[_ERRORS] += n
            total[_BAD] += n

    def _take(self, waiting: list[float]) -> int:
        """Count the latencies of requests that wait. Gives how many they were."""
        # Others go on appending: they put at the end what these two leave alone.
        n = len(waiting)
        batch = waiting[:n]
        del waiting[:n]
        batch.sort()
        total = self._total
        total[_TIMED] += n
        total[_SLOW] += n - bisect_right(batch, self._slow_ms)
        self._histogram.add_sorted(batch)
        return n

    def _advance(self, now: float) -> None:
        for ring in self._rings:
            if now >= ring.ends:
                ring.advance(now, self._total)
        self._histogram.advance(now)
        self.ends = min(ring.ends for ring in self._rings)

    def _ring(self, seconds: float) -> Ring:
        for ring in self._rings:
            if ring.reach >= seconds:
                return ring
        return self._longest

    def _less(self, before: array[int]) -> FlowCounts:
        return FlowCounts(*map(sub, self._total, before))
