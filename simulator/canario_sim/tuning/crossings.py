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
        self._parts = np.array(parts)
        self._exact = self._errors[-1] * self._whole < 2**62 and max(parts) < 2**62
        self._limits = len(grid.max_p95_latency_ms)
        self._slow = _Slow(trajectory, np.array(grid.max_p95_latency_ms))
        self._budgets = [
            (_upto(_breaks(trajectory, name)), *(Fraction(str(budget)) / 100).as_integer_ratio())
            for name, budget in budgets.items()
        ]
        self._intolerable = self._first_intolerable(budgets)

    def crossed(self, starts: Ints, least: int) -> tuple[Ints, NDArray[np.uint8]]:
        """The first look of every error rate × latency, and the reason; see `Crossings`."""
        starts = self._judged(starts, least)
        n = self._seen.seen - starts
        enough = n >= least
        contract = self._contracts(starts, n, enough)
        judged = enough & self._checks
        rates = self._rates(starts, n, judged)[:, None]
        limits = self._latencies(starts, n, judged)[None, :]
        look = np.minimum(np.minimum(rates, limits), contract)
        why = np.where(rates <= limits, np.uint8(Why.ERROR_RATE), np.uint8(Why.LATENCY))
        _settle(look, why, contract, len(n))
        return look, why

    def broken(self, starts: Ints, least: int) -> int:
        """The first look at which a contract ends it."""
        starts = self._judged(starts, least)
        n = self._seen.seen - starts
        return self._contracts(starts, n, n >= least)

    def _judged(self, starts: Ints, least: int) -> Ints:
        """Where the window holds too few at the end of a stage, the whole stage is judged."""
        seen = self._seen
        short = self._ends & (seen.seen - starts < least)
        judged: Ints = np.where(short, seen.begun, starts)
        return judged

    def _rates(self, starts: Ints, n: Ints, judged: NDArray[np.bool_]) -> Ints:
        """For each error rate the first look at which it is exceeded."""
        errors = self._errors[self._seen.seen] - self._errors[starts]
        scaled = errors * self._whole if self._exact else errors.astype(object) * self._whole
        # A part is exceeded when it is less than scaled / n, and so less than that rounded up.
        highest = np.where(judged, -(-scaled // np.maximum(n, 1)), -1)
        first: Ints = np.searchsorted(np.maximum.accumulate(highest), self._parts, "right")
        return first

    def _latencies(self, starts: Ints, n: Ints, judged: NDArray[np.bool_]) -> Ints:
        """For each latency limit the first look at which the p95 is above it."""
        exceeded = self._slow.exceeded(starts, n - n * 95 // 100)
        highest = np.maximum.accumulate(np.where(judged, exceeded, 0))
        first: Ints = np.searchsorted(highest, np.arange(self._limits), "right")
        return first

    def _contracts(self, starts: Ints, n: Ints, enough: NDArray[np.bool_]) -> int:
        """The first look at which a contract is broken more often than it may be."""
        first = self._intolerable
        for broken, numerator, denominator in self._budgets:
            often = broken[self._seen.seen] - broken[starts]
            over = np.flatnonzero(enough & (often * denominator > n * numerator))
            first = min([first, *over[:1].tolist()])
        return first

    def _first_intolerable(self, budgets: dict[str, float]) -> int:
        seen = self._seen
        numbers = [0, *(k for k, name in enumerate(seen.contracts, 1) if name in budgets)]
        looks = np.flatnonzero(seen.kind == Look.BROKEN)
        own = seen.broken[seen.seen[looks] - 1]
        found = looks[~np.isin(own, numbers)]
        return int(found[0]) if len(found) else len(seen.at)


class _Slow:
    """How many latency limits the p95 of a stretch exceeds."""

    def __init__(self, trajectory: Trajectory, limits: Floats) -> None:
        latency = trajectory.latency_ms
        self._seen = trajectory.seen
        self._count = len(limits)
        # Most requests exceed no limit; only the others are looked at more closely.
        self._slow = np.flatnonzero(latency > limits[0])
        self._class = np.searchsorted(limits, latency[self._slow], "left")

    def exceeded(self, starts: Ints, needed: Ints) -> Ints:
        """For each look, how many limits at least `needed` of the requests from `starts` exceed."""
        edges, places = np.unique(np.concatenate([starts, self._seen]), return_inverse=True)
        # Those before an edge, by the number of limits that each exceeds.
        before = np.searchsorted(self._slow, edges, "left")
        cell = np.repeat(
            np.arange(len(edges) + 1), np.diff(before, prepend=0, append=len(self._slow))
        )
        size = (len(edges) + 1, self._count + 1)
        table = np.bincount(cell * size[1] + self._class, minlength=size[0] * size[1])
        upto = np.cumsum(table.reshape(size), axis=0)[:-1, :0:-1]
        upto = np.cumsum(upto, axis=1)[:, ::-1]
        first, last = np.split(places, 2)
        exceeded: Ints = (upto[last] - upto[first] >= needed[:, None]).sum(axis=1)
        return exceeded


def _starts(trajectory: Trajectory, seconds: float) -> Ints:
    """For each look, how many requests were done before its window begins."""
    window = SlidingWindow(seconds)
    ring = Ring(window.slice_seconds, window.slices, 1)
    at = trajectory.at
    number = np.floor_divide(at, ring.width)
    # The grid's products decide, in floats too; see `Ring.number`.
    number = np.where(number * ring.width > at, number - 1, number)
    number = np.where((number + 1) * ring.width <= at, number + 1, number)
    starts = np.searchsorted(trajectory.done, (number - ring.slots) * ring.width, "left")
    return np.maximum(starts, trajectory.since)


def _breaks(trajectory: Trajectory, contract: str) -> NDArray[np.bool_]:
    numbers = [k for k, name in enumerate(trajectory.contracts, 1) if name == contract]
    return np.isin(trajectory.broken, numbers)


def _upto(marked: NDArray[np.bool_]) -> Ints:
    """How many are marked before each place, and in all."""
    return np.concatenate([[0], np.cumsum(marked, dtype=np.int64)])
