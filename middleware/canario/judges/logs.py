"""Sums of numbers that are kept as their natural logarithms."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, inf, log, log1p

__all__ = ["log_add", "log_of", "log_sum"]


def log_of(x: float) -> float:
    """log x; −inf of 0."""
    return log(x) if x > 0 else -inf


def log_add(a: float, b: float) -> float:
    """log(eᵃ + eᵇ), without forming either."""
    if a < b:
        a, b = b, a
    return a if b == -inf or a == inf else a + log1p(exp(b - a))


def log_sum(terms: Sequence[float]) -> float:
    """log Σ eᵗ, without forming any; −inf of none."""
    if not terms:
        return -inf
    most = max(terms)
    if most == inf or most == -inf:
        return most
    total = 0.0
    for term in terms:
        total += exp(term - most)
    return most + log(total)
