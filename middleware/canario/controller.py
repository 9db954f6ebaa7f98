"""The shell around the rollout: reads the clock, keeps the journal, tells who listens."""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
import time
from collections import deque
from collections.abc import AsyncIterable, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, overload
from weakref import WeakMethod, WeakSet, finalize

from msgspec import json
from msgspec.structs import replace

from .arms import ARMS
from .clock import Clock, system_clock
from .control import machine
from .control.events import (
    Event,
    Held,
    RolledBack,
    StageEntered,
)
from .control.machine import Command, CommandRefusedError
from .control.open_requests import Flights, Request
from .control.recording import GOOD, Outcome, Recording
from .control.result import ArmTotals, DeploymentResult, result_of
from .control.rollout import MetricsSnapshot, Rollout, refuse_no_observation
from .control.state import Phase, State
from .control.violation import Violation
from .control.words import describe
from .execution import Fields, execute
from .host.fork import Forkable, renew_in_child
from .host.interrupts import pass_on
from .host.logger import guarded, information
from .host.notices import Notices
from .host.ticker import LONGEST_SECONDS, Pulse, Ticker
from .judges.verdict import Judge
from .limits import LATEST, duration_ms, refuse_arm, refuse_instant
from .metrics.counts import Counts
from .metrics.in_flight import InFlight
from .metrics.recorder import Recorder
from .past import JournalMismatchError, refuse_another, say_past
from .plan import Deployment, Plan
from .routing.bucket import key_bytes
from .routing.router import Arm, TrafficRouter
from .sinks.listeners import Listeners
from .sinks.otel import OpenTelemetryEvents
from .stores import JournalFile, JournalStore, SharedStore, StoreError, make_store

if TYPE_CHECKING:
    from .sharing import Presence, Worker
    from .tape import Mark, TapeRecorder

__all__ = [
    "CanaryDeploymentController",
    "JournalMismatchError",
]

logger = logging.getLogger("canario")

Sink = Callable[[Event], object]

_T = TypeVar("_T")

# A live rollout is looked at every second. When nobody has for so long, the process was stopped.
_UNWATCHED_SECONDS = 3.0

# How often it is kept that somebody watches: so much of a hold is served twice after a crash.
_NOTE_SECONDS = 15.0

# How long something waits: the end of the process for the journal, a fork for who holds the lock,
# and the collector for the journal of a controller that nobody has any more.
_EXIT_SECONDS = 5.0
_FORK_SECONDS = 1.0
_LEAVE_SECONDS = 1.0


class CanaryDeploymentController(Forkable):
    """Guards one release: routes, records, judges and rolls back.

    Safe to use from many threads, and from signal handlers, whose orders are obeyed as soon as
    the thread leaves what they interrupted. Nothing begins before `start`, so a controller may be
    made before a server forks its workers. On a live clock (`system_clock`, the default) a thread
    then makes the checks that are due while no request does.

    Args:
        plan: What to do; the documented defaults when left out.
        deployment_id: Names the release; needed unless the plan names it.
        clock: Gives the instant in seconds; by default a steady clock on the host's date.
        journal: File that the events are appended to, on a thread of its own. If it holds events
            already, the rollout is taken up from there. One process at a time can have it.
        store: Where all workers of the release share its rollout, and where it is kept:
            `sqlite:///release.db` for those of one host, or a `SharedStore`. Instead of a journal.
        sinks: Called with every event, after it took effect: those of `canario.sinks` and what
            is wrapped in `canario.sinks.inline` at once, others on a thread of their own. One
            that raises or hangs harms nothing; see `canario.sinks.listeners.Listeners`.
        judge: Judges the evidence; by default the plan's fixed thresholds.
        log: Where events and faults are logged; a rehearsal's must not look like a live one's.
        telemetry: Whether events and broken contracts are OpenTelemetry log events, too. A
            rehearsal's are not.
        flights: Tells at each check which requests are in flight; by default those that the
            middleware serves.
    """

    def __init__(
        self,
        plan: Plan | None = None,
        *,
        deployment_id: str | None = None,
        clock: Clock | None = None,
        journal: str | os.PathLike[str] | JournalStore | None = None,
        store: str | SharedStore | None = None,
        sinks: Iterable[Sink] = (),
        judge: Judge | None = None,
        log: logging.Logger = logger,
        telemetry: bool = True,
        flights: Flights | None = None,
    ) -> None:
        plan = plan or Plan()
        name = deployment_id or plan.deployment.deployment_id
        if not name:
            raise ValueError(
                "deployment_id is missing; name the release, in the plan or as an argument"
            )
        deployment = replace(plan.deployment, deployment_id=name)
        self.plan = replace(plan, deployment=deployment)
        self.deployment_id = name
        self.clock = clock or system_clock()
        self.router = TrafficRouter(deployment.routing_salt)
        # For others to read: no property, since each request asks what is due.
        self.rollout = Rollout(deployment, judge, flights)
        # Who is told of requests: the rollout, or this process's part of a shared one.
        self.recording: Recording = self.rollout
        self._events: list[Event] = []
        self._without_key = 0  # requests since the stage began that could not be routed
        self._asked: tuple[str, ...] = ()  # where a key of theirs was looked for
        # Weakly: whoever lets go of a controller ends its thread and its hold on the journal.
        self._journal = _journal(journal, on_error=_weakly(self._journal_failed), log=log)
        self._abandoned: deque[Request] = deque()
        self._listeners = Listeners(
            sinks,
            first=_weakly(self._log_event),
            deployment=deployment,
            on_error=_weakly(self._sink_failed),
            on_drop=_weakly(self._sink_dropped),
            telemetry=telemetry,
        )
        self._telemetry = OpenTelemetryEvents() if telemetry else None
        self._tape: TapeRecorder | None = None
        # Entered again by a signal handler of the thread that holds it, which must not wait for
        # itself; `_inside` then says that the rollout is in the midst of something, and what is
        # asked of it is done `_later`.
        self._lock = threading.RLock()
        self._inside = False
        self._later: deque[Callable[[], object]] = deque()
        self._log = guarded(log)
        self.notices = Notices(name, self._log)
        self._ticker = Ticker(self._look)
        self._pulse = Pulse(self._beat)
        self._beating: int | None = None  # in which process
        self._patience = inf  # how long nobody may look before time counts as unwatched
        self._seen = -inf  # when somebody last looked
        self._beaten = -inf  # until when the process has surely gone on since
        self._worked = 0.0  # how much CPU time the process had used by then, s
        self._note_due = inf
        self._worker: Worker | None = None
        # Where it stands what this process has in flight, for those who may have to bury it.
        self.presence: Presence | None = None
        # Where a worker of this host has marked that the canary is withdrawn: `withdrawn[0]`.
        self.withdrawn: bytes | memoryview = b"\0"
        self._diverged = 0
        if store is not None:
            self._worker = self._share_by(store, journal, judge)
        # From then on whoever comes first has to see whether time was lost.
        self.next_look = inf
        self._left: int | None = None  # the process whose rollout this one's was, before a fork
        if self._journal is not None:
            # Not at the end of the process: `_end` waits there, and the system unlocks the file.
            finalize(self, self._journal.close, _LEAVE_SECONDS).atexit = False
        _all.add(self)
        renew_in_child(self)

    def __repr__(self) -> str:
        state = self.state
        return (
            f"<CanaryDeploymentController {self.deployment_id!r} {state.phase} "
            f"stage={state.stage} share={state.share:g}>"
        )

    @property
    def deployment(self) -> Deployment:
        """The rollout part of the plan."""
        return self.plan.deployment

    @property
    def state(self) -> State:
        """Where the rollout stands."""
        return self.rollout.state

    @property
    def events(self) -> tuple[Event, ...]:
        """The journal so far."""
        with self._lock:
            if self._worker is not None:
                return tuple(self._worker.member.fold.journal)
            return tuple(self._events)

    @property
    def metrics_history(self) -> tuple[MetricsSnapshot, ...]:
        """What the last checks saw, oldest first; at most 5,000 are kept."""
        with self._lock:
            return tuple(self.rollout.history)

    def counts(self, arm: Arm) -> Counts:
        """What the window holds of one arm now."""
        now = self._log_time(self.clock())
        return self._read(lambda recorder: recorder.arm(arm).window.counts(now))

    def totals(self, arm: Arm) -> ArmTotals:
        """What was counted of one arm since the start."""

        def read(recorder: Recorder) -> ArmTotals:
            metrics = recorder.arm(arm)
            return ArmTotals(metrics.total(), metrics.duration())

        return self._read(read)

    @property
    def counters(self) -> Mapping[str, int]:
        """How often what is out of the ordinary happened: requests without a key, faults, …"""
        return self.notices.counters

    @property
    def due(self) -> float:
        """The next instant at which the rollout has to be looked at; inf when there is none."""
        return self.rollout.due

    @property
    def sinks(self) -> tuple[Callable[[Any], object], ...]:
        """Whom it tells; those that count what they `dropped` say so."""
        return self._listeners.sinks

    @property
    def keeps_journal(self) -> bool:
        """Whether the rollout is kept beyond the process."""
        return self._journal is not None or self._worker is not None

    def record_to(self, tape: TapeRecorder) -> None:
        """Have a tape record all that this controller is told; the same one again is nothing new.

        It is best done before `start`: a tape that begins later cannot give back the journal.
        Raises `ValueError` when another tape does it, or when `tape` records another controller.
        """
        if self._worker is not None:
            raise ValueError(
                "a tape records one process, and this rollout is shared by a store; record it "
                "where the controller has a journal, or none"
            )
        with self._lock:
            if self._tape not in (None, tape):
                raise ValueError(f"{self!r} is recorded by {self._tape!r} already")
            if self._tape is None:
                tape.follow(self, self._events, self.clock())
                self._tape = tape

    # -- driving it

    def start(self) -> None:
        """Begin the rollout, or take it up from its journal. Calling it again changes nothing.

        Raises `JournalError` when the journal cannot be used: `JournalMismatchError` when it is
        another release's, `JournalLockedError` when somebody else is writing it; and `OSError`
        when it cannot be read or written. Then nothing has begun, and nothing has changed.
        A store that cannot be reached raises nothing: it is logged, and tried again.
        """
        if self._worker is not None:
            self.next_look = inf
            try:
                self._worker.start()
            finally:
                self.presence = self._worker.presence
            return
        with self._lock:
            if self._inside:
                self._later.append(self.start)
                return
            if self.rollout.state.phase is Phase.PENDING:
                self._inside = True
                try:
                    now = self.clock()
                    events = self._take_up(now)
                    self._perform(events + self.rollout.start(now))
                    self._note(now)
                finally:
                    self._inside = False
            self._have_watched()
        self._go_on()

    def tick(self) -> float:
        """Make the checks that are due. Returns the instant of the next one."""
        now = self.clock()
        if self._worker is not None:
            if now >= self.next_look:
                self.start()  # in a forked child
            self._worker.tick()
            return self.recording.due
        # Not `now >= due`: what a clock gives that is none is to be refused, and not ignored.
        # Nor put off where somebody is at work: what is due stays due.
        if not now < self.rollout.due or now >= self.next_look or self._later:
            self._drive(lambda: self.rollout.advance(now), now, later=None)
        return self.rollout.due

    @property
    def admit(self) -> Callable[[Request], object]:
        """Called with each request that arrives and is to be watched from now on: `observe` with
        that request ends it."""
        return self.recording.open.add

    def observe(
        self,
        arm: Arm,
        outcome: Outcome,
        latency_ms: float | None = None,
        *,
        now: float | None = None,
        mark: Mark | None = None,
        request: Request | None = None,
    ) -> None:
        """Count one finished request of `arm`. Nothing is counted before `start`.

        Args:
            arm: Who served it.
            outcome: What it says about the service.
            latency_ms: How long it took, at most a day; None keeps it out of the percentiles.
            now: When it ended; by default the present instant.
            mark: What a tape is to say of it beside that.
            request: What `admit` was called with. If it was in flight for so long that it counts
                as abandoned, it is not counted again.

        Raises:
            ValueError: For what is no arm, a latency that is negative, infinite, NaN or longer
                than a day, or an instant that is none or makes more than 200,000 checks due.
            TypeError: For what is no outcome or no number.
        """
        at = self.clock() if now is None else now
        if request is None:  # else the middleware has measured, within what is valid
            if latency_ms.__class__ is not float and latency_ms is not None:
                latency_ms = duration_ms("latency_ms", latency_ms)
            # Here, since what is put off is to be refused now, and before anybody looks at it.
            refuse_no_observation(at, arm, outcome, latency_ms)
        elif (
            outcome is GOOD
            and latency_ms is not None
            and at < self.next_look
            and self._tape is None  # which records in the order of the lock
            and self.recording.count_good(at, arm, latency_ms, request)
        ):
            return
        with self._lock:
            rollout = self.rollout
            if self._inside:
                self._later.append(
                    partial(
                        self.observe, arm, outcome, latency_ms, now=at, mark=mark, request=request
                    )
                )
                return
            if self._worker is not None:
                self._worker.observe(at, arm, outcome, latency_ms, request)
                return
            if rollout.state.phase is Phase.PENDING:
                if request is not None:
                    rollout.open.discard(request)
                self._say_left()
                return
            self._inside = True
            try:
                told = at >= self.next_look and self._look_about(at)
                events = rollout.observe(at, arm, outcome, latency_ms, request)
                if rollout.open.given_up:
                    self._take_given_up()
                if events:
                    self._perform(events)
                if self._tape is not None and (request is None or request.abandoned_at is None):
                    # In the order of the lock, which is the one that decides.
                    self._tape.observed(rollout.counts_at(at), arm, outcome, latency_ms, mark)
            finally:
                self._inside = False
        if events or told or self._later or self._abandoned:
            self._go_on()

    @property
    def requests_in_flight(self) -> Sequence[Request]:
        """The requests that were admitted and have not ended."""
        return self.recording.open.requests()

    def in_flight(self, arm: Arm) -> InFlight:
        """What one arm has not finished now."""
        now = self._log_time(self.clock())
        with self._lock:
            seen = self.rollout.look(now)
        return (seen.canary if arm == "canary" else seen.baseline).in_flight

    def observe_counts(self, arm: Arm, counts: Counts, *, now: float) -> None:
        """Count many requests at once; see `Rollout.observe_counts` for when that is the same."""
        self._drive(
            partial(self._observe_counts, now, arm, counts),
            now,
            later=partial(self.observe_counts, arm, counts, now=now),
        )

    def observe_slices(self, slices: Iterable[tuple[float, Arm, Counts]]) -> None:
        """`observe_counts` for several instants, in order: each an instant, an arm, its counts."""

        def step() -> list[Event]:
            events: list[Event] = []
            try:
                for now, arm, counts in slices:
                    events += self._observe_counts(now, arm, counts)
            except BaseException:
                self._perform(events)  # those before it have been counted, and stay so
                raise
            return events

        self._drive(step, -inf, later=partial(self.observe_slices, slices))

    def _observe_counts(self, now: float, arm: Arm, counts: Counts) -> list[Event]:
        if self._worker is not None:
            self._worker.observe_counts(now, arm, counts)
            return []
        return self.rollout.observe_counts(now, arm, counts)

    def report_violation(
        self,
        arm: Arm,
        violation: Violation | str,
        *,
        now: float | None = None,
        mark: Mark | None = None,
    ) -> None:
        """Report that a response of `arm`, which was observed, broke its contract.

        On the canary this rolls back at once. `mark` is the response's request, for a tape.
        """
        at = self.clock() if now is None else now
        if arm not in ARMS:
            refuse_arm(arm)
        told = Violation(message=violation) if isinstance(violation, str) else violation
        if not isinstance(told, Violation):
            raise TypeError(f"violation is {violation!r}; it must be a Violation, or text")
        if self._telemetry is not None:
            try:
                self._telemetry.violation(told, at=at, arm=arm, deployment_id=self.deployment_id)
            except BaseException as error:
                pass_on(error)
                self.notices.fault("telemetry", error)

        def step() -> list[Event]:
            if self._worker is not None:
                self._worker.violate(at, arm, told)
                self.router.share = self._worker.share
                return []
            events = self.rollout.violate(at, arm, told)
            if self._tape is not None:
                self._tape.violated(self.rollout.counts_at(at), arm, told, mark)
            return events

        self._drive(step, at, later=lambda: self._drive(step, at, later=None))

    def unwatched(self, since: float) -> None:
        """Say that nobody has watched since the instant `since`: that time is not served.

        On a live clock the controller finds it out by itself.
        """
        now = self.clock()
        self._drive(
            lambda: self.rollout.unwatched(since, now),
            -inf,
            later=partial(self.unwatched, since),
        )

    def promote(self) -> None:
        """Send everything to the canary now. Raises `CommandRefusedError`, like all orders."""
        self._order(Command.PROMOTE)

    def pause(self) -> None:
        """Let the hold stand still. The canary is still watched, and rolled back if it is bad."""
        self._order(Command.PAUSE)

    def resume(self) -> None:
        """Let the hold run on."""
        self._order(Command.RESUME)

    def skip(self) -> None:
        """End the present stage now, unjudged."""
        self._order(Command.SKIP)

    def abort(self) -> None:
        """Send everything to the baseline now, for good, also after the promotion.

        Before `start` the journal is read first, so this raises what `start` does.
        """
        self._order(Command.ABORT)

    def restart(self) -> None:
        """Go back to the first stage and forget what was counted."""
        self._order(Command.RESTART)

    def count_without_key(self, what: str, asked: tuple[str, ...], times: int = 1) -> None:
        """Count `times` requests that could not be routed, `no_key` or `refused_key`.

        A stage that is held says how many of its requests there were, and which sources of keys
        were `asked`.
        """
        self.notices.count(what, times)
        with self._lock:
            self._without_key += times
            self._asked = asked

    # -- the documented way to run a rollout

    @overload
    def execute_deployment(
        self,
        request_generator: Callable[[], AsyncIterable[Fields]],
        *,
        clock: Clock | None = None,
    ) -> Coroutine[Any, Any, DeploymentResult]: ...

    @overload
    def execute_deployment(
        self,
        request_generator: Callable[[], Fields | Iterable[Fields] | None],
        *,
        clock: Clock | None = None,
    ) -> DeploymentResult: ...

    def execute_deployment(
        self,
        request_generator: Callable[[], Fields | Iterable[Fields] | AsyncIterable[Fields] | None],
        *,
        clock: Clock | None = None,
    ) -> DeploymentResult | Coroutine[Any, Any, DeploymentResult]:
        """Run the rollout on the requests that `request_generator` gives, to its end.

        Args:
            request_generator: A callable that handles one request and returns
                `(request_id, latency_ms, success, contract_valid)`, or None when there is no
                request just now; a generator function that yields such tuples; or an async
                generator function, and then the result is to be awaited. When a generator ends,
                so does the run, whatever the rollout's state.
            clock: Replaces the controller's clock. A `ManualClock` that the generator does not
                move is moved by each request's latency, so a long rollout takes milliseconds.

        Returns:
            The result; its `phase` tells a rollout that was left unfinished. No time is slept
            for a request; without one (None) the run waits a moment.

        Raises:
            BaseException: Whatever `request_generator` raises; the rollout stays where it is.
            ValueError: For a latency that is negative, infinite, NaN or longer than a day.
            TypeError: For a latency that is no number, or for what is neither true nor false.
        """
        if clock is not None:
            self.clock = clock
            self._know_clock(clock())
        return execute(self, request_generator, self._mark_of)

    def _mark_of(self, request_id: str, at: float) -> Mark | None:
        return None if self._tape is None else self._tape.mark(at, key_bytes(request_id))

    def drain(self, timeout: float | None = None) -> bool:
        """Wait until the sinks have heard all there is, and the journal is on the disk.

        False when `timeout` (s) was too short, or the journal cannot be written just now.
        """
        began = time.monotonic()
        if self._worker is not None:
            with suppress(StoreError):
                self._worker.turn()
        told = self._listeners.drain(timeout)
        if timeout is not None:
            timeout = max(0.0, began + timeout - time.monotonic())
        return self._keep(timeout) and told  # the journal also where a sink was too slow

    def close(self, timeout: float | None = _EXIT_SECONDS) -> bool:
        """`drain`, and let go of the journal: another controller may take the rollout up.

        The last thing to be done with a controller; what happens to it later is kept nowhere.
        """
        done = self.drain(timeout)
        self._ticker.stop()
        if self._worker is not None:
            self.presence = None  # before its file goes
            done = self._worker.leave() and done
        return (self._journal is None or self._journal.close(timeout)) and done

    # -- what came of it

    def result(self) -> DeploymentResult:
        """How the rollout ended, or where it stands."""
        with self._lock:
            state, events = self.rollout.state, self.events
            history = tuple(self.rollout.history)
        return result_of(self.deployment, state, events, history)

    def export_metrics(self, path: str | os.PathLike[str]) -> None:
        """Write the result, the events and the counters to `path` as JSON, with its folders."""
        result = self.result()
        document = {
            "result": result,
            "deployment": self.deployment,
            "events": self.events,
            "counters": self.counters,
        }
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(json.format(json.encode(document), indent=2) + b"\n")

    # -- inside

    def _read(self, read: Callable[[Recorder], _T]) -> _T:
        """What was counted, with all that waits; not with it in the midst of something."""
        with self._lock:
            recorder = self.rollout.recorder
            if self._inside:
                return read(recorder)
            self._inside = True
            try:
                recorder.settle()
                found = read(recorder)
            finally:
                self._inside = False
        if self._later:
            self._go_on()
        return found

    def _order(self, order: Command) -> None:
        if self._worker is not None:
            with self._lock:
                if self._inside:
                    self._later.append(partial(self._obey_later, order))
                    return
            self._worker.order(order)
            return
        if order is not Command.ABORT:  # which waits for no check, nor for a judge that fails
            self.tick()
        with self._lock:
            now = self.clock()
            if self._inside:
                # What it will find is not known yet; what is plainly not allowed is.
                machine.command(self.deployment, self.rollout.state, order, now)
                self._later.append(partial(self._obey_later, order))
                return
            self._inside = True
            try:
                events: list[Event] = []
                if order is Command.ABORT and self.rollout.state.phase is Phase.PENDING:
                    events = self._take_up(now)
                self._perform(events + self.rollout.command(order, now))
            finally:
                self._inside = False
        self._go_on()

    def _obey_later(self, order: Command) -> None:
        try:
            self._order(order)
        except CommandRefusedError as error:
            self.notices.count("order_refused")
            self._log.warning("%s: an order came too late: %s", self.deployment_id, error)

    def _drive(
        self,
        step: Callable[[], list[Event]],
        at: float,
        *,
        later: Callable[[], object] | None,
    ) -> None:
        """Do what may cause events, at the instant `at`; `later` where it cannot be done now."""
        if not at <= LATEST:
            refuse_instant(at)
        with self._lock:
            if self._inside:
                if later is not None:
                    self._later.append(later)
                return
            if self.rollout.state.phase is Phase.PENDING and self._worker is None:
                self._say_left()
                return
            self._inside = True
            try:
                told = at >= self.next_look and self._look_about(at)
                events = step()
                if self.recording.open.given_up:
                    self._take_given_up()
                if events:
                    self._perform(events)
            finally:
                self._inside = False
        if events or told or self._later or self._abandoned:
            self._go_on()

    def _go_on(self) -> None:
        """Without the lock: what was put off, and who is to be told."""
        while self._later:
            with suppress(IndexError):  # another thread was quicker
                self._later.popleft()()
        while self._abandoned:
            with suppress(IndexError):
                self._abandoned.popleft().given_up()
        self._listeners.flush()

    def _perform(self, events: list[Event]) -> None:
        """Make events take effect; called with the lock held, so that their order is kept.

        In memory, that is: nothing here waits for a disk, and a journal that cannot be written
        does not keep a bad canary alive.
        """
        # First: whatever fails below, nobody is sent to a canary that is judged bad.
        self.router.share = self.rollout.state.share
        if not events:
            return
        events = [self._with_keys(event) for event in events]
        self._events += events
        if self._tape is not None:
            self._tape.told(events)
        if self._journal is not None:
            try:
                self._journal.append(events)
            except Exception as error:  # a store of somebody's own, that shall not raise
                self._journal_failed(error, True)
        self._listeners.queue(events)

    def _take_given_up(self) -> None:
        """Take note of the requests that a check has given up, before what followed from it."""
        given_up = self.recording.open.given_up
        if self._tape is not None:
            for request in given_up:
                self._tape.given_up(request)
        self._abandoned.extend(given_up)
        given_up.clear()

    # -- shared with other workers

    def _share_by(self, store: str | SharedStore, journal: object, judge: Judge | None) -> Worker:
        if journal is not None:
            raise ValueError(
                "journal and store are both given; a store keeps the rollout as well, so leave "
                "the journal out"
            )
        from .sharing import Worker  # whoever does without it does not wait for its import

        worker = Worker(
            self.deployment,
            make_store(store),
            clock=self.clock,
            lock=self._lock,
            judge=judge,
            took_effect=_weakly(self._took_effect),
            all_told=_weakly(self._all_told),
            log=self._log,
        )
        self.rollout, self.recording = worker.rollout, worker.shard
        return worker

    def _log_time(self, now: float) -> float:
        """The instant that events and counts have: this process's own, or that of the log."""
        return now if self._worker is None else self._worker.log_time(now)

    def _took_effect(self) -> None:
        """After a turn of the worker: what it has read or decided is in force."""
        worker = self._worker
        if worker is None:  # it is just being made
            return
        with self._lock:
            # First: whatever fails below, nobody is sent to a canary that is judged bad.
            self.router.share = worker.share
            self.rollout = worker.rollout
            if worker.page is not None:
                self.withdrawn = worker.page.flag
            diverged = worker.member.fold.diverged
            if diverged > self._diverged:
                self.notices.count("diverged", diverged - self._diverged)
                self.notices.warn(
                    "another worker decides otherwise on the same evidence, as another version of "
                    "canario may; what it has decided holds"
                )
            self._diverged = diverged
            if self.recording.open.given_up:
                self._take_given_up()
            for news in worker.member.take_news():
                if not news.events:
                    continue
                if news.mine:
                    self._listeners.queue(news.events)
                    worker.telling.append(news.id)
                else:
                    # Sinks are told by who has decided; an operator reads any worker's log.
                    for event in news.events:
                        self._log_event(event)
        self._go_on()

    def _all_told(self) -> bool:
        return self._listeners.drain(0.0)

    def _with_keys(self, event: Event) -> Event:
        """The event with what only the shell knows: whether requests could be routed at all."""
        if isinstance(event, StageEntered):
            self._without_key = 0
        elif isinstance(event, Held) and self._without_key:
            return replace(event, without_key=self._without_key, key_sources=self._asked)
        return event

    # -- time, and who watches it

    def _know_clock(self, now: float) -> None:
        live = bool(getattr(self.clock, "live", False))
        self._patience = _UNWATCHED_SECONDS if live else inf
        self._look_again(now)

    def _look_again(self, at: float) -> None:
        self._seen = max(at, self._seen)
        self._beaten = self._seen
        self._worked = time.process_time()
        seen_due = inf if self._patience == inf else self._seen + LONGEST_SECONDS
        self.next_look = min(self._note_due, seen_due)

    def _have_watched(self) -> None:
        """Have a thread look after a live rollout. It is begun here, and after a fork anew."""
        if self._patience < inf and not self.rollout.state.phase.terminal:
            self._say_no_threads()
            if self._beating != os.getpid():
                self._beating = os.getpid()
                self._pulse.start()
            if self._ticker.start():
                return
            self._patience = inf  # the requests alone look at it, as often as they come

    def _say_no_threads(self) -> None:
        """uWSGI can be told that no thread but the one that serves ever runs between requests."""
        uwsgi = sys.modules.get("uwsgi")
        if uwsgi is not None and not getattr(uwsgi, "has_threads", True):
            self.notices.warn(
                "uWSGI runs this process without threads, so between two requests nobody looks at "
                "the rollout, time is not served and nothing is written: set enable-threads = true"
            )

    def _look(self) -> float | None:
        """On the ticker's thread: seconds until the next look."""
        due = self.tick()
        return None if self.rollout.state.phase.terminal else due - self.clock()

    def _look_about(self, at: float) -> bool:
        """With the lock held, about once a second: was time lost, is it to be kept that it was
        not? True when there is something to tell."""
        since = self._seen
        lost = at - since > self._patience
        if lost:  # which is known to the second
            since = max(since, self.rollout.open.last_sign(at), min(self._beaten, at))
            # What works was not stopped: an app may keep all other threads from running (a search
            # of `re` does), and the ticker with them. Its users have waited for that.
            since = min(since + max(time.process_time() - self._worked, 0.0), at)
            lost = at - since > self._patience
        events = self.rollout.unwatched(since, at) if lost else self.rollout.advance(at)
        self._perform(events)
        if self._journal is not None and at >= self._note_due:
            self._note(at)
        self._look_again(at)
        self._have_watched()
        return bool(events)

    def _beat(self) -> bool:
        """On a thread that no greenlet stops. After a gap it waits for somebody to look."""
        now = self.clock()
        if now - self._beaten <= self._patience:
            self._beaten = max(now, self._beaten)
        return not self.rollout.state.phase.terminal

    def _note(self, at: float) -> None:
        """Have it kept that the rollout was watched until `at`, and by whom."""
        if self._journal is not None:
            self._journal.watched(self.rollout.counts_at(at))
            self._note_due = inf if self.rollout.state.phase.terminal else at + _NOTE_SECONDS
            self._look_again(at)

    def _keep(self, timeout: float | None) -> bool:
        """Wait for the journal, which shall say up to where a hold was served."""
        if self._journal is None:
            return True
        with self._lock:
            if not self._inside and self.rollout.state.phase in (Phase.RUNNING, Phase.PAUSED):
                now = self.clock()
                self._note(now if now - self._seen <= self._patience else self._seen)
        return self._journal.drain(timeout)

    # -- forks

    def before_fork(self) -> None:
        # Between two decisions: a child that goes on without a journal goes on from a whole state.
        self._lock.acquire(timeout=_FORK_SECONDS)

    def after_fork_in_parent(self) -> None:
        with suppress(RuntimeError):  # it was not to be had
            self._lock.release()

    def after_fork_in_child(self) -> None:
        self._lock = threading.RLock()
        self._inside = False
        self._later.clear()
        self.recording.open.clear()  # the parent serves them
        if self._worker is not None:
            self._worker.after_fork_in_child(self._lock)
            self.rollout, self.recording = self._worker.rollout, self._worker.shard
            self.presence, self.withdrawn = None, b"\0"
            self.router.share = 0.0  # until it has read the store
            self.next_look = -inf  # whoever comes first begins
        if self._journal is not None and self.rollout.state.phase is not Phase.PENDING:
            # Of a rollout that is kept there is one. It may be taken up when the parent has gone.
            self._left = os.getppid()
            self.rollout.forget()
            self._events.clear()
            self.next_look = self._note_due = inf
            self._seen = -inf
            self.router.share = 0.0

    def _say_left(self) -> None:
        if self._left is None:
            return
        self._log.error(
            "%s: this process (%d) was forked from the one that keeps the rollout's journal (%d): "
            "here everything goes to the baseline and nothing is counted; start the controller "
            "after the fork, in the process that serves",
            self.deployment_id,
            os.getpid(),
            self._left,
        )
        self._left = None

    # -- the journal, and who is told

    def _log_event(self, event: Event) -> None:
        log = self._log.warning if isinstance(event, RolledBack) else information(self._log).info
        log("%s: %s", self.deployment_id, describe(event, self.deployment))

    def _sink_failed(self, error: BaseException) -> None:
        self.notices.fault("a sink", error)

    def _sink_dropped(self) -> None:
        self.notices.count("sink_dropped")

    def _journal_failed(self, error: Exception, first: bool) -> None:
        self.notices.count("journal_failed")
        if first:
            self._log.error(
                "the journal of %s cannot be written: %s; the rollout goes on in memory, and it "
                "is tried again until it succeeds",
                self.deployment_id,
                error,
            )

    def _take_up(self, now: float) -> list[Event]:
        """Claim the journal, and go on with what it holds. What it raises changes nothing."""
        past: tuple[Event, ...] = ()
        events: list[Event] = []
        if self._journal is not None:
            journal = self._journal.open(partial(refuse_another, self.deployment))
            past = journal.events
            events = self.rollout.restore(past, now, since=journal.watched)
        self._left = None
        if self._tape is not None:
            self._tape.began(now, past)
        self._events += past
        self._know_clock(now)
        if past:
            say_past(self.deployment, self.rollout.state, (*past, *events), self._log)
        return events


_all: WeakSet[CanaryDeploymentController] = WeakSet()


@atexit.register
def _end() -> None:
    """At the end of the process: what is known is on the disk."""
    until = time.monotonic() + _EXIT_SECONDS
    for controller in list(_all):
        with suppress(Exception):
            if controller._worker is not None:
                controller.presence = None
                controller._worker.leave()  # or the others would wait for it
            controller._keep(max(0.0, until - time.monotonic()))


def _journal(
    given: str | os.PathLike[str] | JournalStore | None,
    *,
    on_error: Callable[[Exception, bool], object],
    log: logging.Logger,
) -> JournalStore | None:
    if isinstance(given, str | os.PathLike):
        return JournalFile(given, on_error=on_error, log=log)
    if given is not None and not hasattr(given, "append"):
        raise TypeError(f"journal is {given!r}; it must be a path, or a store of journals")
    return given


def _weakly(method: Callable[..., object]) -> Callable[..., object]:
    """Calls a method for as long as there is somebody whose it is."""
    present = WeakMethod(method)

    def call(*args: object) -> object:
        found = present()
        return None if found is None else found(*args)

    return call
