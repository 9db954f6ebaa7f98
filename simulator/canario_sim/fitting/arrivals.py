"""How requests arrive: Poisson, by the time of day, in bursts, or along a table of rates.

Every kind is fitted to the same counts of requests in intervals of equal length, so that their
likelihoods may be compared.
"""

from __future__ import annotations

from math import inf, log, pi

import numpy as np
from msgspec import Struct

from canario_sim.streams import Floats, Ints
from canario_sim.traffic import (
    Diurnal,
    MarkovModulated,
    Poisson,
    Schedule,
    State,
    Traffic,
    Weekly,
)

from .ranking import ranked

__all__ = ["ARRIVALS", "ArrivalFit", "Counts", "counts_of", "fit_arrivals"]

ARRIVALS = ("poisson", "diurnal", "weekly", "markov_modulated", "schedule")

_HOUR = 3600.0
_DAY = 86_400.0
_WEEK = 7 * _DAY
# Monday, 5 January 1970, at midnight.
_MONDAY = 4 * _DAY
_MOST_BINS = 4000
_ROUNDS = 60


class Counts(Struct, frozen=True):
    """Requests in intervals of `width` seconds, from the instant 0 on, which was at `start`
    (seconds since the epoch; None where nobody knows)."""

    numbers: tuple[int, ...]
    width: float
    start: float | None = None

    @property
    def span(self) -> float:
        """All of the time."""
        return len(self.numbers) * self.width

    @property
    def rate(self) -> float:
        """Requests per second, in the mean."""
        return sum(self.numbers) / self.span


class ArrivalFit(Struct, frozen=True, kw_only=True):
    """One kind of traffic beside the counts.

    `free` is how many numbers were chosen. `dispersion` is Pearson's χ² over its degrees of
    freedom, of the counts around the fitted rates: about 1 where nothing is left to explain.
    """

    kind: str
    traffic: Traffic
    log_likelihood: float
    free: float
    aic: float
    dispersion: float


def counts_of(at: Floats, span: float | None = None) -> Counts:
    """Count arrivals: in seconds, or longer intervals where they would be too many or too empty.

    Raises `ValueError` for fewer than two, and for no time between them.
    """
    start = float(at.min()) if len(at) else 0.0
    span = (float(at.max()) - start if len(at) else 0.0) if span is None else span
    if len(at) < 2 or span <= 0:
        raise ValueError(f"{len(at)} requests in {span:g} s are too few to tell a rate")
    # About two requests in an interval, or there is nothing to tell them apart by.
    width = max(1.0, span / _MOST_BINS, 2 * span / len(at)) if span > 10 else span / 10
    bins = max(int(span / width), 1)
    width = span / bins
    place = np.minimum(((at - start) / width).astype(np.int64), bins - 1)
    numbers = np.bincount(place, minlength=bins)
    return Counts(tuple(numbers.tolist()), width, start)


def fit_arrivals(counts: Counts, *, period_seconds: float | None = None) -> tuple[ArrivalFit, ...]:
    """Every kind that the counts allow, the best first; see `canario_sim.fitting.ranking`.

    Args:
        counts: What is fitted.
        period_seconds: Of the daily wave; by default a day, or for a shorter time what stands
            out most.
    """
    numbers = np.array(counts.numbers, np.int64)
    made = [_poisson(numbers, counts)]
    if len(numbers) >= 16:
        made += [_wave(numbers, counts, period_seconds), _bursts(numbers, counts)]
        made += _tables(numbers, counts)
    if counts.start is not None and counts.span >= _WEEK:
        made.append(_week(numbers, counts, counts.start))
    return tuple(ranked(made))


def _poisson(numbers: Ints, counts: Counts) -> ArrivalFit:
    return _fit(
        "poisson",
        Poisson(rate=_short(counts.rate)),
        numbers,
        np.full(len(numbers), numbers.mean()),
        1,
    )


def _wave(numbers: Ints, counts: Counts, period: float | None) -> ArrivalFit:
    """Rate a + b cos + c sin, by Fisher's scoring for counts with the identity as link."""
    free = 3.0
    if period is None and counts.span >= _DAY:
        period = _DAY
    elif period is None:
        period = _strongest_period(numbers, counts)
        # The strongest of so many waves stands out by chance alone by the logarithm of that.
        free += log(len(numbers) / 2)
    middle = (np.arange(len(numbers)) + 0.5) * counts.width
    # The mean of the wave over an interval is a little less than its middle.
    flat = np.sinc(counts.width / period)
    angle = 2 * pi * middle / period
    columns = np.stack([np.ones(len(numbers)), flat * np.cos(angle), flat * np.sin(angle)], axis=1)
    found = np.array([numbers.mean(), 0.0, 0.0])
    for _ in range(50):
        weights = 1 / np.maximum(columns @ found, 1e-6 * found[0])
        scaled = columns * weights[:, None]
        following = np.linalg.solve(columns.T @ scaled, scaled.T @ numbers)
        swing = np.hypot(following[1], following[2])
        if swing > following[0]:  # the rate may not fall below 0
            following[1:] *= following[0] / swing
        if np.allclose(following, found, rtol=1e-10):
            break
        found = following
    mean, b, c = found.tolist()
    swing = min(float(np.hypot(b, c)) / mean, 1.0)
    peak_at = float(np.arctan2(c, b)) % (2 * pi) / (2 * pi) * period
    traffic = Diurnal(
        rate=_short(mean / counts.width),
        peak_to_mean=_short(1 + swing),
        period_seconds=_short(period),
        # Less than a microsecond is what rounding has left of a peak at the very beginning.
        peak_at=_short(round(peak_at, 6)),
    )
    return _fit("diurnal", traffic, numbers, np.maximum(columns @ found, 1e-9), free)


def _week(numbers: Ints, counts: Counts, start: float) -> ArrivalFit:
    """A factor a day times a factor an hour (UTC), each fitted while the other stands still: for
    Poisson counts that climbs to the greatest likelihood."""
    begins = (start - _MONDAY) % _WEEK // 60 * 60  # a scenario says it to the minute
    instants = begins + (np.arange(len(numbers)) + 0.5) * counts.width
    day = (instants % _WEEK // _DAY).astype(np.int64)
    hour = (instants % _DAY // _HOUR).astype(np.int64)
    seen = np.zeros((2, 7, 24))
    np.add.at(seen[0], (day, hour), numbers)
    np.add.at(seen[1], (day, hour), 1)
    arrived, intervals = seen
    days, hours = np.ones(7), np.full(24, numbers.mean())
    for _ in range(100):
        days = arrived.sum(axis=1) / np.maximum(intervals @ hours, 1e-9)
        hours = arrived.sum(axis=0) / np.maximum(days @ intervals, 1e-9)
    expected = np.maximum((days[:, None] * hours)[day, hour], 1e-9)
    traffic = Weekly(
        rate=_short(days.mean() * hours.mean() / counts.width),
        days=tuple(_short(factor) for factor in days / days.mean()),
        hours=tuple(_short(factor) for factor in hours / hours.mean()),
        start=f"{_DAYS[int(begins // _DAY)]} {int(begins % _DAY // _HOUR):02d}:"
        f"{int(begins % _HOUR // 60):02d}",
    )
    # 7 + 24 factors, less the one that they share.
    return _fit("weekly", traffic, numbers, expected, 30)


_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def _strongest_period(numbers: Ints, counts: Counts) -> float:
    """The period of the strongest wave that fits into the time at least once and a half."""
    # Padded with zeros, for the frequencies between those of the time itself.
    padded = np.fft.rfft(numbers - numbers.mean(), 8 * len(numbers))
    frequencies = np.fft.rfftfreq(8 * len(numbers), counts.width)
    power = np.abs(padded) ** 2
    # Nor is a wave of fewer than eight intervals told from noise.
    power[(frequencies < 1.5 / counts.span) | (frequencies > 1 / (8 * counts.width))] = 0
    return float(1 / frequencies[int(np.argmax(power))]) if power.any() else counts.span


def _bursts(numbers: Ints, counts: Counts) -> ArrivalFit:
    """A calm state and a busy one, by the EM algorithm of Baum and Welch for Poisson counts."""
    low, high = np.quantile(numbers, [0.25, 0.95])
    rates = np.array([max(low, 0.05), max(high, low + 1.0)])
    moves = np.array([[0.98, 0.02], [0.1, 0.9]])
    begin = np.array([0.8, 0.2])
    constants = float(sum(_log_factorials(numbers)))
    before, likelihood, weights = -inf, -inf, np.empty((len(numbers), 2))
    for _ in range(_ROUNDS):
        logs = numbers[:, None] * np.log(rates) - rates
        likelihood, weights, pairs = _forward_backward(logs, moves, begin)
        mass = weights.sum(axis=0)
        rates = np.maximum((weights * numbers[:, None]).sum(axis=0) / np.maximum(mass, 1e-9), 1e-6)
        moves = np.maximum(pairs, 1e-12) / np.maximum(pairs.sum(axis=1, keepdims=True), 1e-12)
        begin = weights[0]
        if likelihood - before < 1e-7 * abs(likelihood):
            break
        before = likelihood
    if rates[0] > rates[1]:
        rates, moves, weights = rates[::-1], moves[::-1, ::-1], weights[:, ::-1]
    calm, busy = _stays(float(moves[0, 1]), float(moves[1, 0]), counts.width)
    traffic = MarkovModulated(
        states=(
            State(rate=_short(rates[0] / counts.width), mean_seconds=_short(calm)),
            State(rate=_short(rates[1] / counts.width), mean_seconds=_short(busy)),
        )
    )
    total = likelihood - constants
    expected = weights @ rates
    return ArrivalFit(
        kind="markov_modulated",
        traffic=traffic,
        log_likelihood=total,
        free=4,
        aic=8 - 2 * total,
        dispersion=_dispersion(numbers, expected, 4),
    )


def _forward_backward(logs: Floats, moves: Floats, begin: Floats) -> tuple[float, Floats, Floats]:
    """Log-likelihood, the states' probabilities in each interval, and expected moves."""
    top = logs.max(axis=1)
    likely = np.exp(logs - top[:, None]).tolist()
    (a, b), (c, d) = moves.tolist()
    p, q = begin.tolist()
    # A loop over plain floats, since each interval follows from the one before it; for two states
    # numpy would cost more than the sums.
    forward, scales = [], []
    for number, (e, f) in enumerate(likely):
        if number:
            p, q = p * a + q * c, p * b + q * d
        p, q = p * e, q * f
        scale = p + q or 1e-300
        p, q = p / scale, q / scale
        forward.append((p, q))
        scales.append(scale)
    backward = [(1.0, 1.0)] * len(likely)
    p, q = 1.0, 1.0
    for number in range(len(likely) - 2, -1, -1):
        e, f = likely[number + 1]
        e, f = e * p / scales[number + 1], f * q / scales[number + 1]
        p, q = a * e + b * f, c * e + d * f
        backward[number] = (p, q)
    ahead, behind = np.array(forward), np.array(backward)
    weights = ahead * behind
    weights /= weights.sum(axis=1, keepdims=True)
    following = np.array(likely)[1:] * behind[1:] / np.array(scales)[1:, None]
    pairs: Floats = moves * (ahead[:-1].T @ following)
    return float(np.log(scales).sum() + top.sum()), weights, pairs


def _stays(leave: float, come: float, width: float) -> tuple[float, float]:
    """Mean stays of two states, of what they do in an interval: its moves are exp(Q · width)."""
    leave, come = min(max(leave, 1e-9), 0.999), min(max(come, 1e-9), 0.999)
    both = min(leave + come, 0.999)
    total = -log(1 - both) / width
    return (leave + come) / (leave * total), (leave + come) / (come * total)


def _tables(numbers: Ints, counts: Counts) -> list[ArrivalFit]:
    """Rates that stay for a part of the time each: 6, 12, 24 or 48 parts, the best of them."""
    made = []
    for parts in (6, 12, 24, 48):
        if len(numbers) < 4 * parts:
            break
        edges = np.linspace(0, len(numbers), parts + 1).astype(np.int64)
        means = np.add.reduceat(numbers, edges[:-1]) / np.diff(edges)
        expected = np.repeat(means, np.diff(edges))
        points = tuple(
            (_short(edge * counts.width), _short(mean / counts.width))
            for edge, mean in zip(edges[:-1].tolist(), means.tolist(), strict=True)
        )
        traffic = Schedule(points=points)
        made.append(_fit("schedule", traffic, numbers, np.maximum(expected, 1e-9), parts))
    return [min(made, key=lambda fit: fit.aic)] if made else []


def _fit(kind: str, traffic: Traffic, numbers: Ints, expected: Floats, free: float) -> ArrivalFit:
    likelihood = float((numbers * np.log(expected) - expected).sum()) - float(
        sum(_log_factorials(numbers))
    )
    return ArrivalFit(
        kind=kind,
        traffic=traffic,
        log_likelihood=likelihood,
        free=free,
        aic=2 * free - 2 * likelihood,
        dispersion=_dispersion(numbers, expected, free),
    )


def _log_factorials(numbers: Ints) -> Floats:
    table = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, numbers.max(initial=0) + 1)))])
    found: Floats = table[numbers]
    return found


def _dispersion(numbers: Ints, expected: Floats, free: float) -> float:
    left = ((numbers - expected) ** 2 / np.maximum(expected, 1e-9)).sum()
    return float(left / max(len(numbers) - free, 1))


def _short(value: float) -> float:
    return float(f"{float(value):.6g}")
