"""Counting flights by slice of the controller's window, in one pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil, floor, inf

import numpy as np

from canario.arms import ARMS
from canario.metrics.counts import Counts
from canario_sim.streams import Floats, Ints

from .carrier import Feed
from .flights import BROKEN, CANARY, FAILED, FLAGS, SLOW, Flights

__all__ = ["bounds", "cells", "feeds", "latest", "tally"]

# Rows: the flags of a code without its arm. Columns: what each adds to
# requests, errors, slow, violations and bad requests (those with any flag).
_COLUMNS = np.array(
    [
        [1, flags & FAILED > 0, flags & SLOW > 0, flags & BROKEN > 0, flags > 0]
        for flags in range(CANARY)
    ],
    dtype=np.int64,
)


def bounds(start: float, instants: Sequence[float], width: float) -> Floats:
    """The edges of the cells from `start` to the last instant: every instant, every slice.

    Within a cell neither a slice of the window ends nor a check is due, so counting all its
    flights at its first instant is the same as counting each at its own.
    """
    first, last = floor(start / width), ceil(instants[-1] / width)
    slices = np.arange(first, last + 1) * width
    inside = slices[(slices > start) & (slices < instants[-1])]
    edges = np.sort(np.concatenate([[start], inside, instants]))
    # `np.unique` would import masked arrays first, which takes as long as a rehearsal.
    distinct: Floats = edges[np.flatnonzero(np.append(True, edges[1:] != edges[:-1]))]
    return distinct


def cells(flights: Flights, edges: Floats) -> Ints:
    """In which cell each flight is done, times `FLAGS`, and its flags.

    The cell is 0 before the first edge, one more from each edge on.
    """
    cell = np.searchsorted(edges, flights.done, "right")
    cell *= FLAGS
    cell += flights.code & (FLAGS - 1)
    return cell


def tally(flights: Flights, edges: Floats, cell: Ints | None = None) -> Ints:
    """Numbers of the flights that are done in each cell, its first edge included.

    `cell` are their `cells`, where they are known.

    Returns:
        Cells × arms (baseline, canary) × (requests, errors, slow, violations, bad requests).
    """
    cell = cells(flights, edges) if cell is None else cell
    numbers = np.bincount(cell, minlength=FLAGS * (len(edges) + 1))
    # Without those that were given up, which are counted already, and what lies outside the edges.
    inside = numbers.reshape(-1, 2, 2, CANARY)[1:-1, 0]
    table: Ints = inside @ _COLUMNS
    return table


def latest(flights: Flights, cell: Ints, edges: Floats, before: Sequence[float]) -> Floats:
    """When each arm's latest flight was done before each edge, given up or not; `before` is
    that of the first edge.

    Returns:
        Edges × arms.
    """
    # Cells × (given up or not) × arms: the flags from `CANARY` on.
    last = np.full((len(edges) + 1, 2, 2), -inf)
    last[0] = before
    np.maximum.at(last.reshape(-1), cell >> (CANARY.bit_length() - 1), flights.done)
    latest: Floats = np.maximum.accumulate(last.max(axis=1), axis=0)[:-1]
    return latest


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
