"""Confidence intervals: Wilson's for a proportion, the bootstrap's for a quantile."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from statistics import NormalDist

import numpy as np

from canario_sim.streams import Floats, Ints, generator

__all__ = ["bootstrap_quantile", "quantile", "wilson"]


def wilson(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval for a proportion (Wilson 1927), without continuity correction.

    Args:
        successes: Of `n`.
        n: Trials; with none the interval is (0, 1).
        confidence: Between 0 and 1.

    Raises:
        ValueError: When `successes` is no number from 0 to `n`, or `confidence` not in (0, 1).
    """
    if not 0 <= successes <= n:
        raise ValueError(f"successes is {successes!r}; it must be from 0 to n, which is {n!r}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence!r}; it must lie between 0 and 1")
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = successes / n
    middle = share + z * z / (2 * n)
    half = z * sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    # At the ends the bound is the end itself, which rounding may miss.
    low = 0.0 if successes == 0 else (middle - half) / scale
    high = 1.0 if successes == n else (middle + half) / scale
    return low, high


def quantile(values: Sequence[float], q: float) -> float:
    """The value of rank ⌊q n⌋ + 1, at most n: the definition that the thresholds use too.

    Raises `ValueError` without values.
    """
    if not len(values):
        raise ValueError("there are no values to take a quantile of")
    return float(np.sort(np.asarray(values, np.float64))[_rank(len(values), q)])


def bootstrap_quantile(
    values: Sequence[float], q: float, confidence: float = 0.95, *, resamples: int = 1000
) -> tuple[float, float]:
    """The percentile bootstrap's interval for the q-quantile (Efron 1979).

    The order statistic of a resample is drawn directly: the one of rank r of n drawn with
    replacement lies at the r-th smallest of n uniform numbers, which is Beta(r, n + 1 − r). So
    it takes `resamples` draws whatever n is. The seed is fixed: the same values give the same
    interval, in whatever order they come.

    Raises `ValueError` without values.
    """
    if not len(values):
        raise ValueError("there are no values to take a quantile of")
    ordered: Floats = np.sort(np.asarray(values, np.float64))
    n = len(ordered)
    rank = _rank(n, q) + 1
    drawn = generator(np.random.SeedSequence(n)).beta(rank, n + 1 - rank, resamples)
    picked: Ints = np.minimum((drawn * n).astype(np.int64), n - 1)
    picked.sort()
    tail = (1 - confidence) / 2
    low, high = picked[_rank(resamples, tail)], picked[_rank(resamples, 1 - tail)]
    return float(ordered[low]), float(ordered[high])


def _rank(n: int, q: float) -> int:
    """Position of the q-quantile among n ordered values, from 0 on."""
    return min(int(q * n), n - 1)
