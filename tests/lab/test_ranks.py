"""Kayenta's test of a shift, against scipy, published examples and its own known traps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu

from canario_sim.peers.kayenta import classify
from canario_sim.peers.ranks import shift

# Whole numbers, so that there are ties, and shifting is exact.
SAMPLES = st.lists(st.integers(0, 30).map(float), min_size=1, max_size=25)


def theirs(first: list[float], second: list[float]) -> float:
    found = mannwhitneyu(first, second, method="asymptotic", use_continuity=True)
    return float(found.pvalue)


@given(SAMPLES, SAMPLES, st.sampled_from([0.8, 0.95, 0.98]))
@settings(max_examples=80)
def test_the_interval_holds_the_shifts_that_scipy_s_test_does_not_reject(
    first: list[float], second: list[float], confidence: float
) -> None:
    assume(len({*first, *second}) > 1)
    found = shift(first, second, confidence)
    outermost = min(first) - max(second), max(first) - min(second)

    def rejected(by: float) -> bool:
        return theirs([value - by for value in first], second) < 1 - confidence

    # Halves beside the bounds, so that no tie comes in between.
    for bound, outside in ((found.low, -0.5), (found.high, 0.5)):
        assert rejected(bound + outside) or bound in outermost
        if found.low < found.high:
            assert not rejected(bound - outside)
    assert outermost[0] <= found.low <= found.estimate <= found.high <= outermost[1]


@given(SAMPLES, SAMPLES)
@settings(max_examples=50)
def test_turned_round_the_shift_is_the_opposite(first: list[float], second: list[float]) -> None:
    one, other = shift(first, second, 0.9), shift(second, first, 0.9)
    assert (one.low, one.estimate, one.high) == (-other.high, -other.estimate, -other.low)


def test_no_sample_has_no_shift() -> None:
    with pytest.raises(ValueError, match="empty"):
        shift([], [1.0], 0.98)


def test_the_example_of_kayenta_s_users_comes_out_as_theirs() -> None:
    """spinnaker/spinnaker issue 6278: an interval from 7e-5 to 99 around 99, and a pass."""
    canary, baseline = [100.0] * 7 + [1.0] * 3, [1.0] * 10
    found = shift(canary, baseline, 0.98)
    assert (found.low, found.estimate, found.high) == pytest.approx((0, 99, 99), abs=1e-3)
    assert classify(canary, baseline).label == "pass"
    # "It fails as soon as I change the 8th value to 100."
    assert classify([100.0] * 8 + [1.0] * 2, baseline).label == "high"


def test_sparse_errors_pass_as_they_do_there() -> None:
    """spinnaker/kayenta issue 426."""
    assert classify([0.0, 1.0, 2.0, 1.0, 0.0, 0.0], [0.0] * 6).label == "pass"


def test_with_two_points_a_series_more_than_a_fifth_of_identical_series_is_flagged() -> None:
    """The trap: no shift can be rejected, and the interval ends at the outermost difference."""
    rng = np.random.default_rng(1)
    trials = 4000
    flagged = 0
    for _ in range(trials):
        one, other = rng.exponential(size=(2, 2)).tolist()
        # Kayenta's default looks for a change in either direction.
        flagged += "high" in (classify(one, other).label, classify(other, one).label)
    assert flagged / trials == pytest.approx(0.23, abs=0.02)


def test_with_fifty_points_few_are() -> None:
    rng = np.random.default_rng(2)
    trials = 400
    flagged = sum(
        classify(*rng.exponential(size=(2, 50)).tolist()).label == "high" for _ in range(trials)
    )
    assert flagged / trials <= 0.03


def test_what_cannot_be_ranked_is_still_classified() -> None:
    assert classify([], [1.0]).label == "no data"
    assert classify([1.0, 1.0], [1.0]).label == "pass"
    assert classify([2.0, 2.0], [1.0, 1.0]).label == "high"
    assert classify([1.0, 2.0], [2.0, 1.0]).effect == 1
    assert classify([2.0, 2.0], [0.0, 0.0]).effect == float("inf")
