"""What is in flight at an instant of a tape, as `canario.control.open_requests` tells it live."""

from __future__ import annotations

from math import inf

import numpy as np

from canario.control.open_requests import patience
from canario.metrics.counts import NOTHING, Counts
from canario.metrics.in_flight import InFlight, Seen, SeenOfArm, abandoned
from canario.plan import RollbackThresholds
from canario_sim.streams import Flags, Floats, Ints
from canario_sim.tapes.recording import (
    ABANDONED,
    NEUTRAL,
    STREAM,
    TIMED,
    UNSEEN,
    UNTIMED,
    Recording,
)

from .assign import Assignment

__all__ = ["Aloft"]


class Aloft:
    """The requests of a tape that have arrived and have not been taken in.

    Args:
        recording: The tape.
        assigned: Who serves each request, and what becomes of it; read anew at each look.
        taken: Which requests have been taken in: who looks keeps it up.
        thresholds: What is slow, and how long nobody waits.
        start: Requests that arrived earlier are not seen.

    Attributes:
        given_up: Which requests were counted as failed while they were in flight.
    """

    def __init__(
        self,
        recording: Recording,
        assigned: Assignment,
        taken: Flags,
        thresholds: RollbackThresholds,
        start: float,
    ) -> None:
        self.given_up: Flags = np.zeros(len(recording), np.bool_)
        self._recording = recording
        # Since when each has waited: later than its arrival, where nobody watched in between.
        self._began = recording.at.copy()
        self._assigned = assigned
        self._taken = taken
        self._slow_ms = thresholds.max_p95_latency_ms
        self._after = _patience(recording, thresholds)
        self._lasting = _lasting(recording, thresholds)
        self._order = np.argsort(recording.at, kind="stable")
        self._arrivals = recording.at[self._order]
        self._next = int(np.searchsorted(self._arrivals, start, "left"))
        self._there: Ints = np.empty(0, np.int64)
        self._answered = [-inf, -inf]
        # What was in flight when the tape ended: never answered.
        after = patience(thresholds)
        self._never = [
            (each.at, int(each.canary), each.timed, after(each.route))
            for each in recording.unfinished
            if each.at >= start
        ]

    def answered(self, rows: Ints, instants: Floats) -> None:
        """Requests were taken in, each at its instant."""
        for arm in (0, 1):
            # Whoever left has heard no answer; a tape says nothing else of who is neutral.
            mine = (self._assigned.canary[rows] == (arm == 1)) & (
                self._recording.outcome[self._assigned.fate[rows]] != NEUTRAL
            )
            if mine.any():
                self._answered[arm] = max(self._answered[arm], float(instants[mine].max()))

    def restart(self, at: float) -> None:
        """Another process has begun: what the one before had in flight it knows nothing of."""
        self._there = self._there[self._recording.at[self._there] >= at]
        self._next = max(self._next, int(np.searchsorted(self._arrivals, at, "left")))
        self._answered = [-inf, -inf]

    def unwatched(self, since: float, seconds: float) -> None:
        """For so long nobody watched: who waited then has not waited meanwhile."""
        self._began[self._recording.at <= since] += seconds
        self._never = [
            (began + seconds if began <= since else began, arm, timed, after)
            for began, arm, timed, after in self._never
        ]
        self._answered = [answered + seconds for answered in self._answered]

    def look(self, at: float, *, settle: bool, stage_began: float) -> Seen:
        """See `canario.control.open_requests.Flights`."""
        upto = int(np.searchsorted(self._arrivals, at, "left"))
        if upto > self._next:
            self._there = np.concatenate([self._there, self._order[self._next : upto]])
            self._next = upto
        self._there = self._there[~(self._taken[self._there] | self.given_up[self._there])]
        there = self._there[self._recording.flight[self._assigned.fate[self._there]] != UNSEEN]
        given_up = [NOTHING, NOTHING]
        if settle:
            there = self._settle(there, at, given_up)
        baseline, canary = (
            SeenOfArm(self._in_flight(there, arm, at, stage_began), given_up[arm]) for arm in (0, 1)
        )
        return Seen(baseline, canary)

    def _settle(self, there: Ints, at: float, given_up: list[Counts]) -> Ints:
        """Give up whoever has waited for too long; returns the others."""
        recording, fate = self._recording, self._assigned.fate[there]
        waited = at - self._began[there]
        stands = (recording.flight[fate] == STREAM) & (self._first_at(there) < at)
        over = (waited > self._after[fate]) & (waited > 0) & ~self._lasting[fate] & ~stands
        lost = there[over]
        self.given_up[lost] = True
        timed = recording.flight[self._assigned.fate[lost]] != UNTIMED
        for row, is_timed in zip(lost.tolist(), timed.tolist(), strict=True):
            given_up[int(self._assigned.canary[row])] += abandoned(1, timed=is_timed)
        still = []
        for each in self._never:
            arrived, arm, is_timed, after = each
            if arrived < at and at - arrived > after:
                given_up[arm] += abandoned(1, timed=is_timed)
            else:
                still.append(each)
        self._never = still
        others: Ints = there[~over]
        return others

    def _in_flight(self, there: Ints, arm: int, at: float, stage_began: float) -> InFlight:
        recording = self._recording
        mine = there[self._assigned.canary[there] == (arm == 1)]
        arrived, first = self._began[mine], self._first_at(mine)
        flight = recording.flight[self._assigned.fate[mine]]
        stands = first < at
        standing = first[stands]
        answered = max(self._answered[arm], float(standing.max(initial=-inf)))
        waits = ~stands
        timed = flight != UNTIMED
        # Differences as they are measured live, to the bit.
        overdue = waits & timed & ((at - arrived) * 1000 > self._slow_ms)
        never = [each for each in self._never if each[1] == arm and each[0] < at]
        return InFlight(
            requests=int(np.count_nonzero(waits)) + len(never),
            overdue=int(np.count_nonzero(overdue))
            + sum(timed and (at - began) * 1000 > self._slow_ms for began, _, timed, _ in never),
            unanswered=int(np.count_nonzero(waits & (arrived > answered)))
            + sum(began > answered for began, *_ in never),
            standing=len(standing),
            standing_slow=int(
                np.count_nonzero((standing - arrived[stands]) * 1000 > self._slow_ms)
            ),
            standing_in_stage=int(np.count_nonzero(standing >= stage_began)),
        )

    def _first_at(self, rows: Ints) -> Floats:
        """When each of some requests sent its first message; inf for one that is no stream."""
        recording, fate = self._recording, self._assigned.fate[rows]
        first = self._began[rows] + recording.latency_ms[fate] / 1000
        found: Floats = np.where((recording.flight[fate] == STREAM) & ~np.isnan(first), first, inf)
        return found


def _by_route(recording: Recording, thresholds: RollbackThresholds) -> Floats:
    """How long each request may be in flight under a plan."""
    by_route = list(map(patience(thresholds), recording.routes))
    # The last place is where -1, no name, leads to.
    after: Floats = np.array([*by_route, thresholds.abandoned_after])[recording.route]
    return after


def _patience(recording: Recording, thresholds: RollbackThresholds) -> Floats:
    """How long each request may be in flight, by its route.

    Where the tape's own plan is judged again, one that was given up is given up when it was: it
    may have been longer, as of a body that went on for a while and then stalled.
    """
    after = _by_route(recording, thresholds)
    if recording.plan is not None and _alike(recording, thresholds):
        gone = recording.flight == ABANDONED
        silent = np.nextafter(recording.ended - _watched_from(recording), -inf)
        after[gone] = np.maximum(after[gone], silent[gone])
    return after


def _lasting(recording: Recording, thresholds: RollbackThresholds) -> Flags:
    """Requests that took longer than they may, and were not given up where it was recorded: their
    bodies went on, so nobody gives them up."""
    if recording.plan is None:
        return np.zeros(len(recording), np.bool_)
    own = recording.plan.deployment.rollback_thresholds
    after = _by_route(recording, own)
    lasting: Flags = (
        (recording.ended - _watched_from(recording) > after)
        & (recording.flight != ABANDONED)
        & ((recording.flight == TIMED) | (recording.flight == UNTIMED))
    )
    if _alike(recording, thresholds):
        lasting |= recording.flight != ABANDONED
    return lasting


def _watched_from(recording: Recording) -> Floats:
    """The arrivals, later by what nobody watched until the requests had ended."""
    began = recording.at.copy()
    for gap in recording.gaps:
        began[(recording.at <= gap.since) & (recording.ended >= gap.at)] += gap.at - gap.since
    return began


def _alike(recording: Recording, thresholds: RollbackThresholds) -> bool:
    """Whether whoever recorded gave requests up as this plan does."""
    assert recording.plan is not None
    own = recording.plan.deployment.rollback_thresholds
    return (own.abandoned_after, own.abandoned_after_by_route, own.check_interval_seconds) == (
        thresholds.abandoned_after,
        thresholds.abandoned_after_by_route,
        thresholds.check_interval_seconds,
    )
