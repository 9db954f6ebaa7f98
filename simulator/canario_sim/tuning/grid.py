"""The thresholds that are tried: every combination of the values given."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from math import lcm
from typing import Annotated

from msgspec import Meta
from msgspec.structs import replace

from canario.plan import RollbackThresholds
from canario_sim.spec import Count, Percent, Positive, Spec

__all__ = ["Grid"]

_AT_LEAST_ONE = Meta(min_length=1)


class Grid(Spec, frozen=True, kw_only=True):
    """Candidate values of each threshold, rising and without repetition.

    The documented defaults are among them: 10 %, 500 ms, 60 s, 10 samples.
    """

    max_error_rate: Annotated[tuple[Percent, ...], _AT_LEAST_ONE] = (
        0.5, 1, 1.5, 2, 3, 4, 5, 6, 7.5, 10, 12.5, 15, 20, 25, 30, 40,
    )  # fmt: skip
    max_p95_latency_ms: Annotated[tuple[Positive, ...], _AT_LEAST_ONE] = (
        100, 150, 200, 250, 300, 400, 500, 600, 750, 1000, 1500, 2000, 3000, 5000,
    )  # fmt: skip
    metric_window_seconds: Annotated[tuple[Positive, ...], _AT_LEAST_ONE] = (30, 60, 120, 300)
    min_samples: Annotated[tuple[Count, ...], _AT_LEAST_ONE] = (10, 20, 50, 100, 200)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.__struct_fields__:
            values = getattr(self, name)
            if not values:
                raise ValueError(f"{name} is empty; give at least one value")
            for value in values:
                # The plan's own check names the key, the value and what is valid.
                RollbackThresholds(**{name: value})
            if sorted(set(values)) != list(values):
                raise ValueError(f"{name} is {values!r}; give rising values, each once")

    def __len__(self) -> int:
        windows, samples, rates, limits = self.shape
        return windows * samples * rates * limits

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """How many windows, minimum samples, error rates and latencies there are: the order of
        the axes everywhere."""
        return (
            len(self.metric_window_seconds),
            len(self.min_samples),
            len(self.max_error_rate),
            len(self.max_p95_latency_ms),
        )

    def with_those_of(self, thresholds: RollbackThresholds) -> Grid:
        """The same, and with a plan's own values."""
        return Grid(
            **{
                name: tuple(sorted({*getattr(self, name), getattr(thresholds, name)}))
                for name in self.__struct_fields__
            }
        )

    def find(self, thresholds: RollbackThresholds) -> tuple[int, int, int, int] | None:
        """Where a plan's values are; None where they are not all there."""
        places = []
        for name in _AXES:
            values, value = getattr(self, name), getattr(thresholds, name)
            if value not in values:
                return None
            places.append(values.index(value))
        window, samples, rate, limit = places
        return window, samples, rate, limit

    def thresholds(
        self, place: tuple[int, int, int, int], like: RollbackThresholds
    ) -> RollbackThresholds:
        """The candidate at a place; what is not tried is as in `like`."""
        values = zip(_AXES, place, strict=True)
        return replace(like, **{name: getattr(self, name)[number] for name, number in values})

    def all(self, like: RollbackThresholds) -> Iterator[RollbackThresholds]:
        """Every candidate, the last axis turning fastest."""
        windows, samples, rates, limits = self.shape
        for window in range(windows):
            for sample in range(samples):
                for rate in range(rates):
                    for limit in range(limits):
                        yield self.thresholds((window, sample, rate, limit), like)

    @property
    def rates(self) -> tuple[list[int], int]:
        """The error rates as exact integer parts of one whole, and that whole: errors · whole >
        requests · part says that the rate is exceeded."""
        exact = [Fraction(str(rate)) / 100 for rate in self.max_error_rate]
        whole = lcm(*(rate.denominator for rate in exact))
        return [int(rate * whole) for rate in exact], whole


_AXES = ("metric_window_seconds", "min_samples", "max_error_rate", "max_p95_latency_ms")
