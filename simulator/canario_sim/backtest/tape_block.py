"""A stretch of a tape between two looks at the plan: rows counted as the controller counts them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from canario.arms import ARMS
from canario.metrics.counts import Counts
from canario_sim.streams import Flags, Floats, Ints
from canario_sim.tapes.recording import BAD, NEUTRAL, Recording
from canario_sim.world.carrier import Feed

from .assign import Assignment

__all__ = ["Rows"]

# Columns: requests, errors, timed, slow, neutral, and what is only told in the end: violations
# and bad requests.
_COLUMNS = 7


@dataclass(frozen=True, slots=True)
class Rows:
    """Requests in the order in which they are taken in.

    Attributes:
        place: Their places on the tape.
        key: The instants at which they are taken in, rising.
        canary: Which of them are the canary's.
        counted: The instants at which they count: rising for each arm.
        slices: The slice of the window that each falls into.
        columns: What each adds to the counts.
    """

    place: Ints
    key: Floats
    canary: Flags
    counted: Floats
    slices: Ints
    columns: Ints

    @classmethod
    def of(
        cls,
        recording: Recording,
        assigned: Assignment,
        place: Ints,
        key: Floats,
        *,
        limit_ms: float,
        width: float,
    ) -> Rows:
        """Sort the requests at `place`, which are taken in at `key`, and value them."""
        order = np.lexsort((place, key))
        place, key = place[order], key[order]
        canary, fate = assigned.canary[place], assigned.fate[place]
        counted = assigned.ended[place]
        for mine in (canary, ~canary):
            counted[mine] = np.maximum.accumulate(counted[mine])
        outcome, latency = recording.outcome[fate], recording.latency_ms[fate]
        says = outcome != NEUTRAL
        bad, slow = outcome == BAD, latency > limit_ms
        broke = recording.broke[fate]
        columns = [says, bad, says & ~np.isnan(latency), says & slow, ~says]
        columns += [broke, broke | (says & (bad | slow))]
        return cls(
            place, key, canary, counted, _slices(counted, width), np.stack(columns).astype(np.int64)
        )

    def first_at(self, instant: float) -> int:
        """Number of the first row that is taken in at `instant` or later."""
        return int(np.searchsorted(self.key, instant, "left"))

    def first_after(self, instant: float, place: float) -> int:
        """Number of the first row after what stands at `instant`, before `place` on the tape."""
        low, high = (int(np.searchsorted(self.key, instant, side)) for side in ("left", "right"))
        return low + int(np.searchsorted(self.place[low:high], place))

    def feeds(self, cuts: Sequence[int]) -> tuple[list[list[Feed]], Ints]:
        """What is told of the rows up to each cut, from the one before; the first cut begins.

        Returns:
            Feeds, and segments × arms × (requests, errors, slow, violations, bad).
        """
        first, last = cuts[0], cuts[-1]
        told: list[list[Feed]] = [[] for _ in cuts[1:]]
        totals = np.zeros((len(told), 2, 5), np.int64)
        segment = np.searchsorted(cuts[1:], np.arange(first, last), "right")
        for number, arm in enumerate(ARMS):
            mine = np.flatnonzero(self.canary[first:last] == (number == 1))
            if not len(mine):
                continue
            rows = mine + first
            cell = np.stack([segment[mine], self.slices[rows]])
            starts = np.flatnonzero(np.any(np.diff(cell, prepend=-1, axis=1) != 0, axis=0))
            sums = np.add.reduceat(self.columns[:, rows], starts, axis=1)
            np.add.at(totals[:, number], segment[mine][starts], sums[[0, 1, 3, 5, 6]].T)
            instants = self.counted[rows[starts]].tolist()
            for where, at, (n, bad, timed, slow, neutral) in zip(
                segment[mine][starts].tolist(), instants, sums[:5].T.tolist(), strict=True
            ):
                counts = Counts(requests=n, errors=bad, timed=timed, slow=slow, neutral=neutral)
                told[where].append((at, arm, counts))
        for each in told:
            each.sort(key=lambda feed: feed[0])
        return told, totals


def _slices(at: Floats, width: float) -> Ints:
    """Numbers of the slices of `canario.metrics.ring.Ring`, whose products decide."""
    number = np.floor(at / width).astype(np.int64)
    number -= number * width > at
    number += (number + 1) * width <= at
    return number
