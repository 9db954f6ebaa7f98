"""How many requests it takes to tell two shares apart."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import stats

from canario_sim.tuning.goals import Goals
from canario_sim.tuning.impossible import cannot_be_told
from canario_sim.tuning.sample_sizes import divergence, requests_to_see_one, requests_to_tell

shares = st.floats(0.001, 0.999)


@given(shares, shares)
def test_the_divergence_is_scipy_s(p: float, q: float) -> None:
    assert divergence(p, q) == pytest.approx(stats.entropy([p, 1 - p], [q, 1 - q]), abs=1e-12)


def test_the_ends_of_the_divergence() -> None:
    assert divergence(0, 0.5) == pytest.approx(math.log(2))
    assert divergence(0.5, 0) == math.inf
    assert divergence(0, 0) == divergence(1, 1) == 0


def sprt(good: float, bad: float, alpha: float, beta: float, runs: int) -> tuple[float, float]:
    """Wald's test itself on bad releases: how many requests it took on average, and how often it
    rolled back."""
    random = np.random.default_rng(5)
    upper, lower = math.log((1 - beta) / alpha), math.log(beta / (1 - alpha))
    one, other = math.log(bad / good), math.log((1 - bad) / (1 - good))
    taken, back = [], 0
    for _ in range(runs):
        path = np.cumsum(np.where(random.random(40_000) < bad, one, other))
        over = np.flatnonzero((path >= upper) | (path <= lower))
        taken.append(int(over[0]) + 1)
        back += bool(path[over[0]] >= upper)
    return float(np.mean(taken)), back / runs


def test_wald_s_own_test_comes_down_to_the_bound_and_not_below_it() -> None:
    bound = requests_to_tell(0.08, 0.10, 0.01, 0.99)
    mean, caught = sprt(0.08, 0.10, 0.01, 0.01, 1500)
    assert caught > 0.985
    assert 0.97 * bound < mean < 1.1 * bound


def test_no_test_of_a_fixed_size_needs_less() -> None:
    """The size at which an exact binomial test has both probabilities, by scipy."""
    good, bad, alpha, detect = 0.05, 0.10, 0.01, 0.99
    sizes = np.arange(100, 3000)
    least = stats.binom.isf(alpha, sizes, good) + 1
    enough = np.flatnonzero(stats.binom.sf(least - 1, sizes, bad) >= detect)
    assert requests_to_tell(good, bad, alpha, detect) < sizes[enough[0]]


def test_the_figure_of_the_documentation() -> None:
    """8 % against 10 % for 1 % false rollbacks and 99 % detected: 4.503 nats at 0.00253 each."""
    assert divergence(0.99, 0.01) == pytest.approx(0.98 * math.log(99))
    assert divergence(0.10, 0.08) == pytest.approx(0.1 * math.log(1.25) + 0.9 * math.log(90 / 92))
    assert math.ceil(requests_to_tell(0.08, 0.10, 0.01, 0.99)) == 1778
    said = cannot_be_told(0.08, 0.10, rate=5, seconds=300, goals=Goals(), what="error rate")
    assert said is not None
    assert said.startswith(
        "at 5 requests/s of the canary an 8 % error rate cannot be told from 10 % within 300 s: "
        "it takes 1,778 requests; hold for 5 min 56 s or accept that at most "
    )
    # In that time it can be.
    longer = cannot_be_told(0.08, 0.10, rate=5, seconds=356, goals=Goals(), what="error rate")
    assert longer is None


def test_what_is_to_be_accepted_is_what_the_requests_can_tell() -> None:
    said = cannot_be_told(0.08, 0.10, rate=5, seconds=300, goals=Goals(), what="error rate")
    assert said is not None
    caught = float(said.split("at most ")[1].split(" %")[0]) / 100
    assert requests_to_tell(0.08, 0.10, 0.01, caught - 0.001) < 1500
    assert requests_to_tell(0.08, 0.10, 0.01, caught + 0.001) > 1500


@given(shares, shares, st.floats(0.001, 0.2), st.floats(0.5, 0.999))
@example(math.nextafter(0.001, 1), 0.001, 0.125, 0.5)
def test_more_certainty_takes_more_requests(
    good: float, bad: float, alpha: float, detect: float
) -> None:
    needed = requests_to_tell(good, bad, alpha, detect)
    assert needed >= requests_to_tell(good, bad, alpha * 1.5, detect)
    assert needed >= requests_to_tell(good, bad, alpha, detect * 0.9)


def test_the_same_cannot_be_told_and_one_is_enough_where_none_is_allowed() -> None:
    assert requests_to_tell(0.05, 0.05, 0.01, 0.99) == math.inf
    assert requests_to_tell(0.0, 0.05, 0.01, 0.99) == 0
    said = cannot_be_told(0.05, 0.05, rate=5, seconds=300, goals=Goals(), what="error rate")
    assert said is not None
    assert "nothing tells them apart" in said


@given(st.floats(0.0005, 0.9), st.floats(0.1, 0.9999))
def test_seeing_one_is_the_geometric_quantile(bad: float, detect: float) -> None:
    needed = requests_to_see_one(bad, detect)
    assert stats.geom.cdf(needed, bad) >= detect - 1e-12
    assert needed == 1 or stats.geom.cdf(needed - 1, bad) <= detect + 1e-12
