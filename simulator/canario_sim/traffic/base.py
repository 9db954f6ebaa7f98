"""What all kinds of traffic have in common: instants, keys, sessions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil, inf
from typing import Annotated, Self

import numpy as np
from msgspec import Meta

from canario.spec import Spec
from canario_sim.streams import Bytes, Floats, Ints, Numbers, generator, seed_of

from .population import Population
from .sessions import Sessions, gathered

__all__ = ["Arrivals", "Rate", "TrafficBase", "poisson"]

_PARTS = 10_000

Rate = Annotated[float, Meta(gt=0, description="Requests per second.")]


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Requests in order of arrival, as parallel arrays, before anything serves them.

    Attributes:
        at: Instants, in seconds from the start of the rollout.
        key: Numbers of their keys, in `TrafficBase.names`.
        session: Numbers of their sessions; None where there are none.
        route: Numbers of their routes, in `TrafficBase.routes`; None where they are not recorded.
        payload: The same of payload classes, in `TrafficBase.payloads`.
    """

    at: Floats
    key: Ints
    session: Ints | None = None
    route: Numbers | None = None
    payload: Bytes | None = None


class TrafficBase(Spec, frozen=True, kw_only=True, tag_field="kind"):
    """Requests that come whatever the system does: an open loop."""

    keys: Annotated[Population, Meta(description="Who sends the requests.")] = Population()
    sessions: Annotated[
        Sessions | None,
        Meta(
            description="Users come for several requests; sessions then begin at the rate over "
            "their mean number of requests, so that the rate of requests stays as stated."
        ),
    ] = None

    @property
    def peak(self) -> float:
        """The highest rate, in requests per second."""
        raise NotImplementedError

    def rate_at(self, at: Floats) -> Floats:
        """The expected rate at the instants `at` (seconds), in requests per second."""
        return np.full(len(at), self.peak)

    def expected(self, until: float) -> float:
        """How many requests are expected before an instant (seconds), all but exactly: rates are
        looked at in the middle of 10,000 parts."""
        middles: Floats = (np.arange(_PARTS, dtype=np.float64) + 0.5) * (until / _PARTS)
        return float(self.rate_at(middles).mean()) * until

    def scaled(self, factor: float) -> Self:
        """The same traffic at `factor` times its rates."""
        raise NotImplementedError

    def batch(self, size: int, horizon: float) -> int:
        """How many requests to draw at a time, at most `size`: few where few are needed."""
        # A tenth more than are expected at most, so that one batch mostly does.
        return min(size, max(256, ceil(1.1 * self.peak * horizon)))

    def names(self) -> Sequence[str]:
        """The keys, by number."""
        return self.keys.names()

    def number(self, name: str) -> int | None:
        """The number of the key called `name`; None when there is none."""
        return self.keys.number(name)

    @property
    def valid_keys(self) -> str:
        """Which keys there are, in words."""
        prefix, last = self.keys.prefix, self.keys.size - 1
        return f"the traffic's keys are {prefix}0 to {prefix}{last}"

    @property
    def has_sessions(self) -> bool:
        """Whether requests belong to sessions."""
        return self.sessions is not None

    @property
    def routes(self) -> tuple[str, ...]:
        """The routes that recorded requests are for; none where the scenario's are drawn."""
        return ()

    @property
    def payloads(self) -> tuple[str, ...]:
        """The payload classes of recorded requests; none where the scenario's are drawn."""
        return ()

    def arrivals(self, seed: int, size: int, until: float = inf) -> Iterator[Floats]:
        """Rising instants (seconds, from 0 on), in arrays of at most `size`.

        All before `until` are there, and some after it may be: an array is not cut short.
        A Poisson process with the rate `rate_at`, by thinning one that has the rate `peak`
        (Lewis and Shedler 1979). Sessions play no part.
        """
        accept = generator(seed_of(seed, "thinning")).random
        for at in poisson(seed, self.peak, size, until):
            yield at[accept(size) * self.peak < self.rate_at(at)]

    def requests(self, seed: int, size: int, until: float = inf) -> Iterator[Arrivals]:
        """Instants as in `arrivals`, with their keys and, where there are any, sessions."""
        if self.sessions is not None:
            yield from self._in_sessions(self.sessions, seed, size, until)
            return
        draw = self.keys.sampler(seed)
        for at in self.arrivals(seed, size, until):
            yield Arrivals(at, draw(len(at)))

    def _in_sessions(
        self, sessions: Sessions, seed: int, size: int, until: float
    ) -> Iterator[Arrivals]:
        begins = self.scaled(1 / sessions.requests)
        first = float(begins.rate_at(np.zeros(1))[0])
        draw = self.keys.sampler(seed)
        for at, session, key in gathered(
            sessions,
            seed,
            begins.arrivals(seed, sessions.BATCH, until),
            under_way_at=first,
            keys=draw,
            size=size,
        ):
            yield Arrivals(at, key, session)


def poisson(seed: int, rate: float, size: int, until: float) -> Iterator[Floats]:
    """Instants with exponential gaps, in arrays of `size`, up to `until` and past it."""
    exponential = generator(seed_of(seed, "arrivals")).standard_exponential
    last = 0.0
    while last < until:
        at = exponential(size)
        at /= rate
        # Adding the past before the sum, not after it, gives the same floats for every size.
        at[0] += last
        np.cumsum(at, out=at)
        last = at[-1]
        yield at
