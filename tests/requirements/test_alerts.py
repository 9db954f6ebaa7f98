"""The page's alerts: what fires them, how severe they are, and what they tell to look at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from tests.middleware.asgi_tools import Controller, ask, hello, user
from tests.requirements.proofs import proves

from canario.alerts import Alert, AlertType, Severity
from canario.asgi import CanaryMiddleware
from canario.routing import Arm
from canario.slo import SLOMonitor, create_slo_monitor
from canario.testing import ManualClock

FLOW = "decalogo_evaluation"
Story = Callable[[SLOMonitor, ManualClock], None]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1_700_000_000)


@pytest.fixture
def monitor(clock: ManualClock) -> SLOMonitor:
    return create_slo_monitor(environ={}, clock=clock)


def requests(monitor: SLOMonitor, many: int, **bad: float) -> None:
    """`many` good requests of 100 ms; of the first of them `failed` fail, `late` take 201 ms."""
    for number in range(many):
        success = number >= bad.get("failed", 0)
        latency_ms = 201.0 if number < bad.get("late", 0) else bad.get("latency_ms", 100.0)
        monitor.record_request(FLOW, success, latency_ms)


def baseline_then(latency_ms: float) -> Story:
    """A day of requests of 100 ms makes the baseline; then they take `latency_ms`."""

    def story(monitor: SLOMonitor, clock: ManualClock) -> None:
        requests(monitor, 1000)
        monitor.set_baseline(FLOW)
        clock.advance(24 * 3600)
        requests(monitor, 1000, latency_ms=latency_ms)

    return story


def recoveries(recovery_time_ms: float, slow: int) -> Story:
    """200 recoveries of one second, of which `slow` take longer."""

    def story(monitor: SLOMonitor, clock: ManualClock) -> None:
        for number in range(200):
            monitor.record_recovery(FLOW, True, recovery_time_ms if number < slow else 1000.0)

    return story


def of(many: int, **bad: float) -> Story:
    return lambda monitor, clock: requests(monitor, many, **bad)


def violation(monitor: SLOMonitor, clock: ManualClock) -> None:
    requests(monitor, 1000)
    monitor.record_request(FLOW, True, 100.0, contract_valid=False)


# The p95 of n latencies is that of rank floor(0.95 n) + 1, and so it is for the p99.
# Type, severity where the page gives one, what is still allowed, and what no longer is.
ALERTS = [
    ("contract_violation", "CRITICAL", of(1000), violation),
    ("performance_regression", "WARNING", baseline_then(108.0), baseline_then(113.0)),
    ("fault_recovery", "CRITICAL", recoveries(2000.0, slow=1), recoveries(2000.0, slow=2)),
    ("availability_degraded", None, of(1000, failed=5), of(1000, failed=6)),
    ("latency_exceeded", None, of(1000, late=49), of(1000, late=50)),
    ("error_rate_exceeded", None, of(1000, failed=1), of(1000, failed=2)),
]


def fired(monitor: SLOMonitor, alert_type: str) -> Iterator[Alert]:
    """The alerts of one type that begin to fire now."""
    return (alert for alert in monitor.evaluate_alert_rules() if alert.alert_type == alert_type)


def firing(monitor: SLOMonitor, alert_type: str) -> Iterator[Alert]:
    """The alerts of one type that fire now, whoever has evaluated the rules first."""
    monitor.evaluate_alert_rules()
    return (alert for alert in monitor.get_active_alerts() if alert.alert_type == alert_type)


@proves(
    "alert.contract_violation",
    "alert.performance_regression",
    "alert.fault_recovery",
    "alert.availability_degraded",
    "alert.latency_exceeded",
    "alert.error_rate_exceeded",
    "phase.3.tracked",
    "phase.3.alert",
    "phase.4.recorded",
    "phase.4.alert",
    "trouble.slo.symptom",
)
@pytest.mark.parametrize(("alert_type", "severity", "allowed", "beyond"), ALERTS)
def test_an_alert_fires_beyond_its_limit_and_not_at_it(
    alert_type: str, severity: str | None, allowed: Story, beyond: Story, clock: ManualClock
) -> None:
    calm, alarmed = (create_slo_monitor(environ={}, clock=clock) for _ in range(2))
    allowed(calm, clock)
    assert not list(fired(calm, alert_type))
    beyond(alarmed, clock)
    (alert,) = fired(alarmed, alert_type)
    assert alert.flow_name == FLOW
    assert alert in alarmed.get_active_alerts()
    if severity is not None:
        assert alert.severity is Severity(severity)
    assert FLOW in alert.message


def test_a_limit_in_milliseconds_is_itself_allowed(monitor: SLOMonitor, clock: ManualClock) -> None:
    requests(monitor, 1000, latency_ms=200.0)
    recoveries(1500.0, slow=200)(monitor, clock)
    assert monitor.check_slo_status(FLOW).latency_met is True
    assert monitor.evaluate_alert_rules() == []


def test_every_type_of_the_page_is_there() -> None:
    assert {alert[0] for alert in ALERTS} <= set(AlertType)


def test_the_same_condition_fires_once_and_is_resolved_by_its_id(monitor: SLOMonitor) -> None:
    requests(monitor, 1000, failed=2)
    (alert,) = fired(monitor, "error_rate_exceeded")
    assert not list(fired(monitor, "error_rate_exceeded"))
    monitor.resolve_alert(alert.alert_id)
    active = [active.alert_id for active in monitor.get_active_alerts()]
    assert alert.alert_id not in active


# --- together with a rollout


class Guarded(NamedTuple):
    """An app whose every answer breaks the contract, and what watches it."""

    app: CanaryMiddleware
    controller: Controller
    spans: InMemorySpanExporter

    def ask(self, arm: Arm) -> str:
        """A request of `arm`, its contract checked; gives the id of its trace."""
        assert ask(self.app, user(self.controller.a_key(arm))).status == 200
        assert self.app.gate.drain(5)
        (span,) = self.spans.get_finished_spans()
        assert span.context is not None
        return f"{span.context.trace_id:032x}"


@pytest.fixture
def guarded(monitor: SLOMonitor, clock: ManualClock) -> Guarded:
    spans = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(spans))
    controller = Controller(clock=clock)
    app = CanaryMiddleware(
        hello,
        controller,
        contract=lambda route, status, headers, body: "the total is missing",
        monitor=monitor,
        route=lambda scope: "/evaluate",
        flows={"/evaluate": FLOW},
        tracer_provider=provider,
    )
    return Guarded(app, controller, spans)


@proves("phase.6.rollback", "phase.6.tracked", "trouble.contract.investigate")
def test_a_broken_contract_rolls_back_and_is_a_critical_alert(
    guarded: Guarded, monitor: SLOMonitor, caplog: pytest.LogCaptureFixture
) -> None:
    """Its details are in the metrics, in the log and in the alert, which names the trace."""
    trace_id = guarded.ask("canary")
    result = guarded.controller.result()
    assert result.rollback_reason == "contract_violation"
    assert "the total is missing" in str(result.why)
    assert "the total is missing" in caplog.text
    assert guarded.controller.counts("canary").violations == 1
    assert monitor.check_slo_status(FLOW).contract_violations == 1
    (alert,) = firing(monitor, "contract_violation")
    assert alert.severity is Severity.CRITICAL
    assert "the total is missing" in alert.message
    assert alert.trace_id == trace_id


def test_on_the_baseline_it_is_an_alert_and_no_rollback(
    guarded: Guarded, monitor: SLOMonitor
) -> None:
    trace_id = guarded.ask("baseline")
    assert guarded.controller.result().rollback_reason is None
    (alert,) = firing(monitor, "contract_violation")
    assert "the total is missing" in alert.message
    assert alert.trace_id == trace_id


# --- what to look at


STEPS = {
    "contract_violation": ("violation", "trace", "validation logs"),
    "latency_exceeded": ("traces", "dashboard", "baseline"),
    "availability_degraded": ("dashboard", "history", "deployment events"),
    "error_rate_exceeded": ("dashboard", "history", "deployment events"),
}


@proves("trouble.latency.investigate", "trouble.contract.investigate", "trouble.slo.investigate")
@pytest.mark.parametrize("alert_type", STEPS)
def test_an_alert_tells_the_steps_of_troubleshooting_in_their_order(
    alert_type: str, monitor: SLOMonitor, clock: ManualClock
) -> None:
    (beyond,) = (story for name, _, _, story in ALERTS if name == alert_type)
    beyond(monitor, clock)
    (alert,) = fired(monitor, alert_type)
    for step, word in zip(alert.look_at, STEPS[alert_type], strict=False):
        assert word in step.lower()
    assert len(alert.look_at) > 3  # then how it is resolved
