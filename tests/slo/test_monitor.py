"""What is recorded is there, whoever records it and however many flows there are."""

from __future__ import annotations

import logging
import math
import sys
import threading
import tracemalloc
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canario import ConfigError
from canario.alerts import AlertType
from canario.control.violation import Violation
from canario.metrics.histogram import BATCH, DURATION_BOUNDS_SECONDS
from canario.plan import Objectives
from canario.slo import SLOMonitor, create_slo_monitor
from canario.testing import ManualClock

TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture
def monitor() -> SLOMonitor:
    return SLOMonitor(clock=ManualClock(1.7e9))


def test_nothing_that_threads_record_is_lost() -> None:
    """Fast and slow paths together, while the status is read."""
    monitor = SLOMonitor(clock=ManualClock(1e6))
    clock: Any = monitor.clock
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    reading = threading.Event()
    each = 4 * BATCH + 7

    def record() -> None:
        for number in range(each):
            monitor.record_request("a", True, 8.0)
            if number % 5 == 0:
                monitor.record_request("a", number % 10 == 0, 300.0, contract_valid=False)
            if number % 7 == 0:
                monitor.record_request("a", False, 300.0)

    def read() -> None:
        while not reading.is_set():
            clock.advance(0.5)
            status = monitor.check_slo_status("a")
            assert (status.samples == 0) == (status.availability is None)
            monitor.totals("a")
            monitor.burn_rates("a")

    try:
        reader = threading.Thread(target=read)
        writers = [threading.Thread(target=record) for _ in range(6)]
        for thread in (reader, *writers):
            thread.start()
        for thread in writers:
            thread.join()
    finally:
        reading.set()
        reader.join()
        sys.setswitchinterval(interval)
    broken = math.ceil(each / 5)
    failed = math.ceil(each / 7)
    both = broken - math.ceil(each / 10)
    bad = broken + failed
    totals = monitor.totals("a")
    assert totals.requests == totals.timed == 6 * (each + bad)
    assert (totals.errors, totals.bad) == (6 * (both + failed), 6 * bad)
    assert totals.violations == 6 * broken
    assert totals.slow == 6 * bad
    assert totals.duration.count == totals.requests
    assert totals.duration.sum_ms == 6 * (8.0 * each + 300.0 * bad)
    assert totals.duration.buckets[1] == 6 * each  # (5 ms, 10 ms]


class Overtaken(list[float]):
    """A list to which another thread appends whenever somebody has just copied from it."""

    def __getitem__(self, key: Any) -> Any:
        got = super().__getitem__(key)
        self.append(9.0)
        return got


@pytest.mark.parametrize("success", [True, False])
def test_what_is_appended_while_others_fold_is_not_lost(monitor: SLOMonitor, success: bool) -> None:
    for _ in range(3):
        monitor.record_request("a", success, 8.0)
    flow = monitor._flows["a"]
    name = "waiting" if success else "failing"
    waiting = Overtaken(getattr(flow, name))
    setattr(flow, name, waiting)
    for folded in (3, 4, 5):
        total = flow.total()
        assert (total.requests, total.errors) == (folded, 0 if success else folded)
        assert waiting == [9.0]


@pytest.mark.parametrize("success", [True, False])
@pytest.mark.parametrize("trace_id", [None, TRACE])
def test_little_waits_whatever_comes_in_a_slice(
    monitor: SLOMonitor, success: bool, trace_id: str | None
) -> None:
    for _ in range(5 * BATCH):
        monitor.record_request("a", success, 8.0, trace_id=trace_id)
    flow = monitor._flows["a"]
    assert len(flow.waiting) + len(flow.failing) < BATCH
    assert monitor.totals("a").errors == (0 if success else 5 * BATCH)


def test_names_past_the_limit_are_counted_as_other(caplog: pytest.LogCaptureFixture) -> None:
    monitor = SLOMonitor(clock=ManualClock(), max_flows=3)
    with caplog.at_level(logging.WARNING, "canario"):
        for number in range(10):
            monitor.record_request(f"flow-{number}", True, 5.0)
        monitor.record_request("flow-1", True, 5.0)
        monitor.record_recovery("flow-7", True, 5.0)
        monitor.record_violation("flow-8", Violation(message="x"))
    assert monitor.flows == ("flow-0", "flow-1", "flow-2", "other")
    assert monitor.overflowed == 9
    assert monitor.totals("other").requests == 7
    assert monitor.totals("other").recoveries == monitor.totals("other").violations == 1
    assert monitor.totals("flow-1").requests == 2
    (said,) = caplog.records
    assert "3 flows" in said.message
    assert "'flow-3'" in said.message


def test_the_flow_other_takes_no_other_s_room() -> None:
    monitor = SLOMonitor(clock=ManualClock(), max_flows=1)
    for name in ("other", "a", "other"):
        monitor.record_request(name, True, 5.0)
    assert monitor.flows == ("a", "other")
    assert monitor.overflowed == 0


def test_a_flow_never_seen_has_no_data(monitor: SLOMonitor) -> None:
    status = monitor.check_slo_status("never")
    assert (status.flow_name, status.samples, status.recoveries) == ("never", 0, 0)
    assert status.availability is status.p95_latency_ms is status.error_rate_percent is None
    assert status.overall_slo_met is status.availability_met is status.latency_met is None
    assert monitor.totals("never").requests == 0
    assert monitor.history("never", 300) == []
    assert [rate.breached for rate in monitor.burn_rates("never")] == [None] * 4
    assert monitor.error_budget("never").remaining_percent is None
    assert monitor.flows == ()


def test_a_member_of_an_enumeration_is_its_value(monitor: SLOMonitor) -> None:
    class Flow(StrEnum):
        HEALTH_CHECK = "health_check"

    monitor.record_request(Flow.HEALTH_CHECK, True, 5.0)
    monitor.record_request("health_check", True, 5.0)
    monitor.record_request(Flow.HEALTH_CHECK, False, 5.0)
    assert monitor.flows == ("health_check",)
    assert type(monitor.flows[0]) is str
    assert monitor.check_slo_status(Flow.HEALTH_CHECK).samples == 3


@pytest.mark.parametrize(
    ("name", "latency", "error", "said"),
    [
        ("a", math.nan, ValueError, "latency_ms is nan"),
        ("a", math.inf, ValueError, "latency_ms is inf"),
        ("a", -0.1, ValueError, "latency_ms is -0.1"),
        ("a", "150", TypeError, "latency_ms is '150'"),
        ("a", True, TypeError, "latency_ms is True"),
        ("a", object(), TypeError, "latency_ms is <object"),
        ("", 1.0, ValueError, "flow_name is ''"),
        (" ", 1.0, ValueError, "flow_name is ' '"),
        (None, 1.0, TypeError, "flow_name is None"),
        (b"a", 1.0, TypeError, "flow_name is b'a'"),
        ([], 1.0, TypeError, r"flow_name is \[\]"),
        ("a" * 257, 1.0, ValueError, "flow_name has 257 characters"),
    ],
)
def test_what_cannot_be_recorded_is_refused(
    monitor: SLOMonitor, name: Any, latency: Any, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        monitor.record_request(name, True, latency)
    with pytest.raises(error, match=said.replace("latency_ms", "recovery_time_ms")):
        monitor.record_recovery(name, True, latency)
    assert monitor.flows == ()


def test_a_latency_may_be_any_number_or_none(monitor: SLOMonitor) -> None:
    import numpy as np

    for latency in (150, 150.0, np.float64(150), np.float32(150), None, 0, 0.0):
        monitor.record_request("a", True, latency)  # type: ignore[arg-type]
    totals = monitor.totals("a")
    assert (totals.requests, totals.timed) == (7, 6)
    assert (type(totals.duration.sum_ms), totals.duration.sum_ms) == (float, 600)


def test_what_is_bad_for_availability_may_have_succeeded(monitor: SLOMonitor) -> None:
    for number in range(2000):
        monitor.record_request("a", number != 0, 100.0, contract_valid=number not in (1, 2, 3))
    status = monitor.check_slo_status("a")
    assert (status.availability, status.error_rate_percent) == (99.8, 0.05)
    assert status.overall_slo_met is True
    assert status.contract_violations == 3


def test_a_violation_that_is_found_later_makes_its_request_bad(monitor: SLOMonitor) -> None:
    for _ in range(4):
        monitor.record_request("a", True, 5.0)
    monitor.record_violation("a", Violation(message="no score", trace_id=TRACE))
    status = monitor.check_slo_status("a")
    assert (status.availability, status.contract_violations) == (75.0, 1)
    for _ in range(9):
        monitor.record_violation("a", Violation(message="no score"))
    assert monitor.check_slo_status("a").availability == 0.0


def test_failed_requests_have_a_latency_too(monitor: SLOMonitor) -> None:
    monitor.record_request("a", False, 5000.0)
    status = monitor.check_slo_status("a")
    assert status.latency_met is False
    assert status.p95_latency_ms == pytest.approx(5000, rel=0.01)


@pytest.mark.parametrize("slow", [0, 1])
def test_what_is_shown_is_on_the_side_that_was_decided(slow: int, monitor: SLOMonitor) -> None:
    for latency in [200.0] * 20 if not slow else [200.0] * 19 + [math.nextafter(200, 300)]:
        monitor.record_request("a", True, latency)
    status = monitor.check_slo_status("a")
    assert status.latency_met is not bool(slow)
    assert status.p95_latency_ms is not None
    assert (status.p95_latency_ms > 200) == bool(slow)
    assert status.p95_latency_ms == pytest.approx(200, rel=0.01)


def test_few_samples_are_not_judged_where_the_plan_says_so() -> None:
    monitor = SLOMonitor(Objectives(min_samples=3), clock=ManualClock())
    for _ in range(2):
        monitor.record_request("a", False, 900.0)
    status = monitor.check_slo_status("a")
    assert (status.availability, status.error_rate_percent) == (0.0, 100.0)
    assert status.availability_met is status.overall_slo_met is status.latency_met is None
    assert monitor.burn_rates("a")[0].breached is None
    monitor.record_request("a", False, 900.0)
    assert monitor.check_slo_status("a").overall_slo_met is False
    assert monitor.burn_rates("a")[0].breached is True


def test_recoveries_are_exact(monitor: SLOMonitor) -> None:
    clock: Any = monitor.clock
    for number in range(200):
        monitor.record_recovery("a", True, 1000.0 + number)
    status = monitor.check_slo_status("a")
    assert (status.recoveries, status.p99_recovery_time_ms) == (200, 1198.0)
    assert status.samples == 0
    assert status.overall_slo_met is None
    clock.advance(306)
    assert monitor.check_slo_status("a").p99_recovery_time_ms is None
    monitor.record_recovery("a", False, 10.0)
    status = monitor.check_slo_status("a")
    assert status.p99_recovery_time_ms is not None
    assert status.p99_recovery_time_ms > 1500
    totals = monitor.totals("a")
    assert (totals.recoveries, totals.recoveries_failed) == (201, 1)


def test_many_recoveries_are_all_counted_in_bounded_memory(monitor: SLOMonitor) -> None:
    """The 101 late ones of 10,000 come first: the latest thousand alone would not show them."""

    def record(times: int, took_ms: float) -> int:
        for _ in range(times):
            monitor.record_recovery("a", True, took_ms)
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    record(101, 2000.0)
    before = record(3000, 1000.0)
    after = record(6899, 1000.0)
    tracemalloc.stop()
    assert after - before < 10_000
    status = monitor.check_slo_status("a")
    assert status.recoveries == 10_000
    assert status.p99_recovery_time_ms == pytest.approx(2000, rel=0.01)
    kinds = {alert.alert_type for alert in monitor.evaluate_alert_rules()}
    assert kinds == {AlertType.FAULT_RECOVERY}
    record(200, 1000.0)  # 101 of 10,200 are less than 1 %
    status = monitor.check_slo_status("a")
    assert status.p99_recovery_time_ms == pytest.approx(1000, rel=0.01)


RECOVERIES = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.0, 1.0, 4.9, 61.0, 299.0, 3600.0]),
        st.booleans(),
        st.sampled_from([0.0, 900.0, 1500.0, 1500.0000000000002, 1501.0, 7.2e6]),
    ),
    max_size=40,
)


@given(recoveries=RECOVERIES)
def test_recoveries_are_those_of_a_list(recoveries: list[tuple[float, bool, float]]) -> None:
    clock = ManualClock(1e6)
    monitor = SLOMonitor(clock=clock)
    seen = []
    for gap, success, took_ms in recoveries:
        clock.advance(gap)
        monitor.record_recovery("a", success, took_ms)
        seen.append((clock() // 5, took_ms if success else max(took_ms, 1500.0000000000002)))
    kept = sorted(took_ms for number, took_ms in seen if number >= clock() // 5 - 60)
    status = monitor.check_slo_status("a")
    assert status.recoveries == len(kept)
    assert status.p99_recovery_time_ms == (kept[len(kept) * 99 // 100] if kept else None)
    firing = monitor.evaluate_alert_rules()
    assert bool(firing) == (bool(kept) and kept[len(kept) * 99 // 100] > 1500)


def test_the_history_of_a_flow_begins_with_it(monitor: SLOMonitor) -> None:
    clock: Any = monitor.clock
    for _ in range(3):
        monitor.record_request("a", True, 5.0)
        clock.advance(5)
    points = monitor.history("a", 300)
    assert [point.requests for point in points] == [1, 1, 1, 0]
    assert [point.at for point in points] == [1.7e9, 1.7e9 + 5, 1.7e9 + 10, 1.7e9 + 15]
    assert {point.seconds for point in points} == {5.0}
    with pytest.raises(ValueError, match="seconds is 0"):
        monitor.history("a", 0)


def test_durations_have_opentelemetry_s_boundaries(monitor: SLOMonitor) -> None:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    reader = InMemoryMetricReader()
    histogram = (
        MeterProvider([reader])
        .get_meter("peer")
        .create_histogram("d", explicit_bucket_boundaries_advisory=list(DURATION_BOUNDS_SECONDS))
    )
    latencies = [1000 * bound for bound in DURATION_BOUNDS_SECONDS]
    latencies += [1.001 * latency for latency in latencies]
    latencies += [0.0, 0.003, 3.3, 99.0, 123.0, 4567.0, 1e5, 5e6]
    for latency in latencies:
        monitor.record_request("a", True, latency)
        histogram.record(latency / 1000)
    data: Any = reader.get_metrics_data()
    (peer,) = data.resource_metrics[0].scope_metrics[0].metrics[0].data.data_points
    assert tuple(peer.explicit_bounds) == DURATION_BOUNDS_SECONDS
    duration = monitor.totals("a").duration
    assert list(duration.buckets) == list(peer.bucket_counts)
    assert duration.count == peer.count
    assert duration.sum_ms == pytest.approx(1000 * peer.sum, abs=0.00051 * len(latencies))


# -- where the limits come from


def test_an_argument_beats_the_environment_beats_the_file(tmp_path: Path) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text(
        "[slo]\navailability_percent = 90\np95_latency_ms = 100\nerror_rate_percent = 5\n"
        "max_flows = 7\n[tracing]\nservice_version = '2.1'\n"
    )
    environ = {"SLO_AVAILABILITY_THRESHOLD": "91", "SLO_P95_LATENCY_MS": "101"}
    monitor = create_slo_monitor(availability_threshold=92, config=plan, environ=environ)
    limits = monitor.objectives
    assert (limits.availability_percent, limits.p95_latency_ms) == (92, 101)
    assert (limits.error_rate_percent, limits.max_flows) == (5, 7)
    assert (limits.performance_regression_percent, limits.p99_recovery_time_ms) == (10, 1500)
    monitor.record_request("a", True, 1.0)
    assert monitor.set_baseline("a").version == "2.1"


def test_the_defaults_are_the_documented_ones() -> None:
    limits = create_slo_monitor(environ={}).objectives
    assert limits == Objectives(
        availability_percent=99.5,
        p95_latency_ms=200.0,
        error_rate_percent=0.1,
        performance_regression_percent=10.0,
        p99_recovery_time_ms=1500.0,
        aggregation_window_seconds=300.0,
    )


@pytest.mark.parametrize(
    ("given", "environ", "said"),
    [
        ({"availability_threshold": 101}, {}, "argument: slo.availability_percent.*101"),
        ({"error_rate_threshold": -1}, {}, "argument: slo.error_rate_percent.*-1"),
        ({"p95_latency_threshold_ms": 0}, {}, "argument: slo.p95_latency_ms"),
        ({"performance_regression_threshold": math.nan}, {}, "performance_regression_percent"),
        ({"p99_recovery_time_threshold_ms": "fast"}, {}, "argument: slo.p99_recovery_time_ms"),
        ({"aggregation_window_seconds": -5}, {}, "argument: slo.aggregation_window_seconds"),
        ({"max_flows": 0}, {}, "argument: slo.max_flows"),
        ({}, {"SLO_P95_LATENCY_MS": "quick"}, "SLO_P95_LATENCY_MS.*'quick'"),
        ({}, {"SLO_AVAILABILITY_THRESHOLD": "200"}, "SLO_AVAILABILITY_THRESHOLD.*200"),
    ],
)
def test_a_wrong_limit_is_refused_with_its_source(
    given: dict[str, Any], environ: dict[str, str], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        create_slo_monitor(**given, environ=environ)
