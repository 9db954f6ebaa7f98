"""The Mann-Whitney U test of a shift between two samples, with ties, for large samples.

The interval of the shift is the test turned round (Hodges and Lehmann 1963; Lehmann 2006, ch. 2):
all shifts that the test does not reject. The normal approximation has a continuity correction and
a variance that allows for ties, as R's `wilcox.test(exact = FALSE, conf.int = TRUE)`.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, sqrt
from statistics import NormalDist

import numpy as np
from msgspec import Struct

from canario_sim.streams import Floats

__all__ = ["Shift", "shift"]


class Shift(Struct, frozen=True, kw_only=True):
    """By how much the first sample lies above the second, with its interval."""

    estimate: float
    low: float
    high: float


def shift(first: Sequence[float], second: Sequence[float], confidence: float) -> Shift:
    """The Hodges-Lehmann estimate, the median of all differences, and its interval.

    As a function of the shift the test's statistic falls in steps, one at each difference. So a
    bound is the difference at which it crosses the normal quantile, found among them all; where
    no shift is rejected on one side, it is the outermost difference.

    Raises `ValueError` without values.
    """
    x, y = _sample(first), _sample(second)
    differences: Floats = np.sort(np.subtract.outer(x, y), axis=None)
    number = len(differences)
    sigma = _sigma(len(x), len(y), np.concatenate([_ties(x), _ties(y)]))
    quantile = NormalDist().inv_cdf((1 + confidence) / 2)
    # With k differences below a shift, U is number − k. The shift is rejected while U's distance
    # from its middle, less ½, is more than the quantile: for every whole k under this number.
    rejected = number / 2 - 0.5 - quantile * sigma
    rank = max(ceil(rejected) - 1, 0)
    return Shift(
        estimate=float(np.median(differences)),
        low=float(differences[rank]),
        high=float(differences[number - 1 - rank]),
    )


def _sample(values: Sequence[float]) -> Floats:
    if not len(values):
        raise ValueError("a sample is empty")
    return np.asarray(values, np.float64)


def _ties(values: Floats) -> Floats:
    """How many values share each value."""
    return np.unique(values, return_counts=True)[1].astype(np.float64)


def _sigma(n: int, m: int, ties: Floats) -> float:
    """The standard deviation of U for groups of ties of such sizes (Lehmann 2006, p. 20)."""
    total = n + m
    lost = float((ties**3 - ties).sum()) / (total * (total - 1))
    return sqrt(max(n * m / 12 * (total + 1 - lost), 0.0))
