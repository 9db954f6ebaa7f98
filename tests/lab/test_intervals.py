"""Intervals, against published figures, scipy, and how often they hold the truth."""

from __future__ import annotations

from math import inf
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from canario_sim.lab.intervals import (
    bootstrap_quantile,
    paired_difference,
    paired_mean,
    quantile,
    wilson,
)

CONFIDENCES = st.sampled_from([0.8, 0.9, 0.95, 0.99])


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    # Newcombe 1998, Statistics in Medicine 17, table I, method 3.
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_s_interval_is_the_published_one(
    successes: int, n: int, low: float, high: float
) -> None:
    found = wilson(successes, n)
    assert tuple(round(bound, 4) for bound in found) == (low, high)


@given(st.integers(1, 5000), st.data(), CONFIDENCES)
@settings(max_examples=60)
def test_wilson_s_interval_is_scipy_s(n: int, data: Any, confidence: float) -> None:
    successes = data.draw(st.integers(0, n))
    theirs = stats.binomtest(successes, n).proportion_ci(confidence, method="wilson")
    assert wilson(successes, n, confidence) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    low, high = wilson(successes, n, confidence)
    assert 0 <= low <= successes / n <= high <= 1


def test_wilson_refuses_what_is_no_proportion() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    with pytest.raises(ValueError, match="from 0 to n, which is 3"):
        wilson(4, 3)
    with pytest.raises(ValueError, match="confidence is 1"):
        wilson(1, 3, 1)


def test_the_bootstrap_s_interval_is_scipy_s() -> None:
    rng = np.random.default_rng(1)
    values = rng.exponential(size=300)
    for q in (0.5, 0.9):
        theirs = stats.bootstrap(
            (values,),
            lambda sample, axis, q=q: np.quantile(sample, q, axis=axis, method="higher"),
            n_resamples=4000,
            method="percentile",
            rng=rng,
        ).confidence_interval
        ours = bootstrap_quantile(values.tolist(), q, resamples=4000)
        spread = theirs.high - theirs.low
        assert ours == pytest.approx((theirs.low, theirs.high), abs=0.15 * spread)


def test_the_bootstrap_holds_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(2)
    trials = 400
    for q, truth in ((0.5, np.log(2)), (0.9, np.log(10))):
        found = [bootstrap_quantile(rng.exponential(size=400).tolist(), q) for _ in range(trials)]
        held = sum(low <= truth <= high for low, high in found)
        # Three standard errors of 400 trials at 95 % are 3.3 points.
        assert held / trials == pytest.approx(0.95, abs=0.04)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50), st.sampled_from([0.5, 0.9, 0.99]))
@settings(max_examples=60)
def test_a_quantile_lies_in_its_interval_whatever_the_order(values: list[float], q: float) -> None:
    value = quantile(values, q)
    low, high = bootstrap_quantile(values, q)
    assert min(values) <= low <= high <= max(values)
    assert value == sorted(values)[min(int(q * len(values)), len(values) - 1)]
    assert (low, high) == bootstrap_quantile(values[::-1], q)


def test_quantiles_take_values() -> None:
    for take in (quantile, bootstrap_quantile):
        with pytest.raises(ValueError, match="no values"):
            take([], 0.5)


def test_a_paired_difference_holds_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    trials, n = 2000, 200
    for first, second in ((0.02, 0.02), (0.1, 0.05), (0.3, 0.01)):
        counts = rng.multinomial(n, [first, second, 1 - first - second], trials)
        found = [paired_difference(int(a), int(b), n) for a, b, _ in counts]
        held = sum(low <= first - second <= high for _, low, high in found)
        assert 0.935 <= held / trials <= 0.995


@given(st.integers(1, 1000), st.data())
@settings(max_examples=60)
def test_a_paired_difference_is_antisymmetric(n: int, data: Any) -> None:
    first = data.draw(st.integers(0, n))
    second = data.draw(st.integers(0, n - first))
    value, low, high = paired_difference(first, second, n)
    assert paired_difference(second, first, n) == pytest.approx((-value, -high, -low))
    assert -1 <= low <= high <= 1
    assert value == (first - second) / n


def test_paired_differences_refuse_what_is_none() -> None:
    for first, second, n in ((1, 1, 1), (-1, 0, 3), (0, 0, 0)):
        with pytest.raises(ValueError, match="no parts of"):
            paired_difference(first, second, n)
    with pytest.raises(ValueError, match="two values"):
        paired_mean([1.0])


def test_a_paired_mean_has_the_normal_interval() -> None:
    values = [1.0, 2.0, 4.0, 9.0]
    mean, low, high = paired_mean(values, 0.9)
    theirs = stats.norm.interval(0.9, loc=4.0, scale=stats.sem(values))
    assert (mean, low, high) == pytest.approx((4.0, *theirs))
    assert -inf < low < high < inf
