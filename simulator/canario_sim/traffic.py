"""When requests arrive, and from which keys."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import inf, pi
from typing import Annotated

import numpy as np
from msgspec import Meta

from .spec import Positive, Seconds, Spec
from .streams import Floats, Ints, generator, seed_of

__all__ = [
    "Bursts",
    "Constant",
    "Diurnal",
    "Poisson",
    "Population",
    "Ramp",
    "Traffic",
]

Rate = Annotated[float, Meta(gt=0, description="Requests per second.")]


class Population(Spec, frozen=True, kw_only=True):
    """The keys (users, tenants) that requests come from, named `prefix` + number from 0.

    Key number i, the (i + 1)-th heaviest, sends a share proportional to (i + 1)^-skew: Zipf's
    law over a finite population. Without skew all send alike.
    """

    size: Annotated[int, Meta(ge=1, le=1_000_000, description="How many keys there are.")] = 10_000
    skew: Annotated[float, Meta(ge=0, description="Zipf's exponent; 0: all keys alike.")] = 0.0
    prefix: Annotated[str, Meta(min_length=1, description="What the keys' names begin with.")] = (
        "user-"
    )

    def names(self) -> list[str]:
        """The keys, the heaviest first."""
        prefix = self.prefix
        return [f"{prefix}{number}" for number in range(self.size)]

    def number(self, name: str) -> int | None:
        """The number of the key called `name`; None when there is none."""
        digits = name.removeprefix(self.prefix)
        if not (name.startswith(self.prefix) and digits.isdecimal() and digits.isascii()):
            return None
        number = int(digits)
        return number if number < self.size and str(number) == digits else None

    def shares(self) -> Floats:
        """Each key's share of the requests; they add up to 1."""
        weights: Floats = np.arange(1, self.size + 1, dtype=np.float64) ** -self.skew
        shares: Floats = weights / weights.sum()
        return shares

    def sampler(self, seed: int) -> Callable[[int], Ints]:
        """A source of keys' numbers; what it draws does not depend on the sizes asked for."""
        random, size = generator(seed_of(seed, "keys")).random, self.size
        if self.skew == 0:
            return lambda n: (random(n) * size).astype(np.int64)
        upto = np.cumsum(self.shares())
        # The last sum may fall short of 1 by rounding.
        return lambda n: np.minimum(np.searchsorted(upto, random(n), "right"), size - 1)


class _Traffic(Spec, frozen=True, kw_only=True, tag_field="kind"):
    keys: Annotated[Population, Meta(description="Who sends the requests.")] = Population()

    @property
    def peak(self) -> float:
        """The highest rate, in requests per second."""
        raise NotImplementedError

    def rate_at(self, at: Floats) -> Floats:
        """The expected rate at the instants `at` (seconds), in requests per second."""
        return np.full(len(at), self.peak)

    def arrivals(self, seed: int, size: int, until: float = inf) -> Iterator[Floats]:
        """Rising instants (seconds, from 0 on), in arrays of at most `size`.

        All before `until` are there, and some after it may be: an array is not cut short.
        A Poisson process with the rate `rate_at`, by thinning one that has the rate `peak`
        (Lewis and Shedler 1979).
        """
        accept = generator(seed_of(seed, "thinning")).random
        for at in _poisson(seed, self.peak, size, until):
            yield at[accept(size) * self.peak < self.rate_at(at)]


class Constant(_Traffic, frozen=True, kw_only=True, tag="constant"):
    """One request every 1/rate seconds, the first after as long; with the rate 0 none."""

    rate: Annotated[float, Meta(ge=0, description="Requests per second; 0: no traffic at all.")]

    @property
    def peak(self) -> float:
        """The rate, in requests per second."""
        return self.rate

    def arrivals(self, seed: int, size: int, until: float = inf) -> Iterator[Floats]:  # noqa: ARG002
        """Instants at exact distances; the seed plays no part."""
        first = 1
        while first < until * self.rate + 1:
            yield np.arange(first, first + size) / self.rate
            first += size


class Poisson(_Traffic, frozen=True, kw_only=True, tag="poisson"):
    """Requests that know nothing of each other, at a steady rate."""

    rate: Rate

    @property
    def peak(self) -> float:
        """The highest rate, in requests per second."""
        return self.rate

    def arrivals(self, seed: int, size: int, until: float = inf) -> Iterator[Floats]:
        """Instants with exponential gaps."""
        return _poisson(seed, self.rate, size, until)


class Diurnal(_Traffic, frozen=True, kw_only=True, tag="diurnal"):
    """Poisson with the rate  rate · (1 + (peak_to_mean − 1) · cos(2π (t − peak_at) / period))."""

    rate: Annotated[float, Meta(gt=0, description="Mean requests per second over a period.")]
    peak_to_mean: Annotated[
        float, Meta(ge=1, le=2, description="The peak's rate over the mean's; 2: nil at night.")
    ] = 1.5
    period_seconds: Annotated[Positive, Meta(description="Length of a day.")] = 86_400.0
    peak_at: Annotated[float, Meta(description="An instant of the peak, in seconds.")] = 0.0

    @property
    def peak(self) -> float:
        """The highest rate, in requests per second."""
        return self.rate * self.peak_to_mean

    def rate_at(self, at: Floats) -> Floats:
        """The cosine above."""
        swing = np.cos(2 * pi * (at - self.peak_at) / self.period_seconds)
        return self.rate * (1 + (self.peak_to_mean - 1) * swing)


class Ramp(_Traffic, frozen=True, kw_only=True, tag="ramp"):
    """Poisson with a rate that goes evenly from one to the other and stays there."""

    from_rate: Annotated[float, Meta(ge=0, description="Requests per second at the start.")]
    to_rate: Annotated[float, Meta(ge=0, description="Requests per second in the end.")]
    over_seconds: Annotated[Positive, Meta(description="How long the change takes.")]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.from_rate == self.to_rate == 0:
            raise ValueError("from_rate and to_rate are 0; one must be more, or nothing arrives")

    @property
    def peak(self) -> float:
        """The highest rate, in requests per second."""
        return max(self.from_rate, self.to_rate)

    def rate_at(self, at: Floats) -> Floats:
        """The straight line, cut at `over_seconds`."""
        part = np.minimum(at / self.over_seconds, 1)
        return self.from_rate + (self.to_rate - self.from_rate) * part


class Bursts(_Traffic, frozen=True, kw_only=True, tag="bursts"):
    """Poisson at `rate`, and at `burst_rate` for a while at every multiple of `every_seconds`."""

    rate: Annotated[float, Meta(ge=0, description="Requests per second between the bursts.")]
    burst_rate: Annotated[float, Meta(gt=0, description="Requests per second in a burst.")]
    every_seconds: Annotated[
        Positive, Meta(description="From one burst's start to the next; the first is one later.")
    ]
    burst_seconds: Annotated[Seconds, Meta(description="How long a burst lasts.")]

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.burst_seconds < self.every_seconds:
            raise ValueError(
                f"burst_seconds is {self.burst_seconds!r}; it must be more than 0 and less than "
                f"every_seconds, which is {self.every_seconds!r}"
            )

    @property
    def peak(self) -> float:
        """The highest rate, in requests per second."""
        return max(self.rate, self.burst_rate)

    def rate_at(self, at: Floats) -> Floats:
        """One of the two rates."""
        burst = (at >= self.every_seconds) & (np.mod(at, self.every_seconds) < self.burst_seconds)
        return np.where(burst, self.burst_rate, self.rate)


Traffic = Constant | Poisson | Diurnal | Ramp | Bursts


def _poisson(seed: int, rate: float, size: int, until: float) -> Iterator[Floats]:
    exponential = generator(seed_of(seed, "arrivals")).standard_exponential
    last = 0.0
    while last < until:
        at = exponential(size)
        at /= rate
        # Adding the past before the sum, not after it, gives the same floats for every size.
        at[0] += last
        np.cumsum(at, out=at)
        last = at[-1]
        yield at
