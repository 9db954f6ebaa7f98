"""Evidence that bad events have become too frequent: one e-process.

Under the null hypothesis an event is bad with probability at most q₀, whatever came before. The
alternatives begin at an unknown instant:

    M_k ← (M_k + w π_k) · F_k
    E = Σ M_k + 1 − Σ w

where w is the prior probability that the change came just before these events, π_k that of the
alternative, and F_k its factor (see `alternatives`), whose mean under the null is at most 1. So E
is a supermartingale that begins at 1, and by Ville's inequality the probability that it ever
reaches 1/α is at most α. It is the Shiryaev-Roberts e-detector of Shin, Ramdas and Rinaldo (arXiv
2203.03532), with the masses of the time of change adding up to 1.
"""

from __future__ import annotations

from math import inf, log
from operator import add

from msgspec import Struct

from .alternatives import DELTAS, Alternatives, Odds
from .logarithms import log_add, log_of, log_sum

__all__ = ["Mixture", "MixtureMemory"]

_MANY = len(DELTAS)  # and of `STAKES`: either family has as many
_LOG_SHARE = -log(_MANY)  # of each alternative


class MixtureMemory(Struct, frozen=True, array_like=True):
    """All that a mixture remembers, to the bit."""

    logs: list[float]
    rest: float
    log_e: float


class Mixture:
    """The e-process of one metric.

    Attributes:
        log_e: log E, the natural logarithm of the evidence so far.
    """

    __slots__ = ("_alternatives", "_logs", "_rest", "log_e")

    def __init__(self, alternatives: Alternatives | None = None) -> None:
        self._alternatives = alternatives or Odds()
        self._logs = [-inf] * _MANY
        self._rest = 1.0  # the mass that has not been handed out
        self.log_e = 0.0

    def memory(self) -> MixtureMemory:
        """What `recall` takes up again."""
        return MixtureMemory(self._logs, self._rest, self.log_e)

    def recall(self, memory: MixtureMemory) -> None:
        """Go on where another one stood."""
        self._logs, self._rest, self.log_e = list(memory.logs), memory.rest, memory.log_e

    def step(self, bad: int, events: int, null: float, mass: float) -> float:
        """Add `bad` ones of so many `events`, of which a share `null` may be bad. Returns log E.

        `mass` is the prior probability that the change came just before them; more than what
        remains of it is not taken.
        """
        # Ville's bound rests on the masses adding up to 1 at most, and floats may add up to more.
        mass = min(mass, self._rest)
        self._rest -= mass
        logs = log_add(self._logs, log_of(mass) + _LOG_SHARE)
        if not events:
            self._logs = logs
            return self.log_e  # the mass has moved, the sum has not
        factors = self._alternatives.log_factors(bad, events, null)
        self._logs = list(map(add, logs, factors))
        self.log_e = log_sum(self._logs, log_of(self._rest))
        return self.log_e

    def with_open(self, bad: int, events: int, null: float) -> float:
        """log E if so many events came now, of which `bad` are known to be bad; nothing is added.

        Events that have not ended count as good ones: no alternative gains by them.
        """
        if not events:
            return self.log_e
        factors = self._alternatives.log_factors(bad, events, null)
        return log_sum(list(map(add, self._logs, factors)), log_of(self._rest))
