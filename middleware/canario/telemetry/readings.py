"""What the metrics are worth now, read from the counts that exist anyway."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

from canario._version import __version__
from canario.arms import ARMS
from canario.control.state import Phase
from canario.judges.verdict import VerdictKind
from canario.metrics.histogram import DURATION_BOUNDS_SECONDS, DurationTotals
from canario.printable import printable
from canario.sinks import Beside

from .metrics import EVENTS, INCIDENTS, METRICS, Metric

if TYPE_CHECKING:
    from canario.controller import CanaryDeploymentController
    from canario.slo import SLOMonitor

__all__ = [
    "Reading",
    "buckets_of",
    "build_readings",
    "controller_readings",
    "monitor_readings",
    "sink_readings",
]

_BOUNDS = (*(repr(float(bound)) for bound in DURATION_BOUNDS_SECONDS), "+Inf")


class Reading(NamedTuple):
    """One series of a metric, with the values of its labels in the metric's order.

    The value of a metric of the kind `states` tells for each state whether it is the present one.
    """

    metric: Metric
    labels: tuple[str, ...]
    value: float | DurationTotals | Mapping[str, bool]


def _reading(
    name: str, value: float | DurationTotals | Mapping[str, bool], *labels: str
) -> Reading:
    return Reading(METRICS[name], tuple(map(printable, labels)), value)


def buckets_of(totals: DurationTotals) -> Iterator[tuple[str, int]]:
    """Each boundary as Prometheus writes it, and how many durations are not above it."""
    return zip(_BOUNDS, accumulate(totals.buckets), strict=True)


def build_readings() -> Iterator[Reading]:
    """Which canario this is."""
    yield _reading("canario_build_info", 1, __version__)


def controller_readings(controller: CanaryDeploymentController) -> Iterator[Reading]:
    """The rollout: traffic of both arms, where it stands, what was decided."""
    name = controller.deployment_id
    for arm in ARMS:
        totals = controller.totals(arm)
        counts = totals.counts
        outcomes = {
            "good": counts.requests - counts.errors,
            "error": counts.errors,
            "neutral": counts.neutral,
        }
        for outcome, n in outcomes.items():
            yield _reading("canario_requests_total", n, name, arm, outcome)
        yield _reading("canario_slow_requests_total", counts.slow, name, arm)
        yield _reading("canario_abandoned_requests_total", counts.abandoned, name, arm)
        in_flight = controller.in_flight(arm)
        yield _reading("canario_requests_in_flight", in_flight.requests, name, arm)
        yield _reading("canario_requests_overdue", in_flight.overdue, name, arm)
        yield _reading("canario_contract_violations_total", counts.violations, name, arm)
        yield _reading("canario_request_duration_seconds", totals.duration, name, arm)
    yield from _state_readings(controller)
    yield from _check_readings(controller)
    events = Counter(_event_name(event) for event in controller.events)
    for event in EVENTS:
        yield _reading("canario_rollout_events_total", events[event], name, event)
    counters = dict.fromkeys(INCIDENTS, 0) | dict(controller.counters)
    for kind, n in sorted(counters.items()):
        yield _reading("canario_incidents_total", n, name, kind)


def _event_name(event: object) -> str:
    return str(type(event).__struct_config__.tag)  # type: ignore[attr-defined]


def _state_readings(controller: CanaryDeploymentController) -> Iterator[Reading]:
    name, state = controller.deployment_id, controller.state
    stage = 0 if state.phase is Phase.PENDING else state.stage + 1
    yield _reading("canario_rollout_stage", stage, name)
    yield _reading("canario_rollout_share_ratio", state.share / 100, name)
    yield _reading(
        "canario_rollout_phase", {str(phase): phase is state.phase for phase in Phase}, name
    )


def _check_readings(controller: CanaryDeploymentController) -> Iterator[Reading]:
    """The last check; before it there is no verdict and nothing to say."""
    name, history = controller.deployment_id, controller.metrics_history
    if not history:
        return
    last = history[-1]
    verdicts = {str(kind): kind is last.verdict for kind in VerdictKind}
    yield _reading("canario_rollout_verdict", verdicts, name)
    yield _reading("canario_rollout_verdict_samples", last.canary.counts.requests, name)
    for arm, seen in (("baseline", last.baseline), ("canary", last.canary)):
        if seen.p95_ms is not None:
            yield _reading("canario_request_p95_seconds", seen.p95_ms / 1000, name, arm)


def monitor_readings(monitor: SLOMonitor) -> Iterator[Reading]:
    """The objectives: counts of each flow, how it stands, what fires."""
    for flow in monitor.flows:
        yield from _count_readings(monitor, flow)
        yield from _status_readings(monitor, flow)
    limits = monitor.objectives
    objective = "canario_slo_objective_"
    yield _reading(f"{objective}availability_ratio", limits.availability_percent / 100)
    yield _reading(f"{objective}p95_latency_seconds", limits.p95_latency_ms / 1000)
    yield _reading(f"{objective}error_ratio", limits.error_rate_percent / 100)
    yield _reading(
        f"{objective}performance_regression_ratio", limits.performance_regression_percent / 100
    )
    yield _reading(f"{objective}p99_recovery_seconds", limits.p99_recovery_time_ms / 1000)
    yield _reading("canario_slo_overflowed_total", monitor.overflowed)
    active = Counter(
        (str(alert.alert_type), alert.flow_name, str(alert.severity).lower())
        for alert in monitor.get_active_alerts()
    )
    for labels, n in sorted(active.items()):
        yield _reading("canario_alerts_active", n, *labels)


def _count_readings(monitor: SLOMonitor, flow: str) -> Iterator[Reading]:
    totals = monitor.totals(flow)
    counts = {
        "requests": totals.requests,
        "errors": totals.errors,
        "bad_requests": totals.bad,
        "timed_requests": totals.timed,
        "slow_requests": totals.slow,
        "contract_violations": totals.violations,
        "recoveries": totals.recoveries,
    }
    for what, n in counts.items():
        yield _reading(f"canario_slo_{what}_total", n, flow)
    yield _reading("canario_slo_request_duration_seconds", totals.duration, flow)


def _status_readings(monitor: SLOMonitor, flow: str) -> Iterator[Reading]:
    status = monitor.check_slo_status(flow)
    measured = {
        "availability_ratio": (status.availability, 100),
        "error_ratio": (status.error_rate_percent, 100),
        "p95_latency_seconds": (status.p95_latency_ms, 1000),
        "p99_recovery_seconds": (status.p99_recovery_time_ms, 1000),
        "performance_regression_ratio": (status.performance_regression_percent, 100),
        "error_budget_remaining_ratio": (monitor.error_budget(flow).remaining_percent, 100),
    }
    for what, (value, unit) in measured.items():
        if value is not None:
            yield _reading(f"canario_slo_{what}", value / unit, flow)
    met = {
        "availability": status.availability_met,
        "latency": status.latency_met,
        "error_rate": status.error_rate_met,
        "overall": status.overall_slo_met,
    }
    for objective, holds in met.items():
        if holds is not None:
            yield _reading("canario_slo_met", int(holds), flow, objective)
    for burn in monitor.burn_rates(flow):
        for window, rate in (("long", burn.rate), ("short", burn.short_rate)):
            if rate is not None:
                yield _reading("canario_slo_burn_rate", rate, flow, burn.name, window)


def sink_readings(sinks: Iterable[object]) -> Iterator[Reading]:
    """What the sinks that count it had no room for; those of one name together."""
    dropped: Counter[str] = Counter()
    for sink in sinks:
        n = getattr(sink, "dropped", None)
        if isinstance(n, int):
            called = sink.sink if isinstance(sink, Beside) else sink
            dropped[str(getattr(called, "__name__", type(called).__name__))] += n
    for name, n in sorted(dropped.items()):
        yield _reading("canario_sink_dropped_total", n, name)
