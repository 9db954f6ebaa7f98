"""Baselines: taken, kept in a file, and compared with only where that says something."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from canario import ConfigError
from canario.alerts import AlertType
from canario.slo import SLOMonitor
from canario.testing import ManualClock

AT = 1_768_471_800.25  # 2026-01-15T10:10:00.25Z


@pytest.fixture
def monitor() -> SLOMonitor:
    return SLOMonitor(clock=ManualClock(AT), version="1.4.0")


def fill(monitor: SLOMonitor, latency_ms: float, n: int = 100) -> None:
    clock: Any = monitor.clock
    clock.advance(400)  # what was before is out of the window
    for _ in range(n):
        monitor.record_request("a", True, latency_ms)


def test_a_slower_p95_is_a_regression(monitor: SLOMonitor) -> None:
    fill(monitor, 100.0)
    made = monitor.set_baseline("a")
    assert (made.samples, made.version, made.at) == (100, "1.4.0", AT + 400)
    assert made.p95_latency_ms == pytest.approx(100, rel=0.01)
    assert monitor.check_slo_status("a").performance_regression_percent == 0
    fill(monitor, 150.0)
    status = monitor.check_slo_status("a")
    assert status.performance_regression_percent == pytest.approx(50, abs=3)
    (alert,) = monitor.evaluate_alert_rules()
    assert alert.alert_type is AlertType.PERFORMANCE_REGRESSION
    assert alert.severity.value == "WARNING"
    fill(monitor, 80.0)
    status = monitor.check_slo_status("a")
    assert status.performance_regression_percent == pytest.approx(-20, abs=2)


def test_with_too_few_samples_nothing_is_compared(monitor: SLOMonitor) -> None:
    fill(monitor, 100.0, 99)
    monitor.set_baseline("a")
    fill(monitor, 190.0)
    comparison = monitor.compare_with_baseline("a")
    assert comparison.percent is None
    assert "the baseline rests on 99 of the 100" in comparison.reason
    fill(monitor, 100.0)
    monitor.set_baseline("a")
    fill(monitor, 190.0, 99)
    comparison = monitor.compare_with_baseline("a")
    assert comparison.percent is None
    assert "the window holds 99 of the 100" in comparison.reason
    assert monitor.check_slo_status("a").performance_regression_percent is None
    assert monitor.evaluate_alert_rules() == []
    assert monitor.compare_with_baseline("b").reason == "no baseline is set"


def test_there_must_be_something_to_take(monitor: SLOMonitor) -> None:
    with pytest.raises(ValueError, match="flow 'a' has no timed request"):
        monitor.set_baseline("a")
    monitor.record_request("a", True, None)
    with pytest.raises(ValueError, match="flow 'a' has no timed request"):
        monitor.set_baseline("a")


def test_a_file_keeps_date_samples_and_version(monitor: SLOMonitor, tmp_path: Path) -> None:
    fill(monitor, 100.0, 120)
    made = monitor.set_baseline("a")
    path = tmp_path / "kept" / "baselines.json"
    monitor.save_baselines(path)
    assert json.loads(path.read_text()) == {
        "baselines": {
            "a": {
                "p95_latency_ms": made.p95_latency_ms,
                "samples": 120,
                "date": "2026-01-15T10:16:40.250000+00:00",
                "version": "1.4.0",
            }
        }
    }
    assert list(path.parent.iterdir()) == [path]
    other = SLOMonitor(clock=ManualClock(AT))
    other.load_baselines(path)
    assert other.baselines == {"a": made}
    fill(other, 111.5)
    (alert,) = other.evaluate_alert_rules()
    assert alert.alert_type is AlertType.PERFORMANCE_REGRESSION


def test_a_version_may_be_given_when_saving(tmp_path: Path) -> None:
    monitor = SLOMonitor(clock=ManualClock(AT))
    fill(monitor, 100.0)
    monitor.set_baseline("a")
    monitor.save_baselines(tmp_path / "b.json", version="7")
    monitor.load_baselines(tmp_path / "b.json")
    assert monitor.baselines["a"].version == "7"


GOOD = {"p95_latency_ms": 5.0, "samples": 100, "date": "2026-01-15T10:10:00Z"}


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ("{", "is not valid JSON"),
        ("[]", "must be an object"),
        ({}, "baselines"),
        ({"baselines": [1]}, "baselines"),
        ({"baselines": {"a": GOOD}, "more": 1}, "more: unknown key"),
        ({"baselines": {"a": {**GOOD, "p95_latency_ms": 0}}}, "p95_latency_ms|> 0"),
        ({"baselines": {"a": {**GOOD, "samples": "many"}}}, "samples|int"),
        ({"baselines": {"a": {**GOOD, "date": "last week"}}}, "baselines.a.date: is 'last week'"),
        ({"baselines": {" ": GOOD}}, "name of a flow is empty"),
    ],
)
def test_a_wrong_file_is_refused_whole(
    monitor: SLOMonitor, tmp_path: Path, document: Any, said: str
) -> None:
    path = tmp_path / "wrong.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    with pytest.raises(ConfigError, match=said) as caught:
        monitor.load_baselines(path)
    assert str(path) in str(caught.value)
    assert monitor.baselines == {}


def test_a_missing_file_is_named(monitor: SLOMonitor, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.json: cannot be read"):
        monitor.load_baselines(tmp_path / "none.json")
