"""The shell around the rollout: reads the clock, keeps the journal, tells who listens."""

from __future__ import annotations

import inspect
import logging
import os
import threading
import time
from collections import Counter
from collections.abc import AsyncIterable, Callable, Coroutine, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, overload

from msgspec import Struct, json
from msgspec.structs import replace

from .clock import Clock, ManualClock, system_clock
from .config import load_plan
from .control.events import Event, Held, RollbackReason, RolledBack, StageEntered, Started
from .control.in_flight import Flights
from .control.journal import dump_journal, parse_journal
from .control.machine import Command
from .control.rollout import MetricsSnapshot, Outcome, Rollout
from .control.state import Phase, State
from .control.violation import Violation
from .control.words import describe
from .judges.verdict import Judge
from .metrics.counts import Counts
from .metrics.histogram import DurationTotals
from .plan import Deployment, Plan
from .routing.bucket import key_bytes
from .routing.router import Arm, TrafficRouter
from .sinks.listeners import Listeners
from .sinks.otel import OpenTelemetryEvents

if TYPE_CHECKING:
    from .tape import Mark, TapeRecorder

__all__ = [
    "ArmTotals",
    "CanaryDeploymentController",
    "DeploymentResult",
    "JournalMismatchError",
    "create_canary_controller",
]

logger = logging.getLogger("canario")

Sink = Callable[[Event], object]
Request = tuple[str, float, bool, bool]

# What an exhausted generator of requests answers.
_END: Any = object()

# How long `execute_deployment` waits when its generator says that there is no request.
_IDLE_SECONDS = 0.05


class JournalMismatchError(ValueError):
    """A journal that belongs to another release or to another plan than the controller's."""


class DeploymentResult(Struct, frozen=True, kw_only=True):
    """How a rollout ended, or where it stands.

    `final_stage` names the last stage that was entered (`canary_5`, …, `full_rollout`);
    `stages_completed` those that were passed. `rollback_reason` is None unless the canary was
    withdrawn.
    """

    deployment_id: str
    success: bool
    phase: Phase
    final_stage: str | None
    rollback_reason: RollbackReason | None
    why: str | None
    stages_completed: tuple[str, ...]
    metrics_history: tuple[MetricsSnapshot, ...]


class ArmTotals(Struct, frozen=True):
    """Everything counted of one arm since the start; `restart` does not take it back.

    `duration` has the requests that were observed one by one with a latency.
    """

    counts: Counts
    duration: DurationTotals


class CanaryDeploymentController:
    """Guards one release: routes, records, judges and rolls back.

    Safe to use from many threads. Nothing begins before `start`, so a controller may be made
    before a server forks its workers.

    Args:
        plan: What to do; the documented defaults when left out.
        deployment_id: Names the release; needed unless the plan names it.
        clock: Gives the instant in seconds; by default a steady clock on the host's date.
        journal: File that the events are appended to. If it holds events already, the rollout
            is taken up from there.
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
        journal: str | os.PathLike[str] | None = None,
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
        self.router = TrafficRouter(deployment.routing.salt or name)
        self._rollout = Rollout(deployment, judge, flights)
        self._events: list[Event] = []
        self._counters: Counter[str] = Counter()
        self._without_key = 0  # requests since the stage began that could not be routed
        self._asked: tuple[str, ...] = ()  # where a key of theirs was looked for
        self._journal = None if journal is None else Path(journal)
        self._listeners = Listeners(
            sinks,
            first=self._log_event,
            deployment=deployment,
            on_error=partial(self.fault, "a sink"),
            on_drop=partial(self.count, "sink_dropped"),
            telemetry=telemetry,
        )
        self._telemetry = OpenTelemetryEvents() if telemetry else None
        self._tape: TapeRecorder | None = None
        self._lock = threading.Lock()
        self._told: set[str] = set()
        self._log = log

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
        return self._rollout.state

    @property
    def events(self) -> tuple[Event, ...]:
        """The journal so far."""
        with self._lock:
            return tuple(self._events)

    @property
    def metrics_history(self) -> tuple[MetricsSnapshot, ...]:
        """What the last checks saw, oldest first; at most 5,000 are kept."""
        with self._lock:
            return tuple(self._rollout.history)

    def counts(self, arm: Arm) -> Counts:
        """What the window holds of one arm now."""
        now = self.clock()
        with self._lock:
            return self._rollout.recorder.arm(arm).window.counts(now)

    def totals(self, arm: Arm) -> ArmTotals:
        """What was counted of one arm since the start."""
        with self._lock:
            metrics = self._rollout.recorder.arm(arm)
            return ArmTotals(metrics.total(), metrics.duration())

    @property
    def counters(self) -> Mapping[str, int]:
        """How often what is out of the ordinary happened: requests without a key, faults, …"""
        with self._lock:
            return dict(self._counters)

    @property
    def due(self) -> float:
        """The next instant at which the rollout has to be looked at; inf when there is none."""
        return self._rollout.due

    @property
    def sinks(self) -> tuple[Callable[[Any], object], ...]:
        """Whom it tells; those that count what they `dropped` say so."""
        return self._listeners.sinks

    def record_to(self, tape: TapeRecorder) -> None:
        """Have a tape record all that this controller is told; the same one again is nothing new.

        It is best done before `start`: a tape that begins later cannot give back the journal.
        Raises `ValueError` when another tape does it, or when `tape` records another controller.
        """
        with self._lock:
            if self._tape not in (None, tape):
                raise ValueError(f"{self!r} is recorded by {self._tape!r} already")
            if self._tape is None:
                tape.follow(self, self._events, self.clock())
                self._tape = tape

    # -- driving it

    def start(self) -> None:
        """Begin the rollout, or take it up from its journal. Calling it again changes nothing.

        Raises `JournalMismatchError` when the journal is another release's, `JournalError` when
        it is none, and `OSError` when it cannot be read or written.
        """
        with self._lock:
            if self._rollout.state.phase is not Phase.PENDING:
                return
            now = self.clock()
            past = self._read_journal()
            if self._tape is not None:
                self._tape.began(now, past)
            if past:
                events = self._rollout.restore(past, now)
                self._events += past
                self.router.share = self._rollout.state.share
            else:
                events = self._rollout.start(now)
            self._perform(events)
        self._listeners.flush()

    def tick(self) -> float:
        """Make the checks that are due. Returns the instant of the next one."""
        now = self.clock()
        if now >= self._rollout.due:
            self._drive(lambda: self._rollout.advance(now))
        return self._rollout.due

    def observe(
        self,
        arm: Arm,
        outcome: Outcome,
        latency_ms: float | None = None,
        *,
        now: float | None = None,
        mark: Mark | None = None,
    ) -> None:
        """Count one finished request of `arm`. Nothing is counted before `start`.

        Args:
            arm: Who served it.
            outcome: What it says about the service.
            latency_ms: How long it took; None keeps it out of the percentiles.
            now: When it ended; by default the present instant.
            mark: What a tape is to say of it beside that.
        """
        at = self.clock() if now is None else now
        with self._lock:
            rollout = self._rollout
            if rollout.state.phase is Phase.PENDING:
                return
            events = rollout.observe(at, arm, outcome, latency_ms)
            if events:
                self._perform(events)
            if self._tape is not None:
                # In the order of the lock, which is the one that decides.
                self._tape.observed(rollout.counts_at(at), arm, outcome, latency_ms, mark)
            if not events:
                return
        self._listeners.flush()

    def observe_counts(self, arm: Arm, counts: Counts, *, now: float) -> None:
        """Count many requests at once; see `Rollout.observe_counts` for when that is the same."""
        self._drive(lambda: self._rollout.observe_counts(now, arm, counts))

    def observe_slices(self, slices: Iterable[tuple[float, Arm, Counts]]) -> None:
        """`observe_counts` for several instants, in order: each an instant, an arm, its counts."""

        def step() -> list[Event]:
            observe = self._rollout.observe_counts
            return [event for now, arm, counts in slices for event in observe(now, arm, counts)]

        self._drive(step)

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
        told = Violation(message=violation) if isinstance(violation, str) else violation
        if self._telemetry is not None:
            try:
                self._telemetry.violation(told, at=at, arm=arm, deployment_id=self.deployment_id)
            except Exception as error:
                self.fault("telemetry", error)

        def step() -> list[Event]:
            events = self._rollout.violate(at, arm, told)
            if self._tape is not None:
                self._tape.violated(self._rollout.counts_at(at), arm, told, mark)
            return events

        self._drive(step)

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
        """Send everything to the baseline now, for good."""
        self._order(Command.ABORT)

    def restart(self) -> None:
        """Go back to the first stage and forget what was counted."""
        self._order(Command.RESTART)

    def count(self, what: str, times: int = 1) -> None:
        """Add `times` to the counter `what`."""
        with self._lock:
            self._counters[what] += times

    def count_without_key(self, what: str, asked: tuple[str, ...]) -> None:
        """Count a request that could not be routed, `no_key` or `refused_key`.

        A stage that is held says how many of its requests there were, and which sources of keys
        were `asked`.
        """
        with self._lock:
            self._counters[what] += 1
            self._without_key += 1
            self._asked = asked

    def warn(self, what: str) -> None:
        """Log once what an operator should know of how this release is set up."""
        with self._lock:
            first = what not in self._told
            self._told.add(what)
        if first:
            self._log.warning("%s: %s", self.deployment_id, what)

    def fault(self, where: str, error: BaseException) -> None:
        """Count an error inside canario, and log it the first time that its kind appears."""
        kind = f"{where}: {type(error).__name__}"
        with self._lock:
            self._counters["faults"] += 1
            first = kind not in self._told
            self._told.add(kind)
        if first:
            self._log.error(
                "canario failed in %s; requests are served all the same", kind, exc_info=error
            )

    # -- the documented way to run a rollout

    @overload
    def execute_deployment(
        self,
        request_generator: Callable[[], AsyncIterable[Request]],
        *,
        clock: Clock | None = None,
    ) -> Coroutine[Any, Any, DeploymentResult]: ...

    @overload
    def execute_deployment(
        self,
        request_generator: Callable[[], Request | Iterable[Request] | None],
        *,
        clock: Clock | None = None,
    ) -> DeploymentResult: ...

    def execute_deployment(
        self,
        request_generator: Callable[
            [], Request | Iterable[Request] | AsyncIterable[Request] | None
        ],
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
            Whatever `request_generator` raises; the rollout stays where it is.
        """
        if clock is not None:
            self.clock = clock
        if inspect.isasyncgenfunction(request_generator):
            return self._execute_async(request_generator())
        following = cast("Callable[[], Request | None]", request_generator)
        if inspect.isgeneratorfunction(request_generator):
            following = partial(next, request_generator(), _END)
        self.start()
        while not self.state.phase.terminal:
            before = self.clock()
            request = following()
            if request is _END:
                break
            if request is None:
                self._idle()
            else:
                self._execute_one(request, before)
        return self.result()

    async def _execute_async(self, requests: AsyncIterable[Request]) -> DeploymentResult:
        import asyncio  # costs 40 ms, and whoever awaits has paid them

        self.start()
        before = self.clock()
        if not self.state.phase.terminal:
            async for request in requests:
                self._execute_one(request, before)
                if self.state.phase.terminal:
                    break
                before = self.clock()
                # Let others run even when the generator never waits for anything.
                await asyncio.sleep(0)
        return self.result()

    def _execute_one(self, request: Request, before: float) -> None:
        request_id, latency_ms, success, contract_valid = request
        # The arm is what the generator was told: the share has not changed since.
        arm = self.router.route_request(request_id)
        clock = self.clock
        if isinstance(clock, ManualClock) and clock() == before:
            clock.advance(max(latency_ms, 1.0) / 1000)
        now = clock()
        mark = self._mark_of(request_id, before)
        outcome = Outcome.GOOD if success else Outcome.BAD
        self.observe(arm, outcome, latency_ms, now=now, mark=mark)
        if not contract_valid:
            # Without the id: it is what the user is routed by, and this goes into logs.
            self.report_violation(arm, "the request broke its contract", now=now, mark=mark)

    def _mark_of(self, request_id: str, at: float) -> Mark | None:
        if self._tape is None:
            return None
        return self._tape.mark(at, key_bytes(request_id))

    def _idle(self) -> None:
        if isinstance(self.clock, ManualClock):
            self.clock.advance(_IDLE_SECONDS)
        else:
            time.sleep(_IDLE_SECONDS)
        self.tick()

    def drain(self, timeout: float | None = None) -> bool:
        """Wait until the sinks have heard all there is; False when `timeout` (s) was too short."""
        return self._listeners.drain(timeout)

    # -- what came of it

    def result(self) -> DeploymentResult:
        """How the rollout ended, or where it stands."""
        with self._lock:
            state, events = self._rollout.state, tuple(self._events)
            history = tuple(self._rollout.history)
        stages = self.deployment.canary_stages
        begun = any(isinstance(event, StageEntered) for event in events)
        passed = len(stages) if state.phase is Phase.COMPLETED else state.stage
        end = events[-1] if state.phase.withdrawn else None
        return DeploymentResult(
            deployment_id=self.deployment_id,
            success=state.phase is Phase.COMPLETED,
            phase=state.phase,
            final_stage=stages[state.stage].name if begun else None,
            rollback_reason=state.reason,
            why=describe(end, self.deployment) if end else None,
            stages_completed=tuple(stage.name for stage in stages[:passed]),
            metrics_history=history,
        )

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

    def _order(self, order: Command) -> None:
        if order is not Command.ABORT:
            self.tick()
        self._drive(lambda: self._rollout.command(order, self.clock()), even_pending=True)

    def _drive(self, step: Callable[[], list[Event]], *, even_pending: bool = False) -> None:
        with self._lock:
            if self._rollout.state.phase is Phase.PENDING and not even_pending:
                return
            events = step()
            if not events:
                return
            self._perform(events)
        self._listeners.flush()

    def _perform(self, events: list[Event]) -> None:
        """Make events take effect; called with the lock held, so that their order is kept."""
        self.router.share = self._rollout.state.share
        events = [self._with_keys(event) for event in events]
        self._events += events
        if self._tape is not None:
            self._tape.told(events)
        if self._journal is not None and events:
            try:
                _append(self._journal, dump_journal(events))
            except OSError as error:
                # The rollout goes on in memory: a full disk must not keep a bad canary alive.
                self._counters["journal_failed"] += 1
                self._log.error("the journal %s cannot be written: %s", self._journal, error)
        self._listeners.queue(events)

    def _with_keys(self, event: Event) -> Event:
        """The event with what only the shell knows: whether requests could be routed at all."""
        if isinstance(event, StageEntered):
            self._without_key = 0
        elif isinstance(event, Held) and self._without_key:
            return replace(event, without_key=self._without_key, key_sources=self._asked)
        return event

    def _log_event(self, event: Event) -> None:
        level = logging.WARNING if isinstance(event, RolledBack) else logging.INFO
        self._log.log(level, "%s: %s", self.deployment_id, describe(event, self.deployment))

    def _read_journal(self) -> tuple[Event, ...]:
        if self._journal is None:
            return ()
        if not self._journal.exists():
            self._journal.parent.mkdir(parents=True, exist_ok=True)
            self._journal.touch()
            return ()
        journal = parse_journal(self._journal.read_bytes())
        if journal.truncated:
            self._log.warning(
                "%s ends in the middle of an event; the %d whole ones are used, %d bytes dropped",
                self._journal,
                len(journal.events),
                len(journal.truncated),
            )
            os.truncate(self._journal, journal.whole_bytes)
        self._match(journal.events)
        return journal.events

    def _match(self, events: tuple[Event, ...]) -> None:
        """Refuse a journal that was begun under another name or another plan."""
        for event in events:
            if isinstance(event, Started) and event.deployment != self.deployment:
                raise JournalMismatchError(
                    f"{self._journal} was begun by {event.deployment.deployment_id!r} under "
                    f"another plan than this of {self.deployment_id!r}; give this release a "
                    "journal of its own, or the plan that it was begun with"
                )


def _append(path: Path, lines: bytes) -> None:
    with path.open("ab") as file:
        file.write(lines)
        file.flush()
        os.fsync(file.fileno())


def create_canary_controller(
    deployment_id: str | None = None,
    *,
    canary_5_hold_seconds: float | None = None,
    canary_25_hold_seconds: float | None = None,
    full_rollout_hold_seconds: float | None = None,
    max_error_rate: float | None = None,
    max_p95_latency_ms: float | None = None,
    metric_window_seconds: float | None = None,
    min_samples: int | None = None,
    check_interval_seconds: float | None = None,
    config: str | os.PathLike[str] | None = None,
    environ: Mapping[str, str] | None = None,
    clock: Clock | None = None,
    journal: str | os.PathLike[str] | None = None,
    sinks: Iterable[Sink] = (),
) -> CanaryDeploymentController:
    """Make a controller; each value comes from its argument, else the environment, else the
    file, else the documented default.

    Args:
        deployment_id: Names the release. Two releases under one name reach the same users first.
        canary_5_hold_seconds: Seconds at 5 %; so are the next two at 25 % and 100 %.
        canary_25_hold_seconds: See above.
        full_rollout_hold_seconds: See above.
        max_error_rate: Roll back above this, in percent.
        max_p95_latency_ms: Roll back when the 95th percentile is above this.
        metric_window_seconds: Length of the window that is judged.
        min_samples: Requests in the window that a judgement takes.
        check_interval_seconds: Seconds between two checks.
        config: A plan file, TOML or JSON.
        environ: The environment, `os.environ` by default.
        clock: See `CanaryDeploymentController`, as for the rest.
        journal: See above.
        sinks: See above.

    Raises:
        ConfigError: When a value is wrong; it names where the value came from.
        ValueError: When nothing names the release.
    """
    holds = {5: canary_5_hold_seconds, 25: canary_25_hold_seconds, 100: full_rollout_hold_seconds}
    thresholds = {
        "max_error_rate": max_error_rate,
        "max_p95_latency_ms": max_p95_latency_ms,
        "metric_window_seconds": metric_window_seconds,
        "min_samples": min_samples,
        "check_interval_seconds": check_interval_seconds,
    }
    plan = load_plan(
        config,
        environ=os.environ if environ is None else environ,
        deployment_id=deployment_id,
        hold_seconds={share: hold for share, hold in holds.items() if hold is not None},
        thresholds={key: value for key, value in thresholds.items() if value is not None},
    )
    return CanaryDeploymentController(plan, clock=clock, journal=journal, sinks=sinks)
