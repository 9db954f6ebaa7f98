"""First crossings: when each candidate would have rolled a trajectory back, and why.

A candidate steps in at the first look at which the judge that it describes says so. For one
window and one minimum of samples, an error rate is exceeded at a look or it is not; the highest
rate exceeded so far only rises, so that the first look for any rate is one search in it. The
same holds for the highest latency limit exceeded.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from canario.control.events import RollbackReason
from canario.metrics.ring import Ring
from canario.metrics.window import SlidingWindow
from canario.plan import Deployment
from canario_sim.streams import Floats, Ints

from .evidence import Evidence
from .grid import Grid
from .trajectory import Look, Trajectory

__all__ = ["REASONS", "Crossings", "Why", "crossings"]


class Why(IntEnum):
    """Which rule a crossing rests on; of several at one look the first counts."""

    NOTHING = 0
    CONTRACT = 1
    ERROR_RATE = 2
    LATENCY = 3


REASONS = {
    Why.CONTRACT: RollbackReason.CONTRACT_VIOLATION,
    Why.ERROR_RATE: RollbackReason.ERROR_RATE,
    Why.LATENCY: RollbackReason.P95_LATENCY,
}


@dataclass(frozen=True, slots=True)
class Crossings:
    """Rules × minimum samples × error rates × latencies; see `Grid.shape`.

    Attributes:
        look: Number of the look at which each candidate steps in; the number of all looks for
            those that do not.
        why: Its reason, see `Why`.
    """

    look: Ints
    why: NDArray[np.uint8]


def crossings(
    trajectory: Trajectory,
    grid: Grid,
    like: Deployment,
    samples: tuple[int, ...] | None = None,
) -> Crossings:
    """When each candidate steps in.

    Args:
        trajectory: What there was to see.
        grid: The candidates.
        like: The plan that says what is not tried, such as contracts' budgets.
        samples: Instead of the grid's minimums of samples.

    What is said of a candidate holds up to the look at which its own rollout would have departed
    from this one (`Trajectory.departs`).
    """
    samples = grid.min_samples if samples is None else samples
    shape = (grid.shape[0], len(samples), *grid.shape[2:])
    look = np.empty(shape, np.int64)
    why = np.empty(shape, np.uint8)
    sight = _Sight(trajectory, grid, like.rollback_thresholds.tolerated)
    windows = grid.metric_window_seconds
    for first, window in enumerate(windows):
        starts = _starts(trajectory, window)
        for second, least in enumerate(samples):
            look[first, second], why[first, second] = sight.crossed(starts, least)
    if grid.alpha:
        evidence = Evidence(trajectory, grid, like)
        starts = _starts(trajectory, like.rollback_thresholds.metric_window_seconds)
        for first, alpha in enumerate(grid.alpha, len(windows)):
            proven = evidence.reaches(alpha)
            for second, least in enumerate(samples):
                contract = sight.broken(starts, least)
                look[first, second] = np.minimum(proven.look, contract)
                why[first, second] = np.where(
                    proven.errors, np.uint8(Why.ERROR_RATE), np.uint8(Why.LATENCY)
                )
                _settle(look[first, second], why[first, second], contract, len(trajectory.at))
    return Crossings(look, why)


def _settle(look: Ints, why: NDArray[np.uint8], contract: int, never: int) -> None:
    """Say why of those whose reason is not a limit: a contract comes first, or nothing at all."""
    why[look == contract] = Why.CONTRACT
    why[look == never] = Why.NOTHING


class _Sight:
    """Counts over any stretch of a trajectory."""

    def __init__(self, trajectory: Trajectory, grid: Grid, budgets: dict[str, float]) -> None:
        self._seen = trajectory
        self._checks = trajectory.kind != Look.BROKEN
        self._ends = trajectory.kind == Look.END_OF_STAGE
        self._errors = _upto(trajectory.failed)
        parts, self._whole = grid.rates
        # Python's own integers: of a rate with many digits, 64 bits do not hold the products.
        self._parts = np.array(parts, np.object_)
        limits = grid.max_p95_latency_ms
        self._slow = _Slow(trajectory.latency_ms, np.array(limits))
        self._overdue = np.stack([trajectory.overdue_by(limit) for limit in limits], 1)
        self._budgets = [
            (_upto(_breaks(trajectory, name)), *(Fraction(str(budget)) / 100).as_integer_ratio())
            for name, budget in budgets.items()
        ]
        self._intolerable = self._first_intolerable(budgets)

    def crossed(self, starts: Ints, least: int) -> tuple[Ints, NDArray[np.uint8]]:
        """The first look of every error rate × latency, and the reason; see `Crossings`."""
        rows = self._rows(starts, least)
        contract = self._contracts(rows, least)
        rates = self._rates(rows, least)[:, None]
        limits = self._latencies(rows, least)[None, :]
        row = np.minimum(np.minimum(rates, limits), contract)
        why = np.where(rates <= limits, np.uint8(Why.ERROR_RATE), np.uint8(Why.LATENCY))
        _settle(row, why, contract, len(rows.look))
        return np.append(rows.look, len(self._seen.at))[row], why

    def broken(self, starts: Ints, least: int) -> int:
        """The first look at which a contract ends it."""
        rows = self._rows(starts, least)
        first = self._contracts(rows, least)
        return int(rows.look[first]) if first < len(rows.look) else len(self._seen.at)

    def _rows(self, starts: Ints, least: int) -> _Rows:
        """What is judged: at each look the window and, where that holds too few at the end of a
        stage, after it the whole stage."""
        seen = self._seen
        short = np.flatnonzero(self._ends & (seen.seen - starts < least))
        look = np.insert(np.arange(len(seen.at)), short + 1, short)
        start = np.insert(starts, short + 1, seen.begun[short])
        return _Rows(look, start, seen.seen[look])

    def _rates(self, rows: _Rows, least: int) -> Ints:
        """For each error rate the first row in which it is exceeded."""
        errors = (self._errors[rows.end] - self._errors[rows.start]).astype(np.object_)
        n = rows.end - rows.start
        judged = self._checks[rows.look] & (n >= least)
        n = n + self._seen.in_flight[rows.look]
        # A part is exceeded when it is less than errors · whole / n, and so than that rounded up.
        highest = np.where(judged, -(-errors * self._whole // np.maximum(n, 1)), 0)
        first: Ints = np.searchsorted(np.maximum.accumulate(highest), self._parts, "right")
        return first

    def _latencies(self, rows: _Rows, least: int) -> Ints:
        """For each latency limit the first row in which the p95 is above it."""
        overdue = self._overdue[rows.look]
        n = (rows.end - rows.start)[:, None] + overdue
        slow = self._slow.between(rows.start, rows.end) + overdue
        # In integers, as the fixed thresholds judge: the value of rank ⌊0.95 n⌋ + 1 is above the
        # limit.
        over = self._checks[rows.look][:, None] & (n >= least) & (slow >= n - n * 95 // 100)
        # A last row that is over for all stands for none.
        last = np.ones((1, over.shape[1]), np.bool_)
        first: Ints = np.concatenate([over, last]).argmax(axis=0)
        return first

    def _contracts(self, rows: _Rows, least: int) -> int:
        """The first row in which a contract is broken more often than it may be."""
        first = int(np.searchsorted(rows.look, self._intolerable))
        n = rows.end - rows.start
        for broken, numerator, denominator in self._budgets:
            often = broken[rows.end] - broken[rows.start]
            over = np.flatnonzero((n >= least) & (often * denominator > n * numerator))
            first = min([first, *over[:1].tolist()])
        return first

    def _first_intolerable(self, budgets: dict[str, float]) -> int:
        seen = self._seen
        numbers = [k for k, name in enumerate(seen.contracts, 1) if name in budgets]
        looks = np.flatnonzero(seen.kind == Look.BROKEN)
        # The request that broke it is the last that has been counted.
        own = seen.broken[seen.seen[looks] - 1]
        found = looks[~np.isin(own, numbers)]
        return int(found[0]) if len(found) else len(seen.at)


@dataclass(frozen=True, slots=True)
class _Rows:
    """What is judged one after the other: the look, and the requests from a start to an end."""

    look: Ints
    start: Ints
    end: Ints


class _Slow:
    """How many requests exceed each of some latency limits."""

    def __init__(self, latency_ms: Floats, limits: Floats) -> None:
        self._count = len(limits)
        # Most requests exceed no limit; only the others are looked at more closely.
        self._slow = np.flatnonzero(latency_ms > limits[0])
        self._class = np.searchsorted(limits, latency_ms[self._slow], "left")

    def between(self, starts: Ints, ends: Ints) -> Ints:
        """Of the requests from each start to its end: rows × limits."""
        edges, places = np.unique(np.concatenate([starts, ends]), return_inverse=True)
        # Those before an edge, by the number of limits that each exceeds.
        before = np.searchsorted(self._slow, edges, "left")
        cell = np.repeat(
            np.arange(len(edges) + 1), np.diff(before, prepend=0, append=len(self._slow))
        )
        size = (len(edges) + 1, self._count + 1)
        table = np.bincount(cell * size[1] + self._class, minlength=size[0] * size[1])
        # From the largest limit down: who exceeds one exceeds all that are smaller.
        upto = np.cumsum(table.reshape(size), axis=0)[:-1, :0:-1]
        upto = np.cumsum(upto, axis=1)[:, ::-1]
        first, last = np.split(places, 2)
        slow: Ints = upto[last] - upto[first]
        return slow


def _starts(trajectory: Trajectory, seconds: float) -> Ints:
    """For each look, how many requests were done before its window begins."""
    window = SlidingWindow(seconds)
    ring = Ring(window.slice_seconds, window.slices, 1)
    at = trajectory.at
    number = np.floor_divide(at, ring.width)
    # The grid's products decide, in floats too; see `Ring.number`.
    number = np.where((number + 1) * ring.width <= at, number + 1, number)
    starts = np.searchsorted(trajectory.done, (number - ring.slots) * ring.width, "left")
    return np.maximum(starts, trajectory.since)


def _breaks(trajectory: Trajectory, contract: str) -> NDArray[np.bool_]:
    numbers = [k for k, name in enumerate(trajectory.contracts, 1) if name == contract]
    return np.isin(trajectory.broken, numbers)


def _upto(marked: NDArray[np.bool_]) -> Ints:
    """How many are marked before each place, and in all."""
    return np.concatenate([[0], np.cumsum(marked, dtype=np.int64)])
