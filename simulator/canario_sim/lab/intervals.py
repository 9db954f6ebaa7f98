"""Confidence intervals: Wilson's for a proportion, the bootstrap's for a quantile."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from statistics import NormalDist

import numpy as np

from canario_sim.streams import Floats, Ints, generator

__all__ = ["bootstrap_quantile", "paired_difference", "paired_mean", "quantile", "wilson"]


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
    z = _z(confidence)
    if n == 0:
        return 0.0, 1.0
    share = successes / n
    middle = share + z * z / (2 * n)
    half = z * sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    # At the ends the bound is the end itself, which rounding may miss.
    low = 0.0 if successes == 0 else (middle - half) / scale
    high = 1.0 if successes == n else (middle + half) / scale
    return low, high


def paired_difference(
    only_first: int, only_second: int, n: int, confidence: float = 0.95
) -> tuple[float, float, float]:
    """How much likelier something is in the first of two paired samples, with its interval.

    Bonett and Price's adjusted Wald interval (2012, Br. J. Math. Stat. Psychol. 65, eq. 7). Pairs
    in which both or neither happened say nothing of the difference, which is what makes pairing
    sharp.

    Args:
        only_first: Pairs in which it happened in the first one alone.
        only_second: In the second one alone.
        n: Pairs in all.
        confidence: Between 0 and 1.

    Returns:
        The difference, and the bounds of its interval.

    Raises:
        ValueError: Without pairs, or with more of one kind than there are.
    """
    if n < 1 or min(only_first, only_second) < 0 or only_first + only_second > n:
        raise ValueError(f"{only_first!r} and {only_second!r} are no parts of {n!r} pairs")
    first, second = (only_first + 1) / (n + 2), (only_second + 1) / (n + 2)
    middle = first - second
    half = _z(confidence) * sqrt((first + second - middle * middle) / (n + 2))
    return (only_first - only_second) / n, max(middle - half, -1.0), min(middle + half, 1.0)


def paired_mean(
    differences: Sequence[float], confidence: float = 0.95
) -> tuple[float, float, float]:
    """The mean of differences between pairs, with the normal interval of a mean.

    Raises `ValueError` for less than two values.
    """
    if len(differences) < 2:
        raise ValueError(f"an interval takes two values at least, not {len(differences)}")
    values: Floats = np.asarray(differences, np.float64)
    mean = float(values.mean())
    half = _z(confidence) * float(values.std(ddof=1)) / sqrt(len(values))
    return mean, mean - half, mean + half


def _z(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence!r}; it must lie between 0 and 1")
    return NormalDist().inv_cdf((1 + confidence) / 2)


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
