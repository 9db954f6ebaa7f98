"""Requests that set off others: the self-exciting process of Hawkes."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil, inf
from typing import Annotated, Self

import numpy as np
from msgspec import Meta
from msgspec.structs import replace

from canario.spec import Positive
from canario_sim.streams import Floats, generator, seed_of

from .base import Rate, TrafficBase

__all__ = ["SelfExciting"]

# Requests of a stretch that is drawn at a time, whatever the size of the arrays asked for; longer
# ones cost less time for each request.
_STRETCH = 16_384

# A past of more requests is not drawn; how excited it leaves the process is.
_PAST = 250_000


class SelfExciting(TrafficBase, frozen=True, kw_only=True, tag="self_exciting"):
    """Hawkes with an exponential kernel: a request sets off `branching` others in the mean, each
    after an exponential time.

    The intensity is  μ + Σ n/τ · exp(−(t − tᵢ)/τ)  over the requests before t, with n the
    `branching`, τ the `decay_seconds` and μ = (1 − n) · rate, so that `rate` is the mean of it
    all. It begins in its steady state. Drawn as what it is, a Poisson process whose members have
    descendants (Hawkes and Oakes 1974).
    """

    rate: Annotated[Rate, Meta(description="Requests per second in the mean, those set off too.")]
    branching: Annotated[
        float,
        Meta(ge=0, lt=1, description="Requests that one sets off itself; from 1 on they explode."),
    ]
    decay_seconds: Annotated[Positive, Meta(description="How long after it, in the mean.")]

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.branching < 1:
            raise ValueError(f"branching is {self.branching!r}; it must be less than 1")

    @property
    def peak(self) -> float:
        """The mean rate, in requests per second: there is no highest one."""
        return self.rate

    def scaled(self, factor: float) -> Self:
        """See `TrafficBase`."""
        return replace(self, rate=self.rate * factor)

    def arrivals(self, seed: int, size: int, until: float = inf) -> Iterator[Floats]:
        """Instants from 0 on, where the process has been going on for long."""
        stretch = _STRETCH / self.rate
        # A lineage lives for decay / (1 − branching) or so: e^−16 of its effect is missed.
        before = ceil(16 * self.decay_seconds / (1 - self.branching) / stretch)
        if before * _STRETCH > _PAST:
            family = _Family(self, seed, 0.0)
            family.excite()
        else:
            family = _Family(self, seed, -before * stretch)
            for number in range(-before, 0):
                family.upto((number + 1) * stretch)
        number, last = 0, 0.0
        while last < until:
            number += 1
            last = number * stretch
            at = family.upto(last)
            for first in range(0, len(at), size):
                yield at[first : first + size]


class _Family:
    """Requests by descent, one stretch of time after the other."""

    def __init__(self, traffic: SelfExciting, seed: int, start: float) -> None:
        self._first = generator(seed_of(seed, "arrivals"))
        self._others = generator(seed_of(seed, "offspring"))
        self._rate = traffic.rate
        self._alone = traffic.rate * (1 - traffic.branching)
        self._branching = traffic.branching
        self._decay = traffic.decay_seconds
        self._start = start
        self._later: Floats = np.empty(0)

    def excite(self) -> None:
        """Add what a long past sets off from now on, without drawing that past.

        The excitation of the intensity is drawn from the gamma distribution that has the mean
        n λ and the variance n² λ / (2 τ (1 − n)) of its steady state: in the limits of many
        requests and of n → 1 it is that law (Jaisson and Rosenbaum 2015). Given it, the number
        set off is Poisson's, each after an exponential time.
        """
        mean = self._branching * self._rate
        spread = self._branching / (2 * self._decay * (1 - self._branching))
        excitation = self._others.gamma(mean / spread, spread)
        number = self._others.poisson(excitation * self._decay)
        self._later = self._start + self._others.standard_exponential(number) * self._decay

    def upto(self, end: float) -> Floats:
        """All requests from the end of the stretch before to this one's, in order."""
        start, self._start = self._start, end
        mine = self._later < end
        alone = self._first.random(self._first.poisson(self._alone * (end - start)))
        born = np.concatenate([self._later[mine], start + alone * (end - start)])
        here, later = [born], [self._later[~mine]]
        while len(born):
            parents = np.repeat(born, self._others.poisson(self._branching, len(born)))
            born = parents + self._others.standard_exponential(len(parents)) * self._decay
            later.append(born[born >= end])
            born = born[born < end]
            here.append(born)
        self._later = np.concatenate(later)
        return np.sort(np.concatenate(here))
