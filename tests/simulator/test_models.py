"""Traffic, service and faults against their closed forms."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from math import inf, log, pi, sin

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.random import SeedSequence

from canario_sim.distributions import Component, Empirical, Gamma, Latency, Lognormal, Mixture
from canario_sim.scenario.faults import (
    AddedLatency,
    Errors,
    Fault,
    LostCapacity,
    MultipliedLatency,
    Outage,
    SlowLeak,
)
from canario_sim.scenario.scenario import Scenario, Settled
from canario_sim.scenario.service import Service, WarmUp
from canario_sim.streams import Floats
from canario_sim.traffic import Bursts, Constant, Diurnal, Poisson, Population, Ramp, Traffic

SEEDS = range(30)
UNTIL = 400.0


def arrivals(traffic: Traffic, seed: int) -> Floats:
    """Those before `UNTIL`."""
    chunks = []
    for chunk in traffic.arrivals(seed, 1000):
        chunks.append(chunk)
        if len(chunk) and chunk[-1] >= UNTIL:
            break
    at = np.concatenate(chunks)
    return at[at < UNTIL]


def diurnal(first: float, last: float) -> float:
    """∫ 20 (1 + 0.8 cos(2π (t − 50) / 300)) dt."""
    swing = 300 / (2 * pi) * (sin(2 * pi * (last - 50) / 300) - sin(2 * pi * (first - 50) / 300))
    return 20 * (last - first + 0.8 * swing)


def ramp(first: float, last: float) -> float:
    """∫ min(2 + 0.2 t, 42) dt."""

    def upto(t: float) -> float:
        return 2 * t + 0.1 * min(t, 200) ** 2 + 40 * max(t - 200, 0)

    return upto(last) - upto(first)


def bursts(first: float, last: float) -> float:
    """5 a second, and 60 in [100 k, 100 k + 8) for k ≥ 1."""
    inside = sum(
        max(0.0, min(last, start + 8) - max(first, start)) for start in (100.0, 200.0, 300.0)
    )
    return 5 * (last - first) + 55 * inside


@pytest.mark.parametrize(
    ("traffic", "expected"),
    [
        (Poisson(rate=20), lambda first, last: 20 * (last - first)),
        (Diurnal(rate=20, peak_to_mean=1.8, period_seconds=300, peak_at=50), diurnal),
        (Ramp(from_rate=2, to_rate=42, over_seconds=200), ramp),
        (Bursts(rate=5, burst_rate=60, every_seconds=100, burst_seconds=8), bursts),
    ],
    ids=["poisson", "diurnal", "ramp", "bursts"],
)
def test_as_many_arrive_as_the_integral_of_the_rate(
    traffic: Traffic, expected: Callable[[float, float], float]
) -> None:
    """In every stretch the counts have the Poisson law's mean and its variance."""
    edges = np.array([0, 30, 100, 104, 108, 175, 240, 303, 400.0])
    counts = np.array([np.histogram(arrivals(traffic, seed), edges)[0] for seed in SEEDS])
    means = np.array([expected(first, last) for first, last in pairwise(edges)])
    z = (counts.sum(axis=0) - len(SEEDS) * means) / np.sqrt(len(SEEDS) * means)
    assert np.abs(z).max() < 3.5
    # Dispersion: Σ (n − m)² / m has 240 degrees of freedom, so a standard deviation of 22.
    assert ((counts - means) ** 2 / means).sum() == pytest.approx(240, abs=75)


def test_poisson_gaps_are_exponential() -> None:
    gaps = np.diff(arrivals(Poisson(rate=50), 3))
    assert (gaps > log(2) / 50).mean() == pytest.approx(0.5, abs=0.02)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.04)


def test_constant_arrivals_are_evenly_spaced() -> None:
    assert arrivals(Constant(rate=4), 1).tolist() == [k / 4 for k in range(1, 1600)]


@pytest.mark.parametrize("skew", [0.0, 0.7, 1.0, 1.5])
def test_keys_are_drawn_by_zipfs_law(skew: float) -> None:
    population = Population(size=500, skew=skew)
    weights = [1 / rank**skew for rank in range(1, 501)]
    assert population.shares().tolist() == pytest.approx([w / sum(weights) for w in weights])
    n = 200_000
    drawn = np.bincount(population.sampler(4)(n), minlength=500)
    expected = n * population.shares()
    # χ² with 499 degrees of freedom: mean 499, standard deviation 32.
    assert ((drawn - expected) ** 2 / expected).sum() == pytest.approx(499, abs=4 * 32)


def test_keys_are_named_by_prefix_and_number() -> None:
    population = Population(size=3, prefix="tenant:")
    assert population.names() == ["tenant:0", "tenant:1", "tenant:2"]
    assert [population.number(name) for name in population.names()] == [0, 1, 2]
    for other in ("tenant:3", "tenant:01", "tenant:", "tenant:x", "1", "tenant:-1", "tenant:²"):
        assert population.number(other) is None


def drawn(latency: Latency, n: int = 200_000) -> Floats:
    return latency.sampler(SeedSequence(8))(n)


def test_lognormal_has_its_median_and_its_95th_percentile() -> None:
    p50, p95 = np.quantile(drawn(Lognormal(p50_ms=80, p95_ms=250)), [0.5, 0.95])
    assert p50 == pytest.approx(80, rel=0.01)
    assert p95 == pytest.approx(250, rel=0.02)
    assert np.ptp(drawn(Lognormal(p50_ms=80, p95_ms=80), 10)) == 0


@pytest.mark.parametrize("shape", [0.5, 1.0, 9.0])
def test_gamma_has_its_mean_and_its_spread(shape: float) -> None:
    latencies = drawn(Gamma(mean_ms=120, shape=shape))
    assert latencies.mean() == pytest.approx(120, rel=0.015)
    assert latencies.std() == pytest.approx(120 / shape**0.5, rel=0.02)


def test_a_mixture_has_its_parts_in_their_shares() -> None:
    mixture = Mixture(
        components=(
            Component(weight=3, latency=Empirical(values_ms=(1.0, 2.0))),
            Component(weight=1, latency=Lognormal(p50_ms=500, p95_ms=501)),
        )
    )
    latencies = drawn(mixture)
    assert [(latencies == value).mean() for value in (1.0, 2.0)] == pytest.approx(
        [0.375, 0.375], abs=0.005
    )
    assert (latencies > 490).mean() == pytest.approx(0.25, abs=0.005)


def test_empirical_latencies_are_those_that_were_measured() -> None:
    values, counts = np.unique(drawn(Empirical(values_ms=(30, 40, 40, 70))), return_counts=True)
    assert values.tolist() == [30, 40, 70]
    assert (counts / 200_000).tolist() == pytest.approx([0.25, 0.5, 0.25], abs=0.005)


def test_warming_up_evens_out() -> None:
    at = np.array([0.0, 25.0, 50.0, 99.0, 100.0, 5000.0])
    factors = WarmUp(seconds=100, factor=5).factors(at)
    assert factors.tolist() == pytest.approx([5, 4, 3, 1.04, 1, 1])


def settled(horizon: float) -> Settled:
    return Scenario(
        name="faults",
        teaches="when they are in force",
        traffic=Constant(rate=1),
        baseline=Service(latency=Gamma(mean_ms=50)),
        horizon_seconds=horizon,
    ).settled(1)


@pytest.mark.parametrize(
    ("fault", "elapsed", "occurrences"),
    [
        (Outage(at=10), [-1, 0, 10, 90], [(10, inf)]),
        (Outage(at=10, lasts=10), [-1, 0, -1, -1], [(10, 20)]),
        (Outage(at=10, lasts=10, every=40), [-1, 0, -1, -1], [(10, 20), (50, 60), (90, 100)]),
        (
            Outage(at=5, lasts=15, every=15),
            [4, 5, 0, 5],
            [(5 + 15 * k, 20 + 15 * k) for k in range(7)],
        ),
        (Outage(at=10, lasts=91, every=95), [-1, 0, 10, 90], [(10, 101)]),
    ],
)
def test_a_fault_lasts_and_comes_again(
    fault: Fault, elapsed: list[float], occurrences: list[tuple[float, float]]
) -> None:
    at = np.array([9.0, 10.0, 20.0, 100.0])
    assert fault.elapsed(at).tolist() == elapsed
    assert list(settled(105).occurrences(fault)) == occurrences
    for start, end in occurrences:
        middle = min(end, 1000.0) - 0.5
        assert fault.elapsed(np.array([start, middle, end])).tolist()[:2] == [0, middle - start]
        assert fault.touches(start, start)
        assert fault.touches(middle, middle)
    assert not fault.touches(0, fault.at - 1)


@settings(max_examples=30)
@given(
    at=st.integers(0, 50),
    lasts=st.integers(1, 30),
    gap=st.none() | st.integers(0, 20),
    unit=st.sampled_from([0.1, 0.3, 0.7]),
)
def test_a_fault_is_in_force_within_its_occurrences_to_the_bit(
    at: int, lasts: int, gap: int | None, unit: float
) -> None:
    """Requests at the very instants of which a fault is written do not depend on rounding."""
    fault = Outage(
        at=at * unit, lasts=lasts * unit, every=None if gap is None else (lasts + gap) * unit
    )
    occurrences = list(settled(60).occurrences(fault))
    ends = [instant for occurrence in occurrences for instant in occurrence]
    instants = np.unique([*(k * unit for k in range(90)), *ends, *np.nextafter(ends, 0)])
    instants = instants[instants < 60.0]
    within = [
        any(start <= instant < end for start, end in occurrences) for instant in instants.tolist()
    ]
    assert (fault.elapsed(instants) >= 0).tolist() == within
    assert all(fault.touches(at, at) for at in instants[within].tolist())


SINCE = np.array([0.0, 15.0, 60.0, 120.0])
SECONDS = np.array([0.1, 0.1, 0.2, 0.2])


@pytest.mark.parametrize(
    ("fault", "fails", "slows"),
    [
        (Errors(rate=40), [0.4] * 4, SECONDS),
        (Errors(rate=40, ramp=60), [0, 0.1, 0.4, 0.4], SECONDS),
        (Outage(), [1] * 4, SECONDS),
        (Outage(ramp=30), [0, 0.5, 1, 1], SECONDS),
        (AddedLatency(ms=300), [0] * 4, [0.4, 0.4, 0.5, 0.5]),
        (AddedLatency(ms=300, ramp=60), [0] * 4, [0.1, 0.175, 0.5, 0.5]),
        (MultipliedLatency(factor=3), [0] * 4, [0.3, 0.3, 0.6, 0.6]),
        (MultipliedLatency(factor=3, ramp=60), [0] * 4, [0.1, 0.15, 0.6, 0.6]),
        (SlowLeak(ms_per_second=2), [0] * 4, [0.1, 0.13, 0.32, 0.44]),
        (SlowLeak(factor_per_minute=2), [0] * 4, [0.1, 0.1 * 2**0.25, 0.4, 0.8]),
        (LostCapacity(servers=1), [0] * 4, SECONDS),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_a_fault_does_over_time(fault: Fault, fails: list[float], slows: list[float]) -> None:
    assert fault.fails(SINCE).tolist() == pytest.approx(fails)
    assert fault.slows(SECONDS, SINCE).tolist() == pytest.approx(list(slows))


def test_a_fault_strikes_its_arm() -> None:
    struck = {
        arm: (Outage(arm=arm).strikes("baseline"), Outage(arm=arm).strikes("canary"))
        for arm in ("baseline", "canary", "both")
    }
    assert struck == {"baseline": (True, False), "canary": (False, True), "both": (True, True)}
