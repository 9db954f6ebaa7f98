"""A rollout in motion: the recorder and the state machine, driven by explicit instants.

Live traffic and a simulation drive the same object. It is deterministic: the events depend on
the observations, the orders and their instants, and not on who calls `advance` or how often.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from math import inf
from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from canario.judges.make import make_judge
from canario.judges.verdict import (
    Evidence,
    Judge,
    RememberingJudge,
    Trigger,
    Verdict,
    VerdictKind,
)
from canario.limits import (
    LATEST,
    LONGEST_MS,
    MOST,
    MOST_CHECKS_AT_ONCE,
    refuse_arm,
    refuse_counts,
    refuse_instant,
    refuse_numbers,
    refuse_outcome,
)
from canario.metrics.counts import Counts
from canario.metrics.in_flight import InFlight, Seen
from canario.metrics.recorder import ArmMetrics, Recorder, RecorderMemory
from canario.metrics.tally import Tally
from canario.plan import Deployment
from canario.routing.router import Arm

from . import machine
from .events import Aborted, Event, Restarted, RolledBack, StageEntered
from .open_requests import Flights, OpenRequests, Request
from .recording import GOOD, Outcome, Recording
from .state import Era, Phase, State, apply, replay
from .violation import Violation

__all__ = [
    "GOOD",
    "ArmSnapshot",
    "MetricsSnapshot",
    "Outcome",
    "Rollout",
    "RolloutMemory",
    "refuse_no_observation",
]

# Checks that `history` keeps: seven hours at the default interval.
HISTORY = 5000

NONE_LATEST: dict[str, Violation] = {}


class ArmSnapshot(Struct, frozen=True, kw_only=True):
    """One arm's window at a check; latencies in ms, None where none is known.

    `in_flight` and `overdue` requests had not ended; those that nobody answered in time are
    `counts.abandoned`.
    """

    counts: Counts
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    in_flight: int = 0
    overdue: int = 0

    @property
    def error_rate(self) -> float | None:
        """Errors in percent of the requests, with those in flight; None when none has ended."""
        ended = self.counts.requests
        return 100 * self.counts.errors / (ended + self.in_flight) if ended else None

    @property
    def slow_rate(self) -> float | None:
        """Slow requests in percent of those timed, with those that are overdue; None of none."""
        timed = self.counts.timed + self.overdue
        return 100 * (self.counts.slow + self.overdue) / timed if timed else None


class MetricsSnapshot(Struct, frozen=True, kw_only=True):
    """What a check saw, and what it made of it."""

    at: float
    stage: int
    share: float
    verdict: VerdictKind
    baseline: ArmSnapshot
    canary: ArmSnapshot


class Crashes(NamedTuple):
    """How many workers have died while they served the canary, and the baseline alone."""

    canary: int
    baseline: int


class RolloutMemory(Struct, frozen=True, kw_only=True):
    """All that decides how a rollout goes on; what is in flight and `history` are not in it."""

    state: State
    cursor: float
    recorder: RecorderMemory
    judge: object
    latest: dict[str, Violation]
    crashes: Crashes


class Rollout(Recording):
    """One rollout under one plan.

    Every method takes the instant `now` (seconds) and returns the events that it caused, which
    have been applied to `state`. An instant before one already seen counts as that one.

    What is no arm, no count or no instant raises `ValueError` or `TypeError`, and so does an
    instant that is more than `limits.MOST_CHECKS_AT_ONCE` checks ahead; nothing is counted then.
    """

    __slots__ = (
        "_crashes",
        "_flights",
        "_given",
        "_judge",
        "_latest",
        "deployment",
        "history",
        "state",
    )

    def __init__(
        self, deployment: Deployment, judge: Judge | None = None, flights: Flights | None = None
    ) -> None:
        thresholds = deployment.rollback_thresholds
        self.deployment = deployment
        self.state = State()
        self.recorder: Recorder = Recorder(
            thresholds.metric_window_seconds, thresholds.max_p95_latency_ms, thresholds.tolerated
        )
        self.history: deque[MetricsSnapshot] = deque(maxlen=HISTORY)
        self._given = judge
        self._judge = judge or make_judge(deployment)
        super().__init__(OpenRequests(thresholds))
        self._flights: Flights = flights or self.open
        # The last violation of each tolerated contract, to be told when its budget is used up.
        self._latest: dict[str, Violation] = {}
        self._crashes = Crashes(0, 0)

    def start(self, now: float) -> list[Event]:
        """Enter the first stage. A rollout that has begun is left as it is."""
        if self.state.phase is not Phase.PENDING:
            return []
        if not -LATEST <= now <= LATEST:
            refuse_instant(now)
        self._cursor = now
        self._judge.begin()
        return self._apply(machine.start(self.deployment, now))

    def restore(
        self, events: Iterable[Event], now: float, *, since: float | None = None
    ) -> list[Event]:
        """Take up a rollout from its journal at the instant `now`.

        What was counted before is gone, so a stage must gather its samples anew, and it is not
        judged at once. Its hold goes on where it stood at `since`, when it was last watched: an
        instant of the clock before, by default that of the last event. Returns what the journal
        still lacked.

        Raises `JournalError` when the events do not follow each other; nothing is changed then.
        """
        past = list(events)
        state = replay(self.deployment, past)
        if not past:
            return []
        self.state = state
        self._cursor = now
        self._judge.begin()
        missing = machine.complete(self.deployment, state, past[-1], now)
        # Whoever decided the last event has watched until then.
        since = past[-1].at if since is None else max(since, past[-1].at)
        # What is missing begins a stage now, or ends the rollout: there is no hold to go on with.
        return self._apply(missing or machine.take_up(state, since, now, restart=True))

    def unwatched(self, since: float, now: float) -> list[Event]:
        """Go on at `now` after a time in which nobody watched, though it passed.

        That time is not served, and of the checks that were due in it there is one, now: what
        those had seen would be old. Up to `since` everything is as ever.
        """
        events = self.advance(since)
        if now <= self._cursor:
            return events
        late = self.due <= now  # asked before the stage is moved, and what is due with it
        since = max(since, self._cursor)
        self.open.unwatched(since, now - since)
        self._cursor = now
        events += self._apply(machine.take_up(self.state, since, now))
        return events + self.check(now) if late else events

    def forget(self) -> None:
        """Be as if nothing had begun."""
        self.state = State()
        self.recorder.clear()
        self.history.clear()
        self.due = inf
        self._cursor = -inf
        self._latest.clear()

    def advance(self, now: float) -> list[Event]:
        """Make the checks that are due up to and including `now`, each at its own instant."""
        if not now < self.due:  # not `now >= due`: NaN is to be refused, too
            self._refuse_to_leap(now)
        events: list[Event] = []
        while self.due <= now:
            try:
                events += self.check(self.due)
            except BaseException:
                if not events:
                    raise
                return events  # they have taken effect; the check is due, and raises, once more
        if now > self._cursor:
            self._cursor = now
        return events

    def _refuse_to_leap(self, now: float) -> None:
        if not -LATEST <= now <= LATEST:
            refuse_instant(now)
        interval = self.deployment.rollback_thresholds.check_interval_seconds
        checks = (now - self.due) / interval
        if checks > MOST_CHECKS_AT_ONCE:
            raise ValueError(
                f"now is {now!r}, {checks:,.0f} checks (one every {interval:g} s) after the last "
                f"instant, {self._cursor:g}; it must be at most {MOST_CHECKS_AT_ONCE:,} "
                "checks ahead"
            )

    def observe(
        self,
        now: float,
        arm: Arm,
        outcome: Outcome,
        latency_ms: float | None = None,
        request: Request | None = None,
    ) -> list[Event]:
        """Count one finished request. Without a latency it takes no part in the percentiles.

        `request` is the one in flight that has ended: checks that were due come first, and for
        them it was in flight. One that was given up has been counted, and is not again.
        Whoever counts what others have measured asks `refuse_no_observation` first.
        """
        self.recorder.settle()
        events = self.advance(now) if now >= self.due else []
        if now < self._cursor:
            now = self._cursor
        if request is not None:
            # Whoever has left has heard no answer.
            self.open.close(request, now, answered=outcome is not Outcome.NEUTRAL)
            if request.abandoned_at is not None:
                return events
        metrics = self.recorder.canary if arm == "canary" else self.recorder.baseline
        if outcome is Outcome.NEUTRAL:
            metrics.window.add(now, 0, neutral=1)
        elif latency_ms is None:
            metrics.window.add(now, 1, outcome is Outcome.BAD)
        else:
            metrics.record(now, outcome is Outcome.BAD, latency_ms)
        return events

    def observe_counts(self, now: float, arm: Arm, counts: Counts) -> list[Event]:
        """Count many requests of one slice of the window at once.

        The outcome is that of observing them one by one when no check is due between the first
        and the last of them, they share a slice, and none broke a contract.
        """
        if arm != "canary" and arm != "baseline":
            refuse_arm(arm)
        if not -LATEST <= now <= LATEST:
            refuse_instant(now)
        if not (
            0 <= counts.requests <= MOST
            and 0 <= counts.errors <= MOST
            and 0 <= counts.timed <= MOST
            and 0 <= counts.slow <= MOST
            and 0 <= counts.violations <= MOST
            and 0 <= counts.neutral <= MOST
            and 0 <= counts.abandoned <= MOST
        ):
            refuse_counts(counts)
        self.recorder.settle()
        events = self.advance(now) if now >= self.due else []
        self.recorder.arm(arm).window.add(
            max(now, self._cursor),
            counts.requests,
            counts.errors,
            counts.timed,
            counts.slow,
            counts.violations,
            counts.neutral,
            counts.abandoned,
        )
        return events

    def violate(self, now: float, arm: Arm, violation: Violation) -> list[Event]:
        """Count a broken contract of a request that was observed; the canary is judged at once.

        Where the contract has a budget that is not used up, nothing follows.
        """
        if arm != "canary" and arm != "baseline":
            refuse_arm(arm)
        if not -LATEST <= now <= LATEST:
            refuse_instant(now)
        self.recorder.settle()
        events = self.advance(now) if now >= self.due else []
        return events + self.broken(now, arm, violation)

    def broken(self, now: float, arm: Arm, violation: Violation) -> list[Event]:
        """`violate`, but no check is made that was due: whoever shares the rollout says when."""
        now = self.counts_at(now)
        tolerated = self.recorder.broke(arm, violation.contract, now)
        if arm != "canary" or self.state.phase not in (Phase.RUNNING, Phase.PAUSED):
            return []
        if tolerated:
            self._latest[violation.contract] = violation
        # Nobody is given up here: that depends on the instants of the checks, and on nothing else.
        seen = self.look(now)
        evidence = self._evidence(now, seen)
        verdict = self._judge.broken(evidence)
        return [] if verdict is None else self._follow(verdict, evidence, violation)

    # -- where several share it: counted by each, decided for all

    def count(self, at: float, arm: Arm, tally: Tally, era: Era) -> None:
        """Count what somebody has counted in `era`, as of the instant `at`; no check is made.

        Of a stage that is over it counts in the window and in the totals, and of before a restart
        in the totals alone.
        """
        self.recorder.settle()
        now = self.state.era
        if era.restarts < now.restarts:
            self.recorder.arm(arm).count_before(tally)
        else:
            at = self.counts_at(at)
            self.recorder.count(arm, at, tally, stage_before=era.stage < now.stage)

    def check(
        self,
        at: float,
        *,
        since: float | None = None,
        unheard: int = 0,
        latest: Mapping[str, Violation] = NONE_LATEST,
    ) -> list[Event]:
        """Make one check at `at`, whatever else was due.

        `since` is when somebody last watched, where that is too long ago: the time from then on is
        not served. So many of those who serve the release are `unheard`. `latest` are violations
        of contracts with a budget that others have counted: of each contract one.
        """
        at = self._cursor = self.counts_at(at)
        self._latest.update(latest)
        events = []
        if since is not None:
            events = self._apply(machine.take_up(self.state, min(since, at), at))
        return events + self._check(at, unheard)

    def crash(self, at: float, *, baseline: int, canary: int) -> list[Event]:
        """A worker has died, and left so many requests of either arm unanswered.

        Each is an error of its arm. Where one of them was the canary's it may have been that which
        killed the worker; enough such deaths convict it, unless the baseline kills workers too.
        """
        at = self._cursor = self.counts_at(at)
        self.recorder.settle()
        for metrics, n in (
            (self.recorder.baseline, baseline),
            (self.recorder.canary, canary),
        ):
            metrics.window.add(at, n, n)
        if self.state.phase not in (Phase.RUNNING, Phase.PAUSED):
            return []
        if canary:
            self._crashes = Crashes(self._crashes.canary + 1, self._crashes.baseline)
        elif baseline:
            self._crashes = Crashes(self._crashes.canary, self._crashes.baseline + 1)
        limit = self.deployment.rollback_thresholds.rollback_after_crashes
        deaths = self._crashes.canary
        if not canary or deaths < limit or self._crashes.baseline:
            return []
        verdict = Verdict(
            kind=VerdictKind.UNHEALTHY,
            trigger=Trigger.CRASHED,
            observed=deaths,
            limit=limit,
            samples=deaths,
            needed=limit,
            why=f"{deaths} worker{'s'[: deaths > 1]} died while they served the canary, and none "
            "that served the baseline alone",
        )
        return self._follow(verdict, self._evidence(at, self.look(at)))

    def withdraw(self, event: RolledBack | Aborted) -> list[Event]:
        """Withdraw the canary as somebody else has decided, also of a rollout that is completed.
        One that is withdrawn is left as it is."""
        if self.state.phase.withdrawn:
            return []
        at = self._cursor = self.counts_at(event.at)
        self.recorder.settle()
        return self._apply([replace(event, at=at, stage=self.state.stage)])

    def follow(self, told: Sequence[Event], step: Callable[[], object]) -> bool:
        """Do a `step` that another one has done, and which led there to the events `told`.

        These take effect, so that all who share a rollout go on from one state; what is counted
        and remembered is this one's own. False when this one would have decided otherwise, as
        another version of canario may.
        """
        state, marks = self.state, self.recorder.marks()
        try:
            decided = step()
        except machine.CommandRefusedError:
            decided = []
        if decided == list(told):
            return True
        self.state = state
        self.recorder.mark(marks)
        self._apply(list(told))
        return False

    def trial(self) -> Rollout:
        """Another one that stands where this one does, to see what a step would lead to. It has
        no history."""
        other = Rollout(self.deployment, deepcopy(self._given), self._flights)
        other.recall(self.memory())
        return other

    def never_ends(self) -> None:
        """Have the present stage go on for ever: whoever judges alone may withdraw, and no more."""
        self.state = replace(self.state, ends_at=inf, held_at=None)
        self.due = machine.next_due(self.deployment, self.state, self._cursor)

    def memory(self) -> RolloutMemory:
        """What `recall` takes up again, of a judge that can tell what it remembers.

        Raises `TypeError` for one that cannot.
        """
        judge = self._judge
        if not isinstance(judge, RememberingJudge):
            raise TypeError(
                f"judge is {judge!r}; where a rollout is shared or outlives its process it must "
                "have memory() and recall(memory), see canario.judges.verdict.RememberingJudge"
            )
        return RolloutMemory(
            state=self.state,
            cursor=self._cursor,
            recorder=self.recorder.memory(),
            judge=judge.memory(),
            latest=dict(self._latest),
            crashes=self._crashes,
        )

    def recall(self, memory: RolloutMemory) -> None:
        """Go on where another rollout of the same plan stood; this one must be new."""
        judge = self._judge
        assert isinstance(judge, RememberingJudge)  # or there would be no memory
        judge.recall(memory.judge)
        self.state = memory.state
        self._cursor = memory.cursor
        self.recorder.recall(memory.recorder)
        self._latest = dict(memory.latest)
        self._crashes = memory.crashes
        self.due = machine.next_due(self.deployment, self.state, self._cursor)

    def command(self, order: machine.Command, now: float) -> list[Event]:
        """Obey an operator. Raises `CommandRefusedError` when the state does not allow it.

        Whoever passes an order on calls `advance` first, so that the checks that were due come
        before it; not before an abort, which nothing precedes.
        """
        now = self._cursor = max(now, self._cursor)
        self.recorder.settle()
        return self._apply(machine.command(self.deployment, self.state, order, now))

    def look(self, now: float) -> Seen:
        """What is in flight, for whoever wants to know it between checks."""
        return self._look(now, settle=False)

    def _look(self, at: float, *, settle: bool) -> Seen:
        # At each look, since a stage is moved when nobody has watched it.
        self.open.stage_began = self.state.entered_at
        return self._flights.look(at, settle=settle)

    def _check(self, at: float, unheard: int = 0) -> list[Event]:
        self.recorder.settle()
        seen = self._look(at, settle=True)
        for arm, given_up in (
            (self.recorder.baseline, seen.baseline.given_up),
            (self.recorder.canary, seen.canary.given_up),
        ):
            if given_up.requests:
                arm.give_up(at, given_up)
        evidence = self._evidence(at, seen, unheard)
        over = machine.hold_is_over(self.state, at)
        verdict = self._judge.end_of_stage(evidence) if over else self._judge.check(evidence)
        return self._follow(verdict, evidence)

    def _follow(
        self, verdict: Verdict, evidence: Evidence, violation: Violation | None = None
    ) -> list[Event]:
        at = evidence.at
        self.history.append(self._snapshot(verdict.kind, evidence))
        # A budget is used up at a check, which no single response has caused: the last one is told.
        if violation is None and verdict.contract is not None:
            violation = self._latest.get(verdict.contract)
        return self._apply(machine.check(self.deployment, self.state, verdict, at, violation))

    def _snapshot(self, verdict: VerdictKind, evidence: Evidence) -> MetricsSnapshot:
        """Both arms' windows at a check, and what was in flight."""
        baseline, canary = self.recorder.baseline, self.recorder.canary
        at = evidence.at
        return MetricsSnapshot(
            at=at,
            stage=self.state.stage,
            share=self.state.share,
            verdict=verdict,
            baseline=_of_arm(baseline, at, evidence.baseline, evidence.baseline_in_flight),
            canary=_of_arm(canary, at, evidence.window, evidence.in_flight),
        )

    def _evidence(self, at: float, seen: Seen, unheard: int = 0) -> Evidence:
        recorder = self.recorder
        return Evidence(
            recorder.canary.window.counts(at),
            recorder.stage(),
            recorder.broken(at),
            recorder.broken_in_stage(),
            recorder.baseline.window.counts(at),
            recorder.canary.window.total(),
            recorder.baseline.window.total(),
            at,
            self.state.stage,
            seen.canary.in_flight,
            seen.baseline.in_flight,
            unheard,
        )

    def _apply(self, events: list[Event]) -> list[Event]:
        for event in events:
            self.state = apply(self.deployment, self.state, event)
            if isinstance(event, StageEntered):
                self.recorder.stage_begins()
            elif isinstance(event, Restarted):
                self.recorder.clear()
                self._judge.begin()
                self._latest.clear()
                self._crashes = Crashes(0, 0)
        # After the cursor, so that no check is made twice at one instant.
        self.due = machine.next_due(self.deployment, self.state, self._cursor)
        return events


def refuse_no_observation(now: float, arm: Arm, outcome: Outcome, latency_ms: float | None) -> None:
    """Raise `ValueError` or `TypeError` where one of these is none."""
    if arm != "canary" and arm != "baseline":
        refuse_arm(arm)
    if type(outcome) is not Outcome:
        refuse_outcome(outcome)
    try:
        fits = -LATEST <= now <= LATEST and (latency_ms is None or 0 <= latency_ms <= LONGEST_MS)
    except TypeError:
        fits = False
    if not fits:
        refuse_numbers(now, latency_ms)


def _of_arm(metrics: ArmMetrics, now: float, window: Counts, in_flight: InFlight) -> ArmSnapshot:
    p50, p95, p99 = metrics.quantiles(now, 0.5, 0.95, 0.99)
    return ArmSnapshot(
        counts=window,
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
        in_flight=in_flight.requests,
        overdue=in_flight.overdue,
    )
