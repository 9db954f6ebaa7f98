"""The page's checklist, walked through in its order on one deployment."""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path

import pytest
from tests.requirements.proofs import proves
from tests.requirements.running import run_python

from canario import create_canary_controller
from canario.slo import DashboardDataGenerator, create_slo_monitor
from canario.testing import ManualClock

FLOW = "decalogo_evaluation"


@proves(
    "checklist.before.baseline",
    "checklist.before.thresholds",
    "checklist.before.contracts",
    "checklist.during.metrics",
    "checklist.during.triggers",
    "checklist.during.dashboard",
    "checklist.after.stages",
    "checklist.after.alerts",
    "checklist.after.baseline",
    "checklist.after.metrics",
    "advice.baselines",
)
def test_the_checklist_can_be_walked_through(tmp_path: Path) -> None:
    clock = ManualClock(1_700_000_000)
    # Before: thresholds, a baseline of the version that serves, contracts that are checked.
    monitor = create_slo_monitor(p95_latency_threshold_ms=300.0, environ={}, clock=clock)
    for _ in range(1000):
        monitor.record_request(FLOW, True, 150.0)
    first = monitor.set_baseline(FLOW)
    monitor.save_baselines(tmp_path / "baselines.json", version="1.0.0")
    probe = create_canary_controller("probe", environ={}, clock=clock)
    probe.start()
    probe.report_violation("canary", "a probe")
    assert probe.result().rollback_reason == "contract_violation"
    # During: each request is recorded; the metrics and the dashboard are there at any moment.
    told: list[object] = []
    controller = create_canary_controller("v2", environ={}, clock=clock, sinks=[told.append])
    numbers = count()
    generator = DashboardDataGenerator(monitor)
    compliance = set()

    def request_generator() -> tuple[str, float, bool, bool]:
        number = next(numbers)
        monitor.record_request(FLOW, True, 170.0)
        if number % 1000 == 0:
            monitor.evaluate_alert_rules()
            made = generator.generate_dashboard_data()
            compliance.add(made["overall"]["slo_compliance_percent"])
        return f"request-{number}", 170.0, True, True

    result = controller.execute_deployment(request_generator)
    assert compliance == {100.0}
    assert controller.drain(5)
    assert told
    assert len(controller.metrics_history) > 10
    # After: stages, alerts there were (13 % slower than the baseline), baseline, metrics.
    assert result.success
    assert result.stages_completed == ("canary_5", "canary_25", "full_rollout")
    reviewed = [alert.alert_type for alert in monitor.alert_history()] + [
        alert.alert_type for alert in monitor.get_active_alerts()
    ]
    assert "performance_regression" in reviewed
    second = monitor.set_baseline(FLOW)
    assert second.p95_latency_ms > first.p95_latency_ms
    monitor.evaluate_alert_rules()
    regression = monitor.check_slo_status(FLOW).performance_regression_percent
    assert regression == pytest.approx(0, abs=2)
    controller.export_metrics(tmp_path / "archive" / "metrics.json")
    assert json.loads((tmp_path / "archive" / "metrics.json").read_text())["events"]
    kept = json.loads((tmp_path / "baselines.json").read_text())
    assert FLOW in json.dumps(kept)


@proves("checklist.before.tracing")
def test_importing_sets_no_tracing_up_and_initializing_does(tmp_path: Path) -> None:
    said = run_python(
        """
from opentelemetry import trace
import canario, canario.asgi, canario.slo, canario.tracing
print(type(trace.get_tracer_provider()).__module__.startswith("opentelemetry.sdk"))
canario.tracing.initialize_tracing(service_name="s")
print(type(trace.get_tracer_provider()).__module__.startswith("opentelemetry.sdk"))
""",
        tmp_path,
    )
    assert said.split() == ["False", "True"]
