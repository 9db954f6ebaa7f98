"""The requests of a scenario, drawn from its seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from canario.routing.router import Arm

from .contracts import ByKey, ByRate
from .faults import Fault
from .requests import Fates, Requests
from .scenario import Scenario
from .spec import ARMS
from .streams import Bytes, Flags, Floats, Ints, Purpose, child, generator, seed_of

__all__ = ["Draws"]


class Draws:
    """A `Source`: every draw is of its own purpose's stream, one for each request."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self._scenario = scenario
        self._seed = seed
        self.keys: Sequence[str] = scenario.traffic.keys.names()
        self.violations = tuple(failure.violation for failure in scenario.contract_failures)

    def chunks(self, size: int) -> Iterator[Requests]:
        """The requests before the horizon, and perhaps some after it; see `Source`."""
        scenario, seed = self._scenario, self._seed
        traffic = scenario.traffic
        size = traffic.batch(size, scenario.horizon)
        luck = generator(seed_of(seed, "errors")).random
        baseline, canary = (
            _ArmDraws(scenario, seed, "baseline"),
            _ArmDraws(scenario, seed, "canary"),
        )
        contracts = _ContractDraws(scenario, seed)
        for arrivals in traffic.requests(seed, size, scenario.horizon):
            at, key, n = arrivals.at, arrivals.key, len(arrivals.at)
            if n:
                chance = luck(n)
                broken = contracts.draw(at, key)
                yield Requests.alike(
                    at,
                    key,
                    baseline.fates(at, key, chance, broken[0]),
                    canary.fates(at, key, chance, broken[1]),
                )


class _ArmDraws:
    """One arm: its service, and the faults that strike it."""

    def __init__(self, scenario: Scenario, seed: int, arm: Arm) -> None:
        purpose: Purpose = "canary latency" if arm == "canary" else "baseline latency"
        self._service = scenario.service(arm)
        self._latency_ms = self._service.latency.sampler(seed_of(seed, purpose))
        self._faults = [
            (fault, _numbers(scenario, fault.keys))
            for fault in scenario.faults
            if fault.strikes(arm)
        ]

    def fates(self, at: Floats, key: Ints, chance: Floats, broken: Bytes) -> Fates:
        """Fates of the next requests; one fails where its `chance` is below the probability."""
        seconds = self._latency_ms(len(at))
        seconds /= 1000
        warm_up = self._service.warm_up
        if warm_up is not None and at[0] < warm_up.seconds:
            seconds *= warm_up.factors(at)
        failing = np.full(len(at), self._service.error_rate / 100)
        for fault, keys in self._faults:
            if fault.touches(at[0], at[-1]):
                _strike(fault, keys, at, key, seconds, failing)
        return Fates(seconds, chance < failing, broken)


class _ContractDraws:
    """Which contract each request would break, on either arm."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        streams = seed_of(seed, "contracts")
        self._failures = [
            (
                number,
                failure,
                generator(child(streams, number)).random,
                _numbers(scenario, failure.keys if isinstance(failure, ByKey) else None),
            )
            for number, failure in enumerate(scenario.contract_failures)
            if isinstance(failure, ByRate | ByKey)
        ]

    def draw(self, at: Floats, key: Ints) -> tuple[Bytes, Bytes]:
        """`Fates.broken` on the baseline and on the canary; the first failure listed counts."""
        broken = np.zeros(len(at), np.uint8), np.zeros(len(at), np.uint8)
        for number, failure, random, keys in reversed(self._failures):
            hit = failure.elapsed(at) >= 0
            if isinstance(failure, ByRate):
                hit &= random(len(at)) < failure.rate / 100
            elif keys is not None:
                hit &= np.isin(key, keys)
            for arm, which in zip(ARMS, broken, strict=True):
                if failure.strikes(arm):
                    which[hit] = number + 1
        return broken


def _strike(
    fault: Fault, keys: Ints | None, at: Floats, key: Ints, seconds: Floats, failing: Floats
) -> None:
    """Change `seconds` and `failing` of the requests that a fault meets."""
    since = fault.elapsed(at)
    met: Flags = since >= 0
    if keys is not None:
        met &= np.isin(key, keys)
    since = since[met]
    seconds[met] = fault.slows(seconds[met], since)
    # The causes are independent: a request survives when it survives each of them.
    failing[met] = 1 - (1 - failing[met]) * (1 - fault.fails(since))


def _numbers(scenario: Scenario, keys: tuple[str, ...] | None) -> Ints | None:
    if keys is None:
        return None
    population = scenario.traffic.keys
    return np.array([population.number(name) for name in keys], np.int64)
