"""What one arm does to requests: its service, its routes, and the faults that strike it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.random import SeedSequence

from canario.arms import ARMS, Arm
from canario_sim.distributions import Latency, Model
from canario_sim.models import Asked
from canario_sim.scenario.clustering import Clustering, Clusters
from canario_sim.scenario.faults import Errors, Fault
from canario_sim.scenario.scenario import Settled
from canario_sim.scenario.targets import Aim
from canario_sim.streams import Bytes, Flags, Floats, Purpose, child, seed_of

from .incoming import Calls, aim_of
from .requests import Fates

__all__ = ["ArmDraws", "clusters"]

# Streams of routes and models lie apart from those of a mixture's components, which count from 0.
_ROUTES = 1000
_MODEL = 2000

# Places among the "clusters"; `draws._CONTRACTS` is the third.
_SERVICE, _FAULTS = 0, 1


class ArmDraws:
    """The fates of requests on one arm.

    Retries have streams of their own, so that who asks again changes no first attempt. Clusters
    have one for both: who is prone is prone when asking again.
    """

    def __init__(self, scenario: Settled, seed: int, arm: Arm, *, retries: bool = False) -> None:
        self._warm_up = scenario.service(arm).warm_up
        self._latency = _Latencies(scenario, arm, _stream(seed, arm, retries=retries))
        self._errors = _OwnErrors(scenario, seed, arm)
        self._factors = _payload_factors(scenario)
        self._faults = [
            _Striking(fault, aim_of(fault, scenario), seed, number)
            for number, fault in enumerate(scenario.faults)
            if fault.strikes(arm)
        ]

    def fates(self, calls: Calls, chance: Floats, broken: Bytes) -> Fates:
        """Fates of the next requests; one fails where its `chance` is below the probability."""
        seconds, failed = self._latency.draw(calls)
        if self._factors is not None:
            seconds *= self._factors[calls.payload]
        if self._warm_up is not None and calls.at[0] < self._warm_up.seconds:
            seconds *= self._warm_up.factors(calls.at)
        failing = self._errors.failing(calls)
        own: list[tuple[Flags, Floats | float]] = []
        if self._errors.timed:
            own.append((chance < failing, self._errors.seconds(calls)))
        for fault in self._faults:
            # Of several causes the first is the one that a request fails of.
            before = failing.copy() if fault.failure_seconds is not None else failing
            fault.strike(calls, seconds, failing)
            if fault.failure_seconds is not None:
                own.append(((chance >= before) & (chance < failing), fault.failure_seconds))
        failed |= chance < failing
        for those, takes in own:
            seconds = np.where(those & ~np.isnan(takes), takes, seconds)
        return Fates(seconds, failed, broken)


class _Latencies:
    """Seconds, and failures by a model; a route that has its own draws from a stream of its own."""

    def __init__(self, scenario: Settled, arm: Arm, stream: SeedSequence) -> None:
        service = scenario.service(arm)
        self._usual = _source(service.latency, stream)
        self._own: dict[int, _Source] = {}
        own = child(stream, _ROUTES)
        for number, route in enumerate(scenario.routes):
            latency = route.answer(arm, service).latency
            # The very object, which a route that says nothing hands on: an equal one that it states
            # has a stream of its own.
            if latency is not service.latency:
                self._own[number] = _source(latency, child(own, number))

    def draw(self, calls: Calls) -> tuple[Floats, Flags]:
        """Those of the next requests."""
        if not self._own:
            return self._usual(calls)
        seconds, failed = np.empty(len(calls)), np.empty(len(calls), np.bool_)
        usual = np.ones(len(calls), np.bool_)
        for number, source in self._own.items():
            mine = np.flatnonzero(calls.route == number)
            seconds[mine], failed[mine] = source(calls[mine])
            usual[mine] = False
        seconds[usual], failed[usual] = self._usual(calls[np.flatnonzero(usual)])
        return seconds, failed


# Gives the next requests seconds, and failures of their own.
_Source = Callable[[Calls], tuple[Floats, Flags]]


def _source(latency: Latency, stream: SeedSequence) -> _Source:
    if isinstance(latency, Model):
        return _modelled(latency, stream)
    sample = latency.sampler(stream)

    def draw(calls: Calls) -> tuple[Floats, Flags]:
        seconds = sample(len(calls))
        seconds /= 1000
        return seconds, np.zeros(len(calls), np.bool_)

    return draw


def _modelled(model: Model, stream: SeedSequence) -> _Source:
    own = model.instance(child(stream, _MODEL))
    sample = None if model.base is None else model.base.sampler(stream)

    def draw(calls: Calls) -> tuple[Floats, Flags]:
        n = len(calls)
        # A model is asked about requests, never about none.
        if not n:
            return np.empty(0), np.empty(0, np.bool_)
        base = np.zeros(n) if sample is None else sample(n) / 1000
        return own.serve(
            Asked(calls.at, calls.key, calls.route, calls.payload, calls.session, base)
        )

    return draw


def _stream(seed: int, arm: Arm, *, retries: bool) -> SeedSequence:
    """The seed of an arm's latencies."""
    if retries:
        return child(seed_of(seed, "retries"), ARMS.index(arm))
    purpose: Purpose = "canary latency" if arm == "canary" else "baseline latency"
    return seed_of(seed, purpose)


class _OwnErrors:
    """The arm's own errors, by route and by whom they cluster."""

    def __init__(self, scenario: Settled, seed: int, arm: Arm) -> None:
        service = scenario.service(arm)
        answers = [route.answer(arm, service) for route in scenario.routes]
        rates = [answer.error_rate for answer in answers]
        # Routes that are recorded and not listed are answered like any.
        # Without routes there is one rate: `not rates` is 1.
        rates += [service.error_rate] * max(len(scenario.route_names) - len(rates), not rates)
        self._rates = np.array(rates) / 100
        takes = [answer.failure_ms for answer in answers]
        takes += [service.failure_ms] * (len(rates) - len(takes))
        self.timed = any(each is not None for each in takes)
        self._seconds = np.array([np.nan if each is None else each / 1000 for each in takes])
        # Both arms draw from one stream: who is prone on one is prone on the other. By the highest
        # rate, so that a factor never makes a probability of more than 1.
        self._clusters = clusters(service.clustering, max(rates), seed, _SERVICE)

    def failing(self, calls: Calls) -> Floats:
        """Probabilities that the requests fail."""
        failing: Floats
        if len(self._rates) == 1:
            failing = np.full(len(calls), self._rates[0])
        else:
            failing = self._rates[calls.route]
        if self._clusters is not None:
            failing *= self._clusters.factors(calls.key, calls.session)
        return failing

    def seconds(self, calls: Calls) -> Floats:
        """How long each takes if it fails; NaN for as long as any. Asked where `timed`."""
        if len(self._seconds) == 1:
            return np.full(len(calls), self._seconds[0])
        return self._seconds[calls.route]


class _Striking:
    """A fault that strikes the arm."""

    def __init__(self, fault: Fault, aim: Aim, seed: int, number: int) -> None:
        self._fault = fault
        self.failure_seconds = fault.failure_seconds
        self._aim = aim
        self._clusters = (
            clusters(fault.clustering, fault.rate, seed, _FAULTS, number)
            if isinstance(fault, Errors)
            else None
        )

    def strike(self, calls: Calls, seconds: Floats, failing: Floats) -> None:
        """Change `seconds` and `failing` of the requests that the fault meets."""
        fault = self._fault
        if not fault.touches(calls.at[0], calls.at[-1]):
            return
        since = fault.elapsed(calls.at)
        met: Flags = since >= 0
        self._aim.narrow(met, calls.key, calls.route, calls.payload)
        since = since[met]
        seconds[met] = fault.slows(seconds[met], since)
        fails = fault.fails(since)
        if self._clusters is not None:
            fails *= self._clusters.factors(calls.key[met], calls.session[met])
        # The causes are independent: a request survives when it survives each of them.
        failing[met] = 1 - (1 - failing[met]) * (1 - fails)


def clusters(clustering: Clustering | None, rate: float, seed: int, *place: int) -> Clusters | None:
    """The clusters of one cause of failures, which has a stream at its place."""
    if clustering is None:
        return None
    stream = seed_of(seed, "clusters")
    for number in place:
        stream = child(stream, number)
    return Clusters(clustering, rate, stream)


def _payload_factors(scenario: Settled) -> Floats | None:
    factors = [payload.factor for payload in scenario.payloads]
    if all(factor == 1 for factor in factors):
        return None
    # Classes that are recorded and not listed take as long as any.
    return np.array(factors + [1.0] * (len(scenario.payload_names) - len(factors)))
