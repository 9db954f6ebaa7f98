"""Bursts by chance: the Markov-modulated Poisson process."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from math import inf, isfinite
from typing import Annotated, Self

import numpy as np
from msgspec import Meta
from msgspec.structs import replace

from canario.spec import Positive, Spec
from canario_sim.streams import Floats, child, generator, seed_of

from .base import TrafficBase, poisson

__all__ = ["MarkovModulated", "State"]

# Stays are drawn so many at a time, whatever the size of the arrays that are asked for.
_STAYS = 512


class State(Spec, frozen=True, kw_only=True):
    """A mood of the traffic: its rate, how long it lasts, and what comes after it."""

    rate: Annotated[float, Meta(ge=0, description="Requests per second while it lasts.")]
    mean_seconds: Annotated[Positive, Meta(description="How long it lasts; exponential.")]
    then: Annotated[
        tuple[float, ...],
        Meta(
            description="Weights of the states that may follow, one for each, 0 for itself; "
            "left out: all others alike."
        ),
    ] = ()


class MarkovModulated(TrafficBase, frozen=True, kw_only=True, tag="markov_modulated"):
    """Poisson with the rate of a state that changes by chance: MMPP.

    The states are a Markov chain in continuous time. It begins in its stationary distribution,
    so that no instant is expected to be busier than another.
    """

    states: Annotated[tuple[State, ...], Meta(min_length=2, description="At least two.")]

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.states) < 2:
            raise ValueError(f"states has {len(self.states)}; give at least two")
        for number, state in enumerate(self.states):
            self._check_then(number, state.then)
        if self.peak == 0:
            raise ValueError("states has no rate above 0; one must be more, or nothing arrives")
        self._check_reach()

    @property
    def peak(self) -> float:
        """The highest rate, in requests per second."""
        return max(state.rate for state in self.states)

    @property
    def jumps(self) -> Floats:
        """Probabilities of the next state, a row for each present one."""
        n = len(self.states)
        alike = np.ones((n, n)) - np.eye(n)
        rows = [state.then or row for state, row in zip(self.states, alike.tolist(), strict=True)]
        weights = np.array(rows, np.float64)
        jumps: Floats = weights / weights.sum(axis=1, keepdims=True)
        return jumps

    @property
    def shares(self) -> Floats:
        """The part of the time that each state takes in the long run."""
        n = len(self.states)
        # Visits v = v P, and they add up to 1; the time is visits times the mean stay.
        equations = np.vstack([self.jumps.T - np.eye(n), np.ones(n)])
        visits = np.linalg.lstsq(equations, np.append(np.zeros(n), 1.0), rcond=None)[0]
        time = visits * [state.mean_seconds for state in self.states]
        shares: Floats = time / time.sum()
        return shares

    @property
    def mean_rate(self) -> float:
        """Requests per second in the long run."""
        return float(self.shares @ [state.rate for state in self.states])

    def scaled(self, factor: float) -> Self:
        """See `TrafficBase`."""
        states = tuple(replace(state, rate=state.rate * factor) for state in self.states)
        return replace(self, states=states)

    def rate_at(self, at: Floats) -> Floats:
        """The rate in the long run: it is the expected one at every instant."""
        return np.full(len(at), self.mean_rate)

    def arrivals(self, seed: int, size: int, until: float = inf) -> Iterator[Floats]:
        """A Poisson process of rate 1, its clock running at the rate of the state."""
        clock = _Clock(self, seed)
        for work in poisson(seed, 1.0, size, inf):
            at = clock.instants(work)
            yield at
            if at[-1] >= until:
                return

    def _check_then(self, number: int, then: tuple[float, ...]) -> None:
        if not then:
            return
        where = f"states[{number}].then"
        if len(then) != len(self.states):
            raise ValueError(f"{where} has {len(then)} weights; give one for each state")
        for weight in then:
            if not (isfinite(weight) and weight >= 0):
                raise ValueError(f"{where} has {weight!r}; it must be a finite number, at least 0")
        if then[number] != 0:
            raise ValueError(f"{where} has {then[number]:g} for the state itself; it must be 0")
        if not any(then):
            raise ValueError(f"{where} has no weight above 0; one must be more")

    def _check_reach(self) -> None:
        n = len(self.states)
        reach = np.linalg.matrix_power(((self.jumps > 0) | np.eye(n, dtype=bool)).astype(float), n)
        for start, end in np.argwhere(reach == 0).tolist():
            raise ValueError(
                f"states[{end}] is never reached from states[{start}]; every state must lead to "
                "every other in the end"
            )


class _Clock:
    """The states over time, as far as they have been asked for."""

    def __init__(self, traffic: MarkovModulated, seed: int) -> None:
        streams = seed_of(seed, "modulation")
        self._choice = generator(child(streams, 0)).random
        self._stay = generator(child(streams, 1)).standard_exponential
        self._rates = np.array([state.rate for state in traffic.states])
        self._means = np.array([state.mean_seconds for state in traffic.states])
        self._upto = [_upto(row) for row in traffic.jumps]
        self._state = bisect_right(_upto(traffic.shares), self._choice())
        # Of each stay: its start, the requests expected before it, its rate; and those at its end.
        self._starts, self._before, self._rate = np.empty(0), np.empty(0), np.empty(0)
        self._end, self._expected = 0.0, 0.0

    def instants(self, work: Floats) -> Floats:
        """When so many requests are expected to have come."""
        while self._expected <= work[-1]:
            self._draw()
        # Right, for a stay of rate 0 has as many requests before it as the next: nothing falls on
        # it.
        stay = np.searchsorted(self._before, work, "right") - 1
        at: Floats = self._starts[stay] + (work - self._before[stay]) / self._rate[stay]
        return at

    def _draw(self) -> None:
        """The next stays, each with its state."""
        states = np.empty(_STAYS, np.int64)
        # A loop, since each state depends on the one before it.
        for number, luck in enumerate(self._choice(_STAYS).tolist()):
            states[number] = self._state
            self._state = bisect_right(self._upto[self._state], luck)
        lasts = self._stay(_STAYS) * self._means[states]
        rate = self._rates[states]
        ends = self._end + np.cumsum(lasts)
        expected = self._expected + np.cumsum(lasts * rate)
        self._starts = np.concatenate([self._starts, [self._end], ends[:-1]])
        self._before = np.concatenate([self._before, [self._expected], expected[:-1]])
        self._rate = np.concatenate([self._rate, rate])
        self._end, self._expected = float(ends[-1]), float(expected[-1])


def _upto(chances: Floats) -> list[float]:
    """Their sums; the first above a number from 0 to 1 is that of a state drawn by it."""
    sums = np.cumsum(chances)
    # The last sum may differ from 1 by rounding. States after the last that has a chance share its
    # sum, and the first of equals is found.
    sums[sums >= sums[-1]] = 1.0
    return [float(each) for each in sums]
