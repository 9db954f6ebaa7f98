"""The driver: SimPy carries the controller from instant to instant, a carrier what lies between.

At one instant checks come first, then requests that are done, then those that arrive. So an
arrival meets the share that a check at its instant has set.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterable
from math import inf, nextafter
from typing import Generic, TypeVar

import numpy as np
import simpy

from canario.clock import ManualClock
from canario.control.machine import CommandRefusedError, next_due
from canario.control.state import Phase, State
from canario.controller import CanaryDeploymentController
from canario.judges.verdict import Judge
from canario.metrics.in_flight import Seen
from canario.plan import Plan
from canario.routing.router import TrafficRouter
from canario.stores import MemoryJournal
from canario_sim.scenario.scenario import Order
from canario_sim.streams import Ints

from .carrier import Act, Broken, Carrier, Check, Ended, Note, Ordered, TakenUp, Unwatched

__all__ = ["Driver", "Steps"]

# A rehearsal's rollback must not look like a live one in the host's log, nor in its telemetry.
_LOG = logging.getLogger("canario_sim")
_LOG.addHandler(logging.NullHandler())
_LOG.propagate = False

C_co = TypeVar("C_co", bound=Carrier, covariant=True)

Steps = Generator[simpy.Event, object, None]


class Driver(Generic[C_co]):
    """One rollout, rehearsed or replayed, from its start to its end or to the horizon.

    Args:
        plan: What the controller is to do; it names the release.
        carry: Makes the carrier for the router that says who goes where.
        start: When the rollout starts, in seconds.
        horizon: When the rehearsal ends if the rollout has not.
        orders: What the operator does.
        notes: What happens beside the rollout, for the timeline.
        judge: Judges instead of the plan's own; it is this rollout's alone.
        journal: What the rollout is taken up from.
        watch: Is called with the driver whenever the controller has been looked at. It may read
            anything, and must change nothing.

    Attributes:
        controller: The very controller that guards a live app.
        carrier: Who carries the requests.
        notes: Those that have come to pass, and refused orders.
        abandoned: Requests of each arm that were given up.
    """

    def __init__(
        self,
        plan: Plan,
        carry: Callable[[TrafficRouter], C_co],
        *,
        start: float = 0.0,
        horizon: float = inf,
        orders: Iterable[Order] = (),
        notes: Iterable[Note] = (),
        judge: Judge | None = None,
        journal: MemoryJournal | None = None,
        watch: Callable[[Driver[C_co]], object] | None = None,
    ) -> None:
        self.env = simpy.Environment(start)
        self.notes: list[Note] = []
        self.abandoned: Ints = np.zeros(2, np.int64)
        self._given_up: Ints = np.zeros((2, 5), np.int64)
        self._plan = plan
        self._horizon = horizon
        self._orders = sorted(orders, key=lambda order: order.at)
        self._planned = tuple(notes)
        self._judge = judge
        self._watch = watch
        # The instant that an input counts at, which on a tape may not be that of the driver.
        self._clock = ManualClock(start)
        self._known = True
        self.controller = self._controller(journal)
        self.carrier = carry(self.controller.router)

    @property
    def now(self) -> float:
        """The present instant, in seconds."""
        return float(self.env.now)

    @property
    def weight(self) -> int:
        """See `Outlook`."""
        return self.controller.router.weight

    @property
    def state(self) -> State:
        """See `Outlook`."""
        return self.controller.state

    @property
    def served(self) -> Ints:
        """Arms × (requests, errors, slow, violations, bad), of requests that were done, or given
        up."""
        served: Ints = self.carrier.served + self._given_up
        return served

    @property
    def ended_at(self) -> float:
        """When the rollout ended; for one that did not, where it is followed no further."""
        if self.state.phase.terminal:
            return self.controller.events[-1].at
        return min(self._horizon, self.carrier.ends)

    def instants(self, reach: float, most: int | None = None) -> list[float]:
        """See `Outlook`."""
        instants = [self._next_instant()]
        state = self.state
        # A stage that is held beyond its end has no end that is known.
        ends_at = state.ends_at if state.ends_at > self.now else inf
        last = min(reach, ends_at, self._next_order, self._horizon)
        while instants[-1] < last and len(instants) != most:
            due = next_due(self.controller.deployment, state, instants[-1])
            instants.append(min(due, self._next_order, self._horizon))
        return instants

    def look(self, at: float, *, settle: bool) -> Seen:
        """See `canario.control.open_requests.Flights`."""
        seen = self.carrier.look(self, at, settle=settle)
        for arm, row in enumerate((seen.baseline.given_up, seen.canary.given_up)):
            if row.requests:
                # No contract is broken without an answer, and each of them is bad.
                self._given_up[arm] += (row.requests, row.errors, row.slow, 0, row.requests)
                self.abandoned[arm] += row.abandoned
        return seen

    def run(self) -> None:
        """Drive it, once."""
        for note in self._planned:
            self.env.process(self._note(note))
        self.env.run(until=self.env.process(self._control()))
        self.carrier.close(self.ended_at)

    def _control(self) -> Steps:
        self.controller.start()
        self._obey()
        self._tell()
        while not self._over:
            stretch = self.carrier.advance(self, self._next_instant())
            self.notes += stretch.notes
            yield from self._until(max(stretch.at, self.now))
            if stretch.unrouted:
                asked = self.controller.deployment.routing.key_sources
                self.controller.count_without_key("no_key", asked, stretch.unrouted)
            if stretch.told:
                self.controller.observe_slices(stretch.told)
            self._do(stretch.act)
            self._tell()

    def _do(self, act: Act) -> None:
        self._clock.now = act.at
        match act:
            case Check():
                self.controller.tick()
                self._obey()
            case Broken():
                self.controller.report_violation(act.arm, act.violation)
            case Ordered():
                self._give(act.order)
            case TakenUp():
                # A controller of its own, as a process has that has begun anew.
                past = MemoryJournal(self.controller.events, act.watched)
                self.controller = self._controller(past)
                self.controller.start()
            case Unwatched():
                self.controller.unwatched(act.since)
            case Ended():
                self._known = False

    def _controller(self, journal: MemoryJournal | None) -> CanaryDeploymentController:
        return CanaryDeploymentController(
            self._plan,
            clock=self._clock,
            journal=journal,
            judge=self._judge,
            log=_LOG,
            telemetry=False,
            flights=self,
        )

    @property
    def _over(self) -> bool:
        if not self._known or self.now >= self._horizon:
            return True
        phase = self.state.phase
        if phase is Phase.COMPLETED and self.carrier.may_be_taken_back:
            return False
        return phase.terminal

    @property
    def _next_order(self) -> float:
        return self._orders[0].at if self._orders else inf

    def _next_instant(self) -> float:
        """When the controller has to be looked at next."""
        return min(self.controller.due, self._next_order, self._horizon)

    def _obey(self) -> None:
        """Give the orders whose instant has come."""
        while self._next_order <= self.now:
            self._give(self._orders.pop(0).order)

    def _give(self, order: str) -> None:
        try:
            getattr(self.controller, order)()
        except CommandRefusedError as error:
            self.notes.append(Note(self._clock.now, str(error)))

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
