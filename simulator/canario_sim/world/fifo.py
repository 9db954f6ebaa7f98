"""The loop of a pool of servers with one line, on arrays; see `jit`."""

from __future__ import annotations

from typing import Any

__all__ = ["serve"]


def serve(heap: Any, at: Any, seconds: Any, done: Any) -> None:
    """Serve requests that arrive at `at`, in order, and take `seconds` once begun.

    Args:
        heap: When each server is free, as a heap; as it is afterwards, on return.
        at: Arrivals.
        seconds: How long each takes.
        done: Filled with when each is done.
    """
    size = len(heap)
    for number in range(len(at)):
        arrival, free = at[number], heap[0]
        end = (arrival if arrival > free else free) + seconds[number]
        done[number] = end
        # The first server is busy until then: let it sink to its place among the others.
        place, child = 0, 1
        while child < size:
            if child + 1 < size and heap[child + 1] < heap[child]:
                child += 1
            if heap[child] >= end:
                break
            heap[place] = heap[child]
            place, child = child, 2 * child + 1
        heap[place] = end
