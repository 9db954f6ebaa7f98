"""Traffic at a steady rate, or at one that follows a simple curve."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf, pi
from typing import Annotated, Self

import numpy as np
from msgspec import Meta
from msgspec.structs import replace

from canario.spec import Positive, Seconds
from canario_sim.streams import Floats

from .base import Rate, TrafficBase, poisson

__all__ = ["Bursts", "Constant", "Diurnal", "Poisson", "Ramp"]


class Constant(TrafficBase, frozen=True, kw_only=True, tag="constant"):
    """One request every 1/rate seconds, the first after as long; with the rate 0 none."""

    rate: Annotated[float, Meta(ge=0, description="Requests per second; 0: no traffic at all.")]

    @property
    def peak(self) -> float:
        """The rate, in requests per second."""
        return self.rate

    def scaled(self, factor: float) -> Self:
        """See `TrafficBase`."""
        return replace(self, rate=self.rate * factor)

    def arrivals(self, seed: int, size: int, until: float = inf) -> Iterator[Floats]:  # noqa: ARG002
        """Instants at exact distances; the seed plays no part."""
        first = 1
        while first < until * self.rate + 1:
            # By quotients, not by a sum of gaps, in which rounding would add up.
            yield np.arange(first, first + size) / self.rate
            first += size


class Poisson(TrafficBase, frozen=True, kw_only=True, tag="poisson"):
    """Requests that know nothing of each other, at a steady rate."""

    rate: Rate

    @property
    def peak(self) -> float:
        """The highest rate, in requests per second."""
        return self.rate

    def scaled(self, factor: float) -> Self:
        """See `TrafficBase`."""
        return replace(self, rate=self.rate * factor)

    def arrivals(self, seed: int, size: int, until: float = inf) -> Iterator[Floats]:
        """Instants with exponential gaps."""
        return poisson(seed, self.rate, size, until)


class Diurnal(TrafficBase, frozen=True, kw_only=True, tag="diurnal"):
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

    def scaled(self, factor: float) -> Self:
        """See `TrafficBase`."""
        return replace(self, rate=self.rate * factor)

    def rate_at(self, at: Floats) -> Floats:
        """The cosine above."""
        swing = np.cos(2 * pi * (at - self.peak_at) / self.period_seconds)
        return self.rate * (1 + (self.peak_to_mean - 1) * swing)


class Ramp(TrafficBase, frozen=True, kw_only=True, tag="ramp"):
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

    def scaled(self, factor: float) -> Self:
        """See `TrafficBase`."""
        return replace(self, from_rate=self.from_rate * factor, to_rate=self.to_rate * factor)

    def rate_at(self, at: Floats) -> Floats:
        """The straight line, cut at `over_seconds`."""
        part = np.minimum(at / self.over_seconds, 1)
        return self.from_rate + (self.to_rate - self.from_rate) * part


class Bursts(TrafficBase, frozen=True, kw_only=True, tag="bursts"):
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

    def scaled(self, factor: float) -> Self:
        """See `TrafficBase`."""
        return replace(self, rate=self.rate * factor, burst_rate=self.burst_rate * factor)

    def rate_at(self, at: Floats) -> Floats:
        """One of the two rates."""
        burst = (at >= self.every_seconds) & (np.mod(at, self.every_seconds) < self.burst_seconds)
        return np.where(burst, self.burst_rate, self.rate)
