"""Traffic whose rate is written down: instants and rates, or the days and hours of a week."""

from __future__ import annotations

import csv
from itertools import pairwise
from math import isfinite
from pathlib import Path
from typing import Annotated, Self

import numpy as np
from msgspec import Meta
from msgspec.structs import replace

from canario.config import ConfigError
from canario.limits import MOST
from canario.spec import Positive
from canario_sim.streams import Floats

from .base import Rate, TrafficBase

__all__ = ["DAYS", "Schedule", "Weekly", "read_points"]

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

_HOUR = 3600.0
_WEEK = 7 * 24 * _HOUR


class Schedule(TrafficBase, frozen=True, kw_only=True, tag="schedule"):
    """Poisson with a rate that is given from instant to instant."""

    points: Annotated[
        tuple[tuple[float, float], ...],
        Meta(description="Pairs of an instant (seconds) and the rate from then on; the first: 0."),
    ] = ()
    file: Annotated[
        str | None,
        Meta(description="CSV file beside the scenario: instants and rates in its last columns."),
    ] = None
    linear: Annotated[
        bool, Meta(description="Whether the rate goes evenly from one point to the next.")
    ] = False
    repeat_seconds: Annotated[
        Positive | None,
        Meta(description="It begins again after so long; none: the last rate stays."),
    ] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if bool(self.points) == (self.file is not None):
            raise ValueError("give either points, with at least one pair, or file")
        if not self.points:
            return
        for at, rate in self.points:
            if not (abs(at) <= MOST and 0 <= rate <= MOST):
                raise ValueError(
                    f"points has [{at:g}, {rate:g}]; both must be finite numbers, the rate at "
                    f"least 0, and neither more than {MOST:g}"
                )
        if self.points[0][0] != 0:
            raise ValueError(f"points begins at {self.points[0][0]:g}; the first instant must be 0")
        for (before, _), (at, _) in pairwise(self.points):
            if at <= before:
                raise ValueError(f"points has {at:g} after {before:g}; the instants must rise")
        if self.peak == 0:
            raise ValueError("points has no rate above 0; one must be more, or nothing arrives")
        if self.repeat_seconds is not None and self.repeat_seconds <= self.points[-1][0]:
            raise ValueError(
                f"repeat_seconds is {self.repeat_seconds:g}; it must be more than the last "
                f"instant, which is {self.points[-1][0]:g}"
            )

    @property
    def peak(self) -> float:
        """The highest rate, in requests per second."""
        return max((rate for _, rate in self.points), default=0.0)

    def scaled(self, factor: float) -> Self:
        """See `TrafficBase`."""
        return replace(self, points=tuple((at, rate * factor) for at, rate in self.points))

    def rate_at(self, at: Floats) -> Floats:
        """The rate of the last point, or on the line to the next one.

        Raises `ValueError` for points in a file that was not read.
        """
        if not self.points:
            raise ValueError(f"the file {self.file!r} was not read; load_scenario does that")
        instants, rates = np.array(self.points).T
        if self.repeat_seconds is not None:
            at = np.mod(at, self.repeat_seconds)
            # A line leads from the last point back to the first one.
            instants, rates = np.append(instants, self.repeat_seconds), np.append(rates, rates[0])
        if self.linear:
            line: Floats = np.interp(at, instants, rates)
            return line
        found: Floats = rates[np.searchsorted(instants, at, "right") - 1]
        return found


class Weekly(TrafficBase, frozen=True, kw_only=True, tag="weekly"):
    """Poisson with a rate that depends on the day and the hour: their factors are multiplied."""

    rate: Annotated[Rate, Meta(description="Requests per second in the mean of a week.")]
    days: Annotated[
        tuple[float, ...],
        Meta(min_length=7, max_length=7, description="A factor a day from Monday."),
    ] = (1.0,) * 7
    hours: Annotated[
        tuple[float, ...],
        Meta(min_length=24, max_length=24, description="A factor an hour from midnight."),
    ] = (1.0,) * 24
    start: Annotated[
        str,
        Meta(
            pattern=r"^(mon|tue|wed|thu|fri|sat|sun) ([01][0-9]|2[0-3]):[0-5][0-9]$",
            description="When the rollout begins, as in 'fri 16:30'.",
        ),
    ] = "mon 00:00"

    def __post_init__(self) -> None:
        super().__post_init__()
        for key, factors, number in (("days", self.days, 7), ("hours", self.hours, 24)):
            if len(factors) != number:
                raise ValueError(f"{key} has {len(factors)} factors; it must have {number}")
            for factor in factors:
                if not (isfinite(factor) and factor >= 0):
                    raise ValueError(
                        f"{key} has {factor!r}; it must be a finite number, at least 0"
                    )
            if not any(factors):
                raise ValueError(f"{key} has no factor above 0; one must be more")

    @property
    def rates(self) -> Floats:
        """The rate of each hour of a week, from Monday's midnight on."""
        factors = np.outer(self.days, self.hours).ravel()
        rates: Floats = self.rate * factors / factors.mean()
        return rates

    @property
    def begins_at(self) -> float:
        """Seconds from Monday's midnight to the start of the rollout."""
        day, time = self.start.split()
        hour, minute = time.split(":")
        return (DAYS.index(day) * 24 + int(hour)) * _HOUR + int(minute) * 60

    @property
    def peak(self) -> float:
        """The highest rate, in requests per second."""
        return float(self.rates.max())

    def scaled(self, factor: float) -> Self:
        """See `TrafficBase`."""
        return replace(self, rate=self.rate * factor)

    def rate_at(self, at: Floats) -> Floats:
        """The rate of the hour."""
        hour = np.floor(np.mod(self.begins_at + at, _WEEK) / _HOUR).astype(np.int64)
        # Rounding may make a whole week of the end of one.
        rates: Floats = self.rates[np.minimum(hour, 7 * 24 - 1)]
        return rates


def read_points(path: Path) -> list[list[float]]:
    """The last two columns of a CSV file, without its heading: instants and rates.

    Raises `ConfigError` for a file that cannot be read, or holds something else.
    """
    try:
        rows = list(csv.reader(path.read_text(encoding="utf-8-sig").splitlines()))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), "", f"cannot be read: {error}") from error
    points = []
    for number, row in enumerate(rows, start=1):
        try:
            at, rate = map(float, row[-2:])
        except ValueError as error:
            # The first line may be a heading, and a blank one is none.
            if row and number > 1:
                raise ConfigError(
                    str(path),
                    f"line {number}",
                    f"{','.join(row)!r} is no point; it must be an instant and a rate, in numbers",
                ) from error
        else:
            points.append([at, rate])
    if not points:
        raise ConfigError(str(path), "", "holds no point; give an instant and a rate a line")
    return points
