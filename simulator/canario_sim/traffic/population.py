"""The keys that requests come from, and how much each of them sends."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from statistics import NormalDist
from typing import Annotated

import numpy as np
from msgspec import Meta

from canario.spec import Spec
from canario_sim.streams import Floats, Ints, generator, seed_of

from .lookup import Lookup

__all__ = ["LognormalActivity", "ParetoActivity", "Population"]


class _Activity(Spec, frozen=True, kw_only=True, tag_field="kind"):
    """How much single users send, as a distribution.

    Of `size` users the heaviest sends what the heaviest 1/size of the distribution does, and so
    on (its Lorenz curve): no seed makes one population heavier than another.
    """

    def weights(self, size: int) -> Floats:
        """What each of `size` users sends, in any unit, the heaviest first."""
        raise NotImplementedError


class ParetoActivity(_Activity, frozen=True, kw_only=True, tag="pareto"):
    """P(activity > x) = x^-shape for x ≥ 1."""

    shape: Annotated[
        float, Meta(gt=1, description="Tail exponent; with 1.16 a fifth sends four fifths.")
    ]

    def weights(self, size: int) -> Floats:
        """See `_Activity`: the heaviest part u sends u^(1 − 1/shape)."""
        part = np.arange(size + 1) / size
        weights: Floats = np.diff(part ** (1 - 1 / self.shape))
        return weights


class LognormalActivity(_Activity, frozen=True, kw_only=True, tag="lognormal"):
    """exp(sigma · Z) with a standard normal Z."""

    sigma: Annotated[float, Meta(ge=0, description="Spread of its logarithm; 0: all alike.")]

    def weights(self, size: int) -> Floats:
        """See `_Activity`: the heaviest part u sends Φ(Φ⁻¹(u) + sigma)."""
        return _lognormal_weights(size, self.sigma)


class Population(Spec, frozen=True, kw_only=True):
    """The keys (users, tenants) that requests come from, named `prefix` + number from 0.

    Key number i, the (i + 1)-th heaviest, sends a share proportional to (i + 1)^-skew: Zipf's
    law over a finite population. Without skew all send alike. An `activity` is another law.
    """

    size: Annotated[int, Meta(ge=1, le=10_000_000, description="How many keys there are.")] = 10_000
    skew: Annotated[float, Meta(ge=0, description="Zipf's exponent; 0: all keys alike.")] = 0.0
    activity: Annotated[
        ParetoActivity | LognormalActivity | None,
        Meta(description="How much single keys send, instead of skew."),
    ] = None
    prefix: Annotated[str, Meta(min_length=1, description="What the keys' names begin with.")] = (
        "user-"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.skew and self.activity is not None:
            raise ValueError(f"skew is {self.skew!r} beside an activity; give one of them")

    def names(self) -> list[str]:
        """The keys, the heaviest first."""
        return list((_few_names if self.size <= _FEW else _names)(self.prefix, self.size))

    def number(self, name: str) -> int | None:
        """The number of the key called `name`; None when there is none."""
        digits = name.removeprefix(self.prefix)
        if not (name.startswith(self.prefix) and digits.isdecimal() and digits.isascii()):
            return None
        number = int(digits)
        # `user-007` is nobody.
        return number if number < self.size and str(number) == digits else None

    def shares(self) -> Floats:
        """Each key's share of the requests; they add up to 1."""
        weights: Floats
        if self.activity is None:
            weights = np.arange(1, self.size + 1, dtype=np.float64) ** -self.skew
        else:
            weights = self.activity.weights(self.size)
        shares: Floats = weights / weights.sum()
        return shares

    def sampler(self, seed: int) -> Callable[[int], Ints]:
        """A source of keys' numbers; what it draws does not depend on the sizes asked for."""
        random, size = generator(seed_of(seed, "keys")).random, self.size
        if self.skew == 0 and self.activity is None:
            return lambda n: (random(n) * size).astype(np.int64)
        find = (_few_lookup if size <= _FEW else _lookup)(self).find
        return lambda n: find(random(n))


# What is made of so many keys is kept: thousands of replications ask for the same.
_FEW = 100_000


# A tuple, since it is kept and handed to all; `names` makes a list of it for each.
def _names(prefix: str, size: int) -> tuple[str, ...]:
    return tuple([f"{prefix}{number}" for number in range(size)])


_few_names = lru_cache(maxsize=4)(_names)


def _lookup(population: Population) -> Lookup:
    return Lookup(population.shares())


_few_lookup = lru_cache(maxsize=4)(_lookup)


@lru_cache(maxsize=8)
def _lognormal_weights(size: int, sigma: float) -> Floats:
    """Thousands of replications ask for the same ones."""
    normal = NormalDist()
    upto = [normal.cdf(normal.inv_cdf(number / size) + sigma) for number in range(1, size)]
    return np.diff([0.0, *upto, 1.0])
