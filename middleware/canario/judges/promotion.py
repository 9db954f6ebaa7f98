"""Evidence that a stage went well: an e-process for the null hypothesis that it did not.

The mirror image of `alternatives.Odds`, of the stage's own requests, which began with it: the
null is that at least a share p₀ of them is bad, the alternatives are odds e^−δ times as large.
Being the average of likelihood ratios it is a function of two numbers, and may be looked at at
any time. It takes a p₀ above 0: that fewer than none are bad nothing can show, and a plan that asks
for it is refused.
"""

from __future__ import annotations

from math import ceil, expm1, log, log1p

from .alternatives import DELTAS
from .logarithms import log_sum

__all__ = ["at_least", "log_e_good"]


def log_e_good(bad: int, events: int, null: float) -> float:
    """log of the evidence that fewer than a share `null` of events like these is bad."""
    return log_sum(
        [-delta * bad - events * log1p(null * expm1(-delta)) - log(len(DELTAS)) for delta in DELTAS]
    )


def at_least(bad: int, events: int, null: float, level: float) -> int:
    """How many events it takes until log E is `level`, if none of those to come is bad."""
    # The evidence of the best alternative bounds that of all of them.
    have = log_e_good(bad, events, null)
    gain = -log1p(null * expm1(-DELTAS[-1]))
    return events + max(0, ceil((level - have) / gain))
