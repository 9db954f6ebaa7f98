"""What changes the trajectory itself: stages, holds and the interval of the checks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import floor, log10
from typing import Protocol

from msgspec.structs import replace

from canario.plan import Deployment, Stage

__all__ = ["Suggest", "as_it_is", "shape_of", "suggest"]

# Seconds between two checks that are tried.
INTERVALS = (1.0, 2.0, 5.0, 10.0, 15.0, 30.0)

# A hold is tried at so many times its present length.
HOLDS = (0.5, 0.75, 1.0, 1.5, 2.0)

# A share below the last is tried at so many times its present size.
SHARES = (0.2, 0.4, 0.6, 1.0, 1.6, 2.5)


class Suggest(Protocol):
    """What an optimiser's trial offers: one of some values, by name."""

    def __call__(self, name: str, values: tuple[float, ...]) -> float: ...


def shape_of(deployment: Deployment) -> tuple[tuple[tuple[float, float], ...], float]:
    """What decides the trajectory: percentages with holds, and the interval."""
    stages = tuple((stage.percentage, stage.hold_seconds) for stage in deployment.canary_stages)
    return stages, deployment.rollback_thresholds.check_interval_seconds


def as_it_is(present: Deployment) -> dict[str, float]:
    """The choices that lead to the present shape."""
    chosen: dict[str, float] = {}

    def choose(name: str, values: tuple[float, ...]) -> float:
        own = present.rollback_thresholds.check_interval_seconds
        chosen[name] = own if own in values and name == "check_interval_seconds" else 1.0
        return chosen[name]

    suggest(present, choose)
    return chosen


def suggest(present: Deployment, choose: Suggest) -> Deployment:
    """Another shape around the present one: as many stages, and the last share as it is.

    A hold stays between half and twice its length: what a release does late is found only by a
    hold that lasts so long, and no condition may tell of it.
    """
    stages = present.canary_stages
    shares = list(_shares([stage.percentage for stage in stages], choose))
    held = [
        Stage(share, _times(stage.hold_seconds, choose(f"hold_{number}", HOLDS), _round))
        for number, (share, stage) in enumerate(zip(shares, stages, strict=True), start=1)
    ]
    own = present.rollback_thresholds.check_interval_seconds
    interval = choose("check_interval_seconds", tuple(sorted({*INTERVALS, own})))
    thresholds = replace(present.rollback_thresholds, check_interval_seconds=interval)
    return replace(present, canary_stages=tuple(held), rollback_thresholds=thresholds)


def _shares(present: list[float], choose: Suggest) -> Iterator[float]:
    last, before = present[-1], 0.0
    for number, share in enumerate(present[:-1], start=1):
        tried = _times(share, choose(f"share_{number}", SHARES), _nice)
        # Shares rise, and stay below the last one: between the neighbours where need be.
        before = tried if before < tried < last else _round_share((before + last) / 2)
        yield before
    yield last


def _times(value: float, factor: float, rounded: Callable[[float], float]) -> float:
    """So many times a value, in round numbers; the value itself stays as it is."""
    return value if factor == 1 else rounded(value * factor)


def _nice(share: float) -> float:
    """One significant digit, or a half of it: 0.5, 1, 2.5, 15."""
    unit: float = 10.0 ** floor(log10(share))
    return _round_share(max(round(2 * share / unit), 1) * unit / 2)


def _round_share(share: float) -> float:
    return round(max(share, 0.001), 3)


def _round(seconds: float) -> float:
    return float(round(seconds)) if seconds >= 10 else round(seconds, 1)
