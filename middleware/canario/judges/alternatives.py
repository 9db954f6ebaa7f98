"""What a metric's evidence is weighed by: factors whose mean is at most 1 under the null.

Two kinds. `Odds` is for events that are bad independently of each other: likelihood ratios, the
sharpest there are. `Bets` is for events whose failures come in clusters: bets on the share of bad
ones in a bin, which need nothing but its mean.
"""

from __future__ import annotations

from math import expm1, inf, log1p
from typing import Protocol

__all__ = ["DELTAS", "STAKES", "Alternatives", "Bets", "Odds"]

# Log odds ratios of the alternatives, from 1.16 times the odds to 25 times.
DELTAS = (0.15, 0.35, 0.7, 1.2, 2.0, 3.2)

# Shares of what one has that are bet; never all of it, or one good bin would lose everything.
STAKES = (0.02, 0.05, 0.12, 0.3, 0.6, 0.9)

_GROWTH = tuple(expm1(delta) for delta in DELTAS)
_IMPOSSIBLE = [inf] * len(DELTAS)


class Alternatives(Protocol):
    """A family of factors, one for each alternative to the null hypothesis."""

    def log_factors(self, bad: int, events: int, null: float) -> list[float]:
        """log of each factor, for `bad` ones of so many `events`, of which `null` may be bad."""


class Odds:
    """Likelihood ratios against odds that are e^δ times those of the null.

    exp(δ x − n log(1 + q₀ (e^δ − 1))) for x bad ones of n: the ratio of two binomials.
    """

    __slots__ = ("_costs", "_null")

    def __init__(self) -> None:
        self._null: float | None = None
        self._costs: list[float] = []

    def log_factors(self, bad: int, events: int, null: float) -> list[float]:
        """See `Alternatives`."""
        if null == 0 and bad:
            return _IMPOSSIBLE  # what must not happen has happened
        if null != self._null:
            self._null = null
            self._costs = [log1p(null * growth) for growth in _GROWTH]
        return [
            delta * bad - events * cost for delta, cost in zip(DELTAS, self._costs, strict=True)
        ]


class Bets:
    """Bets that the share x̄ of bad events in a bin is above that of the null.

    1 + λ (x̄ − q₀) / q₀, whose mean is at most 1 whatever the distribution of x̄ is, as long as its
    mean, given the bins before, is at most q₀ (Waudby-Smith and Ramdas, arXiv 2010.09686).
    """

    __slots__ = ()

    def log_factors(self, bad: int, events: int, null: float) -> list[float]:
        """See `Alternatives`; the events are those of one bin."""
        if null == 0:
            return _IMPOSSIBLE if bad else [0.0] * len(STAKES)
        excess = bad / events / null - 1
        return [log1p(stake * excess) for stake in STAKES]
