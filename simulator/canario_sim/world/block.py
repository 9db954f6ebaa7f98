"""A stretch of a rehearsal in which nothing is expected to change the share."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf, nextafter

import numpy as np

from canario.metrics.counts import Counts
from canario.metrics.in_flight import Seen
from canario_sim.chance.requests import Requests
from canario_sim.streams import Flags, Floats, Ints

from .carrier import Feed
from .flights import BROKEN, CANARY, FAILED, FLAGS, GIVEN_UP, SLOW, Flights, Standing, fly
from .tally import bounds, cells, feeds, latest, tally
from .unfinished import Patience, at_instant, at_instants, given_up

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

    @property
    def feed(self) -> Feed:
        """What the controller is told of it: it breaks its contract besides."""
        failed, slow = (int(self.code & flag > 0) for flag in (FAILED, SLOW))
        return self.at, "canary", Counts(requests=1, errors=failed, timed=1, slow=slow)


@dataclass(frozen=True, slots=True)
class Flown:
    """Requests that have arrived and been sent to their arms, in order of arrival.

    Attributes:
        key: The numbers of their keys.
        flights: What became of them, or will.
    """

    key: Ints
    flights: Flights

    @property
    def at(self) -> Floats:
        """When each arrived, in seconds."""
        return self.flights.at


@dataclass(frozen=True, slots=True)
class Cut:
    """What a block amounts to when it ends at an instant.

    Attributes:
        standing: What it leaves to the next block.
        arrivals: How many of its requests have arrived.
        served: Arms × (requests, errors, slow, violations, bad), of those that were done, without
            those that had been given up.
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
        instants: When the controller is to be looked at, rising, later than `start`; all but the
            last are checks.
        before: What the block before left.
        requests: Those that arrive in it.
        canary: Which of them the present share sends to the canary.
        patience: How long requests are waited for.
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
        patience: Patience,
        width: float,
    ) -> None:
        self.start = start
        self.instants = instants
        self._before = before
        self._requests = requests
        self._canary = canary
        self._limit_ms = patience.limit_ms
        self._width = width
        self._after = fly(before, requests, canary, patience.limit_ms)
        self._checks = np.array(instants)
        # Whoever will be given up in this block is marked from the start on: their ends are told
        # to nobody. Those whose instant does not come are let go on when the block is cut.
        self._gone = given_up(self._after.flights, self._checks, patience)
        self._flights = _marked(self._after.flights, self._gone.place)
        self._edges = bounds(start, instants, width)
        cell = cells(self._flights, self._edges)
        self._table = tally(self._flights, self._edges, cell)
        self._broken = _broken(self._flights, instants[-1])
        # Every check is an edge. Of the table's columns requests and slow ones are asked for, of
        # all cells before it.
        edges = np.searchsorted(self._edges, self._checks)
        self._latest = latest(self._flights, cell, self._edges, before.answered)
        self._seen = at_instants(
            self._flights,
            self._gone,
            np.cumsum(self._table[:, :, (0, 2)], axis=0)[edges - 1],
            self._latest[edges],
            self._checks,
            patience.limit_ms,
        )

    def check(self, at: float) -> Seen:
        """What a check at one of the instants sees, and gives up."""
        return self._seen[bisect_left(self.instants, at)]

    def look(self, at: float, position: int, settled: float) -> Seen:
        """What is in flight at any instant, when all that `done` says has ended; after the checks
        up to the instant `settled`."""
        flights = self._let_go_on(settled)
        ended = _done(flights, at, position)
        return at_instant(flights, ended, at, self._before.answered, self._limit_ms)

    def feeds(self) -> Iterator[list[Feed]]:
        """For each instant, what the controller is told before it: all that was done since."""
        return feeds(self._table, self._edges, self.instants)

    def breaches(self) -> Iterator[Breach]:
        """The canary's broken contracts, in the order in which they come to light."""
        flights = self._flights
        for position in self._broken.tolist():
            yield Breach(float(flights.done[position]), position, int(flights.code[position]))

    def feeds_between(self, since: Breach | float, until: Breach | float) -> list[Feed]:
        """What the controller is told of the time between two instants, or two breaches, which
        are not counted themselves."""
        flights = self._flights
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

    def cut(self, at: float, position: int, settled: float) -> Cut:
        """End the block at `at`, after the checks up to the instant `settled`.

        What is done then is still to come, but for the flights up to `position`, where a breach
        ends it.
        """
        # Who arrives at this very instant meets the share that is set at it: a request of the next
        # block.
        arrivals = int(np.searchsorted(self._requests.at, at, "left"))
        # A request that takes no time is done at the instant of its arrival.
        arrivals = max(arrivals, position + 1 - len(self._before.flights))
        requests, canary = self._requests[:arrivals], self._canary[:arrivals]
        after = self._after
        # Flown again without those to come: servers and single failures must be as the last that
        # arrived has left them.
        if arrivals < len(self._requests):
            after = fly(self._before, requests, canary, self._limit_ms)
        new = len(self._before.flights)
        own = self._let_go_on(settled)[: new + arrivals]
        done = _done(own, at, position)
        # At an instant a cell ends, and the table's sums will do; a breach lies inside of a cell.
        if position < 0:
            edge = np.searchsorted(self._edges, at)
            served = self._table[:edge].sum(axis=0)
            answered = tuple(self._latest[edge].tolist())
        else:
            served = tally(own[done], np.array([self.start, inf]))[0]
            answered = self._answered(own, done)
        return Cut(
            standing=replace(after, flights=own[np.flatnonzero(~done)], answered=answered),
            arrivals=arrivals,
            served=served,
            users=requests.key[canary],
            flown=Flown(requests.key, own[new:]),
        )

    def _let_go_on(self, settled: float) -> Flights:
        """The flights, of which those are given up that were by this instant."""
        return _unmarked(self._flights, self._gone.place[self._gone.when > settled])

    def _answered(self, flights: Flights, done: Flags) -> tuple[float, float]:
        mine = flights.code & CANARY > 0
        baseline, canary = (
            max(before, flights.done[done & own].max(initial=-inf))
            for before, own in zip(self._before.answered, (~mine, mine), strict=True)
        )
        return baseline, canary


def _marked(flights: Flights, places: Ints) -> Flights:
    if not len(places):
        return flights
    code = flights.code.copy()
    code[places] |= GIVEN_UP
    return replace(flights, code=code)


def _unmarked(flights: Flights, places: Ints) -> Flights:
    if not len(places):
        return flights
    code = flights.code.copy()
    code[places] &= ~np.uint16(GIVEN_UP)
    return replace(flights, code=code)


def _done(flights: Flights, at: float, position: int) -> Flags:
    """Flights done before `at`, and those up to `position` that are done at it."""
    done: Flags = flights.done < at
    if position >= 0:
        done[: position + 1] |= flights.done[: position + 1] == at
    return done


def _broken(flights: Flights, before: float) -> Ints:
    """Places of the canary's flights that break a contract and are done before an instant; nobody
    looks at the answer to one that was given up."""
    mine = BROKEN | CANARY
    broken = (flights.code & (mine | GIVEN_UP)) == mine
    broken = np.flatnonzero(broken & (flights.done < before))
    # In the order in which they are done: ties go in the order of arrival.
    return broken[np.argsort(flights.done[broken], kind="stable")] if len(broken) > 1 else broken
