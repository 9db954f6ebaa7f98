"""A finite pool of servers with one line, first in first out: the G/G/c queue."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import heapreplace

import numpy as np

from canario_sim.streams import Floats

from . import fifo, jit

__all__ = ["COMPILED_AFTER", "Loss", "Pool"]

# A process that has served so many requests loads the compiled loop: from there on it saves
# more time than loading it has taken.
COMPILED_AFTER = 500_000


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
        heap, done = np.array(self.free), np.empty(len(at))
        begun, losses, loop = 0, list(self.losses), _loop(len(at))
        while losses and len(at) and losses[0].start <= at[-1]:
            loss = losses.pop(0)
            until = int(np.searchsorted(at, loss.start, "left"))
            loop(heap, at[begun:until], seconds[begun:until], done[begun:until])
            begun = until
            for _ in range(loss.servers):
                busy = heap.tolist()
                # The server that is free first is lost, until the loss ends: not at all if it is
                # free later.
                heapreplace(busy, max(busy[0], loss.end))
                heap[:] = busy
        loop(heap, at[begun:], seconds[begun:], done[begun:])
        return Pool(tuple(heap.tolist()), tuple(losses)), done


_Loop = Callable[[Floats, Floats, Floats, Floats], None]
_served = 0


def _loop(requests: int) -> _Loop:
    """What serves so many requests more: compiled where numba is installed and it pays."""
    global _served
    _served += requests
    if _served > COMPILED_AFTER and jit.installed():
        made = jit.compiled(fifo)
        if made is not None:
            compiled: _Loop = made.serve
            return compiled
    return _interpreted


def _interpreted(heap: Floats, at: Floats, seconds: Floats, done: Floats) -> None:
    """As `fifo.serve`, at the best pace of Python."""
    busy: list[float] = heap.tolist()
    ends: list[float] = []
    append = ends.append
    for arrival, takes in zip(at.tolist(), seconds.tolist(), strict=True):
        free = busy[0]
        end = (arrival if arrival > free else free) + takes
        heapreplace(busy, end)
        append(end)
    heap[:] = busy
    done[:] = ends
