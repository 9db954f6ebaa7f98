"""A finite pool of servers with one line, first in first out: the G/G/c queue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heapreplace

import numpy as np

from .streams import Floats

__all__ = ["Loss", "Pool"]


@dataclass(frozen=True, slots=True)
class Loss:
    """`servers` of a pool are busy with something else from `start` to `end`."""

    start: float
    end: float
    servers: int


@dataclass(frozen=True, slots=True)
class Pool:
    """The servers between two requests; serving returns the pool as it is afterwards.

    Attributes:
        free: When each server is free, as a heap; with it, the line is known: a request starts
            when the first server is free, since all before it have their start already.
        losses: Those that have not begun, in order of their start.
    """

    free: tuple[float, ...]
    losses: tuple[Loss, ...] = ()

    @classmethod
    def of(cls, servers: int, losses: Sequence[Loss] = ()) -> Pool:
        """A pool whose servers are all free."""
        return cls((0.0,) * servers, tuple(sorted(losses, key=lambda loss: loss.start)))

    def serve(self, at: Floats, seconds: Floats) -> tuple[Pool, Floats]:
        """Serve requests that arrive at `at`, in order, and take `seconds` once begun.

        Returns the pool after the last arrival, and when each request is done. A loss that
        starts at the instant of an arrival comes before it.
        """
        heap = list(self.free)
        done: list[float] = []
        begun, losses = 0, list(self.losses)
        while losses and len(at) and losses[0].start <= at[-1]:
            loss = losses.pop(0)
            until = int(np.searchsorted(at, loss.start, "left"))
            _serve(heap, at[begun:until].tolist(), seconds[begun:until].tolist(), done)
            begun = until
            for _ in range(loss.servers):
                heapreplace(heap, max(heap[0], loss.end))
        _serve(heap, at[begun:].tolist(), seconds[begun:].tolist(), done)
        return Pool(tuple(heap), tuple(losses)), np.array(done)


def _serve(heap: list[float], at: list[float], seconds: list[float], done: list[float]) -> None:
    append = done.append
    for arrival, takes in zip(at, seconds, strict=True):
        free = heap[0]
        end = (arrival if arrival > free else free) + takes
        heapreplace(heap, end)
        append(end)
