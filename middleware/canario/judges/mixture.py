"""Evidence that bad events have become too frequent: one e-process.

Under the null hypothesis each of the events is bad with probability at most q₀, whatever came
before. The alternatives are odds e^δ times as large, which begin at an unknown instant:

    M_k ← (M_k + w π_k) · exp(δ_k x − n log(1 + q₀ (e^δ_k − 1)))
    E = Σ M_k + 1 − Σ w

for x bad ones of n events, where w is the prior probability that the change came just before
them. The factor is the likelihood ratio of the alternative, whose mean under the null is at most
1 (1 at q₀ itself). So E is a supermartingale that begins at 1, and by Ville's inequality the
probability that it ever reaches 1/α is at most α. It is the Shiryaev-Roberts e-detector of Shin,
Ramdas and Rinaldo (arXiv 2203.03532), with the masses of the time of change adding up to 1.
"""

from __future__ import annotations

from math import expm1, inf, log, log1p

from .logs import log_add, log_of, log_sum

__all__ = ["DELTAS", "Mixture"]

# Log odds ratios of the alternatives, from 1.16 times the odds to 25 times.
DELTAS = (0.15, 0.35, 0.7, 1.2, 2.0, 3.2)

_GROWTH = tuple(expm1(delta) for delta in DELTAS)
_LOG_SHARE = -log(len(DELTAS))


class Mixture:
    """The e-process of one metric.

    Attributes:
        log_e: log E, the natural logarithm of the evidence so far.
    """

    __slots__ = ("_costs", "_logs", "_null", "_rest", "log_e")

    def __init__(self) -> None:
        self._logs = [-inf] * len(DELTAS)
        self._rest = 1.0  # the mass that has not been handed out
        self._null = -1.0
        self._costs: list[float] = []
        self.log_e = 0.0

    def step(self, bad: int, events: int, null: float, mass: float) -> float:
        """Add `bad` ones of so many `events`, of which a share `null` may be bad. Returns log E.

        `mass` is the prior probability that the change came just before them; more than what
        remains of it is not taken.
        """
        mass = min(mass, self._rest)
        self._rest -= mass
        fresh = log_of(mass) + _LOG_SHARE
        self._logs = [log_add(old, fresh) for old in self._logs]
        if not events:
            return self.log_e  # the mass has moved, the sum has not
        if null == 0 and bad:
            # What must not happen has happened.
            self._logs = [inf] * len(DELTAS)
        else:
            if null != self._null:
                self._null = null
                self._costs = [log1p(null * growth) for growth in _GROWTH]
            self._logs = [
                old + delta * bad - events * cost
                for old, delta, cost in zip(self._logs, DELTAS, self._costs, strict=True)
            ]
        self.log_e = log_sum([*self._logs, log_of(self._rest)])
        return self.log_e
