"""When something declared in a scenario is in force: at, for, ramp, every."""

from __future__ import annotations

from math import inf
from typing import Annotated

import numpy as np
from msgspec import Meta, field

from canario.arms import Arm, ArmOrBoth
from canario.spec import Positive, Seconds, Spec
from canario_sim.streams import Floats

from .onset import Onset

__all__ = ["Timed"]


class Timed(Spec, frozen=True, kw_only=True):
    """Something that begins at an instant, counted from the rollout's start, on one arm or both.

    It applies to the requests that arrive while it lasts.
    """

    arm: Annotated[ArmOrBoth, Meta(description="Which arm it happens to.")] = "canary"
    at: Annotated[Seconds, Meta(description="When it starts, in seconds from the start.")] = 0.0
    lasts: Annotated[
        Positive | None, Meta(description="How many seconds it lasts; none: to the end.")
    ] = field(default=None, name="for")
    onset: Annotated[
        Onset | None, Meta(description="How it begins by chance, at the earliest at `at`.")
    ] = None

    @property
    def every_seconds(self) -> float | None:
        """From the start of one occurrence to the start of the next; None: it happens once."""
        return None

    def strikes(self, arm: Arm) -> bool:
        """True when it can happen to this arm."""
        return self.arm in (arm, "both")

    def elapsed(self, at: Floats) -> Floats:
        """Seconds since the present occurrence began, at the instants `at`; −1 outside any.

        This and `touches` are those of one that begins at its `at`; see `Settled`.
        """
        start: Floats | float = self.at
        if self.every_seconds is not None:
            number = np.floor((at - self.at) / self.every_seconds)
            # The quotient may be rounded to the other side of a start.
            number -= at < self.at + number * self.every_seconds
            number += at >= self.at + (number + 1) * self.every_seconds
            start = self.at + np.maximum(number, 0) * self.every_seconds
        # The very instants of `Settled.occurrences`: differences of them would round otherwise.
        within = (start <= at) & (at < start + (self.lasts or inf))
        return np.where(within, at - start, -1.0)

    def touches(self, first: float, last: float) -> bool:
        """False when no occurrence can lie between two instants."""
        return first < self._over_at and last >= self.at

    @property
    def _over_at(self) -> float:
        return inf if self.every_seconds or self.lasts is None else self.at + self.lasts
