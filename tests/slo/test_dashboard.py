"""Dashboard data: the documented document, exactly, and what is new beside it."""

from __future__ import annotations

import json
import os
import stat
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, ValidationError
from tests.telemetry.filled import filled_controller, filled_monitor

import canario
from canario.plan import Objectives
from canario.slo import SLOMonitor
from canario.slo.dashboard import DashboardDataGenerator
from canario.slo.dashboard_schema import dashboard_schema
from canario.testing import ManualClock

# The requirements' example, as it stands there.
EXAMPLE: dict[str, Any] = {
    "timestamp": "2024-01-15T10:30:00",
    "overall": {
        "total_flows": 28,
        "flows_meeting_slo": 27,
        "slo_compliance_percent": 96.4,
        "active_alerts": 1,
    },
    "thresholds": {
        "availability_percent": 99.5,
        "p95_latency_ms": 200.0,
        "error_rate_percent": 0.1,
    },
    "flows": {
        "decalogo_evaluation": {
            "availability": {
                "value": 99.8,
                "threshold": 99.5,
                "slo_met": True,
                "status_indicator": "green",
            },
            "p95_latency": {
                "value_ms": 180.5,
                "threshold_ms": 200.0,
                "slo_met": True,
                "status_indicator": "green",
            },
            "error_rate": {
                "value_percent": 0.05,
                "threshold_percent": 0.1,
                "slo_met": True,
                "status_indicator": "green",
            },
            "overall_slo_met": True,
        }
    },
    "alerts": [],
}
INSTANT = datetime(2024, 1, 15, 10, 30, tzinfo=UTC).timestamp()
CHECK = Draft202012Validator(dashboard_schema())


def shown(made: Any, example: Any) -> Any:
    """`made`, with only the keys that the example has, in the order that they have in `made`."""
    if not isinstance(example, dict):
        return made
    return {key: shown(value, example[key]) for key, value in made.items() if key in example}


def example_monitor() -> SLOMonitor:
    """28 flows, of which one misses its objectives, a moment before the example's instant."""
    monitor = SLOMonitor(clock=ManualClock(INSTANT))
    # 4 of 2,000 bad: one failed and three broke their contract, so 99.8 % beside 0.05 %.
    for number in range(2000):
        latency_ms = 100.0 if number < 1850 else 180.5
        monitor.record_request(
            "decalogo_evaluation", number != 0, latency_ms, contract_valid=number not in (1, 2, 3)
        )
    for number in range(26):
        monitor.record_request(f"flow_{number}", True, 100.0)
    for _ in range(100):
        monitor.record_request("flow_bad", True, 300.0)
    return monitor


def test_the_documented_example_comes_out_of_recorded_requests() -> None:
    """Every value, the keys, and their order.

    But the p95, which the histogram tells within 1 %, and the alert: the page counts one and
    shows none.
    """
    monitor = example_monitor()
    for alert in monitor.evaluate_alert_rules():
        # So many broken contracts are an alert, too, which somebody has dealt with.
        if alert.alert_type == "contract_violation":
            monitor.resolve_alert(alert.alert_id)
    made = DashboardDataGenerator(monitor).generate_dashboard_data()
    part = shown(made, EXAMPLE)
    part["flows"] = {"decalogo_evaluation": part["flows"]["decalogo_evaluation"]}
    latency = part["flows"]["decalogo_evaluation"]["p95_latency"]
    assert latency["value_ms"] == pytest.approx(180.5, rel=0.01)
    latency["value_ms"] = 180.5
    assert [(alert["type"], alert["flow"]) for alert in part["alerts"]] == [
        ("latency_exceeded", "flow_bad")
    ]
    part["alerts"] = []
    assert json.dumps(part) == json.dumps(EXAMPLE)
    CHECK.validate(made)


def test_the_documented_example_is_valid_under_the_schema() -> None:
    CHECK.validate(EXAMPLE)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("timestamp",), "2024-01-15 10:30"),
        (("overall", "total_flows"), -1),
        (("overall", "slo_compliance_percent"), 101),
        (("flows", "decalogo_evaluation", "availability", "status_indicator"), "blue"),
        (("flows", "decalogo_evaluation", "overall_slo_met"), "yes"),
        (("alerts",), [{}]),
        (("rollout",), {}),
    ],
)
def test_the_schema_refuses_what_is_wrong(path: tuple[str, ...], value: Any) -> None:
    document = json.loads(json.dumps(EXAMPLE))
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(ValidationError):
        CHECK.validate(document)


def test_the_schema_in_the_docs_is_the_function_s() -> None:
    Draft202012Validator.check_schema(dashboard_schema())
    path = Path(__file__).parents[2] / "docs" / "dashboard.schema.json"
    assert json.loads(path.read_text(encoding="utf-8")) == dashboard_schema()


def test_every_key_that_is_made_is_in_the_schema() -> None:
    made = DashboardDataGenerator(filled_monitor(), filled_controller()).generate_dashboard_data()
    CHECK.validate(made)
    Draft202012Validator(closed(dashboard_schema())).validate(made)
    assert made["alerts"]


def closed(schema: Any) -> Any:
    """The schema without room for unknown keys."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: closed(value) for key, value in schema.items()}
    if "properties" in made and made.get("type") == "object":
        made["additionalProperties"] = False
    return made


def flow_of(monitor: SLOMonitor, name: str = "a") -> dict[str, Any]:
    made = DashboardDataGenerator(monitor).generate_dashboard_data()
    CHECK.validate(made)
    flow: dict[str, Any] = made["flows"][name]
    return flow


def recorded(requests: int, bad: int, latency_ms: float, **limits: Any) -> SLOMonitor:
    monitor = SLOMonitor(Objectives(**limits), clock=ManualClock(1e6))
    for number in range(requests):
        monitor.record_request("a", number >= bad, latency_ms)
    return monitor


@pytest.mark.parametrize(
    ("bad", "color"), [(0, "green"), (9, "green"), (10, "yellow"), (11, "red"), (2000, "red")]
)
def test_an_objective_that_is_nearly_missed_is_yellow(bad: int, color: str) -> None:
    """1 % of 1,000 may be bad; with 10 the allowance is used up, and the objective still met."""
    flow = flow_of(recorded(1000, bad, 10.0, availability_percent=99.0, error_rate_percent=1.0))
    assert flow["availability"]["status_indicator"] == color
    assert flow["error_rate"]["status_indicator"] == color
    assert flow["availability"]["slo_met"] is (color != "red")


@pytest.mark.parametrize(
    ("latency_ms", "color"),
    [(187.0, "green"), (195.0, "yellow"), (200.0, "yellow"), (201.0, "red")],
)
def test_a_p95_near_its_limit_is_yellow(latency_ms: float, color: str) -> None:
    flow = flow_of(recorded(100, 0, latency_ms))
    assert flow["p95_latency"]["status_indicator"] == color


def test_an_objective_without_any_allowance_is_green_when_it_is_met() -> None:
    limits = {"availability_percent": 100.0, "error_rate_percent": 0.0}
    flow = flow_of(recorded(100, 0, 10.0, **limits))
    assert flow["availability"]["status_indicator"] == "green"
    assert flow["error_rate"]["status_indicator"] == "green"
    flow = flow_of(recorded(100, 1, 10.0, **limits))
    assert flow["availability"]["status_indicator"] == "red"
    assert flow["error_rate"]["status_indicator"] == "red"


def test_without_data_everything_is_gray_and_null() -> None:
    clock = ManualClock(1e6)
    monitor = SLOMonitor(clock=clock)
    monitor.record_request("a", True, 10.0)
    clock.advance(3600)
    flow = flow_of(monitor)
    for key, value in (
        ("availability", "value"),
        ("p95_latency", "value_ms"),
        ("error_rate", "value_percent"),
    ):
        assert flow[key][value] is None
        assert flow[key]["slo_met"] is None
        assert flow[key]["status_indicator"] == "gray"
    assert flow["overall_slo_met"] is None
    overall = DashboardDataGenerator(monitor).generate_dashboard_data()["overall"]
    assert overall == {
        "total_flows": 1,
        "flows_meeting_slo": 0,
        "slo_compliance_percent": None,
        "active_alerts": 0,
        "flows_without_data": 1,
    }


def test_too_few_requests_are_shown_and_not_judged() -> None:
    flow = flow_of(recorded(9, 9, 10.0, min_samples=10))
    assert flow["availability"] == {
        "value": 0.0,
        "threshold": 99.5,
        "slo_met": None,
        "status_indicator": "gray",
    }
    assert flow["overall_slo_met"] is None


@given(st.integers(0, 1500), st.integers(0, 1500))
def test_a_shown_value_is_never_on_the_other_side_of_its_limit(requests: int, bad: int) -> None:
    """99.4999 % is not 99.5 %: what is shown and what is said about it agree."""
    monitor = SLOMonitor(
        Objectives(availability_percent=99.3, error_rate_percent=0.7), clock=ManualClock(1e6)
    )
    for number in range(requests + 1):
        monitor.record_request("a", number >= bad, 10.0)
    flow = DashboardDataGenerator(monitor).generate_dashboard_data()["flows"]["a"]
    availability, errors = flow["availability"], flow["error_rate"]
    assert (availability["value"] >= 99.3) is availability["slo_met"]
    assert (errors["value_percent"] <= 0.7) is errors["slo_met"]


@pytest.mark.parametrize(
    ("flows", "bad", "percent"),
    [(3, 0, 100.0), (3, 3, 0.0), (3, 1, 66.7), (28, 1, 96.4), (2100, 1, 99.9), (2100, 2099, 0.1)],
)
def test_compliance_is_100_only_when_every_flow_meets(flows: int, bad: int, percent: float) -> None:
    monitor = SLOMonitor(clock=ManualClock(1e6), max_flows=3000)
    for number in range(flows):
        monitor.record_request(f"flow_{number}", number >= bad, 10.0)
    overall = DashboardDataGenerator(monitor).generate_dashboard_data()["overall"]
    assert overall["slo_compliance_percent"] == percent
    assert overall["flows_meeting_slo"] == flows - bad


def test_alerts_budgets_and_the_rest_are_shown() -> None:
    monitor = filled_monitor()
    made = DashboardDataGenerator(monitor).generate_dashboard_data()
    kinds = {(alert["type"], alert["flow"]) for alert in made["alerts"]}
    assert ("contract_violation", "/plans/{id}") in kinds
    assert ("fault_recovery", "document_processing") in kinds
    assert made["overall"]["active_alerts"] == len(made["alerts"])
    assert all(alert["state"] == "firing" and alert["look_at"] for alert in made["alerts"])
    flow = made["flows"]["/plans/{id}"]
    assert flow["samples"] == 2000
    assert flow["contract_violations"] == 400
    assert flow["performance_regression"]["value_percent"] == pytest.approx(200, rel=0.04)
    assert flow["performance_regression"]["slo_met"] is False
    assert flow["error_budget"]["remaining_percent"] == pytest.approx(-1900)
    rates = [
        (rate["factor"], rate["long_seconds"], rate["short_seconds"]) for rate in flow["burn_rates"]
    ]
    assert rates == [
        (14.4, 3600, 300),
        (6, 21600, 1800),
        (3, 86400, 7200),
        (1, 259200, 21600),
    ]
    assert flow["burn_rates"][0]["rate"] == pytest.approx(20)
    recovered = made["flows"]["document_processing"]["fault_recovery"]
    assert recovered["p99_ms"] == pytest.approx(2000, rel=0.01)
    assert (recovered["recoveries"], recovered["slo_met"]) == (20, False)
    assert made["generator"] == f"canario {canario.__version__}"
    assert made["schema_version"] == 1


def test_an_acknowledged_alert_says_so() -> None:
    monitor = filled_monitor()
    first = monitor.get_active_alerts()[0]
    monitor.acknowledge_alert(first.alert_id, by="on-call")
    made = DashboardDataGenerator(monitor).generate_dashboard_data()["alerts"]
    alert = next(alert for alert in made if alert["id"] == first.alert_id)
    assert alert["acknowledged"] is True
    assert alert["acknowledged_by"] == "on-call"


def test_the_rollout_is_shown_where_a_controller_is_given() -> None:
    controller = filled_controller()
    generator = DashboardDataGenerator(SLOMonitor(), controller)
    made = generator.generate_dashboard_data()
    CHECK.validate(made)
    rollout = made["rollout"]
    assert rollout["deployment_id"] == "decalogo-v2"
    assert (rollout["phase"], rollout["stage"], rollout["share_percent"]) == (
        "running",
        "canary_5",
        5,
    )
    assert rollout["window"]["baseline"]["errors"] == 1
    assert rollout["counters"]["no_key"] == 1
    controller.report_violation("canary", "no score")
    rollout = generator.generate_dashboard_data()["rollout"]
    assert (rollout["phase"], rollout["rollback_reason"]) == ("rolled_back", "contract_violation")
    assert "no score" in rollout["last_event"]
    assert "rollout" not in DashboardDataGenerator(SLOMonitor()).generate_dashboard_data()


def test_the_clock_may_be_another_one() -> None:
    generator = DashboardDataGenerator(SLOMonitor(), clock=ManualClock(INSTANT + 0.99))
    assert generator.generate_dashboard_data()["timestamp"] == "2024-01-15T10:30:00"


def test_a_budget_of_nothing_makes_json_all_the_same() -> None:
    """Whatever is infinite is null: JSON has no other number for it."""
    monitor = recorded(100, 1, 10.0, availability_percent=100.0)
    assert monitor.evaluate_alert_rules()
    made = DashboardDataGenerator(monitor).generate_dashboard_data()
    json.dumps(made, allow_nan=False)
    CHECK.validate(made)


# -- the file


def test_the_file_holds_the_document_and_folders_are_made(tmp_path: Path) -> None:
    path = tmp_path / "output" / "deep" / "slo_dashboard.json"
    generator = DashboardDataGenerator(example_monitor())
    generator.export_dashboard_json(path)
    assert json.loads(path.read_text(encoding="utf-8")) == generator.generate_dashboard_data()
    generator.export_dashboard_json(str(path))
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    path = tmp_path / "slo_dashboard.json"
    generator = DashboardDataGenerator(example_monitor())
    generator.export_dashboard_json(path)
    done = threading.Event()

    def write() -> None:
        for _ in range(10):
            generator.export_dashboard_json(path)
        done.set()

    thread = threading.Thread(target=write)
    thread.start()
    read = 0
    while not done.is_set() or not read:
        json.loads(path.read_text(encoding="utf-8"))
        read += 1
        time.sleep(0.001)
    thread.join()


def test_what_fails_leaves_the_old_file_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "slo_dashboard.json"
    generator = DashboardDataGenerator(SLOMonitor())
    path.write_text("old")

    def fail(*_: object) -> None:
        raise OSError("no")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="no"):
        generator.export_dashboard_json(path)
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_a_flow_may_be_called_anything(tmp_path: Path) -> None:
    names = ['"quoted"\n', "evaluación", "half a pair \udc80", "{{x}}"]
    monitor = SLOMonitor()
    for name in names:
        monitor.record_request(name, True, 10.0)
    path = tmp_path / "slo_dashboard.json"
    DashboardDataGenerator(monitor).export_dashboard_json(path)
    assert set(json.loads(path.read_text(encoding="utf-8"))["flows"]) == set(names)


def test_permissions_of_the_file_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "slo_dashboard.json"
    generator = DashboardDataGenerator(SLOMonitor())
    generator.export_dashboard_json(path)
    plain = tmp_path / "plain"
    plain.touch()
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)
    path.chmod(0o640)
    generator.export_dashboard_json(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
