"""Which of several fits is the better one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeVar

__all__ = ["NO_SUPPORT", "Scored", "ranked"]

# A fit so far behind the lowest AIC has next to no support (Burnham and Anderson 2002, 2.6).
NO_SUPPORT = 10.0


class Scored(Protocol):
    """A fit with its Akaike criterion, and how many numbers were chosen for it."""

    @property
    def aic(self) -> float: ...

    @property
    def free(self) -> float: ...


_Fit = TypeVar("_Fit", bound=Scored)


def ranked(fits: Iterable[_Fit]) -> list[_Fit]:
    """By AIC, but first the simplest of those that are less than `NO_SUPPORT` behind the lowest.

    What has more numbers to choose must be better by more than chance makes it.
    """
    ordered = sorted(fits, key=lambda fit: fit.aic)
    near = [fit for fit in ordered if fit.aic < ordered[0].aic + NO_SUPPORT]
    best = min(near, key=lambda fit: fit.free)
    return [best, *(fit for fit in ordered if fit is not best)]
