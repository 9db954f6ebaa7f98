"""The histogram against sorted lists, over all of its buckets, and slice by slice."""

from __future__ import annotations

from itertools import accumulate

import numpy as np
import pytest

from canario.metrics.histogram import (
    _BUCKETS,
    BATCH,
    DURATION_BOUNDS_SECONDS,
    HIGHEST_MS,
    LOWEST_MS,
    NO_DURATION,
    RELATIVE_ERROR,
    DurationTotals,
    SlidingHistogram,
    _packed,
    _pairs,
)

# One for each bucket and more, from below the lowest to above the highest.
ALL = np.geomspace(LOWEST_MS / 2, 2 * HIGHEST_MS, 3 * _BUCKETS)


def told(latency: float) -> object:
    """What a histogram may answer for a latency."""
    inside = min(max(latency, LOWEST_MS), HIGHEST_MS)
    return pytest.approx(inside, rel=RELATIVE_ERROR * (1 + 1e-9))


def test_every_rank_is_that_of_the_sorted_list() -> None:
    rng = np.random.default_rng(3)
    some = rng.choice(ALL, 40, replace=False).tolist()
    latencies = [*rng.choice(some, 200).tolist(), ALL[0], ALL[-1], HIGHEST_MS]
    histogram = SlidingHistogram(60)
    for latency in latencies:
        histogram.add(0.0, latency)
    ranked = sorted(latencies, reverse=True)
    wanted = (0.0, 0.25, 0.5, 0.95, 0.999, 1.0)
    assert histogram.quantiles(0.0, *wanted) == tuple(
        told(ranked[len(ranked) - 1 - min(int(q * len(ranked)), len(ranked) - 1)]) for q in wanted
    )
    assert len(histogram) == len(ranked)
    assert [histogram.highest(n + 1) for n in range(len(ranked))] == [told(each) for each in ranked]


def test_every_bucket_answers_for_itself() -> None:
    histogram = SlidingHistogram(60)
    histogram.add_sorted(ALL.tolist())
    n = len(ALL)
    assert [histogram.highest(n - k) for k in range(n)] == [told(float(each)) for each in ALL]


@pytest.mark.parametrize(
    ("latency", "answer"),
    [(0.0, 0.01), (0.005, 0.01), (0.01, 0.01), (1.1e6, 1e6), (1e9, 1e6)],
)
def test_off_its_scale_it_answers_with_the_ends(latency: float, answer: float) -> None:
    histogram = SlidingHistogram(60)
    histogram.add(0.0, latency)
    assert histogram.quantiles(0.0, 0.5) == (answer,)


def test_a_slice_begins_at_its_first_instant_and_is_forgotten_as_a_whole() -> None:
    """Slices of 1 s: at 61 s that of 0 s is forgotten, and that of 1 s is not."""
    histogram = SlidingHistogram(60)
    for now, latency in ((0.0, 1.0), (0.9, 1.0), (1.0, 100.0), (2.5, 1e4)):
        histogram.add(now, latency)
    kept = []
    for now in (60.9, 61.0, 61.9, 62.0, 62.9, 63.0):
        histogram.advance(now)
        kept.append(len(histogram))
    assert kept == [4, 2, 2, 1, 1, 0]
    assert histogram.totals().count == 4


def test_a_jump_forgets_what_it_leaves_behind() -> None:
    """What was counted in the slices of 0 s to 5 s, seen from up to three windows later."""
    for now in (*range(6, 190), 10**7):
        histogram = SlidingHistogram(60)
        for second in range(6):
            histogram.add(float(second), 10.0)
        histogram.advance(float(now))
        assert len(histogram) == max(0, min(6, 66 - now))
        histogram.advance(now + 61.0)
        assert len(histogram) == sum(histogram._total) == sum(histogram._blocks) == 0


def test_a_window_of_other_slices_forgets_by_them() -> None:
    histogram = SlidingHistogram(10, 5)
    histogram.add(0.0, 10.0)
    for now, kept in ((11.9, 1), (12.0, 0)):
        histogram.advance(now)
        assert len(histogram) == kept


def test_no_more_than_a_batch_waits_to_be_sorted() -> None:
    histogram = SlidingHistogram(60)
    held = []
    for _ in range(BATCH + 1):
        histogram.add(0.0, 10.0)
        held.append(len(histogram))
    assert held == [*[0] * (BATCH - 1), BATCH, BATCH]
    assert histogram.totals().count == BATCH + 1


def test_durations_are_told_in_the_buckets_of_opentelemetry() -> None:
    """At a bound and above it, in the present slice and in those that are over."""
    bounds = [1000 * bound for bound in DURATION_BOUNDS_SECONDS]
    histogram = SlidingHistogram(60)
    for number, bound in enumerate(bounds):
        for _ in range(number + 1):
            histogram.add(100.0 * number, bound)
    last = 100.0 * len(bounds)
    histogram.add(last, bounds[-1] + 1)
    numbers = range(1, len(bounds) + 1)
    for _ in range(2):
        made = histogram.totals()
        assert made.buckets == (*numbers, 1)
        assert made.count == list(accumulate(numbers))[-1] + 1
        assert made.sum_ms == pytest.approx(
            sum(n * bound for n, bound in zip(numbers, bounds, strict=True)) + bounds[-1] + 1
        )
        histogram.advance(last + 1e6)
    assert made + NO_DURATION == made
    assert made + made == DurationTotals(
        2 * made.count, 2 * made.sum_ms, tuple(2 * n for n in made.buckets)
    )


@pytest.mark.parametrize("many", [0, 1, 7, _BUCKETS // 2, _BUCKETS // 2 + 1, _BUCKETS])
def test_a_slice_that_is_over_takes_no_more_than_all_buckets(many: int) -> None:
    counted = {bucket: bucket + 1 for bucket in range(many)}
    packed = _packed(counted)
    assert len(packed) == min(2 * many, _BUCKETS)
    assert {bucket: n for bucket, n in _pairs(packed) if n} == counted


def test_a_slice_of_all_buckets_is_forgotten_too() -> None:
    histogram = SlidingHistogram(60)
    histogram.add_sorted(ALL.tolist())
    histogram.advance(0.0)
    histogram.advance(30.0)
    assert len(histogram) == len(ALL)
    histogram.advance(500.0)
    assert len(histogram) == 0
    assert histogram.totals().count == len(ALL)
