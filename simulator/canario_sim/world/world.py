"""The rehearsed world: SimPy carries what controls the rollout, numpy the traffic in between.

At one instant checks come first, then requests that are done, then those that arrive. So an
arrival meets the share that a check at its instant has set.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterable, Sequence
from math import inf, nextafter

import numpy as np
import simpy
from msgspec import Struct

from canario.control.machine import CommandRefusedError, next_due
from canario.controller import CanaryDeploymentController
from canario.judges.verdict import Judge
from canario.metrics.counts import Counts
from canario.metrics.in_flight import NOTHING_SEEN, Seen
from canario.metrics.window import SlidingWindow
from canario.plan import Plan
from canario_sim.chance.buckets import Buckets
from canario_sim.chance.requests import CHUNK, Ahead, Source
from canario_sim.scenario.scenario import Order
from canario_sim.streams import Flags, Ints

from .block import Block, Breach, Flown
from .flights import CANARY, FAILED, GIVEN_UP, SLOW, Standing
from .tally import Feed
from .unfinished import Patience

__all__ = ["Note", "Steps", "World"]

# A rehearsal's rollback must not look like a live one in the host's log, nor in its telemetry.
_LOG = logging.getLogger("canario_sim")
_LOG.addHandler(logging.NullHandler())
_LOG.propagate = False

Steps = Generator[simpy.Event, object, None]


_EMPTY = Standing()


class Note(Struct, frozen=True):
    """Something beside the journal that a timeline shows: `text` at the instant `at`."""

    at: float
    text: str


class World:
    """One rehearsal of one rollout, from the instant 0 to its end or to the horizon.

    Args:
        plan: What the controller is to do; it names the release.
        source: The requests.
        horizon: When the rehearsal ends if the rollout has not, in seconds.
        routes: Names of the requests' routes, by number; none where they are all alike.
        keyless: Those of them whose requests have no key.
        standing: The arms' servers and single contract failures at the start.
        orders: What the operator does.
        notes: What happens beside the rollout, for the timeline.
        judge: Judges instead of the plan's own; it is this rehearsal's alone.
        chunk: Requests that are read at a time; the result does not depend on it.
        witness: Is told of all requests that have arrived, in parts and in order.
        watch: Is called with the world whenever the controller has been looked at. It may read
            anything, and must change nothing.

    Attributes:
        controller: The very controller that guards a live app.
        notes: Those that have come to pass, and refused orders.
        served: Arms × (requests, errors, slow, violations, bad), of requests that were done, or
            given up.
        in_flight: Requests of each arm under way at the end.
        overdue: Those of them that have waited for longer than the latency limit.
        abandoned: Requests of each arm that were given up.
        exposed: For each key, whether it reached the canary.
    """

    def __init__(
        self,
        plan: Plan,
        source: Source,
        *,
        horizon: float,
        routes: Sequence[str] = (),
        keyless: Sequence[str] = (),
        standing: Standing = _EMPTY,
        orders: Iterable[Order] = (),
        notes: Iterable[Note] = (),
        judge: Judge | None = None,
        chunk: int = CHUNK,
        witness: Callable[[Flown], object] | None = None,
        watch: Callable[[World], object] | None = None,
    ) -> None:
        self.env = simpy.Environment()
        self.controller = CanaryDeploymentController(
            plan,
            clock=lambda: float(self.env.now),
            judge=judge,
            log=_LOG,
            telemetry=False,
            flights=self,
        )
        self.notes: list[Note] = []
        self.served: Ints = np.zeros((2, 5), np.int64)
        self.abandoned: Ints = np.zeros(2, np.int64)
        self.exposed: Flags = np.zeros(len(source.keys), np.bool_)
        self._horizon = horizon
        self._standing = standing
        self._orders = sorted(orders, key=lambda order: order.at)
        self._planned = tuple(notes)
        self._ahead = Ahead(source, chunk)
        self._violations = source.violations
        self._witness = witness
        self._watch = watch
        self._buckets = Buckets(self.controller.router, source.keys, routes, keyless)
        thresholds = plan.deployment.rollback_thresholds
        self._patience = Patience.of(thresholds, routes)
        # Which of the block's requests have no key, and how many of them are counted.
        self._unrouted = np.empty(0, np.int64)
        self._told_of = 0
        # What is being lived through, its latest broken contract, and the latest check.
        self._block: Block | None = None
        self._breach: Breach | None = None
        self._settled = -inf
        self._width = SlidingWindow(thresholds.metric_window_seconds).slice_seconds

    @property
    def now(self) -> float:
        """The present instant, in seconds from the start of the rollout."""
        return float(self.env.now)

    @property
    def in_flight(self) -> tuple[int, int]:
        """Requests under way on the baseline and on the canary."""
        return self._counted(self._there)

    @property
    def overdue(self) -> tuple[int, int]:
        """Those of them that have waited for longer than the latency limit."""
        flights = self._standing.flights
        late = (self.now - flights.at) * 1000 > self._patience.limit_ms
        return self._counted(self._there & late)

    @property
    def _there(self) -> Flags:
        there: Flags = self._standing.flights.code & GIVEN_UP == 0
        return there

    def _counted(self, flights: Flags) -> tuple[int, int]:
        """How many of the standing flights are the baseline's and the canary's."""
        mine = self._standing.flights.code[flights] & CANARY > 0
        return int(np.count_nonzero(~mine)), int(np.count_nonzero(mine))

    def look(self, at: float, *, settle: bool) -> Seen:
        """See `canario.control.open_requests.Flights`."""
        seen = self._look(at, settle=settle)
        for arm, row in enumerate((seen.baseline.given_up, seen.canary.given_up)):
            number = row.abandoned
            self.served[arm] += (number, number, number, 0, number)
            self.abandoned[arm] += number
        return seen

    def _look(self, at: float, *, settle: bool) -> Seen:
        block, breach = self._block, self._breach
        if block is None:
            return NOTHING_SEEN
        if settle:
            self._settled = at
            return block.check(at)
        there = breach is not None and breach.at == at
        return block.look(at, breach.position if breach and there else -1, self._settled)

    def run(self) -> None:
        """Rehearse, once."""
        for note in self._planned:
            self.env.process(self._note(note))
        self.env.run(until=self.env.process(self._control()))

    def _control(self) -> Steps:
        self.controller.start()
        self._obey()
        self._tell()
        while not self._over:
            yield from self._follow(self._next_block())

    def _follow(self, block: Block) -> Steps:
        """Live through a block, up to the instant at which things go otherwise than planned."""
        planned = iter([*block.instants, inf])
        instant, weight = next(planned), self.controller.router.weight
        breaches = block.breaches()
        breach = next(breaches, None)
        for feeds in block.feeds():
            since: Breach | float = self.now
            while breach is not None and breach.at < instant:
                yield from self._violate(block.feeds_between(since, breach), breach)
                if self.controller.state.phase.terminal:
                    self._close(block, breach.position)
                    return
                since, breach = breach, next(breaches, None)
            if isinstance(since, Breach):
                feeds = block.feeds_between(since, instant)
            yield from self._until(instant)
            self._count_unrouted(int(np.searchsorted(self._ahead.requests.at, instant, "left")))
            self.controller.observe_slices(feeds)
            self.controller.tick()
            self._obey()
            self._tell()
            instant = next(planned)
            # A promotion changes no share, and an order may be due when the next check was.
            as_planned = instant == self._next_instant() and weight == self.controller.router.weight
            if self._over or not as_planned:
                break
        self._close(block)

    def _violate(self, feeds: Sequence[Feed], breach: Breach) -> Steps:
        """Let the canary break a contract: it ends the rollout at that very instant, unless the
        contract has a budget."""
        yield from self._until(breach.at)
        self._breach = breach
        self.controller.observe_slices(feeds)
        failed, slow = (int(breach.code & flag > 0) for flag in (FAILED, SLOW))
        own = Counts(requests=1, errors=failed, timed=1, slow=slow)
        self.controller.observe_counts("canary", own, now=self.now)
        self.controller.report_violation("canary", self._violations[breach.number - 1])
        self._tell()

    def _next_block(self) -> Block:
        """From now on as far as requests have been read, but not beyond the end of a hold."""
        instants = self._instants(self._ahead.reach(self._next_instant()))
        upto = int(np.searchsorted(self._ahead.requests.at, instants[-1], "left"))
        requests = self._ahead.requests[:upto]
        self._unrouted, self._told_of = self._buckets.unrouted(requests.route), 0
        self._block = Block(
            self.now,
            instants,
            self._standing,
            requests,
            self._buckets.of(requests) < self.controller.router.weight,
            patience=self._patience,
            width=self._width,
        )
        return self._block

    def _instants(self, reach: float) -> list[float]:
        """When the controller will be looked at, if nothing changes its state."""
        instants = [self._next_instant()]
        state = self.controller.state
        ends_at = state.ends_at if state.ends_at > self.now else inf
        last = min(reach, ends_at, self._next_order, self._horizon)
        while instants[-1] < last:
            due = next_due(self.controller.deployment, state, instants[-1])
            instants.append(min(due, self._next_order, self._horizon))
        if instants[-1] > reach:
            instants.pop()
        return instants

    def _count_unrouted(self, arrivals: int) -> None:
        """Tell the controller which of the block's requests up to there had no key."""
        self._tell_unrouted(int(np.searchsorted(self._unrouted, arrivals, "left")))

    def _tell_unrouted(self, number: int) -> None:
        """Tell the controller how many they are by now."""
        if number > self._told_of:
            asked = self.controller.deployment.routing.key_sources
            self.controller.count_without_key("no_key", asked, number - self._told_of)
            self._told_of = number

    def _close(self, block: Block, position: int = -1) -> None:
        """Settle what has happened up to now, and forget the rest of the block."""
        cut = block.cut(self.now, position, self._settled)
        self._count_unrouted(cut.arrivals)
        self._block = self._breach = None
        self._standing = cut.standing
        self._ahead.forget(cut.arrivals)
        self.served += cut.served
        self.exposed[cut.users] = True
        if self._witness is not None:
            self._witness(cut.flown)

    @property
    def _over(self) -> bool:
        return self.controller.state.phase.terminal or self.now >= self._horizon

    @property
    def _next_order(self) -> float:
        return self._orders[0].at if self._orders else inf

    def _next_instant(self) -> float:
        """When the controller has to be looked at next."""
        return min(self.controller.due, self._next_order, self._horizon)

    def _obey(self) -> None:
        """Give the orders whose instant has come."""
        while self._next_order <= self.now:
            order = self._orders.pop(0).order
            try:
                getattr(self.controller, order)()
            except CommandRefusedError as error:
                self.notes.append(Note(self.now, str(error)))

    def _tell(self) -> None:
        """Let whoever watches look."""
        if self._watch is not None:
            self._watch(self)

    def _note(self, note: Note) -> Steps:
        yield from self._until(note.at)
        self.notes.append(note)

    def _until(self, at: float) -> Steps:
        """Wait until the instant `at` to the bit, which a difference may miss."""
        delay = at - self.now
        while self.now + delay < at:
            delay = nextafter(delay, inf)
        while self.now + delay > at:
            delay = nextafter(delay, 0)
        if self.now + delay != at:
            # No delay leads there from here. From its second half the difference is exact.
            yield self.env.timeout(0.75 * at - self.now)
            delay = at - self.now
        yield self.env.timeout(delay)
