"""The monitor against a list of all that was ever recorded."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from canario.metrics.flow import RETENTION_SECONDS
from canario.plan import Objectives
from canario.slo import SLOMonitor
from canario.testing import ManualClock

# Gaps within a slice, over some, over the window, over hours, days and the whole retention.
GAPS = st.sampled_from([0.0, 0.0, 0.01, 1.0, 4.9, 5.0, 61.0, 299.0, 300.0, 3600.0, 1e5, 3e6])
LATENCIES = st.one_of(
    st.none(), st.floats(0, 1e6), st.sampled_from([200.0, 200.00000000000003, 199.9, 5.0, 10])
)
REQUESTS = st.lists(st.tuples(GAPS, st.booleans(), LATENCIES, st.booleans()), max_size=60)
STARTS = st.sampled_from([0.0, 7.25, 1.76e9])
FLOW = "decalogo_evaluation"


class Seen(NamedTuple):
    at: float
    success: bool
    latency_ms: float | None
    valid: bool


def replay(
    requests: list[tuple[float, bool, float | None, bool]], start: float, objectives: Objectives
) -> tuple[SLOMonitor, list[Seen]]:
    clock = ManualClock(start)
    monitor = SLOMonitor(objectives, clock=clock)
    seen = []
    for gap, success, latency, valid in requests:
        clock.advance(gap)
        seen.append(Seen(clock(), success, latency, valid))
        monitor.record_request(FLOW, success, latency, valid)
    return monitor, seen


def since(seen: list[Seen], instant: float) -> list[Seen]:
    return [one for one in seen if one.at >= instant]


def exact_p95(seen: list[Seen]) -> float | None:
    timed = sorted(one.latency_ms for one in seen if one.latency_ms is not None)
    return timed[len(timed) * 95 // 100] if timed else None


@given(REQUESTS, STARTS, st.sampled_from([300.0, 60.0, 7.0, 86_400.0]), GAPS)
def test_a_status_is_that_of_the_list(
    requests: list[tuple[float, bool, float | None, bool]], start: float, window: float, wait: float
) -> None:
    objectives = Objectives(aggregation_window_seconds=window, error_rate_percent=20)
    monitor, seen = replay(requests, start, objectives)
    clock = monitor.clock
    assert isinstance(clock, ManualClock)
    clock.advance(wait)
    width = window / 60
    # The window begins where the slice begins that `window` seconds ago is in.
    first = math.floor(clock() / width + 1e-9) - 60
    kept = [one for one in seen if math.floor(one.at / width + 1e-9) >= first]
    assert len(since(seen, clock() - window + 1e-6)) <= len(kept)
    assert len(kept) <= len(since(seen, clock() - window - width - 1e-6))
    status = monitor.check_slo_status(FLOW)
    n = len(kept)
    assert status.samples == n
    assert status.contract_violations == sum(not one.valid for one in kept)
    if not n:
        assert (status.availability, status.error_rate_percent, status.overall_slo_met) == (
            None,
        ) * 3
        return
    bad = sum(not (one.success and one.valid) for one in kept)
    failed = sum(not one.success for one in kept)
    assert status.availability == 100 * (n - bad) / n
    assert status.error_rate_percent == 100 * failed / n
    assert status.availability_met == (Fraction(n - bad, n) >= Fraction("0.995"))
    assert status.error_rate_met == (Fraction(failed, n) <= Fraction("0.2"))
    p95 = exact_p95(kept)
    if p95 is None:
        assert status.p95_latency_ms is status.latency_met is None
    else:
        assert status.latency_met == (p95 <= 200)
        assert status.p95_latency_ms is not None
        assert (status.p95_latency_ms <= 200) == status.latency_met
        assert abs(status.p95_latency_ms - p95) <= max(0.01 * p95, 0.01) * (1 + 1e-9)
    met = (status.availability_met, status.error_rate_met, status.latency_met)
    assert status.overall_slo_met == (False not in met)


@given(REQUESTS, STARTS, st.sampled_from([5.0, 300.0, 1800.0, 3600.0, 21_600.0, 86_400.0, 2.592e6]))
def test_a_window_is_never_too_short_and_at_most_one_slice_too_long(
    requests: list[tuple[float, bool, float | None, bool]], start: float, seconds: float
) -> None:
    monitor, seen = replay(requests, start, Objectives())
    flow = monitor._flows.get(FLOW)
    if flow is None:
        return
    now = monitor.clock()
    width = flow.slice_seconds(seconds)
    assert width <= max(5.0, seconds / 48)
    counted = flow.window(now, seconds)
    inside = since(seen, now - seconds + 1e-6)
    around = since(seen, now - seconds - width - 1e-6)
    assert len(inside) <= counted.requests <= len(around)
    assert sum(not one.success for one in inside) <= counted.errors
    assert counted.errors <= sum(not one.success for one in around)
    points = monitor.history(FLOW, seconds)
    assert sum(point.requests for point in points) == counted.requests
    assert sum(point.slow for point in points) == counted.slow


@given(REQUESTS, STARTS)
def test_totals_are_those_of_the_list(
    requests: list[tuple[float, bool, float | None, bool]], start: float
) -> None:
    monitor, seen = replay(requests, start, Objectives())
    totals = monitor.totals(FLOW)
    timed = [one.latency_ms for one in seen if one.latency_ms is not None]
    assert totals.requests == len(seen)
    assert totals.errors == sum(not one.success for one in seen)
    assert totals.bad == sum(not (one.success and one.valid) for one in seen)
    assert totals.violations == sum(not one.valid for one in seen)
    assert (totals.timed, totals.slow) == (len(timed), sum(ms > 200 for ms in timed))
    assert totals.duration.count == len(timed)
    # Each is added up in whole microseconds.
    assert totals.duration.sum_ms == pytest.approx(
        math.fsum(timed), abs=0.00051 * len(timed) + 1e-6
    )


@given(st.lists(st.floats(0.01, 1e6), min_size=1, max_size=900))
def test_the_p95_is_within_one_percent_of_numpy_s(latencies: list[float]) -> None:
    monitor = SLOMonitor(clock=ManualClock(1e9))
    for latency in latencies:
        monitor.record_request(FLOW, True, latency)
    # numpy's "higher" takes the rank from n - 1 intervals; the threshold's takes it from n.
    n = len(latencies)
    exact = float(np.partition(latencies, n * 95 // 100)[n * 95 // 100])
    assert monitor.check_slo_status(FLOW).p95_latency_ms == pytest.approx(exact, rel=0.01 + 1e-9)


def test_thirty_days_take_the_memory_of_one() -> None:
    """Every array has its length from the start; nothing else grows with time."""
    clock = ManualClock(1.7e9)
    monitor = SLOMonitor(clock=clock)

    def record(days: float) -> None:
        for number in range(int(days * 288)):
            clock.advance(300)
            monitor.record_request(FLOW, number % 7 != 0, 100.0 + number % 200)

    record(1)
    flow = monitor._flows[FLOW]
    lengths = [len(ring._starts) for ring in flow._rings]
    record(44)
    assert [len(ring._starts) for ring in flow._rings] == lengths
    assert 8 * sum(lengths) < 50_000
    assert sum(one is not None for one in flow._histogram._closed) <= 61
    assert len(monitor.history(FLOW, RETENTION_SECONDS)) == 121
    # The last 30 days, and at most a quarter of a day more.
    counted = flow.window(clock(), RETENTION_SECONDS).requests
    assert 30 * 288 <= counted <= 30.25 * 288
    assert monitor.totals(FLOW).requests == 45 * 288


@pytest.mark.parametrize("jump", [1e3, 1e7, 1e9])
def test_a_clock_that_jumps_ahead_forgets_at_once(jump: float) -> None:
    clock = ManualClock(1e6)
    monitor = SLOMonitor(clock=clock)
    for _ in range(10):
        monitor.record_request(FLOW, False, 500.0)
    clock.advance(jump)
    assert monitor.check_slo_status(FLOW).samples == 0
    monitor.record_request(FLOW, True, 5.0)
    assert monitor.check_slo_status(FLOW).samples == 1
    assert monitor.totals(FLOW).requests == 11


def test_a_clock_that_goes_back_loses_nothing() -> None:
    clock = ManualClock(1e6)
    monitor = SLOMonitor(clock=clock)
    monitor.record_request(FLOW, True, 5.0)
    clock.now -= 100_000
    for success in (True, False):
        monitor.record_request(FLOW, success, 5.0)
    assert monitor.check_slo_status(FLOW).samples == 3
    assert monitor.error_budget(FLOW).events == 3
    assert monitor.burn_rates(FLOW)[0].samples == 3
    assert sum(point.requests for point in monitor.history(FLOW, 300)) == 3
