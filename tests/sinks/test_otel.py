"""Log events: exported by the real SDK, in the trace that caused them, and without users' keys."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry._logs import SeverityNumber
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from tests.middleware.asgi_tools import Controller, Receive, Scope, Send, ask, hello, respond, user
from tests.sinks.receivers import ALERT, OVER
from tests.sinks.records import Records, globally_recorded
from tests.waiting import PATIENCE

from canario import CanaryDeploymentController, Outcome, RollbackReason
from canario.asgi import CanaryMiddleware
from canario.control.violation import Violation
from canario.plan import Deployment, Plan, RollbackThresholds, Stage
from canario.sinks import OpenTelemetryEvents
from canario.slo import SLOMonitor
from canario.testing import ManualClock
from canario_sim import load_scenario
from canario_sim import run as rehearse

AT = 1_700_000_000
SCENARIOS = Path(__file__).parents[2] / "scenarios"


@pytest.fixture
def records() -> Iterator[Records]:
    with globally_recorded() as recorded:
        yield recorded


class Spans:
    """A tracer provider of the SDK, and what it has exported."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    @property
    def last(self) -> Any:
        return self._exporter.get_finished_spans()[-1].context


def test_a_controller_emits_its_events_to_the_global_provider(records: Records) -> None:
    controller = CanaryDeploymentController(deployment_id="v2", clock=ManualClock(AT))
    controller.start()
    controller.pause()
    controller.resume()
    controller.restart()
    controller.report_violation(
        "canary", Violation(message="no score", contract="evaluation", rule="required", path="/a")
    )
    assert records.names == [
        "canario.rollout.started",
        "canario.rollout.stage_entered",
        "canario.rollout.paused",
        "canario.rollout.resumed",
        "canario.rollout.restarted",
        "canario.rollout.stage_entered",
        "canario.contract.violation",
        "canario.rollout.checked",
        "canario.rollout.rolled_back",
    ]
    started, back = records.one("rollout.started"), records.one("rollout.rolled_back")
    assert started.timestamp == AT * 10**9
    assert started.body == "v2: rollout of v2 started"
    assert started.severity_number is SeverityNumber.INFO
    assert started.attributes["canario.rollout.percentages"] == (5, 25, 100)
    assert back.severity_number is SeverityNumber.WARN
    assert dict(back.attributes) | {"canario.deployment.id": "v2"} == dict(back.attributes)
    assert back.attributes["canario.rollback.reason"] == "contract_violation"
    assert back.attributes["canario.contract.name"] == "evaluation"
    assert back.attributes["canario.stage.name"] == "canary_5"
    violation = records.one("contract.violation")
    assert violation.severity_number is SeverityNumber.ERROR
    assert violation.attributes["canario.arm"] == "canary"
    assert violation.attributes["canario.contract.rule"] == "required"
    assert violation.body == "evaluation: no score at /a (required)"


def test_promotion_abortion_and_waiting_are_told(records: Records) -> None:
    clock = ManualClock(AT)
    plan = Plan(deployment=Deployment(canary_stages=(Stage(50, 10), Stage(100, 10))))
    controller = CanaryDeploymentController(plan, deployment_id="x", clock=clock)
    controller.start()
    clock.advance(11)
    controller.tick()
    assert records.one("rollout.held").attributes["canario.verdict.needed"] == 10
    controller.promote()
    assert records.one("rollout.promoted").attributes["canario.by"] == "operator"
    other = CanaryDeploymentController(plan, deployment_id="y", clock=clock)
    other.start()
    other.abort()
    assert records.one("rollout.aborted").attributes["canario.deployment.id"] == "y"


def test_alerts_are_told_while_they_fire_and_when_they_end(records: Records) -> None:
    emit = OpenTelemetryEvents()
    emit(ALERT)
    emit(OVER)
    fired, over = records.one("alert.firing"), records.one("alert.resolved")
    assert (fired.severity_number, fired.severity_text) == (SeverityNumber.ERROR, "CRITICAL")
    assert over.severity_number is SeverityNumber.INFO
    assert fired.attributes["canario.alert.look_at"] == ALERT.look_at
    assert over.attributes["canario.alert.fired_seconds"] == 90
    # The alert is in the trace of its example, though that request is long over.
    assert f"{fired.trace_id:032x}" == ALERT.trace_id == fired.attributes["canario.alert.trace_id"]
    assert fired.span_id == 0


def test_a_monitor_emits_its_alerts_by_default_and_not_when_told_so(records: Records) -> None:
    for telemetry in (True, False):
        monitor = SLOMonitor(clock=ManualClock(AT), telemetry=telemetry)
        monitor.record_request("a", True, 1.0, contract_valid=False)
        monitor.evaluate_alert_rules()
        types = [each.attributes["canario.alert.type"] for each in records.named("alert.firing")]
        assert types.count("contract_violation") == 1


def test_a_provider_of_ones_own_is_used_instead(records: Records) -> None:
    mine = Records()
    controller = CanaryDeploymentController(
        deployment_id="x", sinks=[OpenTelemetryEvents(mine.provider)], telemetry=False
    )
    controller.start()
    assert len(mine.all) == 2
    assert records.all == []
    assert mine.all[1].attributes["canario.deployment.id"] == "x"


# -- linked to what caused them


def guarded(controller: Controller, spans: Spans, app: Any = hello, **options: Any) -> Any:
    return CanaryMiddleware(app, controller, tracer_provider=spans.provider, **options)


def test_a_rollback_by_a_contract_is_in_the_span_of_the_request_that_broke_it(
    records: Records,
) -> None:
    spans, controller = Spans(), Controller()
    app = guarded(controller, spans, contract=lambda *response: "no score")
    ask(app, user(controller.a_key("canary")))
    assert app.gate.drain(PATIENCE)
    for name in ("contract.violation", "rollout.rolled_back"):
        record = records.one(name)
        assert (record.trace_id, record.span_id) == (spans.last.trace_id, spans.last.span_id)


def test_a_rollback_by_errors_is_in_the_span_of_the_request_that_was_observed(
    records: Records,
) -> None:
    spans, controller = (
        Spans(),
        Controller(max_error_rate=10, max_p95_latency_ms=60_000, min_samples=1),
    )
    key = controller.a_key("canary")

    async def failing(scope: Scope, receive: Receive, send: Send) -> None:
        controller.time.advance(6)  # beyond the next check
        await respond(send, status=500)

    app = guarded(controller, spans, failing)
    for _ in range(2):
        ask(app, user(key))
    record = records.one("rollout.rolled_back")
    assert record.attributes["canario.rollback.reason"] == RollbackReason.ERROR_RATE
    assert (record.trace_id, record.span_id) == (spans.last.trace_id, spans.last.span_id)


def test_a_violation_that_names_another_trace_belongs_to_that_one(records: Records) -> None:
    controller = CanaryDeploymentController(deployment_id="x")
    controller.start()
    tracer = Spans().provider.get_tracer("test")
    with tracer.start_as_current_span("here") as span:
        controller.report_violation("baseline", Violation(message="a", trace_id="a" * 32))
        controller.report_violation("baseline", "b")
    other, here = records.named("contract.violation")
    assert (f"{other.trace_id:032x}", other.span_id) == ("a" * 32, 0)
    assert here.trace_id == span.get_span_context().trace_id
    assert here.span_id == span.get_span_context().span_id
    assert here.severity_number is SeverityNumber.WARN


# -- discretion, and silence where nothing is to be heard


def test_no_user_s_key_appears_in_any_record(records: Records) -> None:
    spans, controller = Spans(), Controller(max_error_rate=10, min_samples=1)
    monitor = SLOMonitor(clock=controller.time)
    key = controller.a_key("canary")
    app = guarded(controller, spans, contract=lambda *_: "broken", monitor=monitor)
    secret = "user-4711-secret"
    ask(app, user(secret))
    ask(app, user(key))
    assert app.gate.drain(PATIENCE)
    running = CanaryDeploymentController(deployment_id="y", clock=ManualClock(AT))
    running.execute_deployment(lambda: (f"{secret}{running.clock()}", 1.0, True, False))
    assert len(records.named("rollout.rolled_back")) == 2
    assert records.named("alert.firing")
    assert secret not in records.text()


def test_a_rehearsal_emits_nothing(records: Records) -> None:
    assert rehearse(load_scenario(SCENARIOS / "error_spike.toml")).outcome == "rolled_back"
    assert records.all == []


def test_a_request_emits_nothing(records: Records) -> None:
    controller = Controller(max_error_rate=100)
    app = CanaryMiddleware(hello, controller)
    key = controller.a_key("baseline")
    before = len(records.all)
    for _ in range(50):
        ask(app, user(key))
        controller.observe("canary", Outcome.GOOD, 1.0)
    assert len(records.all) == before


def test_a_provider_that_fails_harms_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with globally_recorded() as records:
        monkeypatch.setattr(records.provider, "get_logger", lambda *_, **__: 1 / 0)
        controller = CanaryDeploymentController(deployment_id="x")
        controller.start()
        controller.report_violation("canary", "broken")
    assert controller.counters["faults"] >= 3
    assert controller.router.share == 0


LATER = """
import sys
from canario import CanaryDeploymentController
controller = CanaryDeploymentController(deployment_id="x")
controller.start()
assert "opentelemetry._logs" not in sys.modules, "imported for nobody"
from opentelemetry._logs import set_logger_provider
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import ConsoleLogRecordExporter, SimpleLogRecordProcessor
provider = LoggerProvider()
provider.add_log_record_processor(SimpleLogRecordProcessor(ConsoleLogRecordExporter()))
set_logger_provider(provider)
controller.abort()
"""


def test_nothing_is_imported_for_nobody_and_a_provider_set_later_hears() -> None:
    said = subprocess.run(
        [sys.executable, "-W", "error", "-c", LATER],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    ).stdout
    assert "canario.rollout.aborted" in said
    assert "canario.rollout.started" not in said


def test_thresholds_reach_the_attributes(records: Records) -> None:
    thresholds = RollbackThresholds(max_error_rate=10, min_samples=1, check_interval_seconds=1)
    clock = ManualClock(AT)
    plan = Plan(deployment=Deployment(rollback_thresholds=thresholds))
    controller = CanaryDeploymentController(plan, deployment_id="x", clock=clock)
    controller.start()
    controller.observe("canary", Outcome.BAD, 1.0)
    clock.advance(2)
    controller.tick()
    attributes = records.one("rollout.rolled_back").attributes
    assert attributes["canario.verdict.kind"] == "unhealthy"
    assert attributes["canario.verdict.trigger"] == "error_rate"
    assert (attributes["canario.verdict.observed"], attributes["canario.verdict.limit"]) == (
        100,
        10,
    )
    assert attributes["canario.verdict.samples"] == 1
