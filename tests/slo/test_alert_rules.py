"""The documented triggers, the life of their alerts, and sinks that fail."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canario.alerts import Alert, AlertState, AlertType, Condition, Severity
from canario.control.violation import Violation
from canario.plan import Objectives
from canario.sinks import inline
from canario.slo import SLOMonitor
from canario.testing import ManualClock

TRACE, OTHER_TRACE = "0af7651916cd43dd8448eb211c80319c", "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture
def monitor() -> SLOMonitor:
    return SLOMonitor(clock=ManualClock(1.7e9))


def condition(monitor: SLOMonitor, alert_type: AlertType, rule: str = "") -> Condition:
    (found,) = [
        one for one in monitor.conditions() if (one.alert_type, one.rule) == (alert_type, rule)
    ]
    return found


def record(monitor: SLOMonitor, n: int, failed: int = 0, latency_ms: float = 50.0) -> None:
    for number in range(n):
        monitor.record_request("a", number >= failed, latency_ms)


def test_every_rule_has_its_severity_and_unit(monitor: SLOMonitor) -> None:
    record(monitor, 1)
    told = {
        (c.alert_type.value, c.rule): (c.severity, c.unit, c.limit) for c in monitor.conditions()
    }
    critical, warning = Severity.CRITICAL, Severity.WARNING
    assert told == {
        ("contract_violation", ""): (critical, "violations", 0.0),
        ("availability_degraded", ""): (critical, "%", 99.5),
        ("error_rate_exceeded", ""): (critical, "%", 0.1),
        ("latency_exceeded", ""): (warning, "ms", 200.0),
        ("performance_regression", ""): (warning, "%", 10.0),
        ("fault_recovery", ""): (critical, "ms", 1500.0),
        ("burn_rate", "14.4x"): (critical, "x", 14.4),
        ("burn_rate", "6x"): (critical, "x", 6),
        ("burn_rate", "3x"): (warning, "x", 3),
        ("burn_rate", "1x"): (warning, "x", 1),
    }
    assert [c.breached for c in monitor.conditions()] == [False] * 4 + [None] * 2 + [False] * 4


def test_one_bad_request_is_enough(monitor: SLOMonitor) -> None:
    """The documented triggers ask for no minimum of samples."""
    monitor.record_request("a", False, 900.0, contract_valid=False, trace_id=TRACE)
    monitor.record_recovery("a", True, 1500.1)
    fired = monitor.evaluate_alert_rules()
    assert {alert.alert_type for alert in fired} == set(AlertType) - {
        AlertType.PERFORMANCE_REGRESSION
    }
    assert {alert.state for alert in fired} == {AlertState.FIRING}
    assert {alert.trace_id for alert in fired} == {TRACE}
    assert monitor.evaluate_alert_rules() == []
    assert len(monitor.get_active_alerts()) == len(fired) == 9


def test_a_message_has_the_numbers_and_their_units(monitor: SLOMonitor) -> None:
    record(monitor, 1000, 8, 250.0)
    monitor.record_violation("a", Violation(message="no score"))
    monitor.record_recovery("a", False, 100.0)
    said = [c.message for c in monitor.conditions()]
    assert said[0] == "a: one contract violation in the last 5 min; none is allowed (no score)"
    assert said[1] == (
        "a: availability 99.1 % in the last 5 min, at least 99.5 % is wanted: 9 of 1,000 requests "
        "failed or broke their contract"
    )
    assert said[2] == (
        "a: error rate 0.8 % in the last 5 min, at most 0.1 % is allowed: 8 of 1,000 requests "
        "failed"
    )
    assert said[3].endswith(" ms is allowed: 1,000 of 1,000 requests took longer")
    assert said[4] == "a: no baseline is set; at most 10 % above is allowed"
    assert said[5].startswith("a: p99 of 1 recovery from faults, 1 of them in vain is 1500 ms")
    assert said[6] == (
        "a: the error budget burns 1.8 times too fast over 1 h and 1.8 times over 5 min, at most "
        "14.4 times is allowed: 9 of 1,000 requests were bad"
    )


@pytest.mark.parametrize(
    ("failed", "breached", "clear"),
    [(11, True, False), (10, False, False), (9, False, True), (0, False, True)],
)
def test_an_alert_ends_when_the_value_is_back_by_a_tenth(
    failed: int, breached: bool, clear: bool
) -> None:
    """1 % may fail: 10 of 1000 is met, 9 is clear of it."""
    limits = Objectives(availability_percent=99, error_rate_percent=1)
    monitor = SLOMonitor(limits, clock=ManualClock(1e6))
    record(monitor, 1000, failed)
    for rule in (AlertType.AVAILABILITY_DEGRADED, AlertType.ERROR_RATE_EXCEEDED):
        found = condition(monitor, rule)
        assert (found.breached, found.clear) == (breached, clear)


@pytest.mark.parametrize(
    ("latency", "breached", "clear"),
    [(201.0, True, False), (199, False, False), (178, False, True)],
)
def test_so_does_that_of_a_latency(latency: float, breached: bool, clear: bool) -> None:
    monitor = SLOMonitor(clock=ManualClock(1e6))
    record(monitor, 50, 0, latency)
    found = condition(monitor, AlertType.LATENCY_EXCEEDED)
    assert (found.breached, found.clear) == (breached, clear)
    monitor.record_recovery("a", True, latency * 7.5)
    found = condition(monitor, AlertType.FAULT_RECOVERY)
    assert (found.breached, found.clear) == (breached, clear)


@given(st.integers(0, 60), st.integers(0, 60), st.sampled_from([50.0, 190.0, 300.0]))
def test_nothing_is_breached_and_clear(good: int, bad: int, latency: float) -> None:
    monitor = SLOMonitor(clock=ManualClock(1e6))
    record(monitor, good + bad, bad, latency)
    for found in monitor.conditions():
        assert not (found.breached and found.clear)
        if found.observed is None:
            assert found.breached is None
            assert not found.clear


def test_an_alert_fires_once_and_ends_by_itself() -> None:
    told: list[Alert] = []
    clock = ManualClock(1.7e9)
    monitor = SLOMonitor(clock=clock, sinks=[inline(told.append)])
    record(monitor, 100, 0, 300.0)
    (alert,) = monitor.evaluate_alert_rules()
    assert alert.alert_type is AlertType.LATENCY_EXCEEDED
    for _ in range(40):
        clock.advance(15)
        record(monitor, 5)
        assert monitor.evaluate_alert_rules() == []
    assert monitor.get_active_alerts() == []
    assert [one.state for one in told] == [AlertState.FIRING, AlertState.RESOLVED]
    assert [one.alert_id for one in monitor.alert_history()] == [alert.alert_id]


def test_an_alert_can_be_ended_acknowledged_and_silenced() -> None:
    told: list[Alert] = []
    monitor = SLOMonitor(clock=ManualClock(1.7e9), sinks=[inline(told.append)])
    silence = monitor.silence(600, alert_type=AlertType.LATENCY_EXCEEDED, by="ops")
    record(monitor, 100, 0, 300.0)
    assert monitor.evaluate_alert_rules() == []
    (alert,) = monitor.get_active_alerts()
    assert told == []
    monitor.lift_silence(silence.silence_id)
    assert [one.alert_id for one in monitor.evaluate_alert_rules()] == [alert.alert_id]
    assert monitor.acknowledge_alert(alert.alert_id, by="ops").acknowledged_by == "ops"
    ended = monitor.resolve_alert(alert.alert_id)
    assert ended.state is AlertState.RESOLVED
    assert [one.state for one in told] == [AlertState.FIRING, AlertState.RESOLVED]
    assert monitor.get_active_alerts() == []
    with pytest.raises(LookupError, match="'nothing'"):
        monitor.resolve_alert("nothing")
    with pytest.raises(ValueError, match="seconds is 0"):
        monitor.silence(0)


def test_a_sink_that_raises_harms_no_other(caplog: pytest.LogCaptureFixture) -> None:
    told: list[Alert] = []

    def broken(alert: Alert) -> None:
        raise OSError("no route")

    def asks(alert: Alert) -> None:
        # No lock is held: a sink may use the watched.
        assert watched.get_active_alerts()
        watched.record_request("b", True, 1.0)

    sinks = [inline(broken), inline(asks), inline(told.append)]
    watched = SLOMonitor(clock=ManualClock(1.7e9), sinks=sinks)
    record(watched, 100, 50)
    with caplog.at_level(logging.ERROR, "canario"):
        fired = watched.evaluate_alert_rules()
    assert told == fired
    assert len(caplog.records) == 1
    assert "OSError" in caplog.text


def test_examples_are_of_the_window(monitor: SLOMonitor) -> None:
    clock: Any = monitor.clock
    monitor.record_request("a", True, 900.0, trace_id=TRACE)
    monitor.record_request("a", False, 5.0, trace_id=OTHER_TRACE)
    monitor.record_request("a", True, 5.0, trace_id="f" * 32)
    assert condition(monitor, AlertType.LATENCY_EXCEEDED).trace_id == TRACE
    assert condition(monitor, AlertType.ERROR_RATE_EXCEEDED).trace_id == OTHER_TRACE
    clock.advance(200)
    monitor.record_violation("a", Violation(message="no score", trace_id="e" * 32))
    assert condition(monitor, AlertType.CONTRACT_VIOLATION).trace_id == "e" * 32
    clock.advance(150)
    assert condition(monitor, AlertType.LATENCY_EXCEEDED).trace_id is None
    assert condition(monitor, AlertType.CONTRACT_VIOLATION).trace_id == "e" * 32


def test_evaluation_is_due_at_its_interval() -> None:
    clock = ManualClock(1000.0)
    monitor = SLOMonitor(Objectives(evaluation_interval_seconds=20), clock=clock)
    record(monitor, 10, 10)
    assert monitor.tick() == 1020.0
    assert monitor.get_active_alerts() == []
    clock.advance(25)
    assert monitor.tick() == 1045.0
    assert monitor.get_active_alerts()
