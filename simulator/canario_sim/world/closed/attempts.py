"""What the engine tells of: attempts of clients, and what happens beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from canario_sim.streams import Flags, Floats, Ints
from canario_sim.world.flights import Flights

__all__ = ["Attempts", "Signal"]


@dataclass(frozen=True, slots=True)
class Attempts:
    """Attempts that are over, in the order in which they ended.

    Attributes:
        flights: When each was done, and its code.
        neutral: Whether its client had left, so that it says nothing.
        key: The numbers of their keys.
        number: In which order they arrived, from 1 on.
    """

    flights: Flights
    neutral: Flags
    key: Ints
    number: Ints

    @property
    def at(self) -> Floats:
        """When each arrived."""
        return self.flights.at

    def __len__(self) -> int:
        return len(self.flights)

    def __getitem__(self, part: slice | Ints | Flags) -> Attempts:
        return Attempts(
            self.flights[part],
            self.neutral[part],
            self.key[part],
            self.number[part],
        )

    @classmethod
    def joined(cls, parts: Sequence[Attempts]) -> Attempts:
        """One after the other."""
        return cls(
            Flights.joined([part.flights for part in parts]),
            np.concatenate([part.neutral for part in parts]),
            np.concatenate([part.key for part in parts]),
            np.concatenate([part.number for part in parts]),
        )


@dataclass(frozen=True, slots=True)
class Signal:
    """Something that happened beside the requests.

    Attributes:
        at: When.
        kind: `steps.OPENED`, `RECOVERED` or `SCALED`.
        arm: 0 or 1.
        dependency: Its number, of a breaker.
        value: ms since the breaker opened, or how many servers are wanted.
    """

    at: float
    kind: int
    arm: int
    dependency: int
    value: float
