"""Requests on their way: routed, served, and when they are done.

Between two control instants nothing changes the share, so what becomes of all the requests that
arrive there is one computation on arrays, and a pure one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

import numpy as np
from numpy.typing import NDArray

from canario_sim.chance.requests import Requests
from canario_sim.streams import Flags, Floats, Ints

from .pool import Pool

__all__ = [
    "BROKEN",
    "CANARY",
    "FAILED",
    "FLAGS",
    "GIVEN_UP",
    "NO_FLIGHTS",
    "SLOW",
    "Flights",
    "Single",
    "Standing",
    "fly",
]

# What a flight's code says: five flags, and above them the number of its broken contract. One
# that was given up has been counted as failed, so its end is not. A scenario has at most 200
# contract failures, so that 16 bits are enough.
FAILED, SLOW, BROKEN, CANARY, GIVEN_UP = 1, 2, 4, 8, 16
FLAGS = 32


@dataclass(frozen=True, slots=True)
class Flights:
    """Requests that were routed, in order of arrival.

    Attributes:
        at: When each arrived, in seconds.
        done: When it is done.
        code: Its flags, plus `FLAGS` times the number of the contract that it breaks.
        route: The number of its route.
    """

    at: Floats
    done: Floats
    code: NDArray[np.uint16]
    route: NDArray[np.uint16]

    def __len__(self) -> int:
        return len(self.done)

    def __getitem__(self, part: Flags | Ints | slice) -> Flights:
        return Flights(self.at[part], self.done[part], self.code[part], self.route[part])

    @classmethod
    def joined(cls, parts: Sequence[Flights]) -> Flights:
        """One after the other."""
        return cls(
            np.concatenate([part.at for part in parts]),
            np.concatenate([part.done for part in parts]),
            np.concatenate([part.code for part in parts]),
            np.concatenate([part.route for part in parts]),
        )


NO_FLIGHTS = Flights(np.empty(0), np.empty(0), np.empty(0, np.uint16), np.empty(0, np.uint16))


@dataclass(frozen=True, slots=True)
class Single:
    """A contract that the first request of one arm breaks that arrives at `at` or later."""

    at: float
    canary: bool
    number: int


@dataclass(frozen=True, slots=True)
class Standing:
    """What the requests so far leave to those that come.

    Attributes:
        flights: Those under way.
        answered: When each arm has answered for the last time.
        baseline: The baseline's servers; None where they have no limit.
        canary: The canary's.
        singles: Single contract failures that have not happened yet.
    """

    flights: Flights = NO_FLIGHTS
    answered: tuple[float, float] = (-inf, -inf)
    baseline: Pool | None = None
    canary: Pool | None = None
    singles: tuple[Single, ...] = ()


def fly(standing: Standing, requests: Requests, canary: Flags, limit_ms: float) -> Standing:
    """Send requests to their arms.

    Args:
        standing: What came before.
        requests: In order of arrival.
        canary: Which of them go to the canary.
        limit_ms: A request that takes longer is slow.

    Returns:
        What they leave behind, with those before and all of these still under way.
    """
    mine, other = requests.canary, requests.baseline
    seconds = np.where(canary, mine.seconds, other.seconds)
    broken = np.where(canary, mine.broken, other.broken).astype(np.uint16)
    left = [
        single
        for single in standing.singles
        if not _break_first(single, requests.at, canary, broken)
    ]
    baseline, own, done = _serve(standing, requests.at, seconds, canary)
    code = np.where(canary, mine.failed, other.failed).astype(np.uint16)
    # The middleware measures the difference of two clock readings; so must this, to the bit.
    slow = (done - requests.at) * 1000 > limit_ms
    code += SLOW * slow.astype(np.uint16) + CANARY * canary.astype(np.uint16)
    if broken.any():
        code += BROKEN * (broken > 0).astype(np.uint16) + FLAGS * broken
    own_flights = Flights(requests.at, done, code, requests.route)
    flights = Flights.joined([standing.flights, own_flights])
    return Standing(flights, standing.answered, baseline, own, tuple(left))


def _serve(
    standing: Standing, at: Floats, seconds: Floats, canary: Flags
) -> tuple[Pool | None, Pool | None, Floats]:
    """Both arms' servers afterwards, and when each request is done."""
    done = at + seconds
    baseline = _line(standing.baseline, at, seconds, ~canary, done)
    return baseline, _line(standing.canary, at, seconds, canary, done), done


def _line(pool: Pool | None, at: Floats, seconds: Floats, mine: Flags, done: Floats) -> Pool | None:
    if pool is None:
        return None
    pool, done[mine] = pool.serve(at[mine], seconds[mine])
    return pool


def _break_first(single: Single, at: Floats, canary: Flags, broken: NDArray[np.uint16]) -> bool:
    """Let a single failure happen if its request is among these; True when it is."""
    candidates = np.flatnonzero((at >= single.at) & (canary == single.canary))
    if not len(candidates):
        return False
    broken[candidates[0]] = single.number
    return True
