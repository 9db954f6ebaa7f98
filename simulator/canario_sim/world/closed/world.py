"""A rehearsed world in which requests act on each other, from one control instant to the next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace as replaced
from math import inf, nextafter
from typing import Any

import numpy as np
from msgspec.structs import replace

from canario.metrics.counts import Counts
from canario.metrics.in_flight import Seen
from canario.spec import ARMS
from canario_sim.chance.requests import Source
from canario_sim.scenario.scenario import Scenario
from canario_sim.world.block import Breach, Flown
from canario_sim.world.flights import GIVEN_UP
from canario_sim.world.tally import Feed, bounds, feeds, tally
from canario_sim.world.world import Note, Steps, World

from . import steps
from .attempts import Attempts, Signal
from .loop import Loop, Retries

__all__ = ["ClosedWorld"]


class ClosedWorld(World):
    """See `World`. A request is one attempt of a client, as the middleware sees it.

    Args:
        scenario: Its clients, servers and dependencies.
        seed: Of what they leave to chance.
        source: The requests.
        retries: Gives retries their fates.
        compiled: As of `Loop`.
        others: As of `World`.
    """

    def __init__(
        self,
        scenario: Scenario,
        seed: int,
        source: Source,
        retries: Retries,
        *,
        compiled: bool | None = None,
        **others: Any,
    ) -> None:
        plan = replace(scenario.plan, deployment=scenario.deployment)
        super().__init__(
            plan,
            source,
            horizon=scenario.horizon,
            routes=scenario.route_names,
            keyless=scenario.keyless,
            **others,
        )
        self._scenario = scenario
        self._flown: list[Attempts] = []
        # What has ended at the instant of a broken contract, and after it.
        self._rest: list[Attempts] = []
        self._noted = 0
        self._gone_unrouted = 0  # those that are over
        self.loop = Loop(
            scenario, seed, self._ahead, retries, self._buckets, self._patience, compiled=compiled
        )

    @property
    def in_flight(self) -> tuple[int, int]:
        """Requests under way on the baseline and on the canary."""
        return self.loop.count(steps.UNDER_WAY), self.loop.count(steps.UNDER_WAY + 1)

    @property
    def overdue(self) -> tuple[int, int]:
        """Those of them that have waited for longer than the latency limit."""
        seen = self.loop.look(self.now, settle=False)
        return seen.baseline.in_flight.overdue, seen.canary.in_flight.overdue

    def _look(self, at: float, *, settle: bool) -> Seen:
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

    def _control(self) -> Steps:
        self.controller.start()
        self._obey()
        self._tell()
        while not self._over:
            yield from self._live(self._next_instant())
        self.exposed = self.loop.exposed
        if self._witness is not None:
            self._witness(_in_order([*self._flown, self.loop.under_way()]))

    def _live(self, instant: float) -> Steps:
        """Live up to an instant, or to the end of the rollout before it."""
        while True:
            since, before = self.now, self._rest
            ended, broken = self.loop.advance(instant, self.controller.router.weight)
            self._gone_unrouted += len(self._buckets.unrouted(ended.flights.route))
            self._flown += [] if self._witness is None else [ended]
            self._note_signals()
            if self._watch is not None:
                self.exposed = self.loop.exposed
            if broken is None:
                break
            self._rest = [ended[broken + 1 :]]
            yield from self._break(since, [*before, ended[:broken]], ended, broken)
            if self.controller.state.phase.terminal:
                return
        self._rest = []
        told = self._told(since, [instant], [*before, ended])
        yield from self._until(instant)
        if self._buckets.tells:
            under_way = self.loop.under_way().flights
            self._tell_unrouted(self._gone_unrouted + len(self._buckets.unrouted(under_way.route)))
        self.controller.observe_slices(told)
        self.controller.tick()
        self._obey()
        self._tell()

    def _note_signals(self) -> None:
        """Put what has happened beside the requests into the timeline."""
        signals = self.loop.signals[self._noted :]
        self._noted += len(signals)
        self.notes += [Note(signal.at, _words(signal, self._scenario)) for signal in signals]

    def _break(
        self, since: float, before: Sequence[Attempts], ended: Attempts, place: int
    ) -> Steps:
        """Let the canary break a contract, after `before`."""
        flight = ended.flights[np.array([place])]
        breach = Breach(float(flight.done[0]), place, int(flight.code[0]))
        # What is done at the instant of the breach lies in a cell of its own.
        cuts = [nextafter(breach.at, inf)]
        told = self._told(since, [breach.at, *cuts] if breach.at > since else cuts, before)
        self.served += tally(flight, np.array([breach.at, inf]))[0]
        yield from self._violate(told, breach)

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
            told.sort(key=lambda feed: feed[0])
        return told


def _in_order(parts: Sequence[Attempts]) -> Flown:
    """All attempts, in order of arrival; those that say nothing are never done."""
    ended = Attempts.joined(parts)
    order = np.argsort(ended.number)
    done = np.where(ended.neutral, inf, ended.flights.done)
    return Flown(ended.key[order], replaced(ended.flights, done=done)[order])


def _words(signal: Signal, scenario: Scenario) -> str:
    """What a timeline says of it."""
    arm = ARMS[signal.arm]
    if signal.kind == steps.SCALED:
        return f"the {arm} is scaled to {signal.value:g} servers"
    name = scenario.dependencies[signal.dependency].name
    if signal.kind == steps.OPENED:
        return f"the {arm}'s circuit breaker around {name} opens"
    return f"the {arm}'s circuit breaker around {name} closes, after {signal.value / 1000:.3g} s"
