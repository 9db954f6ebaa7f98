"""A stretch of a rehearsal in which nothing is expected to change the share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf, nextafter

import numpy as np

from .flights import BROKEN, CANARY, FLAGS, Flights, Standing, fly
from .requests import Requests
from .streams import Flags, Floats, Ints
from .tally import Feed, bounds, feeds, tally

__all__ = ["Block", "Breach", "Cut", "Flown"]


@dataclass(frozen=True, slots=True)
class Breach:
    """A response of the canary that breaks its contract.

    Attributes:
        at: When it is done.
        position: Its place among the block's flights.
        code: Its code, as in `Flights`.
    """

    at: float
    position: int
    code: int

    @property
    def number(self) -> int:
        """1 + the number of the contract, as in `Fates.broken`."""
        return self.code // FLAGS


@dataclass(frozen=True, slots=True)
class Flown:
    """Requests that have arrived and been sent to their arms, in order of arrival.

    Attributes:
        at: When each arrived, in seconds.
        key: The numbers of their keys.
        flights: What became of them, or will.
    """

    at: Floats
    key: Ints
    flights: Flights


@dataclass(frozen=True, slots=True)
class Cut:
    """What a block amounts to when it ends at an instant.

    Attributes:
        standing: What it leaves to the next block.
        arrivals: How many of its requests have arrived.
        served: Arms × (requests, errors, slow, violations, bad), of those that were done.
        users: Numbers of the keys that reached the canary, with repetitions.
        flown: Those of its requests that have arrived.
    """

    standing: Standing
    arrivals: int
    served: Ints
    users: Ints
    flown: Flown


class Block:
    """All that happens from `start` to the last of `instants` while the share stays as it is.

    A pure function of its arguments. When the share changes at one of the instants, the block
    is cut there, and what it says of the time after is void.

    Args:
        start: When it begins, in seconds.
        instants: When the controller is to be looked at, rising, later than `start`.
        before: What the block before left.
        requests: Those that arrive in it.
        canary: Which of them the present share sends to the canary.
        limit_ms: A request that takes longer is slow.
        width: Length of a slice of the controller's window, in seconds.
    """

    def __init__(
        self,
        start: float,
        instants: Sequence[float],
        before: Standing,
        requests: Requests,
        canary: Flags,
        *,
        limit_ms: float,
        width: float,
    ) -> None:
        self.start = start
        self.instants = instants
        self._before = before
        self._requests = requests
        self._canary = canary
        self._limit_ms = limit_ms
        self._width = width
        self._after = fly(before, requests, canary, limit_ms)
        self._edges = bounds(start, instants, width)
        self._table = tally(self._after.flights, self._edges)
        self._broken = _broken(self._after.flights, instants[-1])

    def feeds(self) -> Iterator[list[Feed]]:
        """For each instant, what the controller is told before it: all that was done since."""
        return feeds(self._table, self._edges, self.instants)

    def breaches(self) -> Iterator[Breach]:
        """The canary's broken contracts, in the order in which they come to light."""
        flights = self._after.flights
        for position in self._broken.tolist():
            yield Breach(float(flights.done[position]), position, int(flights.code[position]))

    def feeds_between(self, since: Breach | float, until: Breach | float) -> list[Feed]:
        """What the controller is told of the time between two instants, or two breaches, which
        are not counted themselves."""
        flights = self._after.flights
        start = since.at if isinstance(since, Breach) else since
        told = ~_done(flights, start, since.position if isinstance(since, Breach) else -1)
        if isinstance(until, Breach):
            told &= _done(flights, until.at, until.position - 1)
            # What is done at the instant of the breach itself lies in a cell of its own.
            end = nextafter(until.at, inf)
            cuts = [until.at, end] if until.at > start else [end]
        else:
            told &= flights.done < until
            end, cuts = until, [until]
        edges = bounds(start, cuts, self._width)
        return next(feeds(tally(flights[told], edges), edges, [end]))

    def cut(self, at: float, position: int = -1) -> Cut:
        """End the block at `at`: what is done then is still to come, but for the flights up to
        `position`, where a breach ends it."""
        arrivals = int(np.searchsorted(self._requests.at, at, "left"))
        # A request that takes no time is done at the instant of its arrival.
        arrivals = max(arrivals, position + 1 - len(self._before.flights))
        requests, canary = self._requests[:arrivals], self._canary[:arrivals]
        after = self._after
        if arrivals < len(self._requests):
            after = fly(self._before, requests, canary, self._limit_ms)
        done = _done(after.flights, at, position)
        if position < 0:
            served = self._table[: np.searchsorted(self._edges, at)].sum(axis=0)
        else:
            served = tally(after.flights[done], np.array([self.start, inf]))[0]
        own, new = after.flights, len(self._before.flights)
        return Cut(
            standing=replace(after, flights=own[~done]),
            arrivals=arrivals,
            served=served,
            users=requests.key[canary],
            flown=Flown(requests.at, requests.key, Flights(own.done[new:], own.code[new:])),
        )


def _done(flights: Flights, at: float, position: int) -> Flags:
    """Flights done before `at`, and those up to `position` that are done at it."""
    done: Flags = flights.done < at
    if position >= 0:
        done[: position + 1] |= flights.done[: position + 1] == at
    return done


def _broken(flights: Flights, before: float) -> Ints:
    """Places of the canary's flights that break a contract and are done before an instant."""
    mine = BROKEN | CANARY
    broken = np.flatnonzero(((flights.code & mine) == mine) & (flights.done < before))
    # In the order in which they are done: ties go in the order of arrival.
    return broken[np.argsort(flights.done[broken], kind="stable")] if len(broken) > 1 else broken
