"""The carrier of requests that only stand in line: arrays, from one control instant to the next.

What becomes of requests while the share stays as it is is one computation for many instants, a
`Block`. It is made ahead, told instant by instant, and cut where things go otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import inf

import numpy as np

from canario.metrics.in_flight import NOTHING_SEEN, Seen
from canario.metrics.window import SlidingWindow
from canario.plan import RollbackThresholds
from canario.routing.router import TrafficRouter
from canario_sim.chance.buckets import Buckets
from canario_sim.chance.requests import CHUNK, Ahead, Source
from canario_sim.streams import Flags, Floats, Ints

from .block import Block, Breach, Flown
from .carrier import Broken, Check, Feed, Left, Outlook, Stretch
from .flights import CANARY, GIVEN_UP, Standing
from .unfinished import Patience

__all__ = ["OpenCarrier"]

_EMPTY = Standing()

# Where hardly anything comes, thousands of checks lie before the next request, and a verdict may
# void them all.
_FIRST = 64


class OpenCarrier:
    """See `Carrier`.

    Args:
        source: The requests.
        router: Says who goes where.
        thresholds: What is slow, how long requests are waited for, and how long the window is.
        routes: Names of the requests' routes, by number; none where they are all alike.
        keyless: Those of them whose requests have no key.
        standing: The arms' servers and single contract failures at the start.
        width: Length of the cells in which requests are counted; by default a slice of the window.
        chunk: Requests that are read at a time; the result does not depend on it.
        witness: Is told of all requests that have arrived, in parts and in order.
    """

    ends = inf
    may_be_taken_back = False

    def __init__(
        self,
        source: Source,
        router: TrafficRouter,
        *,
        thresholds: RollbackThresholds,
        routes: Sequence[str] = (),
        keyless: Sequence[str] = (),
        standing: Standing = _EMPTY,
        width: float | None = None,
        chunk: int = CHUNK,
        witness: Callable[[Flown], object] | None = None,
    ) -> None:
        self.served: Ints = np.zeros((2, 5), np.int64)
        self.exposed: Flags = np.zeros(len(source.keys), np.bool_)
        self._standing = standing
        self._ahead = Ahead(source, chunk)
        self._violations = source.violations
        self._witness = witness
        self._buckets = Buckets(router, source.keys, routes, keyless)
        self._patience = Patience.of(thresholds, routes)
        self._width = width or SlidingWindow(thresholds.metric_window_seconds).slice_seconds
        self._planned: _Planned | None = None
        # Checks that are planned at a time: twice as many whenever all of them came.
        self._most = _FIRST
        # The latest check: who was to be given up after it has not been.
        self._settled = -inf
        self._closed_at = inf

    @property
    def left(self) -> tuple[Left, Left]:
        """See `Carrier`."""
        flights = self._standing.flights
        there = flights.code & GIVEN_UP == 0
        late = there & ((self._closed_at - flights.at) * 1000 > self._patience.limit_ms)
        mine = flights.code & CANARY > 0
        baseline, canary = (
            Left(int(np.count_nonzero(there & own)), int(np.count_nonzero(late & own)))
            for own in (~mine, mine)
        )
        return baseline, canary

    def feedback(self, end: float, limit_ms: float) -> None:
        """See `Carrier`."""

    def advance(self, outlook: Outlook, until: float) -> Stretch:
        """See `Carrier`."""
        planned = self._planned
        # An order or another share: what was planned from here on will not be.
        if planned is None or (planned.instant, planned.weight) != (until, outlook.weight):
            if planned is not None and planned.instant == inf:
                self._most *= 2
            self._cut(outlook.now)
            planned = self._planned = self._plan(outlook, until)
        breach = planned.next_breach()
        if breach is None:
            unrouted = planned.unrouted(until)
            return Stretch(until, planned.feeds(), Check(until), unrouted=unrouted)
        told = planned.feeds_before(breach)
        told.append(breach.feed)
        violation = self._violations[breach.number - 1]
        return Stretch(breach.at, told, Broken(breach.at, "canary", violation))

    def look(self, outlook: Outlook, at: float, *, settle: bool) -> Seen:  # noqa: ARG002
        """See `Carrier`."""
        planned = self._planned
        if planned is None:
            return NOTHING_SEEN
        if settle:
            self._settled = at
            return planned.block.check(at)
        return planned.block.look(at, planned.position_at(at), self._settled)

    def close(self, at: float) -> None:
        """See `Carrier`."""
        self._cut(at)
        self._closed_at = at

    def _plan(self, outlook: Outlook, until: float) -> _Planned:
        """From now on as far as requests have been read, but not beyond the end of a hold."""
        reach = self._ahead.reach(until)
        instants = outlook.instants(reach, self._most)
        # The last one may lie beyond what has been read; `until`, the first, never does.
        if instants[-1] > reach:
            instants.pop()
        upto = int(np.searchsorted(self._ahead.requests.at, instants[-1], "left"))
        requests = self._ahead.requests[:upto]
        block = Block(
            outlook.now,
            instants,
            self._standing,
            requests,
            self._buckets.of(requests) < outlook.weight,
            patience=self._patience,
            width=self._width,
        )
        unrouted = self._buckets.unrouted(requests.route)
        return _Planned(block, outlook.weight, requests.at[unrouted])

    def _cut(self, at: float) -> None:
        """Settle what has happened up to now, and forget the rest of what was planned."""
        planned = self._planned
        if planned is None:
            return
        cut = planned.block.cut(at, planned.position_at(at), self._settled)
        self._planned = None
        self._standing = cut.standing
        self._ahead.forget(cut.arrivals)
        self.served += cut.served
        self.exposed[cut.users] = True
        if self._witness is not None:
            self._witness(cut.flown)


class _Planned:
    """A block, and how far it has been told.

    Args:
        block: What was planned.
        weight: That by which it was routed.
        unrouted: When its requests without a key arrive.

    Attributes:
        instant: The next of its instants; inf after the last.
    """

    def __init__(self, block: Block, weight: int, unrouted: Floats) -> None:
        self.block = block
        self.weight = weight
        self._instants = iter([*block.instants, inf])
        self.instant = next(self._instants)
        self._feeds: Iterator[list[Feed]] = block.feeds()
        self._breaches = block.breaches()
        self._next = next(self._breaches, None)
        self._unrouted, self._told_of = unrouted, 0
        # Up to where it was told: a breach counts up to its own place at its instant.
        self._since: Breach | float = block.start

    def unrouted(self, until: float) -> int:
        """How many requests without a key arrive before an instant that were not told."""
        if not len(self._unrouted):
            return 0
        before = self._told_of
        self._told_of = int(np.searchsorted(self._unrouted, until, "left"))
        return self._told_of - before

    def next_breach(self) -> Breach | None:
        """The one that comes before the next instant."""
        return None if self._next is None or self._next.at >= self.instant else self._next

    def feeds(self) -> list[Feed]:
        """What is told before the next instant, which is now that after it."""
        told = next(self._feeds)
        if isinstance(self._since, Breach):
            told = self.block.feeds_between(self._since, self.instant)
        self._since = self.instant
        self.instant = next(self._instants)
        return told

    def feeds_before(self, breach: Breach) -> list[Feed]:
        """What is told before the next breach, which is now the one after it."""
        told = self.block.feeds_between(self._since, breach)
        self._since, self._next = breach, next(self._breaches, None)
        return told

    def position_at(self, at: float) -> int:
        """The place of the flight up to which those that are done at this instant have been told;
        -1 where they are still to come."""
        since = self._since
        return since.position if isinstance(since, Breach) and since.at == at else -1
