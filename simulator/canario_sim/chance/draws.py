"""The requests of a scenario, drawn from its seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.random import SeedSequence

from canario.arms import ARMS
from canario_sim.models import BATCH
from canario_sim.scenario.broken_contracts import ByRate, ContractFailure, Single
from canario_sim.scenario.scenario import Settled
from canario_sim.streams import Bytes, Flags, child, generator, seed_of

from .arm_draws import ArmDraws, clusters
from .incoming import Calls, Telling, aim_of
from .requests import Fates, Requests

__all__ = ["Draws"]

# Its place among the "clusters", after those of `arm_draws`.
_CONTRACTS = 2


class Draws:
    """A `Source`: every draw is of its own purpose's stream, one for each request.

    Attributes:
        keys: See `Source`.
        routes: The routes by number, as in `Requests.route`.
        violations: See `Source`.
    """

    def __init__(self, scenario: Settled, seed: int) -> None:
        self._scenario = scenario
        self._seed = seed
        self.keys: Sequence[str] = scenario.traffic.names()
        self.routes: Sequence[str] = scenario.route_names
        self.violations = tuple(one.violation for one in self._scenario.contract_failures)

    def chunks(self, size: int) -> Iterator[Requests]:
        """The requests before the horizon, and perhaps some after it; see `Source`."""
        if not self._scenario.modelled:
            yield from self._chunks(size)
            return
        # A model may draw as much as it likes, so it is always asked about as many.
        for chunk in self._chunks(BATCH):
            for first in range(0, len(chunk), size):
                yield chunk[first : first + size]

    def _chunks(self, size: int) -> Iterator[Requests]:
        scenario, seed = self._scenario, self._seed
        telling = Telling(scenario, seed)
        luck = generator(seed_of(seed, "errors")).random
        baseline, canary = (ArmDraws(scenario, seed, arm) for arm in ARMS)
        contracts = _ContractDraws(scenario, seed, seed_of(seed, "contracts"))
        size = scenario.traffic.batch(size, scenario.horizon)
        for arrivals in scenario.traffic.requests(seed, size, scenario.horizon):
            if not len(arrivals.at):
                continue
            calls = telling.calls(arrivals)
            chance = luck(len(calls))
            broken = contracts.draw(calls)
            yield Requests(
                calls.at,
                calls.key,
                baseline.fates(calls, chance, broken[0]),
                canary.fates(calls, chance, broken[1]),
                calls.route,
                calls.payload,
                calls.session,
            )

    def retries(self) -> Callable[[Requests], tuple[Fates, Fates]]:
        """Gives requests that are sent again their fates on either arm.

        They must come in order of arrival. Each has draws of its own, and meets the faults of
        its own instant.
        """
        scenario, seed = self._scenario, self._seed
        streams = seed_of(seed, "retries")
        baseline, canary = (ArmDraws(scenario, seed, arm, retries=True) for arm in ARMS)
        luck = generator(child(streams, len(ARMS))).random
        contracts = _ContractDraws(scenario, seed, child(streams, len(ARMS) + 1))

        def give(requests: Requests) -> tuple[Fates, Fates]:
            calls = Calls(
                requests.at, requests.key, requests.route, requests.payload, requests.session
            )
            chance = luck(len(calls))
            broken = contracts.draw(calls)
            return (
                baseline.fates(calls, chance, broken[0]),
                canary.fates(calls, chance, broken[1]),
            )

        return give


class _ContractDraws:
    """Which contract each request would break, on either arm."""

    def __init__(self, scenario: Settled, seed: int, streams: SeedSequence) -> None:
        self._failures = [
            _Failing(number, failure, scenario, child(streams, number), seed)
            for number, failure in enumerate(scenario.contract_failures)
            if not isinstance(failure, Single)
        ]

    def draw(self, calls: Calls) -> tuple[Bytes, Bytes]:
        """`Fates.broken` on the baseline and on the canary; the first failure listed counts."""
        broken = np.zeros(len(calls), np.uint8), np.zeros(len(calls), np.uint8)
        # Backwards, so that the first one listed is the last to be written.
        for failing in reversed(self._failures):
            hit = failing.hit(calls)
            for arm, which in zip(ARMS, broken, strict=True):
                if failing.failure.strikes(arm):
                    which[hit] = failing.number + 1
        return broken


class _Failing:
    """One way in which responses break a contract."""

    def __init__(
        self,
        number: int,
        failure: ContractFailure,
        scenario: Settled,
        stream: SeedSequence,
        seed: int,
    ) -> None:
        self.number = number
        self.failure = failure
        self._random = generator(stream).random
        self._aim = aim_of(failure, scenario)
        self._clusters = (
            clusters(failure.clustering, failure.rate, seed, _CONTRACTS, number)
            if isinstance(failure, ByRate)
            else None
        )

    def hit(self, calls: Calls) -> Flags:
        """Which responses break it."""
        hit: Flags = self.failure.elapsed(calls.at) >= 0
        self._aim.narrow(hit, calls.key, calls.route, calls.payload)
        if isinstance(self.failure, ByRate):
            breaking = np.full(len(calls), self.failure.rate / 100)
            if self._clusters is not None:
                breaking *= self._clusters.factors(calls.key, calls.session)
            # Drawn for every request, struck or not: whom it strikes does not move the draws.
            hit &= self._random(len(calls)) < breaking
        return hit
