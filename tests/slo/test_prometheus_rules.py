"""The generated Prometheus rules: Prometheus takes them, and they fire when they should."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.telemetry.promtool import promtool

from canario.alerts import AlertType
from canario.plan import Objectives
from canario.slo import SLOMonitor
from canario.slo.prometheus_rules import prometheus_rules, prometheus_rules_yaml
from canario.telemetry.metrics import METRICS
from canario.testing import ManualClock


def rules(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [rule for group in document["groups"] for rule in group["rules"]]


def named(document: dict[str, Any], alert: str) -> list[dict[str, Any]]:
    return [rule for rule in rules(document) if rule.get("alert") == alert]


# -- they are accepted


@pytest.mark.parametrize(
    "objectives",
    [
        Objectives(),
        Objectives(availability_percent=100, error_rate_percent=0, aggregation_window_seconds=0.5),
        Objectives(availability_percent=0, aggregation_window_seconds=100_000.25),
    ],
)
def test_promtool_accepts_them(objectives: Objectives, tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(prometheus_rules_yaml(objectives), encoding="utf-8")
    n = len(rules(prometheus_rules(objectives)))
    assert f"SUCCESS: {n} rules found" in promtool("check", "rules", str(path))


@settings(
    max_examples=8,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(flows=st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=5))
def test_promtool_accepts_them_whatever_flows_are_called(flows: list[str], tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(prometheus_rules_yaml(Objectives(), flows=flows), encoding="utf-8")
    assert "SUCCESS" in promtool("check", "rules", str(path))


def test_yaml_holds_the_document() -> None:
    made = prometheus_rules(Objectives(), flows=["a"], labels={"team": "evaluación"})
    text = prometheus_rules_yaml(Objectives(), flows=["a"], labels={"team": "evaluación"})
    assert yaml.safe_load(text) == made


def test_they_ask_for_metrics_that_are_exposed() -> None:
    asked = set()
    for rule in rules(prometheus_rules(Objectives())):
        without_recorded = re.sub(r"flow:\w+:\w+", "", rule["expr"])
        asked |= set(re.findall(r"canario_\w+", re.sub(r"\{[^}]*\}", "", without_recorded)))
    assert asked <= set(METRICS)
    assert "canario_slo_bad_requests_total" in asked


def test_what_is_compared_is_recorded() -> None:
    made = prometheus_rules(Objectives(aggregation_window_seconds=120))
    recorded = {rule["record"] for rule in rules(made) if "record" in rule}
    used = {name for rule in rules(made) for name in re.findall(r"flow:\w+:\w+", rule["expr"])}
    assert used == recorded
    assert "flow:canario_slo_bad_requests:ratio_rate2m" in used


def test_what_is_compared_is_recorded_just_before() -> None:
    """Prometheus evaluates groups in no order; within one, rules run from the first to the last."""
    for group in prometheus_rules(Objectives())["groups"]:
        known: set[str] = set()
        for rule in group["rules"]:
            assert set(re.findall(r"flow:\w+:\w+", rule["expr"])) <= known
            known |= {rule["record"]} if "record" in rule else set()


def test_the_burn_rates_are_those_of_the_sre_workbook() -> None:
    """Chapter 5, table 5-8: 14.4, 6, 3 and 1 over 1 h/5 min, 6 h/30 min, 1 d/2 h and 3 d/6 h."""
    burns = named(prometheus_rules(Objectives(availability_percent=99.9)), "CanarioErrorBudgetBurn")
    found = [
        (
            [float(limit) for limit in re.findall(r"> ([0-9.]+)", rule["expr"])],
            rule["labels"]["long_window"],
            rule["labels"]["short_window"],
            rule["labels"]["severity"],
        )
        for rule in burns
    ]
    assert found == [
        ([0.0144, 0.0144], "1h", "5m", "critical"),
        ([0.006, 0.006], "6h", "30m", "critical"),
        ([0.003, 0.003], "1d", "2h", "warning"),
        ([0.001, 0.001], "3d", "6h", "warning"),
    ]


def test_a_burn_rate_that_cannot_be_reached_gets_no_rule() -> None:
    """At 90 % an app that is down burns 10 times too fast: 14.4 times never happens."""
    burns = named(prometheus_rules(Objectives(availability_percent=90)), "CanarioErrorBudgetBurn")
    assert [rule["labels"]["long_window"] for rule in burns] == ["6h", "1d", "3d"]


def test_severities_are_those_of_the_monitor_s_own_alerts() -> None:
    monitor = SLOMonitor(clock=ManualClock(1e6))
    monitor.record_request("a", True, 10.0)
    own = {
        (str(condition.alert_type), str(condition.severity).lower())
        for condition in monitor.conditions()
    }
    assert {
        (rule["labels"]["alert_type"], rule["labels"]["severity"])
        for rule in rules(prometheus_rules(Objectives()))
        if "alert_type" in rule.get("labels", ())
    } == own


def test_every_alert_has_a_severity_and_says_what_to_look_at() -> None:
    alerts = [rule for rule in rules(prometheus_rules(Objectives())) if "alert" in rule]
    assert {rule["labels"]["severity"] for rule in alerts} == {"critical", "warning"}
    assert all(rule["annotations"]["look_at"] for rule in alerts)
    kinds = {rule["labels"]["alert_type"] for rule in alerts if "alert_type" in rule["labels"]}
    assert kinds == set(AlertType)
    by_page = {"contract_violation": "critical", "performance_regression": "warning"}
    by_page["fault_recovery"] = "critical"
    for rule in alerts:
        kind = rule["labels"].get("alert_type")
        assert rule["labels"]["severity"] == by_page.get(kind, rule["labels"]["severity"])


@pytest.mark.parametrize("name", ["9a", "se-verity", "severity", "flow", ""])
def test_a_label_that_cannot_be_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"labels has {name!r}"):
        prometheus_rules(Objectives(), labels={name: "x"})


# -- they fire


def counter(name: str, flow: str, values: str) -> dict[str, str]:
    return {"series": f'{name}{{flow="{flow}"}}', "values": values}


def check_alerts(
    folder: Path,
    series: Sequence[dict[str, str]],
    expected: dict[str, dict[str, set[str]]],
    interval: str = "1m",
    objectives: Objectives = Objectives(),  # noqa: B008 - it is frozen
) -> None:
    """Have promtool evaluate the rules on series.

    `expected` maps an instant and an alert's name to the flows (or deployments) that it is
    firing for, with its windows where it has some.
    """
    document = prometheus_rules(objectives)
    tests = []
    for at, alerts in expected.items():
        for name, about in alerts.items():
            firing = [
                {"exp_labels": labels}
                for one in sorted(about)
                for labels in labels_of(document, name, one)
            ]
            tests.append({"eval_time": at, "alertname": name, "exp_alerts": firing})
    # Annotations are compared too, and their texts are another test's matter.
    for rule in rules(document):
        rule.pop("annotations", None)
    (folder / "rules.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    test = {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": interval,
        "tests": [
            {"interval": interval, "input_series": list(series), "alert_rule_test": tests},
        ],
    }
    (folder / "test.yaml").write_text(yaml.safe_dump(test), encoding="utf-8")
    assert "SUCCESS" in promtool("test", "rules", "test.yaml", cwd=folder)


def labels_of(document: dict[str, Any], name: str, about: str) -> list[dict[str, str]]:
    flow, _, window = about.partition("@")
    key = "deployment_id" if name in ("CanarioRolledBack", "CanarioFaults") else "flow"
    found = [
        {**rule["labels"], key: flow}
        for rule in named(document, name)
        if rule["labels"].get("long_window", "") == window
    ]
    assert found, f"no rule {name} with the window {window!r}"
    return found


def test_a_fast_burn_fires_and_ends_soon_after_the_errors_do(tmp_path: Path) -> None:
    """10 % bad requests for an hour is a burn rate of 20; the short window ends it."""
    total = "0+60x240"
    bad = "0+6x60 360+0x179"
    check_alerts(
        tmp_path,
        [
            counter("canario_slo_requests_total", "bad", total),
            counter("canario_slo_bad_requests_total", "bad", bad),
            counter("canario_slo_requests_total", "good", total),
            counter("canario_slo_bad_requests_total", "good", "0x240"),
        ],
        {
            "3m": {"CanarioErrorBudgetBurn": {"bad@1h", "bad@6h", "bad@1d", "bad@3d"}},
            "60m": {
                "CanarioErrorBudgetBurn": {"bad@1h", "bad@6h", "bad@1d", "bad@3d"},
                "CanarioAvailabilityDegraded": {"bad"},
            },
            # The short windows are 5 min, 30 min, 2 h and 6 h.
            "70m": {
                "CanarioErrorBudgetBurn": {"bad@6h", "bad@1d", "bad@3d"},
                "CanarioAvailabilityDegraded": set(),
            },
            "100m": {"CanarioErrorBudgetBurn": {"bad@1d", "bad@3d"}},
            "200m": {"CanarioErrorBudgetBurn": {"bad@3d"}},
        },
    )


def test_a_slow_burn_only_makes_a_ticket(tmp_path: Path) -> None:
    """1 % bad requests with an objective of 99.5 % is a burn rate of 2, for days."""
    check_alerts(
        tmp_path,
        [
            counter("canario_slo_requests_total", "a", "0+1000x288"),
            counter("canario_slo_bad_requests_total", "a", "0+10x288"),
        ],
        {"72h": {"CanarioErrorBudgetBurn": {"a@3d"}}},
        interval="15m",
    )


def test_no_traffic_fires_nothing(tmp_path: Path) -> None:
    names = ("requests", "bad_requests", "errors", "timed_requests", "slow_requests")
    series = [counter(f"canario_slo_{name}_total", "idle", "7x120") for name in names]
    alerts: dict[str, set[str]] = {
        "CanarioErrorBudgetBurn": set(),
        "CanarioAvailabilityDegraded": set(),
        "CanarioErrorRateExceeded": set(),
        "CanarioLatencyExceeded": set(),
        "CanarioContractViolation": set(),
    }
    check_alerts(tmp_path, series, {"30m": alerts, "120m": alerts})


def test_breaches_of_each_objective_fire_for_their_flow_alone(tmp_path: Path) -> None:
    total = "0+1000x20"
    check_alerts(
        tmp_path,
        [
            # 2 of 1,000 failed: more than 0.1 %, and the availability of 99.8 % is fine.
            counter("canario_slo_requests_total", "failing", total),
            counter("canario_slo_errors_total", "failing", "0+2x20"),
            counter("canario_slo_bad_requests_total", "failing", "0+2x20"),
            # 6 % above the limit: the p95 is above it. 4 %: it is not.
            counter("canario_slo_timed_requests_total", "slow", total),
            counter("canario_slo_slow_requests_total", "slow", "0+60x20"),
            counter("canario_slo_timed_requests_total", "quick", total),
            counter("canario_slo_slow_requests_total", "quick", "0+40x20"),
            counter("canario_slo_performance_regression_ratio", "slow", "0.11x20"),
            counter("canario_slo_performance_regression_ratio", "quick", "0.1x20"),
            counter("canario_slo_p99_recovery_seconds", "slow", "1.6x20"),
            counter("canario_slo_p99_recovery_seconds", "quick", "1.5x20"),
        ],
        {
            "10m": {
                "CanarioErrorRateExceeded": {"failing"},
                "CanarioAvailabilityDegraded": set(),
                "CanarioLatencyExceeded": {"slow"},
                "CanarioPerformanceRegression": {"slow"},
                "CanarioFaultRecovery": {"slow"},
            }
        },
    )


def test_the_first_violation_of_a_new_series_fires(tmp_path: Path) -> None:
    """A counter that begins at 1 never increased, and yet there was a violation."""
    check_alerts(
        tmp_path,
        [
            counter("canario_slo_contract_violations_total", "new", "_x4 1x20"),
            counter("canario_slo_contract_violations_total", "old", "3x9 4x15"),
            counter("canario_slo_contract_violations_total", "calm", "3x24"),
        ],
        {
            "3m": {"CanarioContractViolation": {"calm", "old"}},
            "6m": {"CanarioContractViolation": {"new"}},
            "11m": {"CanarioContractViolation": {"old"}},
            "24m": {"CanarioContractViolation": set()},
        },
    )


def test_a_rollback_and_a_fault_fire(tmp_path: Path) -> None:
    phase = "canario_rollout_phase"

    def phase_of(deployment: str, state: str, values: str) -> dict[str, str]:
        return {
            "series": f'{phase}{{deployment_id="{deployment}",{phase}="{state}"}}',
            "values": values,
        }

    faults = 'canario_incidents_total{deployment_id="v2",kind="faults"}'
    check_alerts(
        tmp_path,
        [
            phase_of("v2", "rolled_back", "0x10 1x10"),
            phase_of("v2", "running", "1x10 0x10"),
            phase_of("v3", "rolled_back", "0x20"),
            {"series": faults, "values": "0x5 1x60"},
        ],
        {
            "5m": {"CanarioRolledBack": set(), "CanarioFaults": set()},
            "12m": {"CanarioRolledBack": {"v2"}, "CanarioFaults": {"v2"}},
            "30m": {"CanarioFaults": set()},
        },
    )


# -- they rest on as many requests as the process' own alerts do


def quiet(bad: int, total: int, slow: int = 0) -> list[dict[str, str]]:
    """`total` requests after an hour and a half without any."""

    def rise(n: int) -> str:
        return f"0x90 {n}x30"

    return [
        counter("canario_slo_requests_total", "a", rise(total)),
        counter("canario_slo_bad_requests_total", "a", rise(bad)),
        counter("canario_slo_errors_total", "a", rise(bad)),
        counter("canario_slo_timed_requests_total", "a", rise(total)),
        counter("canario_slo_slow_requests_total", "a", rise(slow)),
    ]


FLOORED = {
    "CanarioErrorBudgetBurn": AlertType.BURN_RATE,
    "CanarioAvailabilityDegraded": AlertType.AVAILABILITY_DEGRADED,
    "CanarioErrorRateExceeded": AlertType.ERROR_RATE_EXCEEDED,
    "CanarioLatencyExceeded": AlertType.LATENCY_EXCEEDED,
}


@pytest.mark.parametrize(
    ("bad", "slow", "total", "least"),
    [
        (1, 0, 1, 1),
        (1, 1, 2, 50),  # one bad request in a quiet hour
        (48, 48, 48, 50),
        (50, 50, 50, 50),
        (1, 3, 60, 50),  # 5 % are slow: the p95 of 60 is the third from above
        (1, 2, 60, 50),
        (0, 0, 60, 50),
    ],
)
def test_they_fire_where_the_process_s_own_alerts_do(
    bad: int, slow: int, total: int, least: int, tmp_path: Path
) -> None:
    """Both are shown the same requests, and have the same `min_samples`."""
    objectives = Objectives(min_samples=least, aggregation_window_seconds=3600)
    monitor = SLOMonitor(objectives, clock=ManualClock(1.7e9))
    for number in range(total):
        late = 900.0 if number < slow else 20.0
        monitor.record_request("a", number >= bad, late)
    own = {
        (condition.alert_type, condition.rule)
        for condition in monitor.conditions()
        if condition.breached
    }
    hours = {"14.4x": "1h", "6x": "6h", "3x": "1d", "1x": "3d"}
    fired: dict[str, set[str]] = {name: set() for name in FLOORED}
    for name, kind in FLOORED.items():
        fired[name] = {f"a@{hours[rule]}" if rule else "a" for of, rule in own if of is kind}
    check_alerts(tmp_path, quiet(bad, total, slow), {"93m": fired}, objectives=objectives)


def test_every_ratio_of_requests_has_its_floor() -> None:
    made = prometheus_rules(Objectives(min_samples=50))
    for rule in rules(made):
        if "alert" in rule and ":ratio_rate" in rule["expr"]:
            assert re.search(r" and flow:canario_slo_\w+:increase\w+ >= 50$", rule["expr"])
    plain = prometheus_rules(Objectives())
    assert not any("increase" in rule["record"] for rule in rules(plain) if "record" in rule)
