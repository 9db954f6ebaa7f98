"""Which arm each request goes to under a policy, and what becomes of it there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf
from typing import Protocol

import numpy as np

from canario.control.events import Event
from canario.control.state import State, apply
from canario.plan import Deployment
from canario.routing.bucket import weight_of
from canario_sim.streams import Flags, Floats, Ints
from canario_sim.tapes.recording import Recording

from .fates import NOBODY, Donors

__all__ = ["AsCanary", "AsRecorded", "Assignment", "Matched", "Routing", "Shares"]


@dataclass(slots=True)
class Assignment:
    """What a policy makes of each request; it changes when the share does.

    Attributes:
        canary: Whether it goes to the canary.
        ended: When it has ended.
        fate: Place of the request whose outcome and latency it has: its own, or another's.
    """

    canary: Flags
    ended: Floats
    fate: Ints

    @classmethod
    def as_recorded(cls, recording: Recording) -> Assignment:
        """Everything as it was; unknown arms are the baseline."""
        return cls(recording.arm == 1, recording.ended.copy(), np.arange(len(recording)))


class Routing(Protocol):
    """Sends requests to the arms."""

    def assign(self, to: Assignment, weight: int, now: float) -> float:
        """Route anew the requests that arrive from `now` on, under a share of `weight` buckets.

        Returns the arrival of the first one whose fate nobody can tell; inf for none.
        """


class AsRecorded:
    """Every request stays with the arm that served it, whatever the share would have been."""

    def assign(self, to: Assignment, weight: int, now: float) -> float:  # noqa: ARG002
        """Nothing changes."""
        return inf


class Matched:
    """Requests go where the policy's share sends them; see `canario_sim.backtest.fates`."""

    def __init__(self, recording: Recording, donors: Donors) -> None:
        self._recording = recording
        self._donors = donors
        # Which weight each request has met.
        self._met = Shares.of(recording.events, recording.deployment).at(recording.at)

    def assign(self, to: Assignment, weight: int, now: float) -> float:
        """Where the share is what it was, everything is as it was."""
        recording = self._recording
        later = recording.at >= now
        canary = (recording.bucket >= 0) & (recording.bucket < weight)
        # Without a bucket it was forced, or had no key.
        canary |= (recording.bucket < 0) & (recording.arm == 1) & (weight > 0)
        own = (self._met == weight) | (canary == (recording.arm == 1))
        rows = np.flatnonzero(later & own)
        to.canary[rows] = recording.arm[rows] == 1
        to.ended[rows] = recording.ended[rows]
        to.fate[rows] = rows
        return min(
            self._draw(to, arm, np.flatnonzero(later & ~own & (canary == (arm == 1))))
            for arm in (0, 1)
        )

    def _draw(self, to: Assignment, arm: int, rows: Ints) -> float:
        """Give each of `rows` the fate of a request that `arm` served."""
        recording = self._recording
        fate = self._donors.of(arm, rows)
        lost = rows[fate == NOBODY]
        rows, fate = rows[fate != NOBODY], fate[fate != NOBODY]
        to.canary[rows] = arm == 1
        to.ended[rows] = recording.at[rows] + (recording.ended[fate] - recording.at[fate])
        to.fate[rows] = fate
        return float(recording.at[lost].min()) if len(lost) else inf


class AsCanary:
    """Either arm would do what was recorded: a release that changes nothing.

    `buckets` are those of the requests under a salt of this rollout's own.
    """

    def __init__(self, recording: Recording, buckets: Ints) -> None:
        self._at = recording.at
        self._buckets = buckets

    def assign(self, to: Assignment, weight: int, now: float) -> float:
        """Only the arms change."""
        later = self._at >= now
        to.canary[later] = self._buckets[later] < weight
        return inf


@dataclass(frozen=True, slots=True)
class Shares:
    """A share over time, in buckets: `weights[i]` up to `instants[i]`, the last one for ever."""

    instants: Floats
    weights: Ints

    @classmethod
    def of(cls, events: Iterable[Event], deployment: Deployment) -> Shares:
        """The share that a journal has led to."""
        instants: list[float] = []
        weights = [0]
        state = State()
        for event in events:
            state = apply(deployment, state, event)
            weight = weight_of(state.share)
            if weight != weights[-1]:
                instants.append(event.at)
                weights.append(weight)
        return cls(np.array(instants), np.array(weights, np.int64))

    def at(self, at: Floats) -> Ints:
        """The weights that hold from each instant on."""
        found: Ints = self.weights[np.searchsorted(self.instants, at, "right")]
        return found

    def differs_from(self, other: Shares, start: float, end: float) -> float:
        """The first instant from `start` on and before `end` at which they differ, or inf."""
        instants = np.unique(np.concatenate([[start], self.instants, other.instants]))
        instants = instants[(instants >= start) & (instants < end)]
        apart = instants[self.at(instants) != other.at(instants)]
        return float(apart[0]) if len(apart) else inf
