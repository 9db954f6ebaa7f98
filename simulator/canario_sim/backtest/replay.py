"""A tape through the controller: the very one that guards a live app.

The inputs are taken in in the order that they have on the tape, at the instants that counted for
the controller. Requests between two checks are counted slice by slice of the controller's window,
which is the same as one by one; broken contracts, orders and restarts stand at their own places
between them.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import inf, nextafter

import numpy as np

from canario.clock import ManualClock
from canario.control.events import Event
from canario.control.machine import Command, CommandRefusedError, next_due
from canario.control.state import Phase
from canario.controller import CanaryDeploymentController
from canario.judges.verdict import Judge
from canario.metrics.in_flight import Seen
from canario.metrics.window import SlidingWindow
from canario.plan import Plan
from canario.spec import ARMS
from canario.stores import MemoryJournal
from canario_sim.streams import Flags, Floats, Ints
from canario_sim.tapes.recording import ABANDONED, Breaking, Gap, Given, Recording, Restart
from canario_sim.world.world import Note

from .aloft import Aloft
from .assign import Assignment, Routing
from .tape_block import Rows

__all__ = ["Replay"]

# A replay's rollback must not look like a live one in the host's log; see `world.world`.
_LOG = logging.getLogger("canario_sim")

# Checks that are planned ahead. What is planned is void as soon as the share changes.
_AHEAD = 256


@dataclass(frozen=True, slots=True)
class _Mark:
    """What stands between two requests: at the instant `key`, before `place` on the tape.

    `after` is the order among those that stand at one place.
    """

    key: float
    place: float
    after: float
    what: Breaking | Given | Gap | Restart


# What a replay comes to next, at one instant in this order.
_DUE, _MARK, _END = range(3)


class Replay:
    """One policy on one tape, from the rollout's start to its end or to the tape's.

    Args:
        recording: The tape.
        plan: What the controller is to do.
        routing: Decides who serves each request.
        judge: Judges instead of the plan's own; it is this replay's alone.
        start: When the rollout starts; by default when the tape's did.
        end: When the replay ends, at the latest; by default with the tape.
        orders: Whether the operator's recorded orders are given again.
        watch: Called with the instant of each check.

    Attributes:
        controller: The controller, whose events tell what it decided.
        notes: Orders that were refused.
        cut: Arrival of the first request whose fate nobody can tell; inf for none.
        served: Arms × (requests, errors, slow, violations, bad) that were counted.
        assigned: What became of each request.
    """

    def __init__(
        self,
        recording: Recording,
        plan: Plan,
        routing: Routing,
        *,
        judge: Judge | None = None,
        start: float | None = None,
        end: float | None = None,
        orders: bool = True,
        watch: Callable[[float], object] | None = None,
    ) -> None:
        thresholds = plan.deployment.rollback_thresholds
        self.recording = recording
        self.notes: list[Note] = []
        self.cut = inf
        self.served: Ints = np.zeros((2, 5), np.int64)
        self.assigned = Assignment.as_recorded(recording)
        self._plan = plan
        self._routing = routing
        self._judge = judge
        self._start = recording.starts if start is None else start
        self._end = recording.ends if end is None else end
        self._watch = watch
        self._clock = ManualClock(self._start)
        self._now = self._start
        self._limit_ms = thresholds.max_p95_latency_ms
        self._width = SlidingWindow(thresholds.metric_window_seconds).slice_seconds
        self._weight: int | None = None
        self._taken: Flags = np.zeros(len(recording), np.bool_)
        self._key = _keys(recording)
        self._aloft = Aloft(recording, self.assigned, self._taken, thresholds, self._start)
        self._marks = _sorted(self._find_marks(orders=orders))
        self._strange: deque[_Mark] = deque()
        self._broke = {each.request: each for each in reversed(recording.broken)}
        self.controller = self._controller()

    @property
    def ended_at(self) -> float:
        """When the rollout ended; for one that did not, where the replay had to stop."""
        state = self.controller.state
        return self.controller.events[-1].at if state.phase.terminal else self._until

    @property
    def reached(self) -> Flags:
        """Which requests were sent to the canary before the end."""
        arrived = (self.recording.at >= self._start) & (self.recording.at < self.ended_at)
        reached: Flags = self.assigned.canary & arrived
        return reached

    @property
    def drawn(self) -> Ints:
        """Places of the requests whose fates stand in for those that were counted."""
        fate = self.assigned.fate
        drawn: Ints = fate[self._taken & (fate != np.arange(len(fate)))]
        return drawn

    def run(self) -> None:
        """Replay, once."""
        recording = self.recording
        if recording.restored:
            self._marks.popleft()
            if recording.plan == self._plan and self._judge is None:
                self._take_up(recording.events[: recording.restored], recording.restarts[0])
        self.controller.start()
        while not self._over:
            self._look_at_share()
            self._go_on()

    @property
    def _over(self) -> bool:
        phase = self.controller.state.phase
        if phase is Phase.COMPLETED and self._now < self._until:
            # An operator may have taken the finished release back.
            return not any(
                isinstance(mark.what, Given) and mark.what.order is Command.ABORT
                for mark in self._marks
            )
        return phase.terminal or self._now >= self._until

    @property
    def _until(self) -> float:
        return min(self._end, self.cut)

    # -- between two changes of the share

    def _look_at_share(self) -> None:
        weight = self.controller.router.weight
        if weight == self._weight:
            return
        self._weight = weight
        self.cut = self._routing.assign(self.assigned, weight, self._now)
        assigned, recording = self.assigned, self.recording
        own = assigned.fate == np.arange(len(recording))
        key = np.where(own, self._key, assigned.ended)
        # One that was given up has never ended: what is on the tape is when nobody waited any more.
        key[recording.flight[assigned.fate] == ABANDONED] = inf
        place = np.flatnonzero(~(self._taken | self._aloft.given_up))
        self._rows = Rows.of(
            recording, assigned, place, key[place], limit_ms=self._limit_ms, width=self._width
        )
        self._next = 0
        self._strange = _sorted(self._find_strange(np.flatnonzero(~self._taken & ~own)))

    def _go_on(self) -> None:
        """Up to the instant at which things go otherwise than planned."""
        agenda = self._agenda()
        rows = self._rows
        cuts = [self._next]
        for at, _, mark in agenda:
            after = rows.first_at(at) if mark is None else rows.first_after(at, mark.place)
            cuts.append(max(after, cuts[-1]))
        told, totals = rows.feeds(cuts)
        dues = deque(at for at, kind, _ in agenda if kind == _DUE)
        for number, (at, kind, mark) in enumerate(agenda):
            self.controller.observe_slices(told[number])
            self.served += totals[number]
            self._take(rows, self._next, cuts[number + 1])
            self._now = max(self._now, at)
            if mark is not None:
                self._meet(mark)
            elif kind == _DUE:
                dues.popleft()
                self._clock.now = at
                self.controller.tick()
                if self._watch is not None:
                    self._watch(at)
            # After the last check that was planned none is due before the end, unless a hold that
            # an order has moved ends there.
            due = self.controller.due
            if (
                (due != dues[0] if dues else due <= self._until)
                or self.controller.router.weight != self._weight
                or self.controller.state.phase.terminal
                or self._weight is None
            ):
                break

    def _take(self, rows: Rows, first: int, last: int) -> None:
        """Note that rows have been taken in."""
        self._next = last
        taken = rows.place[first:last]
        self._taken[taken] = True
        self._aloft.answered(taken, rows.counted[first:last])

    def look(self, at: float, *, settle: bool) -> Seen:
        """What is in flight: see `canario.control.open_requests.Flights`."""
        self._aloft.stage_began = self.controller.state.entered_at
        gone = int(np.count_nonzero(self._aloft.given_up))
        seen = self._aloft.look(at, settle=settle)
        for arm, of_arm in enumerate((seen.baseline, seen.canary)):
            n = of_arm.given_up
            self.served[arm] += [n.requests, n.errors, n.slow, 0, n.requests]
        if np.count_nonzero(self._aloft.given_up) > gone:
            self._weight = None  # what was planned for them is void
        return seen

    def _agenda(self) -> list[tuple[float, int, _Mark | None]]:
        """What comes next, if nothing changes the state: checks, marks, the end of the tape."""
        state, until = self.controller.state, self._until
        dues = [self.controller.due]
        # The end of a hold is likely to change the share: nothing is planned beyond it.
        last = state.ends_at if state.ends_at > self._now else inf
        while len(dues) < _AHEAD and dues[-1] < min(last, until):
            dues.append(next_due(self.controller.deployment, state, dues[-1]))
        agenda: list[tuple[float, int, _Mark | None]]
        agenda = [(due, _DUE, None) for due in dues if due <= until]
        ends = len(agenda) < len(dues)  # the tape does, before the next check
        upto = until if ends else dues[-1]
        agenda += [(mark.key, _MARK, mark) for mark in self._next_marks(upto)]
        agenda.sort(key=lambda item: item[:2])
        if ends:
            # What is taken in at the last instant of all is still on the tape.
            agenda.append((until if until < self._end else nextafter(until, inf), _END, None))
        return agenda

    def _next_marks(self, upto: float) -> Iterator[_Mark]:
        for marks in (self._marks, self._strange):
            for mark in marks:
                if mark.key > upto:
                    break
                yield mark

    # -- what stands between the requests

    def _meet(self, mark: _Mark) -> None:
        for marks in (self._marks, self._strange):
            if marks and marks[0] is mark:
                marks.popleft()
        match mark.what:
            case Breaking() as breaking:
                self._break(breaking)
            case Given() as given:
                self._obey(given)
            case Restart() as restart:
                self._now = self._clock.now = restart.at
                self._take_up(self.controller.events, restart)
            case Gap() as gap:
                self._now = self._clock.now = gap.at
                self._aloft.unwatched(gap.since, gap.at - gap.since)
                self.controller.unwatched(gap.since)

    def _break(self, breaking: Breaking) -> None:
        canary, request = breaking.canary, breaking.request
        if request >= 0:
            if self.assigned.fate[request] != request:
                return  # another one's fate took its place, and what that one broke
            canary = bool(self.assigned.canary[request])
        elif canary and not self.controller.router.weight:
            return
        self.controller.report_violation(ARMS[canary], breaking.violation, now=breaking.at)

    def _obey(self, given: Given) -> None:
        self._clock.now = given.at
        try:
            getattr(self.controller, given.order)()
        except CommandRefusedError as error:
            self.notes.append(Note(given.at, str(error)))

    def _take_up(self, past: Sequence[Event], restart: Restart) -> None:
        """A controller that takes the rollout up, as a process does that has begun anew."""
        self._aloft.restart(restart.at)
        watched = self.recording.watched_until(restart)
        self.controller = self._controller(MemoryJournal(past, watched))
        self.controller.start()

    def _controller(self, journal: MemoryJournal | None = None) -> CanaryDeploymentController:
        return CanaryDeploymentController(
            self._plan,
            clock=self._clock,
            journal=journal,
            judge=self._judge,
            log=_LOG,
            telemetry=False,
            flights=self,
        )

    def _find_marks(self, *, orders: bool) -> Iterator[_Mark]:
        """Broken contracts, orders, restarts and what nobody watched, each at its place."""
        recording = self.recording
        for number, breaking in enumerate(recording.broken):
            yield self._mark(breaking, breaking.position, number + 0.5, breaking.at)
        own = recording.plan == self._plan
        for given in recording.orders if orders else ():
            # An abort does not wait for the checks that are due: those that came to something
            # stand before it in the journal.
            at = given.known if own and given.order is Command.ABORT else given.at
            yield self._mark(given, given.position, given.broken, at)
        for restart in recording.restarts:
            # While no process was there, nobody has looked.
            known = recording.watched_until(restart)
            yield self._mark(restart, restart.position, restart.broken, known)
        for gap in recording.gaps:
            yield self._mark(gap, gap.position, gap.broken, gap.since)

    def _mark(
        self, what: Breaking | Given | Gap | Restart, position: int, after: float, at: float
    ) -> _Mark:
        before = float(self._key[position - 1]) if position else -inf
        return _Mark(max(before, at), position - 0.5, after, what)

    def _find_strange(self, place: Ints) -> Iterator[_Mark]:
        """What requests break in whose place another one stands that did."""
        recording, assigned = self.recording, self.assigned
        for row in place[recording.broke[assigned.fate[place]]].tolist():
            donor = int(assigned.fate[row])
            known = self._broke[donor]
            at = float(assigned.ended[row] + (known.at - recording.ended[donor]))
            own = Breaking(row, at, bool(assigned.canary[row]), known.violation)
            yield _Mark(at, row + 0.5, 0.0, own)


def _sorted(marks: Iterable[_Mark]) -> deque[_Mark]:
    return deque(sorted(marks, key=lambda mark: (mark.key, mark.place, mark.after)))


def _keys(recording: Recording) -> Floats:
    """The instants at which the rows are taken in: none is before what precedes it on the tape."""
    key = recording.ended.copy()
    marks = [(each.position, each.at) for each in recording.broken]
    marks += [(each.position, each.at) for each in recording.restarts]
    marks += [(each.position, each.at) for each in recording.orders]
    marks += [(each.position, each.at) for each in recording.gaps]
    for position, at in marks:
        if position < len(key):
            key[position] = max(key[position], at)
    return np.maximum.accumulate(key)
