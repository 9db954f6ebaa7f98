"""Distributions of latencies, by maximum likelihood.

Values are fitted directly; buckets of a histogram by the EM algorithm (Dempster, Laird and Rubin
1977), in which the values that were lost are replaced by where they would lie, on a fine grid in
each bucket, under the distribution so far.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import exp, inf, lgamma, log, pi, sqrt
from statistics import NormalDist

import numpy as np
from msgspec import Struct

from canario_sim.distributions import Component, Empirical, Gamma, Latency, Lognormal, Mixture
from canario_sim.streams import Floats

from .ranking import ranked
from .samples import Binned, Latencies, Sample
from .special import digamma, gamma_cdf, normal_cdf, quantiles, trigamma

__all__ = ["KINDS", "LatencyFit", "choose", "fit_all"]

KINDS = ("lognormal", "gamma", "mixture", "empirical")

# A parametric fit whose distribution is further away than this at some point (Kolmogorov and
# Smirnov) would mislead: the measured values themselves are taken.
FAR = 0.05

_Z95 = NormalDist().inv_cdf(0.95)
_LEAST_SIGMA = 1e-3
_ROUNDS = 300
_GRID = 24
_VALUES = 400


class Model(Struct, frozen=True):
    """A mixture of lognormals (weights, μ, σ), or a gamma distribution (shape, scale)."""

    kind: str
    parameters: tuple[float, ...]

    @property
    def free(self) -> int:
        """Numbers that were chosen."""
        return len(self.parameters) - (self.kind == "mixture")

    def cdf(self, x: Floats) -> Floats:
        """The distribution function, of x at least 0."""
        if self.kind == "gamma":
            shape, scale = self.parameters
            return gamma_cdf(x / scale, shape)
        total = np.zeros(len(x))
        with np.errstate(divide="ignore"):
            logs = np.log(x)
        for weight, mu, sigma in self._parts():
            total += weight * normal_cdf((logs - mu) / sigma)
        return total

    def log_density(self, x: Floats) -> Floats:
        """The logarithm of the density, of x above 0."""
        logs = np.log(x)
        if self.kind == "gamma":
            shape, scale = self.parameters
            found: Floats = (shape - 1) * logs - x / scale - shape * log(scale) - lgamma(shape)
            return found
        parts = np.stack(
            [
                log(weight) - logs - log(sigma * sqrt(2 * pi)) - 0.5 * ((logs - mu) / sigma) ** 2
                for weight, mu, sigma in self._parts()
            ]
        )
        most = parts.max(axis=0)
        summed: Floats = most + np.log(np.exp(parts - most).sum(axis=0))
        return summed

    def spec(self) -> Latency:
        """As a scenario file says it."""
        if self.kind == "gamma":
            shape, scale = self.parameters
            return Gamma(mean_ms=_short(shape * scale), shape=_short(shape))
        parts = [
            Component(weight=_short(weight), latency=_lognormal(mu, sigma))
            for weight, mu, sigma in sorted(self._parts(), key=lambda part: part[1])
        ]
        return parts[0].latency if len(parts) == 1 else Mixture(components=tuple(parts))

    def _parts(self) -> list[tuple[float, float, float]]:
        if self.kind == "lognormal":
            return [(1.0, *self.parameters)]  # type: ignore[list-item]
        values = self.parameters
        return [(values[i], values[i + 1], values[i + 2]) for i in range(0, len(values), 3)]


class LatencyFit(Struct, frozen=True, kw_only=True):
    """One distribution beside the measured latencies.

    Attributes:
        kind: One of `KINDS`.
        latency: As a scenario file says it.
        log_likelihood: Of the values that were used (or the buckets); None for the empirical.
        free: Numbers that were chosen.
        aic: Akaike's information criterion: less is better; inf for the empirical.
        held_out: Log-likelihood for each value of one half, fitted to the other; None for buckets.
        ks: The greatest distance between the two distribution functions.
        q_q: Quantiles of the measured latencies and of the distribution (ms), pairwise.
    """

    kind: str
    latency: Latency
    log_likelihood: float | None
    free: float
    aic: float
    held_out: float | None
    ks: float
    q_q: tuple[tuple[float, float], ...]


def fit_all(latencies: Latencies) -> tuple[LatencyFit, ...]:
    """Every kind, the best first; see `choose`. Raises `ValueError` without latencies."""
    if latencies.n < 2:
        raise ValueError(f"{latencies.n} latencies are too few to fit anything to")
    made = []
    for kind, fitter in _FITTERS.items():
        model = _fit(latencies, kind, fitter)
        likelihood = _log_likelihood(model, latencies)
        made.append(
            LatencyFit(
                kind=kind,
                latency=model.spec(),
                log_likelihood=likelihood,
                free=model.free,
                aic=2 * model.free - 2 * likelihood,
                held_out=_held_out(latencies, kind, fitter),
                ks=_distance(model, latencies),
                q_q=_pairs(model, latencies),
            )
        )
    best = ranked(made)
    measured = _empirical(latencies)
    # Of few latencies even the true distribution is so far away now and then (1 % of the time).
    far = max(FAR, 1.63 / sqrt(latencies.n))
    return (measured, *best) if best[0].ks > far else (*best, measured)


def choose(fits: Sequence[LatencyFit], kind: str | None = None) -> LatencyFit:
    """The one of a kind, or else the best by AIC; the empirical where all are far off."""
    return fits[0] if kind is None else next(fit for fit in fits if fit.kind == kind)


Fitter = Callable[[Floats, Floats], Model]


def _lognormal_of(values: Floats, weights: Floats) -> Model:
    logs = np.log(values)
    mu = float(np.average(logs, weights=weights))
    sigma = sqrt(float(np.average((logs - mu) ** 2, weights=weights)))
    return Model("lognormal", (mu, max(sigma, _LEAST_SIGMA)))


def _gamma_of(values: Floats, weights: Floats) -> Model:
    """Newton's method for the shape, from Minka's start (Minka 2002)."""
    mean = float(np.average(values, weights=weights))
    gap = log(mean) - float(np.average(np.log(values), weights=weights))
    if gap < 1e-9:
        return Model("gamma", (1e6, mean / 1e6))
    shape = (3 - gap + sqrt((gap - 3) ** 2 + 24 * gap)) / (12 * gap)
    for _ in range(50):
        step = (log(shape) - digamma(shape) - gap) / (1 / shape - trigamma(shape))
        following = shape - step if step < shape else shape / 2
        if abs(following - shape) < 1e-10 * shape:
            break
        shape = following
    shape = min(shape, 1e6)
    return Model("gamma", (shape, mean / shape))


def _mixture_of(values: Floats, weights: Floats) -> Model:
    """Two lognormals by EM, from two starts: halves, and a tail of a tenth."""
    logs = np.log(values)
    upto = np.cumsum(weights) / weights.sum()
    return max(
        (_em(logs, weights, logs <= np.interp(part, upto, logs)) for part in (0.5, 0.9)),
        key=lambda model: float((weights * model.log_density(values)).sum()),
    )


def _em(logs: Floats, weights: Floats, first: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Model:
    share = np.stack([first, ~first]).astype(np.float64)
    before = -np.inf
    total = weights.sum()
    parts: list[tuple[float, float, float]] = []
    for _ in range(_ROUNDS):
        mass = share * weights
        sizes = np.maximum(mass.sum(axis=1), 1e-9 * total)
        mus = (mass @ logs) / sizes
        deviations = (mass * (logs - mus[:, None]) ** 2).sum(axis=1) / sizes
        sigmas = np.maximum(np.sqrt(deviations), _LEAST_SIGMA)
        parts = list(
            zip((sizes / sizes.sum()).tolist(), mus.tolist(), sigmas.tolist(), strict=True)
        )
        densities = np.stack([log(w) - log(s) - 0.5 * ((logs - m) / s) ** 2 for w, m, s in parts])
        most = densities.max(axis=0)
        share = np.exp(densities - most)
        summed = share.sum(axis=0)
        share /= summed
        likelihood = float((weights * (most + np.log(summed))).sum())
        if likelihood - before < 1e-7 * abs(likelihood):
            break
        before = likelihood
    return Model("mixture", tuple(value for part in parts for value in part))


_FITTERS: dict[str, Fitter] = {
    "lognormal": _lognormal_of,
    "gamma": _gamma_of,
    "mixture": _mixture_of,
}


def _fit(latencies: Latencies, kind: str, fitter: Fitter) -> Model:
    if isinstance(latencies, Sample):
        return fitter(*latencies.points)
    grid = _Grid.of(latencies)
    model = fitter(grid.values, grid.spread())
    before = -np.inf
    # A mixture's fitter goes many rounds itself.
    for _ in range(_ROUNDS if kind != "mixture" else _ROUNDS // 3):
        model = fitter(grid.values, grid.spread(model))
        likelihood = _log_likelihood(model, latencies)
        if likelihood - before < 1e-7 * abs(likelihood):
            break
        before = likelihood
    return model


@dataclass(frozen=True, slots=True)
class _Grid:
    """Points in each bucket, evenly on the logarithm, where its values may have been."""

    values: Floats
    bucket: np.ndarray[tuple[int], np.dtype[np.int64]]
    counts: Floats

    @classmethod
    def of(cls, latencies: Binned) -> _Grid:
        used = np.flatnonzero(latencies.counts)
        low, high = latencies.edges[used], latencies.edges[used + 1]
        # A bucket from 0 on, and one without an end, are cut where little lies beyond.
        low = np.where(low <= 0, np.where(np.isfinite(high), high, 1.0) / 50, low)
        high = np.where(np.isfinite(high), high, low * 20)
        part = (np.arange(_GRID) + 0.5) / _GRID
        values = np.exp(np.log(low)[:, None] + np.log(high / low)[:, None] * part)
        return cls(values.ravel(), np.repeat(np.arange(len(used)), _GRID), latencies.counts[used])

    def spread(self, model: Model | None = None) -> Floats:
        """The counts of the buckets over their points, by a density or evenly."""
        density = np.ones(len(self.values))
        if model is not None:
            logs = model.log_density(self.values) + np.log(self.values)  # per step of the logarithm
            highest = np.maximum.reduceat(logs, np.arange(0, len(logs), _GRID))
            density = np.exp(logs - highest[self.bucket])
        total = np.bincount(self.bucket, density)
        spread: Floats = density * (self.counts / total)[self.bucket]
        return spread


def _log_likelihood(model: Model, latencies: Latencies) -> float:
    if isinstance(latencies, Sample):
        return float(model.log_density(latencies.values).sum())
    mass = np.diff(model.cdf(latencies.edges))
    used = latencies.counts > 0
    return float((latencies.counts[used] * np.log(np.maximum(mass[used], 1e-300))).sum())


def _held_out(latencies: Latencies, kind: str, fitter: Fitter) -> float | None:
    if not isinstance(latencies, Sample) or len(latencies.values) < 20:
        return None
    even, odd = latencies.halves()
    scored = float(_fit(even, kind, fitter).log_density(odd.values).sum())
    scored += float(_fit(odd, kind, fitter).log_density(even.values).sum())
    return scored / len(latencies.values)


def _distance(model: Model, latencies: Latencies) -> float:
    """Kolmogorov's and Smirnov's; for buckets at their edges."""
    if isinstance(latencies, Sample):
        n = len(latencies.values)
        expected = model.cdf(latencies.values)
        steps = np.arange(n + 1) / n
        return float(max((steps[1:] - expected).max(), (expected - steps[:-1]).max()))
    upto = np.concatenate([[0.0], np.cumsum(latencies.counts)]) / latencies.counts.sum()
    return float(np.abs(upto - model.cdf(latencies.edges)).max())


def _pairs(model: Model, latencies: Latencies) -> tuple[tuple[float, float], ...]:
    q = _levels(latencies.n)
    measured = latencies.quantiles(q)
    fitted = quantiles(model.cdf, q, *latencies.bounds)
    return tuple(
        (_short(a), _short(b))
        for a, b in zip(measured.tolist(), fitted.tolist(), strict=True)
        if np.isfinite(a)
    )


def _levels(n: int) -> Floats:
    """Levels of a Q-Q plot: even ones, and closer and closer to both ends as far as n goes."""
    ends = np.array([0.001, 0.002, 0.005])
    levels = np.concatenate([ends, np.arange(1, 100) / 100, 1 - ends[::-1]])
    return levels[(levels * n >= 1) & ((1 - levels) * n >= 1)] if n >= 4 else np.array([0.5])


def _empirical(latencies: Latencies) -> LatencyFit:
    """The measured quantiles themselves."""
    count = min(latencies.n, _VALUES)
    q = (np.arange(count) + 0.5) / count
    values = latencies.quantiles(q)
    top = values[np.isfinite(values)].max(initial=latencies.bounds[1])
    values = np.where(np.isfinite(values), values, top)
    upto = np.searchsorted(values, values, "right") / count
    if isinstance(latencies, Sample):
        real = np.searchsorted(latencies.values, values, "right") / len(latencies.values)
        ks = float(np.abs(upto - real).max())
    else:
        ks = 0.0
    pairs = _levels(latencies.n)
    measured = latencies.quantiles(pairs)
    drawn = values[np.minimum((pairs * count).astype(np.int64), count - 1)]
    return LatencyFit(
        kind="empirical",
        latency=Empirical(values_ms=tuple(_short(value) for value in values.tolist())),
        log_likelihood=None,
        free=count,
        aic=inf,
        held_out=None,
        ks=ks,
        q_q=tuple(
            (_short(a), _short(b))
            for a, b in zip(measured.tolist(), drawn.tolist(), strict=True)
            if np.isfinite(a)
        ),
    )


def _lognormal(mu: float, sigma: float) -> Lognormal:
    return Lognormal(p50_ms=_short(exp(mu)), p95_ms=_short(exp(mu + _Z95 * sigma)))


def _short(value: float) -> float:
    """Six digits: more would say more than anybody has measured."""
    return float(f"{value:.6g}")
