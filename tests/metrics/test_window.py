"""The window against a list of all that was ever observed."""

from __future__ import annotations

import math
import sys
import threading
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from canario import CanaryDeploymentController, Outcome
from canario.clock import ManualClock
from canario.metrics.counts import Counts
from canario.metrics.histogram import (
    BATCH,
    DURATION_BOUNDS_SECONDS,
    RELATIVE_ERROR,
    SlidingHistogram,
)
from canario.metrics.recorder import ArmMetrics
from canario.metrics.window import SlidingWindow

# Gaps that stay within a slice, cross some, and outlive the window.
GAPS = st.sampled_from([0.0, 0.001, 0.3, 0.5, 1.0, 2.5, 59.5, 60.0, 61.0, 500.0])
OBSERVED = st.lists(st.tuples(GAPS, st.booleans(), st.booleans()), max_size=60)


def counts_of(seen: list[tuple[float, bool, bool]]) -> Counts:
    return Counts(
        requests=len(seen),
        errors=sum(bad for _, bad, _ in seen),
        timed=len(seen),
        slow=sum(slow for _, _, slow in seen),
    )


@given(OBSERVED, st.sampled_from([0.0, 7.25, 1.76e9]), st.sampled_from([60.0, 6.0, 0.7]))
def test_the_window_is_exact_to_one_slice(
    observed: list[tuple[float, bool, bool]], start: float, seconds: float
) -> None:
    window = SlidingWindow(seconds)
    width = window.slice_seconds
    now = start
    seen: list[tuple[float, bool, bool]] = []
    for gap, bad, slow in observed:
        now += gap
        seen.append((now, bad, slow))
        window.add(now, 1, bad, 1, slow)
        # The window reaches back to the beginning of the slice that `seconds` before now is in.
        oldest = math.floor(now / width) - window.slices
        exact = [one for one in seen if math.floor(one[0] / width) >= oldest]
        assert window.counts(now) == counts_of(exact)
        assert window.total() == counts_of(seen)
        inside = [one for one in seen if one[0] > now - seconds + 1e-6]
        around = [one for one in seen if one[0] > now - seconds - width - 1e-6]
        assert len(inside) <= window.counts(now).requests <= len(around)


def test_on_the_grid_the_window_is_exact() -> None:
    window = SlidingWindow(60)
    for second in range(200):
        window.add(float(second), 1)
    window.add(199.999, 1)
    assert window.counts(200.0).requests == 61  # [140, 200) and the last one


def test_time_never_goes_back() -> None:
    window = SlidingWindow(60)
    window.add(100.0, 1)
    window.add(99.0, 1, 1)  # a thread that was overtaken
    assert window.counts(100.0) == Counts(requests=2, errors=1)
    assert window.counts(160.5) == Counts(requests=2, errors=1)
    assert window.counts(161.0) == Counts()


def test_it_can_be_cleared() -> None:
    window = SlidingWindow(60)
    window.add(5.0, 3, 2, 1, 1, 1, 1)
    window.clear()
    assert window.counts(5.0) == window.total() == Counts()


@given(st.integers(1, 10**6), st.integers(1, 10**6))
def test_counts_add_up(a: int, b: int) -> None:
    one, other = Counts(requests=a, errors=b), Counts(requests=b, slow=a, violations=1, neutral=2)
    assert one + other == other + one
    assert one + other - other == one
    assert Counts().error_rate is None
    assert Counts().slow_rate is None
    assert Counts(requests=8, errors=2, timed=4, slow=1).error_rate == 25


LATENCIES = st.lists(st.floats(0.01, 1e6), min_size=1, max_size=200)


@given(LATENCIES, st.sampled_from([0.5, 0.95, 0.99]))
def test_a_quantile_is_within_one_percent(latencies: list[float], q: float) -> None:
    histogram = SlidingHistogram(60)
    for latency in latencies:
        histogram.add(1.0, latency)
    exact = sorted(latencies)[min(int(q * len(latencies)), len(latencies) - 1)]
    (got,) = histogram.quantiles(1.0, q)
    assert got is not None
    assert abs(got - exact) <= exact * RELATIVE_ERROR * (1 + 1e-9)


def test_quantiles_agree_with_numpy_on_a_hundred_thousand() -> None:
    rng = np.random.default_rng(1)
    latencies = rng.lognormal(4, 1, 100_000)
    histogram = SlidingHistogram(60)
    for latency in latencies:
        histogram.add(3.0, float(latency))
    for got, q in zip(histogram.quantiles(3.0, 0.5, 0.95, 0.99), (0.5, 0.95, 0.99), strict=True):
        assert got == pytest.approx(np.quantile(latencies, q, method="higher"), rel=0.0101)


def test_old_latencies_are_forgotten() -> None:
    histogram = SlidingHistogram(60)
    assert histogram.quantiles(0.0, 0.5) == (None,)
    histogram.add(10.0, 1000)
    histogram.add(30.0, 10)
    (p99,) = histogram.quantiles(30.0, 0.99)
    assert p99 == pytest.approx(1000, rel=0.01)
    (p99,) = histogram.quantiles(71.0, 0.99)
    assert p99 == pytest.approx(10, rel=0.01)
    assert histogram.quantiles(1e6, 0.5) == (None,)


@pytest.mark.parametrize("latency", [0.0, 1e-9, 1e9])
def test_a_latency_off_the_scale_is_kept_at_its_end(latency: float) -> None:
    histogram = SlidingHistogram(60)
    histogram.add(0.0, latency)
    (got,) = histogram.quantiles(0.0, 0.5)
    assert got == pytest.approx(0.01 if latency < 1 else 1e6, rel=0.03)


def size_of(value: object, seen: set[int] | None = None) -> int:
    """Bytes of an object and all it holds."""
    seen = set() if seen is None else seen
    if id(value) in seen:
        return 0
    seen.add(id(value))
    size = sys.getsizeof(value)
    if isinstance(value, list | tuple):
        size += sum(size_of(part, seen) for part in value)
    if isinstance(value, dict):
        size += sum(size_of(part, seen) for pair in value.items() for part in pair)
    for slot in getattr(type(value), "__slots__", ()):
        size += size_of(getattr(value, slot), seen)
    return size


def test_memory_does_not_depend_on_the_traffic() -> None:
    """It depends on how many buckets the latencies of a slice fall into, which soon are all."""

    def size(per_second: int) -> int:
        metrics = ArmMetrics(60, 500.0)
        for i in range(90 * per_second):
            metrics.record(i / per_second, False, 1 + i * 7.3 % 50)
        metrics.quantiles(90, 0.5)
        return size_of(metrics)

    # What waits to be sorted may differ by a batch of floats.
    assert size(2000) <= size(400) + 32 * BATCH
    assert size(2000) < 150_000


def test_memory_is_bounded_whatever_the_latencies() -> None:
    rng = np.random.default_rng(5)
    metrics = ArmMetrics(60, 500.0)
    for i, latency in enumerate(10 ** rng.uniform(-2.1, 6.1, 61 * 3000)):
        metrics.record(i / 3000, False, float(latency))
    assert size_of(metrics) < 400_000


# Values on, just below and just above a boundary, and between.
EDGES = st.sampled_from(DURATION_BOUNDS_SECONDS).flatmap(
    lambda bound: st.sampled_from(
        [1000 * bound, math.nextafter(1000 * bound, 0), math.nextafter(1000 * bound, math.inf)]
    )
)


@given(st.lists(st.tuples(GAPS, EDGES | st.floats(0, 2e4)), max_size=700))
def test_duration_totals_are_exact_and_never_forget(seen: list[tuple[float, float]]) -> None:
    histogram, now = SlidingHistogram(60), 0.0
    for gap, latency in seen:
        now += gap
        histogram.add(now, latency)
    edges = [0.0, *(1000 * bound for bound in DURATION_BOUNDS_SECONDS), math.inf]
    latencies = [latency for _, latency in seen]
    expected = [
        sum(low < latency <= high or latency == low == 0 for latency in latencies)
        for low, high in pairwise(edges)
    ]
    totals = histogram.totals()
    assert list(totals.buckets) == expected
    assert totals.count == len(latencies)
    # Each is added up in whole microseconds.
    assert totals.sum_ms == pytest.approx(math.fsum(latencies), abs=0.00051 * len(latencies))


@given(st.lists(st.tuples(GAPS, st.floats(0.01, 1e6)), min_size=1, max_size=80))
def test_the_histogram_s_window_is_that_of_the_counts(seen: list[tuple[float, float]]) -> None:
    histogram, now = SlidingHistogram(60), 0.0
    at: list[tuple[float, float]] = []
    for gap, latency in seen:
        now += gap
        histogram.add(now, latency)
        at.append((now, latency))
    kept = sorted(latency for instant, latency in at if int(instant) >= int(now) - 60)
    histogram.advance(now)
    assert len(histogram) == len(kept)
    for rank, latency in enumerate(reversed(kept), 1):
        assert histogram.highest(rank) == pytest.approx(latency, rel=RELATIVE_ERROR * (1 + 1e-9))


def test_an_arm_s_totals_outlive_its_window_and_a_restart() -> None:
    clock = ManualClock()
    controller = CanaryDeploymentController(deployment_id="totals", clock=clock)
    controller.start()
    for latency in (5.0, 600.0, 20_000.0):
        controller.observe("canary", Outcome.GOOD, latency)
    controller.observe("canary", Outcome.BAD)
    before = controller.totals("canary")
    assert before.counts == Counts(requests=4, errors=1, timed=3, slow=2)
    assert (before.duration.count, before.duration.sum_ms) == (3, 20_605.0)
    assert [i for i, n in enumerate(before.duration.buckets) if n] == [0, 8, 14]
    controller.restart()
    assert controller.counts("canary") == Counts()
    assert controller.totals("canary") == before
    controller.observe("canary", Outcome.GOOD, 5.0)
    after = controller.totals("canary")
    assert after.counts.requests == 5
    assert after.duration.buckets[0] == 2
    assert controller.totals("baseline").duration.count == 0


def test_recording_is_exact_under_threads() -> None:
    controller = CanaryDeploymentController(deployment_id="threads", clock=ManualClock())
    controller.start()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)

    def record() -> None:
        for i in range(2_000):
            controller.observe("canary", Outcome.BAD if i % 4 == 0 else Outcome.GOOD, 600.0)
            controller.observe("baseline", Outcome.NEUTRAL)

    try:
        threads = [threading.Thread(target=record) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert controller.counts("canary") == Counts(
        requests=16_000, errors=4_000, timed=16_000, slow=16_000
    )
    assert controller.counts("baseline") == Counts(neutral=16_000)


def test_what_leaves_a_window_leaves_every_column() -> None:
    columns = ["requests", "errors", "timed", "slow", "violations", "neutral", "abandoned"]
    first = dict(zip(columns, range(1, 8), strict=True))
    second = {name: 10 * times for name, times in first.items()}
    window = SlidingWindow(6.0, slices=3)
    window.add(0.0, **first)
    window.add(4.0, **second)
    assert window.counts(7.9) == Counts(**first) + Counts(**second)
    assert window.counts(8.0) == Counts(**second)


def test_an_instant_at_an_edge_is_in_the_slice_that_begins_there() -> None:
    many, one = SlidingWindow(2.0, slices=2), SlidingWindow(2.0, slices=2)
    for at in (0.5, 1.0):
        many.add(at, 1)
        one.add_one(at, bad=False, slow=False)
    for window in (many, one):
        assert [window.counts(at).requests for at in (2.9, 3.0, 4.0)] == [2, 1, 0]


def test_a_cleared_window_is_as_long_as_before() -> None:
    window = SlidingWindow(6.0, slices=3)
    window.add(1.0, 1)
    window.clear()
    assert (window.slice_seconds, window.slices, window.counts(1.0)) == (2.0, 3, Counts())


def test_instants_before_zero_leave_a_window_like_others() -> None:
    window = SlidingWindow(2.0, slices=2)
    window.add(-1.5, 1)
    assert [window.counts(at).requests for at in (-0.5, 0.5, 1.0)] == [1, 1, 0]
