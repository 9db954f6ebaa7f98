"""What would have become of a request on the arm that did not serve it.

A tape knows one arm's fate of each request. Where a policy sends a request to the arm that served
it, its fate is on the tape. Where it sends it to the other one, nobody can know; then the fate of
another recorded request stands in: one of that arm, of the same route where there is one, that
arrived at about that time. It is drawn, from a seed, and what follows is an estimate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from canario_sim.streams import Flags, Floats, Ints, generator, seed_of
from canario_sim.tapes.recording import Recording

__all__ = ["NOBODY", "Donors"]

# Where no recorded request can stand in.
NOBODY = -1


@dataclass(frozen=True, slots=True)
class _Group:
    """Requests of one arm (and one route), by arrival."""

    at: Floats
    place: Ints

    @classmethod
    def of(cls, recording: Recording, chosen: Flags) -> _Group:
        place = np.flatnonzero(chosen)
        place = place[np.argsort(recording.at[place], kind="stable")]
        return cls(recording.at[place], place)

    def draw(self, at: Floats, within: float, luck: Floats) -> Ints:
        """For each instant one of the requests at most `within` seconds away, or `NOBODY`."""
        low = np.searchsorted(self.at, at - within, "left")
        high = np.searchsorted(self.at, at + within, "right")
        number = low + (luck * (high - low)).astype(np.int64)
        found = np.full(len(at), NOBODY, np.int64)
        any_there = high > low
        found[any_there] = self.place[np.minimum(number, high - 1)[any_there]]
        return found


class Donors:
    """Draws whose fate stands in, once for each request and arm: every policy meets the same.

    Args:
        recording: The tape.
        seed: What is drawn.
        within: How far away in time (s) a request may be.
    """

    def __init__(self, recording: Recording, seed: int, within: float) -> None:
        self._recording = recording
        self._seed = seed
        self._within = within
        self._drawn: dict[int, Ints] = {}

    def of(self, arm: int, rows: Ints) -> Ints:
        """Places of the requests whose fates stand in for `rows` on an arm; `NOBODY` for none."""
        if arm not in self._drawn:
            self._drawn[arm] = self._draw(arm)
        return self._drawn[arm][rows]

    def _draw(self, arm: int) -> Ints:
        recording = self._recording
        luck = generator(seed_of(self._seed, "fates")).random((2, len(recording)))[arm]
        served: NDArray[np.bool_] = recording.arm == arm
        found = np.full(len(recording), NOBODY, np.int64)
        for route in np.unique(recording.route[served]).tolist():
            rows = np.flatnonzero((recording.route == route) & ~served)
            group = _Group.of(recording, served & (recording.route == route))
            found[rows] = group.draw(recording.at[rows], self._within, luck[rows])
        # Nobody of its route is near: anybody of the arm is.
        rows = np.flatnonzero((found == NOBODY) & ~served)
        found[rows] = _Group.of(recording, served).draw(
            recording.at[rows], self._within, luck[rows]
        )
        return found
