"""Failures that come together: some users or sessions are prone to them."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from msgspec import Meta
from numpy.random import Generator, SeedSequence

from canario.spec import Spec
from canario_sim.streams import Floats, Ints, generator

__all__ = ["Clustering", "Clusters"]


class Clustering(Spec, frozen=True, kw_only=True):
    """How failures are spread over users or sessions; their rate in the mean stays as stated.

    With a `correlation` ρ each user (or session) has a probability of its own, drawn from the
    beta distribution whose mean is the rate and whose a + b = 1/ρ − 1. So the failures of one
    are beta-binomial, and ρ is the correlation of any two of its requests (Skellam 1948). With
    `prone` so many percent of them have all the failures and the others none.
    """

    by: Annotated[Literal["user", "session"], Meta(description="Whose failures come together.")] = (
        "user"
    )
    correlation: Annotated[
        Annotated[float, Meta(gt=0, lt=1)] | None,
        Meta(description="Of two requests of one user; towards 1 always or never."),
    ] = None
    prone: Annotated[
        Annotated[float, Meta(gt=0, le=100)] | None,
        Meta(description="Percent of the users that have all the failures."),
    ] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.correlation is None) == (self.prone is None):
            raise ValueError(
                f"correlation is {self.correlation!r} and prone is {self.prone!r}; give one of them"
            )

    def check(self, rate: float, what: str) -> None:
        """Raises `ValueError` when so many percent cannot all be the prone ones'."""
        if self.prone is not None and rate > self.prone:
            raise ValueError(
                f"{what} is {rate:g} and clustering.prone is {self.prone:g}; at most all requests "
                f"of the prone fail, so {what} must be at most prone"
            )

    def factors(self, random: Generator, rate: float, n: int) -> Floats:
        """What the rate (percent) is to be multiplied by for each of the next `n` of them."""
        # Nobody's or everybody's: nothing is left to be spread, and beta has no such mean.
        if not 0 < rate < 100:
            return np.ones(n)
        if self.prone is not None:
            # As many times the rate as makes the mean of all the rate again.
            return np.where(random.random(n) * 100 < self.prone, 100 / self.prone, 0.0)
        mean, both = rate / 100, 1 / (self.correlation or 1.0) - 1
        return random.beta(mean * both, (1 - mean) * both, n) / mean


class Clusters:
    """The factors of users or sessions, by number, drawn as they are met."""

    def __init__(self, clustering: Clustering, rate: float, seed: SeedSequence) -> None:
        self.clustering = clustering
        self._rate = rate
        self._random = generator(seed)
        self._factors: Floats = np.empty(0)

    def factors(self, key: Ints, session: Ints) -> Floats:
        """The factors of the requests of these keys and sessions."""
        numbers = key if self.clustering.by == "user" else session
        missing = int(numbers.max(initial=-1)) + 1 - len(self._factors)
        if missing > 0:
            # Twice as many as there were, so that growing costs little. The n-th draw is that of
            # number n, so it does not matter when it is made.
            missing = max(missing, len(self._factors), 1024)
            more = self.clustering.factors(self._random, self._rate, missing)
            self._factors = np.concatenate([self._factors, more])
        return self._factors[numbers]
