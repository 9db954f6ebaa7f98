"""The special functions that fitting takes, without SciPy.

The incomplete gamma function by its series and its continued fraction (Press et al., Numerical
Recipes, 6.2; DLMF 8.7.1 and 8.9.2); digamma and trigamma by recurrence and their asymptotic
series (DLMF 5.11.2).
"""

from __future__ import annotations

from collections.abc import Callable
from math import erf, lgamma, log

import numpy as np

from canario_sim.streams import Floats

__all__ = ["digamma", "gamma_cdf", "normal_cdf", "quantiles", "trigamma"]

_STEPS = 500
_PRECISION = 1e-12
_TINY = 1e-300
_LARGE = 5000.0

_erf = np.frompyfunc(erf, 1, 1)


def normal_cdf(z: Floats) -> Floats:
    """The standard normal distribution's."""
    half: Floats = 0.5 * (1.0 + _erf(np.asarray(z, np.float64) / np.sqrt(2.0)).astype(np.float64))
    return half


def gamma_cdf(x: Floats, shape: float) -> Floats:
    """P(shape, x), the regularised lower incomplete gamma function, of x at least 0."""
    x = np.asarray(x, np.float64)
    if shape > _LARGE:
        # Cube roots are normal by then to 1e-6 (Wilson and Hilferty 1931).
        return normal_cdf((np.cbrt(x / shape) - 1 + 1 / (9 * shape)) * np.sqrt(9 * shape))
    found = np.zeros(x.shape)
    small = (x > 0) & (x < shape + 1)
    large = (x >= shape + 1) & np.isfinite(x)
    found[small] = _series(x[small], shape)
    found[large] = 1 - _fraction(x[large], shape)
    found[np.isposinf(x)] = 1.0
    return found


def _front(x: Floats, shape: float) -> Floats:
    front: Floats = np.exp(-x + shape * np.log(x) - lgamma(shape))
    return front


def _series(x: Floats, shape: float) -> Floats:
    term = np.full(x.shape, 1.0 / shape)
    total = term.copy()
    for step in range(1, _STEPS + int(10 * shape**0.5)):
        term *= x / (shape + step)
        total += term
        if not np.any(term > total * _PRECISION):
            break
    return total * _front(x, shape)


def _fraction(x: Floats, shape: float) -> Floats:
    # Lentz's method.
    b = x + 1 - shape
    c = np.full(x.shape, 1 / _TINY)
    d = 1 / b
    value = d.copy()
    for step in range(1, _STEPS + int(10 * shape**0.5)):
        a = -step * (step - shape)
        b += 2
        d = a * d + b
        d[np.abs(d) < _TINY] = _TINY
        c = b + a / c
        c[np.abs(c) < _TINY] = _TINY
        d = 1 / d
        change = d * c
        value *= change
        if not np.any(np.abs(change - 1) > _PRECISION):
            break
    return value * _front(x, shape)


def digamma(x: float) -> float:
    """The derivative of ln Γ, of x above 0."""
    value = 0.0
    while x < 12:
        value -= 1 / x
        x += 1
    inverse = 1 / (x * x)
    return value + log(x) - 0.5 / x - inverse * (1 / 12 - inverse * (1 / 120 - inverse / 252))


def trigamma(x: float) -> float:
    """The derivative of `digamma`."""
    value = 0.0
    while x < 12:
        value += 1 / (x * x)
        x += 1
    inverse = 1 / (x * x)
    series = 1 / 6 - inverse * (1 / 30 - inverse * (1 / 42 - inverse / 30))
    return value + 1 / x + inverse / 2 + inverse / x * series


def quantiles(cdf: Callable[[Floats], Floats], q: Floats, low: float, high: float) -> Floats:
    """Where a distribution function takes the values `q`, by halving between two positive bounds.

    The bounds are moved outwards until they hold all of `q`.
    """
    while cdf(np.array([low]))[0] > q.min() and low > _TINY:
        low /= 4
    while cdf(np.array([high]))[0] < q.max() and high < 1 / _TINY:
        high *= 4
    lower, upper = np.full(len(q), np.log(low)), np.full(len(q), np.log(high))
    for _ in range(60):
        middle = (lower + upper) / 2
        below = cdf(np.exp(middle)) < q
        lower, upper = np.where(below, middle, lower), np.where(below, upper, middle)
    found: Floats = np.exp((lower + upper) / 2)
    return found
