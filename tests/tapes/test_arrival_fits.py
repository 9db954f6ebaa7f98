"""Fitted arrivals: traffic with known parameters is found again, by its kind and its numbers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from canario_sim.fitting.arrivals import ArrivalFit, Counts, counts_of, fit_arrivals
from canario_sim.streams import Floats
from canario_sim.traffic import Diurnal, MarkovModulated, Poisson, Schedule, State, Traffic, Weekly


def arrivals(traffic: Traffic, seconds: float, seed: int = 3) -> Floats:
    parts = list(traffic.arrivals(seed, 4096, seconds))
    at = np.concatenate([getattr(part, "at", part) for part in parts])
    return at[at < seconds]


def fits(traffic: Traffic, seconds: float) -> tuple[dict[str, ArrivalFit], str]:
    made = fit_arrivals(counts_of(arrivals(traffic, seconds), seconds))
    return {fit.kind: fit for fit in made}, made[0].kind


def test_steady_traffic_is_poisson_and_nothing_more() -> None:
    made, best = fits(Poisson(rate=4.0), 3600)
    assert best == "poisson"
    found = made["poisson"].traffic
    assert isinstance(found, Poisson)
    assert found.rate == pytest.approx(4.0, rel=0.03)
    assert made["poisson"].dispersion == pytest.approx(1.0, abs=0.1)


def test_the_likelihood_is_scipy_s() -> None:
    counts = Counts((3, 0, 5, 2, 7, 1), 10.0)
    (fit,) = fit_arrivals(counts)
    assert fit.log_likelihood == pytest.approx(
        stats.poisson(3.0).logpmf(counts.numbers).sum(), rel=1e-12
    )
    assert fit.aic == pytest.approx(2 - 2 * fit.log_likelihood)


@pytest.mark.parametrize("period", [86_400.0, 1800.0])
def test_a_wave_is_found_with_its_height_its_length_and_its_peak(period: float) -> None:
    known = Diurnal(rate=3.0, peak_to_mean=1.6, period_seconds=period, peak_at=0.3 * period)
    made, best = fits(known, 4 * period if period < 86_400 else 1.5 * period)
    assert best == "diurnal"
    found = made["diurnal"].traffic
    assert isinstance(found, Diurnal)
    assert found.rate == pytest.approx(3.0, rel=0.03)
    assert found.peak_to_mean == pytest.approx(1.6, abs=0.05)
    assert found.period_seconds == pytest.approx(period, rel=0.02)
    assert found.peak_at == pytest.approx(0.3 * period, abs=0.03 * period)
    assert made["diurnal"].dispersion == pytest.approx(1.0, abs=0.1)


def test_bursts_by_chance_are_found_with_their_rates_and_their_lengths() -> None:
    known = MarkovModulated(
        states=(State(rate=3.0, mean_seconds=120.0), State(rate=15.0, mean_seconds=30.0))
    )
    made, best = fits(known, 12_000)
    assert best == "markov_modulated"
    found = made["markov_modulated"].traffic
    assert isinstance(found, MarkovModulated)
    calm, busy = found.states
    assert calm.rate == pytest.approx(3.0, rel=0.1)
    assert busy.rate == pytest.approx(15.0, rel=0.1)
    assert calm.mean_seconds == pytest.approx(120.0, rel=0.35)
    assert busy.mean_seconds == pytest.approx(30.0, rel=0.35)
    assert made["poisson"].dispersion > 3


def test_steps_are_a_table_of_rates() -> None:
    rates = (2.0, 8.0, 4.0, 12.0, 6.0, 3.0)
    known = Schedule(points=tuple((600.0 * place, rate) for place, rate in enumerate(rates)))
    made, best = fits(known, 3600)
    assert best == "schedule"
    found = made["schedule"].traffic
    assert isinstance(found, Schedule)
    assert [at for at, _ in found.points] == pytest.approx([600 * n for n in range(6)], abs=2)
    assert [rate for _, rate in found.points] == pytest.approx(rates, rel=0.1)


def test_a_week_is_found_with_its_days_and_its_hours() -> None:
    hours = tuple(1 + 0.8 * np.sin(2 * np.pi * (hour - 8) / 24) for hour in range(24))
    days = (1.1, 1.2, 1.2, 1.2, 1.1, 0.6, 0.6)
    known = Weekly(rate=0.2, days=days, hours=hours, start="thu 06:20")
    seconds = 21 * 86_400
    at = arrivals(known, seconds)
    # Thursday, 1 January 2026, 06:20 UTC; the first request comes a few seconds later.
    start = 1_767_248_400.0
    made = fit_arrivals(counts_of(at + start))
    assert made[0].kind == "weekly"
    found = made[0].traffic
    assert isinstance(found, Weekly)
    assert found.start == "thu 06:20"
    assert found.rate == pytest.approx(0.2, rel=0.02)
    assert found.days == pytest.approx(np.array(days) / np.mean(days), abs=0.05)
    assert found.hours == pytest.approx(hours, abs=0.1)
    assert made[0].dispersion == pytest.approx(1.0, abs=0.1)


def test_too_little_is_refused() -> None:
    with pytest.raises(ValueError, match="1 requests in 0 s are too few"):
        counts_of(np.array([5.0]))
    with pytest.raises(ValueError, match="2 requests in 0 s"):
        counts_of(np.array([5.0, 5.0]))
