"""Counting flights by slice of the controller's window, in one pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil, floor

import numpy as np

from canario.metrics.counts import Counts
from canario.routing.router import Arm

from .flights import BROKEN, CANARY, FAILED, FLAGS, SLOW, Flights
from .spec import ARMS
from .streams import Floats, Ints

__all__ = ["Feed", "bounds", "feeds", "tally"]

# Rows: the flags of a code without its arm. Columns: what each adds to
# requests, errors, slow, violations and bad requests (those with any flag).
_COLUMNS = np.array(
    [
        [1, flags & FAILED > 0, flags & SLOW > 0, flags & BROKEN > 0, flags > 0]
        for flags in range(CANARY)
    ],
    dtype=np.int64,
)


# What the controller is told of one arm in one cell: its first instant, and the counts.
Feed = tuple[float, Arm, Counts]


def bounds(start: float, instants: Sequence[float], width: float) -> Floats:
    """The edges of the cells from `start` to the last instant: every instant, every slice.

    Within a cell neither a slice of the window ends nor a check is due, so counting all its
    flights at its first instant is the same as counting each at its own.
    """
    first, last = floor(start / width), ceil(instants[-1] / width)
    slices = np.arange(first, last + 1) * width
    inside = slices[(slices > start) & (slices < instants[-1])]
    return np.unique(np.concatenate([[start], inside, instants]))


def tally(flights: Flights, edges: Floats) -> Ints:
    """Numbers of the flights that are done in each cell, its first edge included.

    Returns:
        Cells × arms (baseline, canary) × (requests, errors, slow, violations, bad requests).
    """
    # 0 before the first edge, one more from each edge on.
    cell = np.searchsorted(edges, flights.done, "right")
    cell *= FLAGS
    cell += flights.code & (FLAGS - 1)
    numbers = np.bincount(cell, minlength=FLAGS * (len(edges) + 1))
    inside = numbers.reshape(-1, 2, CANARY)[1:-1]
    table: Ints = inside @ _COLUMNS
    return table


def feeds(table: Ints, edges: Floats, cuts: Sequence[float]) -> Iterator[list[Feed]]:
    """What the controller is told of a table's cells, in parts that end at `cuts`, some edges."""
    rows = table.reshape(-1, table.shape[-1])
    told = np.flatnonzero(rows[:, 0])
    instants = edges[told // len(ARMS)].tolist()
    whole: list[Feed] = [
        (
            at,
            ARMS[arm],
            Counts(requests=n, errors=errors, timed=n, slow=slow, violations=violations),
        )
        for at, arm, (n, errors, slow, violations, _) in zip(
            instants, (told % len(ARMS)).tolist(), rows[told].tolist(), strict=True
        )
    ]
    since = 0
    for upto in np.searchsorted(instants, cuts).tolist():
        yield whole[since:upto]
        since = upto
