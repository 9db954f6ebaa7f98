"""The carrier of requests that act on each other: an engine that goes on event by event."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace as replaced
from math import inf, nextafter

import numpy as np
from msgspec.structs import replace

from canario.arms import ARMS
from canario.metrics.counts import Counts
from canario.metrics.in_flight import Seen
from canario.metrics.window import SlidingWindow
from canario.routing.router import TrafficRouter
from canario.slo.recoveries import Recoveries
from canario_sim.chance.buckets import Buckets
from canario_sim.chance.draws import Draws
from canario_sim.chance.requests import CHUNK, Ahead
from canario_sim.scenario.scenario import Settled
from canario_sim.streams import Flags, Ints
from canario_sim.world.block import Breach, Flown
from canario_sim.world.carrier import Broken, Check, Feed, Left, Note, Outlook, Stretch
from canario_sim.world.feedback import Feedback, Recovery
from canario_sim.world.flights import GIVEN_UP
from canario_sim.world.tally import bounds, feeds, tally
from canario_sim.world.unfinished import Patience

from . import steps
from .attempts import Attempts, Signal
from .loop import Loop

__all__ = ["ClosedCarrier"]


class ClosedCarrier:
    """See `Carrier`. A request is one attempt of a client, as the middleware sees it.

    Args:
        scenario: Its clients, servers and dependencies.
        seed: Of what they leave to chance.
        router: Says who goes where.
        width: As of `OpenCarrier`.
        chunk: Requests that are read at a time; the result does not depend on it.
        witness: Is told of all attempts in order of arrival, when it is over.
        compiled: As of `Loop`.

    Attributes:
        loop: The engine.
    """

    ends = inf
    may_be_taken_back = False

    def __init__(
        self,
        scenario: Settled,
        seed: int,
        router: TrafficRouter,
        *,
        width: float | None = None,
        chunk: int = CHUNK,
        witness: Callable[[Flown], object] | None = None,
        compiled: bool | None = None,
    ) -> None:
        draws = Draws(scenario, seed)
        thresholds = scenario.plan.deployment.rollback_thresholds
        self.served: Ints = np.zeros((2, 5), np.int64)
        self._scenario = scenario
        self._violations = draws.violations
        self._witness = witness
        self._width = width or SlidingWindow(thresholds.metric_window_seconds).slice_seconds
        self._flown: list[Attempts] = []
        # What has ended at the instant of a broken contract, and after it.
        self._rest: list[Attempts] = []
        self._noted = 0
        # Requests without a key: those that are over, and those that were told.
        self._gone_unrouted = self._unrouted = 0
        self._patience = Patience.of(thresholds, scenario.route_names)
        self._closed_at = inf
        self._buckets = Buckets(router, draws.keys, scenario.route_names, scenario.keyless)
        self.loop = Loop(
            scenario,
            seed,
            Ahead(draws, chunk),
            draws.retries(),
            self._buckets,
            self._patience,
            compiled=compiled,
        )

    @property
    def exposed(self) -> Flags:
        """See `Carrier`."""
        return self.loop.exposed

    @property
    def left(self) -> tuple[Left, Left]:
        """See `Carrier`."""
        seen = self.loop.look(self._closed_at, settle=False)
        count = self.loop.count
        return (
            Left(count(steps.UNDER_WAY), seen.baseline.in_flight.overdue),
            Left(count(steps.UNDER_WAY + 1), seen.canary.in_flight.overdue),
        )

    def feedback(self, end: float, limit_ms: float) -> Feedback:
        """See `Carrier`."""
        count = self.loop.count
        return Feedback(
            first=count(steps.FIRST),
            retries=count(steps.RETRIES),
            timeouts=count(steps.TIMEOUTS),
            denied=count(steps.DENIED),
            gave_up=count(steps.GAVE_UP),
            fast_failures=count(steps.FAST),
            recovery=_recovery(self.loop, end, limit_ms),
        )

    def look(self, outlook: Outlook, at: float, *, settle: bool) -> Seen:  # noqa: ARG002
        """See `Carrier`."""
        seen = self.loop.look(at, settle=settle)
        late = [part.flights.at[part.flights.code & GIVEN_UP == 0] for part in self._rest]
        if not any(map(len, late)):
            return seen
        # They end with the answer that breaks a contract, and after it. All are the canary's, and
        # as it has just answered, none has come since.
        since = np.concatenate(late)
        there = seen.canary.in_flight
        overdue = (at - since) * 1000 > self._patience.limit_ms
        more = replace(
            there,
            requests=there.requests + len(since),
            overdue=there.overdue + int(np.count_nonzero(overdue)),
        )
        return replace(seen, canary=replace(seen.canary, in_flight=more))

    def advance(self, outlook: Outlook, until: float) -> Stretch:
        """See `Carrier`."""
        since, before = outlook.now, self._rest
        ended, broken = self.loop.advance(until, outlook.weight)
        self._gone_unrouted += len(self._buckets.unrouted(ended.flights.route))
        self._flown += [] if self._witness is None else [ended]
        notes = self._news()
        if broken is None:
            self._rest = []
            told = self._told(since, [until], [*before, ended])
            return Stretch(until, told, Check(until), notes, self._came_unrouted())
        self._rest = [ended[broken + 1 :]]
        told, act = self._broken(since, [*before, ended[:broken]], ended, broken)
        return Stretch(act.at, told, act, notes)

    def close(self, at: float) -> None:
        """See `Carrier`."""
        self._closed_at = at
        if self._witness is not None:
            self._witness(_in_order([*self._flown, self.loop.under_way()]))

    def _came_unrouted(self) -> int:
        """How many requests without a key there are that were not told."""
        if not self._buckets.tells:
            return 0
        under_way = self._buckets.unrouted(self.loop.under_way().flights.route)
        before, self._unrouted = self._unrouted, self._gone_unrouted + len(under_way)
        return self._unrouted - before

    def _news(self) -> list[Note]:
        """What has happened beside the requests."""
        signals = self.loop.signals[self._noted :]
        self._noted += len(signals)
        return [Note(signal.at, _words(signal, self._scenario)) for signal in signals]

    def _broken(
        self, since: float, before: Sequence[Attempts], ended: Attempts, place: int
    ) -> tuple[list[Feed], Broken]:
        """The canary breaks a contract, after `before`."""
        flight = ended.flights[np.array([place])]
        breach = Breach(float(flight.done[0]), place, int(flight.code[0]))
        # What is done at the instant of the breach lies in a cell of its own.
        cuts = [nextafter(breach.at, inf)]
        told = self._told(since, [breach.at, *cuts] if breach.at > since else cuts, before)
        self.served += tally(flight, np.array([breach.at, inf]))[0]
        told.append(breach.feed)
        return told, Broken(breach.at, "canary", self._violations[breach.number - 1])

    def _told(self, since: float, cuts: Sequence[float], parts: Sequence[Attempts]) -> list[Feed]:
        """What the controller is told of what has ended from `since` to the last cut."""
        ended = Attempts.joined(parts)
        edges = bounds(since, cuts, self._width)
        table = tally(ended.flights[~ended.neutral], edges)
        self.served += table.sum(axis=0)
        told = next(feeds(table, edges, [inf]))
        if ended.neutral.any():
            numbers = tally(ended.flights[ended.neutral], edges)[:, :, 0]
            for cell, arm in np.argwhere(numbers).tolist():
                counts = Counts(neutral=int(numbers[cell, arm]))
                told.append((float(edges[cell]), ARMS[arm], counts))
            # Stable: within a cell those that say something stay first.
            told.sort(key=lambda feed: feed[0])
        return told


def _in_order(parts: Sequence[Attempts]) -> Flown:
    """All attempts, in order of arrival; those that say nothing are never done."""
    ended = Attempts.joined(parts)
    order = np.argsort(ended.number)
    done = np.where(ended.neutral, inf, ended.flights.done)
    return Flown(ended.key[order], replaced(ended.flights, done=done)[order])


def _words(signal: Signal, scenario: Settled) -> str:
    """What a timeline says of it."""
    arm = ARMS[signal.arm]
    if signal.kind == steps.SCALED:
        return f"the {arm} is scaled to {signal.value:g} servers"
    name = scenario.dependencies[signal.dependency].name
    if signal.kind == steps.OPENED:
        return f"the {arm}'s circuit breaker around {name} opens"
    return f"the {arm}'s circuit breaker around {name} closes, after {signal.value / 1000:.3g} s"


def _recovery(loop: Loop, end: float, limit_ms: float) -> Recovery:
    # A window longer than the rehearsal, which nothing leaves.
    recoveries = Recoveries(0.0, 2 * end + 1, limit_ms)
    open_since: dict[tuple[int, int], float] = {}
    for signal in loop.signals:
        which = signal.arm, signal.dependency
        if signal.kind == steps.OPENED:
            open_since[which] = signal.at
        elif signal.kind == steps.RECOVERED:
            del open_since[which]
            recoveries.add(signal.at, True, signal.value)
    for since in open_since.values():
        recoveries.add(end, False, (end - since) * 1000)
    seen = recoveries.summary(end)
    return Recovery(
        recoveries=seen.recoveries - seen.failed,
        unfinished=seen.failed,
        p99_ms=seen.p99_ms,
        limit_ms=limit_ms,
        met=None if seen.breached is None else not seen.breached,
    )
