"""Sums of numbers that are kept as their natural logarithms.

Each is one loop, since a judge does it some thousands of times in a rehearsal.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, inf, log, log1p

__all__ = ["log_add", "log_of", "log_sum"]


def log_of(x: float) -> float:
    """log x; −inf of 0."""
    return log(x) if x > 0 else -inf


def log_add(terms: Sequence[float], b: float) -> list[float]:
    """log(eᵗ + eᵇ) of each term t, without forming either."""
    if b == -inf:
        return list(terms)
    made = []
    for term in terms:
        above = term - b
        if above > 0:
            made.append(term + log1p(exp(-above)))
        else:
            made.append(b + log1p(exp(above)))
    return made


def log_sum(terms: Sequence[float], other: float = -inf) -> float:
    """log(Σ eᵗ + eᵒ) of the terms t and one more, without forming any; −inf of none."""
    most = max(terms, default=other)
    if other > most:
        most = other
    if most in (-inf, inf):
        return most
    total = exp(other - most)
    for term in terms:
        total += exp(term - most)
    return most + log(total)
