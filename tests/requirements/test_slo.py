"""The page's SLO example, and its dashboard."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.requirements.page import BLOCKS, FLOWS
from tests.requirements.proofs import proves
from tests.requirements.running import clean_environment, execute, python_block

from canario.slo import DashboardDataGenerator, SLOMonitor, create_slo_monitor
from canario.testing import ManualClock

SHOWN: dict[str, Any] = json.loads(BLOCKS["dashboard.structure"].text)
ALL_FLOWS = [
    name.replace("á", "a").replace(" ", "_").lower() for group in FLOWS.values() for name in group
]


@pytest.fixture
def monitor() -> SLOMonitor:
    """A monitor as the environment leaves it, on a clock that is moved by hand."""
    at = datetime.fromisoformat(SHOWN["timestamp"]).replace(tzinfo=UTC)
    return create_slo_monitor(environ={}, clock=ManualClock(at.timestamp()))


@proves("block.slo.usage", "overview.slo")
def test_the_example_tells_how_the_flow_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.environ", clean_environment())
    there = execute(python_block("slo.usage"))
    availability, latency, errors, met = capsys.readouterr().out.splitlines()
    assert availability == "Availability: 100.0%"
    assert errors == "Error Rate: 0.0%"
    assert met == "Overall SLO Met: True"
    shown = re.fullmatch(r"P95 Latency: (\d+\.\d{1,3})ms", latency)
    assert shown, latency
    assert float(shown[1]) == pytest.approx(150, rel=0.01)
    assert there["alerts"] == []
    exported = json.loads((tmp_path / "output" / "slo_dashboard.json").read_text())
    assert exported == json.loads(json.dumps(there["dashboard"]))
    assert set(exported["flows"]) == {"decalogo_evaluation", "document_processing"}
    assert there["monitor"].check_slo_status("document_processing").recoveries == 1


@proves("checklist.before.thresholds", "advice.fatigue")
def test_the_example_s_thresholds_are_those_that_count() -> None:
    changed = re.sub(r"=([\d.]+)(,?)$", lambda f: f"={float(f[1]) / 2}{f[2]}", CREATE, flags=re.M)
    strict, lenient = execute(changed)["monitor"], execute(CREATE)["monitor"]
    for monitor in (strict, lenient):
        for number in range(2000):
            monitor.record_request("decalogo_evaluation", number != 0, 150.0)
    assert lenient.check_slo_status("decalogo_evaluation").overall_slo_met is True
    status = strict.check_slo_status("decalogo_evaluation")
    assert status.availability_met is True
    assert status.latency_met is False
    assert lenient.evaluate_alert_rules() == []
    assert {alert.alert_type for alert in strict.evaluate_alert_rules()} == {"latency_exceeded"}


CREATE = python_block("slo.usage").partition("\n# Record requests")[0]
LOOP = "alerts = " + python_block("slo.usage").partition("alerts = ")[2].partition("\n# ")[0]


@proves("overview.alerts", "alert.contract_violation", "limit.contract_violation", "phase.6.alert")
def test_the_example_s_loop_prints_an_alert(
    monitor: SLOMonitor, capsys: pytest.CaptureFixture[str]
) -> None:
    monitor.record_request("decalogo_evaluation", True, 150.0, contract_valid=False)
    (alert,) = [
        alert
        for alert in execute(LOOP, monitor=monitor)["alerts"]
        if alert.alert_type == "contract_violation"
    ]
    assert alert.severity.value == "CRITICAL"
    printed = capsys.readouterr().out.splitlines()
    where = printed.index(f"Alert: {alert.message}")
    assert printed[where + 1] == "Severity: CRITICAL"
    assert "decalogo_evaluation" in alert.message
    assert "contract" in alert.message


# --- the dashboard


def shape(shown: Any) -> Any:
    """The keys and the types of a document; an int is a float where the page rounds one."""
    if isinstance(shown, dict):
        return {key: shape(value) for key, value in shown.items()}
    return float if type(shown) is int else type(shown)


def documented(made: Any, shown: Any) -> Any:
    """`made` without what the page does not show."""
    if not isinstance(shown, dict):
        return made
    assert set(shown) <= set(made), set(shown) - set(made)
    return {key: documented(made[key], value) for key, value in shown.items()}


def fill(monitor: SLOMonitor, flow: str, failed: int = 0, latency_ms: float = 180.5) -> None:
    """2000 requests, of which some failed."""
    for number in range(2000):
        monitor.record_request(flow, number >= failed, latency_ms)


@proves("block.dashboard.structure", "checklist.during.dashboard", "diagram.slo")
def test_the_dashboard_is_the_documented_one(monitor: SLOMonitor) -> None:
    for flow in ALL_FLOWS:
        fill(monitor, flow, failed=1)
    fill(monitor, "health_check", failed=100)
    monitor.evaluate_alert_rules()
    made = json.loads(json.dumps(DashboardDataGenerator(monitor).generate_dashboard_data()))
    part = documented(made, SHOWN)
    assert shape(part) | {"alerts": list} == shape(SHOWN)
    assert part["timestamp"] == SHOWN["timestamp"]
    assert part["thresholds"] == SHOWN["thresholds"]
    active = monitor.get_active_alerts()
    assert active
    assert part["overall"] == {**SHOWN["overall"], "active_alerts": len(active)}
    assert len(made["alerts"]) == len(active)
    assert set(made["flows"]) == set(ALL_FLOWS)
    flow = part["flows"]["decalogo_evaluation"]
    assert flow["error_rate"] == SHOWN["flows"]["decalogo_evaluation"]["error_rate"]
    assert flow["p95_latency"].pop("value_ms") == pytest.approx(180.5, rel=0.01)
    assert flow["p95_latency"] == {
        "threshold_ms": 200.0,
        "slo_met": True,
        "status_indicator": "green",
    }
    assert flow["availability"]["value"] == pytest.approx(99.95)
    assert flow["overall_slo_met"] is True
    failing = made["flows"]["health_check"]
    assert failing["overall_slo_met"] is failing["availability"]["slo_met"] is False
    assert failing["availability"]["status_indicator"] != "green"


def test_the_page_s_very_numbers_are_possible(monitor: SLOMonitor) -> None:
    """99.8 % available with 0.05 % errors: three answers of 2,000 came, but broke the contract."""
    for number in range(2000):
        monitor.record_request("decalogo_evaluation", number != 0, 180.5, number not in (1, 2, 3))
    flow = DashboardDataGenerator(monitor).generate_dashboard_data()["flows"]["decalogo_evaluation"]
    shown = SHOWN["flows"]["decalogo_evaluation"]
    assert documented(flow, shown)["availability"] == shown["availability"]
    assert documented(flow, shown)["error_rate"] == shown["error_rate"]


def test_a_dashboard_of_nothing_is_a_dashboard(monitor: SLOMonitor) -> None:
    made = DashboardDataGenerator(monitor).generate_dashboard_data()
    assert made["overall"]["total_flows"] == 0
    assert made["flows"] == {}
    assert made["alerts"] == []


@proves("advice.refresh")
@pytest.mark.parametrize("seconds", [30, 60])
def test_the_dashboard_is_fresh_whenever_it_is_asked_for(
    seconds: float, monitor: SLOMonitor
) -> None:
    generator = DashboardDataGenerator(monitor)
    clock: Any = monitor.clock
    seen = []
    for _ in range(3):
        monitor.record_request("health_check", True, 10.0)
        seen.append(generator.generate_dashboard_data())
        clock.advance(seconds)
    times = [datetime.fromisoformat(made["timestamp"]) for made in seen]
    assert [(after - times[0]).total_seconds() for after in times] == [0, seconds, 2 * seconds]


@proves("advice.retention", "phase.3.history")
def test_thirty_days_are_kept(monitor: SLOMonitor) -> None:
    clock: Any = monitor.clock
    for _ in range(30):
        monitor.record_request("health_check", True, 10.0)
        clock.advance(24 * 3600)
    points = monitor.history("health_check", 30 * 24 * 3600)
    assert points
    assert sum(point.requests for point in points) >= 29
