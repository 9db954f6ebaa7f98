"""The carrier of a tape: its inputs in the order that they have there.

They are taken in at the instants that counted for the controller. Requests between two checks are
counted slice by slice of the controller's window, which is the same as one by one; broken
contracts, orders and restarts stand at their own places between them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import inf, nextafter

import numpy as np

from canario.arms import ARMS
from canario.control.machine import Command
from canario.metrics.in_flight import Seen
from canario.metrics.window import SlidingWindow
from canario.plan import Plan
from canario_sim.streams import Flags, Floats, Ints
from canario_sim.tapes.recording import ABANDONED, Breaking, Gap, Given, Recording, Restart
from canario_sim.world.carrier import (
    Act,
    Broken,
    Check,
    Ended,
    Feed,
    Left,
    Ordered,
    Outlook,
    Stretch,
    TakenUp,
    Unwatched,
)

from .aloft import Aloft
from .assign import Assignment, Routing
from .tape_block import Rows

__all__ = ["TapeCarrier", "flying"]

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


# What a tape comes to next, at one instant in this order.
_DUE, _MARK, _END = range(3)


@dataclass(frozen=True, slots=True)
class _Item:
    """What a tape comes to next: `told` and `served` are of the rows up to the one numbered
    `upto`."""

    at: float
    mark: _Mark | None
    told: list[Feed]
    served: Ints
    upto: int
    check: bool


class TapeCarrier:
    """See `Carrier`.

    Args:
        recording: The tape.
        routing: Decides who serves each request.
        plan: What the controller goes by.
        start: When the rollout starts.
        end: When nothing more is taken in, at the latest.
        orders: Whether the operator's recorded orders are given again.

    Attributes:
        recording: The tape.
        cut: Arrival of the first request whose fate nobody can tell; inf for none.
        served: See `Carrier`.
        assigned: What became of each request.
    """

    def __init__(
        self,
        recording: Recording,
        routing: Routing,
        plan: Plan,
        *,
        start: float,
        end: float,
        orders: bool = True,
    ) -> None:
        thresholds = plan.deployment.rollback_thresholds
        self.recording = recording
        self.cut = inf
        self.served: Ints = np.zeros((2, 5), np.int64)
        self.assigned = Assignment.as_recorded(recording)
        self._routing = routing
        self._start = start
        self._end = end
        self._limit_ms = thresholds.max_p95_latency_ms
        self._width = SlidingWindow(thresholds.metric_window_seconds).slice_seconds
        self._taken: Flags = np.zeros(len(recording), np.bool_)
        self._key = _keys(recording)
        self._aloft = Aloft(recording, self.assigned, self._taken, thresholds, start)
        own = recording.plan == plan
        self._marks = _sorted(self._find_marks(orders=orders, own=own))
        self._strange: deque[_Mark] = deque()
        self._broke = {each.request: each for each in reversed(recording.broken)}
        # What is planned is for one weight; None where it is void.
        self._weight: int | None = None
        self._dues: deque[float] = deque()
        self._agenda: deque[_Item] = deque()
        if recording.restored:
            self._marks.popleft()  # the rollout begins with it
        self._closed_at = inf

    @property
    def ends(self) -> float:
        """See `Carrier`."""
        return min(self._end, self.cut)

    @property
    def may_be_taken_back(self) -> bool:
        """See `Carrier`."""
        return any(
            isinstance(mark.what, Given) and mark.what.order is Command.ABORT
            for mark in self._marks
        )

    @property
    def exposed(self) -> Flags:
        """See `Carrier`."""
        recording = self.recording
        sent = self.assigned.canary & (recording.at >= self._start) & (recording.key >= 0)
        exposed = np.zeros(recording.users, np.bool_)
        exposed[recording.key[sent & (recording.at < self._closed_at)]] = True
        return exposed

    @property
    def left(self) -> tuple[Left, Left]:
        """See `Carrier`."""
        there = flying(self.recording.at, self.assigned.ended, self._closed_at)
        own = self.assigned.canary
        return Left(int(np.count_nonzero(there & ~own))), Left(int(np.count_nonzero(there & own)))

    @property
    def drawn(self) -> Ints:
        """Places of the requests whose fates stand in for those that were counted."""
        fate = self.assigned.fate
        drawn: Ints = fate[self._taken & (fate != np.arange(len(fate)))]
        return drawn

    def look(self, outlook: Outlook, at: float, *, settle: bool) -> Seen:
        """See `Carrier`."""
        gone = int(np.count_nonzero(self._aloft.given_up))
        seen = self._aloft.look(at, settle=settle, stage_began=outlook.state.entered_at)
        if np.count_nonzero(self._aloft.given_up) > gone:
            self._weight = None  # what was planned for them is void
        return seen

    def close(self, at: float) -> None:
        """See `Carrier`."""
        self._closed_at = at

    def feedback(self, end: float, limit_ms: float) -> None:
        """See `Carrier`."""

    def advance(self, outlook: Outlook, until: float) -> Stretch:
        """See `Carrier`."""
        told: list[Feed] = []
        while True:
            item = self._next(outlook, until)
            told += item.told
            self.served += item.served
            self._take(item.upto)
            act = self._act(item, outlook.weight)
            if act is not None:
                # Nothing happens while no process is there, or while nobody watches.
                later = isinstance(act, TakenUp | Unwatched) and act.at > item.at
                return Stretch(act.at if later else item.at, told, act)

    # -- between two changes of the share

    def _next(self, outlook: Outlook, until: float) -> _Item:
        """What comes next, as it was planned if things went as planned."""
        if outlook.weight != self._weight:
            self._route(outlook)
        # After the last check that was planned none is due before the end, unless a hold that an
        # order has moved ends there.
        as_planned = self._dues[0] == until if self._dues else until > self.ends
        if not (as_planned and self._agenda):
            self._plan(outlook)
        item = self._agenda.popleft()
        if item.check:
            self._dues.popleft()
        return item

    def _route(self, outlook: Outlook) -> None:
        """Send those that arrive from now on where the present share sends them."""
        self._weight = weight = outlook.weight
        self.cut = self._routing.assign(self.assigned, weight, outlook.now)
        assigned, recording = self.assigned, self.recording
        own = assigned.fate == np.arange(len(recording))
        key = np.where(own, self._key, assigned.ended)
        # One that was given up has never ended: what is on the tape is when nobody waited any more.
        key[recording.flight[assigned.fate] == ABANDONED] = inf
        place = np.flatnonzero(~(self._taken | self._aloft.given_up))
        self._rows = Rows.of(
            recording, assigned, place, key[place], limit_ms=self._limit_ms, width=self._width
        )
        self._row = 0
        self._strange = _sorted(self._find_strange(np.flatnonzero(~self._taken & ~own)))
        self._agenda.clear()

    def _plan(self, outlook: Outlook) -> None:
        """What comes next, if nothing changes the state: checks, marks, the end of the tape."""
        ends, rows = self.ends, self._rows
        instants = outlook.instants(ends, _AHEAD)
        self._dues = deque(due for due in instants if due <= ends)
        is_last = len(self._dues) < len(instants)  # the tape ends before the next check
        comes: list[tuple[float, int, _Mark | None]] = [(due, _DUE, None) for due in self._dues]
        upto = ends if is_last else instants[-1]
        comes += [(mark.key, _MARK, mark) for mark in self._next_marks(upto)]
        comes.sort(key=lambda each: each[:2])
        if is_last:
            # What is taken in at the last instant of all is still on the tape.
            comes.append((ends if ends < self._end else nextafter(ends, inf), _END, None))
        cuts = [self._row]
        for at, _, mark in comes:
            after = rows.first_at(at) if mark is None else rows.first_after(at, mark.place)
            cuts.append(max(after, cuts[-1]))
        told, served = rows.feeds(cuts)
        self._agenda = deque(
            _Item(at, mark, told[number], served[number], cuts[number + 1], kind == _DUE)
            for number, (at, kind, mark) in enumerate(comes)
        )

    def _next_marks(self, upto: float) -> Iterator[_Mark]:
        for marks in (self._marks, self._strange):
            for mark in marks:
                if mark.key > upto:
                    break
                yield mark

    def _take(self, upto: int) -> None:
        """Note that rows have been taken in."""
        taken = self._rows.place[self._row : upto]
        self._taken[taken] = True
        self._aloft.answered(taken, self._rows.counted[self._row : upto])
        self._row = upto

    # -- what stands between the requests

    def _act(self, item: _Item, weight: int) -> Act | None:
        """What is to be done where the tape has come to."""
        if item.mark is None:
            return Check(item.at) if item.check else Ended(item.at)
        for marks in (self._marks, self._strange):
            if marks and marks[0] is item.mark:
                marks.popleft()
        match item.mark.what:
            case Breaking() as breaking:
                return self._broken(breaking, weight)
            case Given(at=at, order=order):
                return Ordered(at, order)
            case Restart() as restart:
                self._aloft.restart(restart.at)
                return TakenUp(restart.at, self.recording.watched_until(restart))
            case Gap() as gap:
                self._aloft.unwatched(gap.since, gap.at - gap.since)
                return Unwatched(gap.at, gap.since)

    def _broken(self, breaking: Breaking, weight: int) -> Broken | None:
        canary, request = breaking.canary, breaking.request
        if request >= 0:
            if self.assigned.fate[request] != request:
                return None  # another one's fate took its place, and what that one broke
            canary = bool(self.assigned.canary[request])
        elif canary and not weight:
            return None
        return Broken(breaking.at, ARMS[canary], breaking.violation)

    def _find_marks(self, *, orders: bool, own: bool) -> Iterator[_Mark]:
        """Broken contracts, orders, restarts and what nobody watched, each at its place."""
        recording = self.recording
        for number, breaking in enumerate(recording.broken):
            yield self._mark(breaking, breaking.position, number + 0.5, breaking.at)
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


def flying(at: Floats, ended: Floats, instant: float) -> Flags:
    """What had arrived before an instant and ended after it."""
    there: Flags = (at < instant) & (ended > instant)
    return there


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
