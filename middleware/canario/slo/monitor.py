"""The monitor of service-level objectives: reads the clock, keeps the flows, tells of alerts."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from canario.alerts.alert import Alert, AlertState, AlertType, Condition
from canario.alerts.book import AlertBook, Silence
from canario.clock import Clock, system_clock
from canario.control.state import Phase
from canario.control.violation import Violation
from canario.host.fork import ForkSafeLock
from canario.host.logger import guarded
from canario.limits import LONGEST_MS, duration_ms, truth
from canario.metrics.flow import Point
from canario.metrics.histogram import BATCH
from canario.plan import Objectives
from canario.sinks.listeners import Listeners

from .baseline import Baseline, Comparison, read_baselines, write_baselines
from .burn import BurnRate, BurnWindows, ErrorBudget, scaled_windows
from .measured import Flow
from .rules import Example, conditions_of
from .status import FlowTotals, Limits, SLOStatus, judge
from .table import FlowTable

if TYPE_CHECKING:
    from canario.controller import CanaryDeploymentController

__all__ = ["SLOMonitor"]

logger = logging.getLogger("canario")

Sink = Callable[[Any], object]

_LONGEST_RECOVERY_MS = 365 * LONGEST_MS

# "bad" and None are no answers, though they are true or false.
_BOOL: frozenset[object] = frozenset({bool})


class SLOMonitor:
    """Records requests by flow, and tells how they stand against the objectives.

    Safe to use from many threads; nothing that was recorded is lost. Memory depends on the number
    of flows and not on the traffic. Nothing begins by itself: rules are evaluated when
    `evaluate_alert_rules` or `tick` is called.

    Args:
        objectives: The limits, the window and the samples that a judgement takes.
        clock: Gives the instant in seconds; by default a steady clock on the host's date.
        sinks: Called with every alert that begins to fire or is resolved, each on a thread of
            its own unless it is `inline`. One that raises or hangs harms nothing; see
            `canario.sinks.listeners.Listeners`.
        max_flows: Names of flows past so many are counted as the flow `other`; by default
            the objectives'.
        version: Of the service, for its baselines.
        book: The life of the alerts; by default one that fires at once.
        log: Where overflow and failing sinks are told.
        telemetry: Whether alerts are OpenTelemetry log events, too.
    """

    def __init__(
        self,
        objectives: Objectives | None = None,
        *,
        clock: Clock | None = None,
        sinks: Iterable[Sink] = (),
        max_flows: int | None = None,
        version: str | None = None,
        book: AlertBook | None = None,
        log: logging.Logger = logger,
        telemetry: bool = True,
    ) -> None:
        objectives = objectives or Objectives()
        if max_flows is not None:
            objectives = replace(objectives, max_flows=max_flows)
        self.objectives = objectives
        self.clock = clock or system_clock()
        self._version = version
        self._listeners = Listeners(sinks, on_error=self._sink_failed, telemetry=telemetry)
        self._limits = Limits(objectives)
        self._slow_ms = objectives.p95_latency_ms
        self._table = FlowTable(self._limits, log)
        self._flows = self._table.flows  # the fast path looks a flow up itself
        self._baselines: dict[str, Baseline] = {}
        self._stage: Callable[[], float | None] = _no_stage
        self._book = AlertBook() if book is None else book
        self._lock = ForkSafeLock()
        self._book_lock = ForkSafeLock()
        self._told: set[str] = set()
        self._log = guarded(log)
        self._due = self.clock() + objectives.evaluation_interval_seconds

    def __repr__(self) -> str:
        return f"<SLOMonitor {len(self._flows)} flows, {len(self.get_active_alerts())} alerts>"

    @property
    def flows(self) -> tuple[str, ...]:
        """The names of the flows, sorted."""
        return self._table.names()

    @property
    def overflowed(self) -> int:
        """How many records went to `other` because `max_flows` names were taken."""
        return self._table.overflowed

    @property
    def sinks(self) -> tuple[Callable[[Any], object], ...]:
        """Whom it tells; those that count what they `dropped` say so."""
        return self._listeners.sinks

    def drain(self, timeout: float | None = None) -> bool:
        """Wait until the sinks have heard all there is; False when `timeout` (s) was too short."""
        return self._listeners.drain(timeout)

    # -- recording

    def record_request(
        self,
        flow_name: str,
        success: bool,
        latency_ms: float | None,
        contract_valid: bool = True,
        *,
        trace_id: str | None = None,
    ) -> None:
        """Record one request of a flow.

        Args:
            flow_name: The flow; a new one is made.
            success: Whether it did not fail.
            latency_ms: How long it took; None keeps it out of the percentiles.
            contract_valid: Whether its response kept its contract.
            trace_id: 32 hex digits, kept as an example if the request was bad or slow.

        Raises:
            ValueError: For an empty or too long name, or a latency that is negative, infinite,
                NaN or longer than a day.
            TypeError: For a name that is no text, a latency that is none, or a `success` that is
                neither true nor false.
        """
        now = self.clock()
        # Nearly all requests go this way, without a lock: what is unusual is found out below.
        if (
            contract_valid
            and success.__class__ in _BOOL
            and contract_valid.__class__ in _BOOL
            and latency_ms.__class__ is float
            and 0.0 <= latency_ms <= LONGEST_MS
            and (trace_id is None or (success and latency_ms <= self._slow_ms))
        ):
            try:
                flow = self._flows[flow_name]
            except (KeyError, TypeError):
                pass
            else:
                if now < flow.ends:
                    waiting = flow.waiting if success else flow.failing
                    waiting.append(latency_ms)
                    if len(waiting) >= BATCH:
                        with flow.lock:
                            flow.settle(now)
                    return
        self._record(
            now,
            flow_name,
            truth("success", success),
            latency_ms,
            truth("contract_valid", contract_valid),
            trace_id,
        )

    def record_violation(self, flow_name: str, violation: Violation) -> None:
        """Record a broken contract of a request that was recorded as one that kept it."""
        now = self.clock()
        flow = self._table.take(flow_name, now)
        with flow.lock:
            flow.violate(now)
            flow.violation = now, violation
            if violation.trace_id is not None:
                flow.bad_example = Example(now, violation.trace_id)

    def record_recovery(self, flow_name: str, success: bool, recovery_time_ms: float) -> None:
        """Record how long it took from a fault until a flow worked again.

        With `success` False it did not, and the time is how long it was waited for; it counts as
        longer than the limit. Raises like `record_request`; a recovery may take a year.
        """
        time_ms = duration_ms("recovery_time_ms", recovery_time_ms, _LONGEST_RECOVERY_MS)
        success = truth("success", success)
        now = self.clock()
        flow = self._table.take(flow_name, now)
        with flow.lock:
            flow.recover(now, success, time_ms, self._limits)

    # -- how it stands

    def check_slo_status(self, flow_name: str) -> SLOStatus:
        """How a flow stands over the aggregation window. One never seen has no data."""
        now = self.clock()
        flow = self._table.look(flow_name, now)
        with flow.lock:
            measure = flow.measure(now, self._baselines.get(flow.name))
        return judge(measure, self._limits)

    def check_all_slos(self) -> dict[str, SLOStatus]:
        """How every flow stands, by name."""
        return {name: self.check_slo_status(name) for name in self.flows}

    def burn_rates(
        self, flow_name: str, *, stage_seconds: float | None = None
    ) -> tuple[BurnRate, ...]:
        """How fast the flow spends its error budget, by the four rules of the SRE workbook.

        `stage_seconds` scales the windows to a stage's length, as `during` does.
        """
        now = self.clock()
        flow = self._table.look(flow_name, now)
        with flow.lock:
            return flow.burn(now, self._windows(flow, stage_seconds), self._limits)

    def error_budget(self, flow_name: str) -> ErrorBudget:
        """What is left of the flow's error budget: of the last 30 days, or since the start."""
        now = self.clock()
        flow = self._table.look(flow_name, now)
        with flow.lock:
            return flow.budget(now, self._windows(flow, None)[0].long_seconds, self._limits)

    def during(self, stage_seconds: float | None) -> None:
        """Scale the windows of burn rates to a stage that is held so long; None: as they are.

        Raises `ValueError` when it is not more than 0.
        """
        scaled_windows(stage_seconds)
        self._stage = lambda: stage_seconds

    def follow(self, controller: CanaryDeploymentController) -> None:
        """From now on, `during` each stage of a rollout, by itself, as long as it goes on."""
        self._stage = partial(_hold_of, controller)

    def totals(self, flow_name: str) -> FlowTotals:
        """Everything counted of a flow since the start."""
        flow = self._table.look(flow_name, self.clock())
        with flow.lock:
            return flow.totals()

    def history(self, flow_name: str, seconds: float) -> list[Point]:
        """The last `seconds` of a flow, slice by slice, oldest first; up to 30 days are kept.

        Raises `ValueError` when `seconds` is not more than 0.
        """
        if not 0 < seconds < inf:
            raise ValueError(f"seconds is {seconds!r}; it must be finite and more than 0")
        now = self.clock()
        flow = self._table.seen(flow_name)
        if flow is None:
            return []
        with flow.lock:
            return flow.history(now, seconds)

    # -- baselines

    @property
    def baselines(self) -> Mapping[str, Baseline]:
        """The baselines by flow."""
        with self._lock:
            return dict(self._baselines)

    def set_baseline(self, flow_name: str) -> Baseline:
        """Take the window's p95 as what the flow is to be compared with from now on.

        Few samples are taken as well, but not compared with: see `compare_with_baseline`.

        Raises:
            ValueError: When the window holds no request that was timed.
        """
        now = self.clock()
        flow, p95 = self._table.seen(flow_name), None
        if flow is not None:
            with flow.lock:
                measure = flow.measure(now, None)
            p95 = measure.shown_p95(self._slow_ms)
        if flow is None or p95 is None:
            raise ValueError(
                f"flow {str(flow_name)!r} has no timed request in the last "
                f"{self.objectives.aggregation_window_seconds:g} s to take a baseline from"
            )
        made = Baseline(
            flow_name=flow.name,
            p95_latency_ms=p95,
            samples=measure.counts.timed,
            at=now,
            version=self._version,
        )
        with self._lock:
            self._baselines[flow.name] = made
        return made

    def compare_with_baseline(self, flow_name: str) -> Comparison:
        """How far the flow's p95 is above its baseline, or the reason why that is not told."""
        now = self.clock()
        flow = self._table.look(flow_name, now)
        with flow.lock:
            measure = flow.measure(now, self._baselines.get(flow.name))
        return measure.regression(self.objectives)

    def save_baselines(self, path: str | os.PathLike[str], version: str | None = None) -> None:
        """Write the baselines to a JSON file, with its folders.

        `version` is written where a baseline has none. Raises `OSError`.
        """
        made = {
            name: one if one.version else replace(one, version=version)
            for name, one in self.baselines.items()
        }
        write_baselines(path, made)

    def load_baselines(self, path: str | os.PathLike[str]) -> None:
        """Take the baselines of a file; those of other flows stay.

        Raises `ConfigError`, and then takes none of them.
        """
        read = read_baselines(path)
        with self._lock:
            self._baselines.update(read)

    # -- alerts

    def conditions(self, now: float | None = None) -> list[Condition]:
        """Every rule about every flow, as measured at `now`."""
        now = self.clock() if now is None else now
        made: list[Condition] = []
        for name in self.flows:
            flow = self._flows[name]
            with flow.lock:
                measure = flow.measure(now, self._baselines.get(name))
                burns = flow.burn(now, self._windows(flow, None), self._limits)
                examples = flow.examples(now, self.objectives.aggregation_window_seconds)
            made += conditions_of(measure, self._limits, burns, examples)
        return made

    def evaluate_alert_rules(self) -> list[Alert]:
        """Evaluate every rule now, and tell the sinks what changed.

        Returns the alerts that began to fire.
        """
        with self._book_lock:
            now = self.clock()
            self._due = now + self.objectives.evaluation_interval_seconds
            changed = self._book.update(self.conditions(now), now)
            self._listeners.queue(changed)
        self._listeners.flush()
        return [alert for alert in changed if alert.state is AlertState.FIRING]

    def tick(self) -> float:
        """Evaluate the rules if that is due. Returns the instant of the next evaluation."""
        if self.clock() >= self._due:
            self.evaluate_alert_rules()
        return self._due

    def get_active_alerts(self) -> list[Alert]:
        """The alerts that fire, critical ones first, then the oldest."""
        with self._book_lock:
            return self._book.active(self.clock())

    def alert_history(self) -> list[Alert]:
        """The alerts that were resolved, oldest first."""
        with self._book_lock:
            return self._book.history()

    def resolve_alert(self, alert_id: str) -> Alert:
        """End an alert by hand, and tell the sinks. Raises `UnknownAlertError`."""
        with self._book_lock:
            now = self.clock()
            ended = self._book.resolve(alert_id, now)
            self._listeners.queue(self._book.take(now))
        self._listeners.flush()
        return ended

    def acknowledge_alert(self, alert_id: str, by: str | None = None) -> Alert:
        """Note that somebody looks after an alert. Raises `UnknownAlertError`."""
        with self._book_lock:
            return self._book.acknowledge(alert_id, by, self.clock())

    def silence(
        self,
        seconds: float,
        *,
        alert_type: AlertType | None = None,
        flow_name: str | None = None,
        by: str | None = None,
    ) -> Silence:
        """Tell the sinks nothing of some alerts for `seconds`; None means every type, every flow.

        Raises `ValueError` when `seconds` is not more than 0, or for an unknown type.
        """
        if not 0 < seconds < inf:
            raise ValueError(f"seconds is {seconds!r}; it must be finite and more than 0")
        with self._book_lock:
            until = self.clock() + seconds
            return self._book.silence(until, alert_type=alert_type, flow_name=flow_name, by=by)

    def lift_silence(self, silence_id: int) -> None:
        """End a silence now. Raises `UnknownAlertError`."""
        with self._book_lock:
            self._book.lift(silence_id)

    # -- inside

    def _record(
        self,
        now: float,
        flow_name: str,
        success: bool,
        latency_ms: float | None,
        valid: bool,
        trace_id: str | None,
    ) -> None:
        latency = None if latency_ms is None else duration_ms("latency_ms", latency_ms)
        flow = self._table.take(flow_name, now)
        with flow.lock:
            flow.record(now, success, latency, valid)
            if trace_id is not None:
                if not (success and valid):
                    flow.bad_example = Example(now, trace_id)
                if latency is not None and latency > self._slow_ms:
                    flow.slow_example = Example(now, trace_id)

    def _windows(self, flow: Flow, stage_seconds: float | None) -> tuple[BurnWindows, ...]:
        stage = self._stage() if stage_seconds is None else stage_seconds
        return scaled_windows(stage, flow.slice_seconds(0))

    def _sink_failed(self, error: BaseException) -> None:
        """Log the first failure of each kind: a sink that is down fails with every alert."""
        kind = type(error).__name__
        with self._lock:
            first = kind not in self._told
            self._told.add(kind)
        if first:
            self._log.error("a sink of alerts failed (%s)", kind, exc_info=error)


def _no_stage() -> None:
    return None


def _hold_of(controller: CanaryDeploymentController) -> float | None:
    """How long the present stage is held; None without one, and for one that is not held."""
    state = controller.state
    if state.phase is Phase.PENDING or state.phase.terminal:
        return None
    return controller.deployment.canary_stages[state.stage].hold_seconds or None
