"""Fitted latencies: known parameters come back, and SciPy finds the same ones."""

from __future__ import annotations

from math import exp, log

import numpy as np
import pytest
from numpy.random import SeedSequence
from scipy import special, stats

from canario_sim.distributions import Component, Empirical, Gamma, Latency, Lognormal, Mixture
from canario_sim.fitting.latency import LatencyFit, choose, fit_all
from canario_sim.fitting.samples import Binned, Sample, sample_of
from canario_sim.fitting.special import digamma, gamma_cdf, normal_cdf, trigamma
from canario_sim.streams import Floats

Z95 = float(stats.norm.ppf(0.95))


def drawn(latency: Latency, n: int, seed: int = 1) -> Floats:
    return latency.sampler(SeedSequence(seed))(n)


def fits(latencies: Sample | Binned) -> dict[str, LatencyFit]:
    return {fit.kind: fit for fit in fit_all(latencies)}


def binned(values: Floats, *edges: float) -> Binned:
    limits = np.array([0.0, *edges, np.inf])
    return Binned(limits, np.histogram(values, limits)[0].astype(np.float64))


def test_the_special_functions_are_scipy_s() -> None:
    x = np.concatenate([[0.0], np.logspace(-4, 3.5, 400), [np.inf]])
    for shape in (0.05, 0.5, 1.0, 2.7, 30.0, 900.0):
        assert gamma_cdf(x, shape) == pytest.approx(special.gammainc(shape, x), abs=1e-10)
    x = np.linspace(9500, 10_500, 200)
    assert gamma_cdf(x, 10_000.0) == pytest.approx(special.gammainc(10_000.0, x), abs=2e-6)
    z = np.linspace(-9, 9, 101)
    assert normal_cdf(z) == pytest.approx(special.ndtr(z), abs=1e-14)
    for at in (0.01, 0.5, 1.0, 3.3, 6.0, 250.0):
        assert digamma(at) == pytest.approx(special.digamma(at), rel=1e-9)
        assert trigamma(at) == pytest.approx(special.polygamma(1, at), rel=1e-9)


def test_a_lognormal_is_found_as_scipy_finds_it() -> None:
    values = drawn(Lognormal(p50_ms=80, p95_ms=260), 8000)
    fit = fits(sample_of(values))["lognormal"]
    sigma, _, scale = stats.lognorm.fit(values, floc=0)
    assert isinstance(fit.latency, Lognormal)
    assert fit.latency.p50_ms == pytest.approx(scale, rel=1e-5)
    assert fit.latency.p95_ms == pytest.approx(scale * exp(sigma * Z95), rel=1e-5)
    model = stats.lognorm(sigma, scale=scale)
    assert fit.log_likelihood == pytest.approx(model.logpdf(values).sum(), rel=1e-9)
    assert fit.ks == pytest.approx(stats.kstest(values, model.cdf).statistic, rel=1e-6)
    assert fit.latency.p95_ms == pytest.approx(260, rel=0.03)


@pytest.mark.parametrize("shape", [0.4, 1.0, 6.0, 80.0])
def test_a_gamma_is_found_as_scipy_finds_it(shape: float) -> None:
    values = drawn(Gamma(mean_ms=120, shape=shape), 8000)
    fit = fits(sample_of(values))["gamma"]
    assert isinstance(fit.latency, Gamma)
    kept = np.maximum(values, 0.001)
    own, _, scale = stats.gamma.fit(kept, floc=0)
    assert fit.latency.shape == pytest.approx(own, rel=1e-3)
    assert fit.latency.mean_ms == pytest.approx(own * scale, rel=1e-3)
    assert fit.latency.shape == pytest.approx(shape, rel=0.05)
    assert fit.ks < 1.63 / np.sqrt(8000)  # Kolmogorov's limit at 1 %


def test_a_mixture_is_found() -> None:
    parts = (
        Component(weight=0.7, latency=Lognormal(p50_ms=15, p95_ms=25)),
        Component(weight=0.3, latency=Lognormal(p50_ms=300, p95_ms=800)),
    )
    made = fit_all(sample_of(drawn(Mixture(components=parts), 10_000)))
    best = choose(made)
    assert best.kind == "mixture"
    assert isinstance(best.latency, Mixture)
    for found, known in zip(best.latency.components, parts, strict=True):
        assert isinstance(found.latency, Lognormal)
        assert isinstance(known.latency, Lognormal)
        assert found.weight == pytest.approx(known.weight, abs=0.02)
        assert found.latency.p50_ms == pytest.approx(known.latency.p50_ms, rel=0.03)
        assert found.latency.p95_ms == pytest.approx(known.latency.p95_ms, rel=0.05)


@pytest.mark.parametrize(
    ("latency", "kind"),
    [
        (Lognormal(p50_ms=80, p95_ms=260), "lognormal"),
        (Gamma(mean_ms=120, shape=3), "gamma"),
        (
            Mixture(
                components=(
                    Component(weight=1, latency=Lognormal(p50_ms=10, p95_ms=20)),
                    Component(weight=1, latency=Lognormal(p50_ms=200, p95_ms=250)),
                )
            ),
            "mixture",
        ),
        (Empirical(values_ms=(5.0, 50.0, 51.0, 400.0)), "empirical"),
    ],
)
def test_the_kind_that_it_was_is_chosen(latency: Latency, kind: str) -> None:
    values = drawn(latency, 8000)
    made = fit_all(sample_of(values))
    assert choose(made).kind == kind
    scored = [fit for fit in made if fit.held_out is not None]
    assert len(scored) == 3
    if kind != "empirical":
        assert max(scored, key=lambda fit: fit.held_out or 0.0).kind == kind
    assert choose(made, "gamma").kind == "gamma"


def test_buckets_say_nearly_what_the_values_say() -> None:
    for latency, kind in (
        (Lognormal(p50_ms=80, p95_ms=260), "lognormal"),
        (Gamma(mean_ms=120, shape=3), "gamma"),
    ):
        values = drawn(latency, 12_000)
        edges = (5, 10, 25, 50, 75, 100, 250, 500, 750, 1000, 2500)
        exact, coarse = fits(sample_of(values))[kind], fits(binned(values, *edges))[kind]
        assert choose(tuple(fits(binned(values, *edges)).values())).kind == kind
        for name in ("p50_ms", "p95_ms", "mean_ms", "shape"):
            if hasattr(latency, name):
                known = getattr(exact.latency, name)
                assert getattr(coarse.latency, name) == pytest.approx(known, rel=0.04)


def test_the_likelihood_of_buckets_is_greatest_where_it_says() -> None:
    values = drawn(Lognormal(p50_ms=80, p95_ms=260), 5000)
    coarse = binned(values, 10, 50, 100, 300, 1000)
    fit = fits(coarse)["lognormal"]
    assert isinstance(fit.latency, Lognormal)
    mu, sigma = log(fit.latency.p50_ms), log(fit.latency.p95_ms / fit.latency.p50_ms) / Z95

    def likelihood(mu: float, sigma: float) -> float:
        mass = np.diff(stats.lognorm(sigma, scale=exp(mu)).cdf(coarse.edges))
        return float((coarse.counts * np.log(mass)).sum())

    best = likelihood(mu, sigma)
    assert best == pytest.approx(fit.log_likelihood, abs=0.05)
    for step in (0.02, -0.02):
        assert likelihood(mu + step, sigma) < best
        assert likelihood(mu, sigma + step) < best


def test_the_empirical_has_the_measured_quantiles() -> None:
    values = drawn(Empirical(values_ms=(5.0, 50.0, 51.0, 400.0)), 4000)
    fit = choose(fit_all(sample_of(values)), "empirical")
    assert isinstance(fit.latency, Empirical)
    again = drawn(fit.latency, 12_000)
    for q in (0.1, 0.4, 0.6, 0.9):
        assert np.quantile(again, q) == np.quantile(values, q)


def test_a_q_q_plot_has_the_quantiles_of_both() -> None:
    values = np.sort(drawn(Gamma(mean_ms=120, shape=3), 5000))
    fit = fits(sample_of(values))["gamma"]
    own, _, scale = stats.gamma.fit(values, floc=0)
    model = stats.gamma(own, scale=scale)
    assert len(fit.q_q) > 90
    for measured, fitted in fit.q_q:
        rank = int(np.argmin(np.abs(values - measured))) + 1
        assert model.ppf((rank - 1.01) / 5000) <= fitted * 1.0001
        assert fitted <= 1.0001 * model.ppf((rank + 0.01) / 5000)


def test_zeros_and_single_values_fit_to_something() -> None:
    assert fit_all(sample_of(np.zeros(100)))
    assert fit_all(sample_of(np.full(100, 30.0)))
    with pytest.raises(ValueError, match="1 latencies are too few"):
        fit_all(sample_of(np.array([3.0])))
