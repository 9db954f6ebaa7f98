"""Latency quantiles from a histogram with logarithmic buckets, over a sliding window.

A bucket spans at most a factor of γ = (1 + α) / (1 − α), from lower to upper, and answers with
2 lower upper / (lower + upper), which is within α of every value in it: the bound of DDSketch
(Masson, Rim and Lee, VLDB 2019). α is a little less than 1 %, which leaves room to round the
answer to five digits. There are 947 buckets between 0.01 ms and 10⁶ ms, so memory is fixed. The
boundaries of OpenTelemetry's request durations are edges of buckets, so that its histogram can be
told exactly.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from math import ceil, inf, log

from msgspec import Struct

from .ring import Ring, RingMemory

__all__ = [
    "BATCH",
    "DURATION_BOUNDS_SECONDS",
    "NO_DURATION",
    "RELATIVE_ERROR",
    "DurationTotals",
    "HistogramMemory",
    "SlidingHistogram",
    "durations",
    "in_buckets",
    "microseconds",
]

RELATIVE_ERROR = 0.01
LOWEST_MS = 0.01
HIGHEST_MS = 1e6

# Advice of OpenTelemetry's semantic conventions for http.server.request.duration.
DURATION_BOUNDS_SECONDS = (
    *(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0),
)

# So many latencies wait to be sorted into buckets together: sorted, those of one bucket are found
# by two bisections. More would save little, and take longer at once: these take 0.2 ms.
BATCH = 2048

_DURATION_BOUNDS_MS = [1000 * bound for bound in DURATION_BOUNDS_SECONDS]
_ALPHA = 0.99 * RELATIVE_ERROR
_GAMMA = (1 + _ALPHA) / (1 - _ALPHA)
_STEPS = ceil(log(HIGHEST_MS / LOWEST_MS) / log(_GAMMA))
# The highest latency of each bucket; the last one has no end.
_BOUNDS = sorted({LOWEST_MS * _GAMMA**i for i in range(_STEPS + 1)} | {*_DURATION_BOUNDS_MS})
_BOUNDS.append(inf)
_BUCKETS = len(_BOUNDS)
# What a bucket answers with; the first holds what is at or below the lowest latency.
_VALUES = [
    LOWEST_MS,
    *(float(f"{2 * low * high / (low + high):.5g}") for low, high in pairwise(_BOUNDS[:-1])),
    HIGHEST_MS,
]
# Which of OpenTelemetry's buckets a bucket is part of.
_DURATION_BUCKET = [bisect_left(_DURATION_BOUNDS_MS, bound) for bound in _BOUNDS]

# Buckets are added up in blocks of 32 too, so that a quantile is found in a few steps.
_SHIFT = 5
_BLOCKS = (_BUCKETS - 1 >> _SHIFT) + 1


class DurationTotals(Struct, frozen=True):
    """All durations since the start, in the shape of OpenTelemetry's explicit buckets.

    `buckets[i]` counts those in (`DURATION_BOUNDS_SECONDS[i - 1]`, `DURATION_BOUNDS_SECONDS[i]`];
    the last of the 15 those above the highest bound. They add up to `count`; `sum_ms` is the sum
    of the durations in milliseconds.
    """

    count: int
    sum_ms: float
    buckets: tuple[int, ...]

    def __add__(self, other: DurationTotals) -> DurationTotals:
        return DurationTotals(
            self.count + other.count,
            self.sum_ms + other.sum_ms,
            tuple(a + b for a, b in zip(self.buckets, other.buckets, strict=True)),
        )


NO_DURATION = DurationTotals(0, 0.0, (0,) * (len(DURATION_BOUNDS_SECONDS) + 1))


class HistogramMemory(Struct, frozen=True, array_like=True):
    """All that a histogram holds: how many latencies by bucket, for each slice."""

    ring: RingMemory
    closed: list[list[int] | None]
    present: dict[int, int]
    totals: list[int]
    sum_us: int


class SlidingHistogram:
    """Latencies (ms) of the last `seconds`, forgotten in `slices` slices like the counts.

    A slice that is over keeps the buckets that are not empty, so memory grows with the spread of
    the latencies, up to what all buckets take, and not with the traffic.
    """

    __slots__ = (
        "_blocks",
        "_clock",
        "_closed",
        "_n",
        "_present",
        "_sum_us",
        "_total",
        "_totals",
        "_waiting",
        "ends",
    )

    def __init__(self, seconds: float, slices: int = 60) -> None:
        self._clock = Ring(seconds / slices, slices, 0)  # for the numbers of the slices alone
        self.ends = -inf  # when the present slice does
        self._closed: list[array[int] | None] = [None] * (slices + 1)
        self._present: dict[int, int] = {}
        self._total = array("I", bytes(4 * _BUCKETS))
        self._blocks = [0] * _BLOCKS
        self._n = 0
        self._waiting: list[float] = []
        # Since the start: OpenTelemetry's buckets without the present slice, and the sum.
        self._totals = [0] * len(NO_DURATION.buckets)
        # An integer: with sums of floats, what several processes have counted would depend on who
        # was heard first.
        self._sum_us = 0

    def memory(self) -> HistogramMemory:
        """What `recall` takes up again."""
        self._fold()
        return HistogramMemory(
            self._clock.memory(),
            [None if slice_ is None else slice_.tolist() for slice_ in self._closed],
            self._present,
            self._totals,
            self._sum_us,
        )

    def recall(self, memory: HistogramMemory) -> None:
        """Go on where another histogram of the same make stood; this one must be new."""
        self._clock.recall(memory.ring)
        self.ends = self._clock.ends
        self._closed = [None if each is None else array("I", each) for each in memory.closed]
        self._present = dict(memory.present)
        self._totals = list(memory.totals)
        self._sum_us = memory.sum_us
        for closed in self._closed:
            if closed is not None:
                self._enter(_pairs(closed))
        self._enter(self._present.items())

    def add(self, now: float, latency_ms: float) -> None:
        """Count one latency at the instant `now` (seconds)."""
        if now >= self.ends:
            self.advance(now)
        waiting = self._waiting
        waiting.append(latency_ms)
        if len(waiting) >= BATCH:
            self._fold()

    def add_sorted(self, latencies: list[float]) -> None:
        """Count latencies, sorted from the lowest, in the present slice: see `advance`."""
        self._count(in_buckets(latencies), microseconds(latencies))

    def add_counted(self, now: float, latencies: Mapping[int, int], sum_us: int) -> None:
        """Count latencies that lie in buckets already, at the instant `now` (seconds)."""
        if now >= self.ends:
            self.advance(now)
        self._count(latencies.items(), sum_us)

    def _count(self, counted: Iterable[tuple[int, int]], sum_us: int) -> None:
        present, total, blocks = self._present, self._total, self._blocks
        for bucket, n in counted:
            present[bucket] = present.get(bucket, 0) + n
            total[bucket] += n
            blocks[bucket >> _SHIFT] += n
            self._n += n
        self._sum_us += sum_us

    def _enter(self, counted: Iterable[tuple[int, int]]) -> None:
        for bucket, n in counted:
            self._total[bucket] += n
            self._blocks[bucket >> _SHIFT] += n
            self._n += n

    def advance(self, now: float) -> None:
        """Close the present slice if `now` is past it, and forget those that are too old."""
        self._fold()
        if now < self.ends:
            return
        clock, slots = self._clock, len(self._closed)
        before = clock.at
        clock.advance(now, ())
        self.ends = clock.ends
        at = clock.at or 0
        if before is None:
            return
        self._close(before % slots)
        for number in range(max(before + 1, at - slots + 1), at + 1):
            self._forget(number % slots)

    def quantiles(self, now: float, *quantiles: float) -> tuple[float | None, ...]:
        """The quantiles (0 to 1) of the window at `now`, in ms; None when it is empty.

        The q-quantile of n latencies is the one of rank ⌊q n⌋ + 1 from below, at most n: the
        definition that the latency threshold uses too.
        """
        self.advance(now)
        n = self._n
        if not n:
            return (None,) * len(quantiles)
        return tuple(self.highest(n - min(int(q * n), n - 1)) for q in quantiles)

    def highest(self, rank: int) -> float:
        """The latency of that rank from above, 1 being the highest, within 1 %, in ms."""
        blocks, total = self._blocks, self._total
        block = _BLOCKS - 1
        while rank > (n := blocks[block]):
            rank -= n
            block -= 1
        bucket = min((block + 1 << _SHIFT) - 1, _BUCKETS - 1)
        while rank > (n := total[bucket]):
            rank -= n
            bucket -= 1
        return _VALUES[bucket]

    def __len__(self) -> int:
        """How many latencies the window holds, as of the last `advance`."""
        return self._n

    def totals(self) -> DurationTotals:
        """All latencies since the start."""
        self._fold()
        buckets = self._totals.copy()
        _add_durations(buckets, self._present.items())
        return _durations(buckets, self._sum_us)

    def _fold(self) -> None:
        """Sort what waits into buckets. It belongs to the slice that has not been closed yet."""
        waiting = self._waiting
        if waiting:
            waiting.sort()
            self.add_sorted(waiting)
            waiting.clear()

    def _close(self, slot: int) -> None:
        present = self._present
        if present:
            _add_durations(self._totals, present.items())
            self._closed[slot] = _packed(present)
            self._present = {}

    def _forget(self, slot: int) -> None:
        old = self._closed[slot]
        if old is None:
            return
        total, blocks = self._total, self._blocks
        for bucket, n in _pairs(old):
            total[bucket] -= n
            blocks[bucket >> _SHIFT] -= n
            self._n -= n
        self._closed[slot] = None


def in_buckets(latencies: list[float]) -> Iterator[tuple[int, int]]:
    """The buckets of latencies (ms), sorted from the lowest, and how many lie in each."""
    first, bucket, end = 0, 0, len(latencies)
    while first < end:
        bucket = bisect_left(_BOUNDS, latencies[first], bucket)
        after = bisect_right(latencies, _BOUNDS[bucket], first + 1)
        yield bucket, after - first
        first = after


def microseconds(latencies: Iterable[float]) -> int:
    """The sum of latencies (ms), each in whole microseconds."""
    return sum([int(latency * 1000.0 + 0.5) for latency in latencies])


def durations(counted: Mapping[int, int], sum_us: int) -> DurationTotals:
    """Latencies that lie in buckets, as OpenTelemetry has them."""
    buckets = [0] * len(NO_DURATION.buckets)
    _add_durations(buckets, counted.items())
    return _durations(buckets, sum_us)


def _durations(buckets: list[int], sum_us: int) -> DurationTotals:
    return DurationTotals(sum(buckets), sum_us / 1000, tuple(buckets))


def _add_durations(buckets: list[int], counted: Iterable[tuple[int, int]]) -> None:
    for bucket, n in counted:
        buckets[_DURATION_BUCKET[bucket]] += n


def _packed(counted: Mapping[int, int]) -> array[int]:
    """Bucket, count, bucket, count …; or the counts of all buckets, where that is shorter."""
    if 2 * len(counted) < _BUCKETS:
        return array("I", [part for pair in counted.items() for part in pair])
    return array("I", [counted.get(bucket, 0) for bucket in range(_BUCKETS)])


def _pairs(packed: array[int]) -> Iterable[tuple[int, int]]:
    if len(packed) < _BUCKETS:
        return zip(packed[::2], packed[1::2], strict=True)
    return enumerate(packed)
