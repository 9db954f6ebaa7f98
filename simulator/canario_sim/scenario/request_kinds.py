"""What requests are for: routes or flows with weights, and classes of payload."""

from __future__ import annotations

from collections.abc import Sequence
from math import fsum
from typing import Annotated

import numpy as np
from msgspec import Meta

from canario.routing.router import Arm
from canario.spec import Percent, Positive, Spec
from canario_sim.distributions import Latency
from canario_sim.streams import Ints, Purpose, generator, seed_of

from .service import Service

__all__ = ["Answer", "Payload", "Route", "Share"]


class Answer(Spec, frozen=True, kw_only=True):
    """How an arm answers on one route, where that differs from its service."""

    latency: Annotated[
        Latency | None, Meta(description="Time that one request takes; none: as the arm's.")
    ] = None
    error_rate: Annotated[
        Percent | None, Meta(description="Requests that fail, in percent; none: as the arm's.")
    ] = None
    failure_ms: Annotated[
        Positive | None, Meta(description="How long one of them takes, in ms; none: as the arm's.")
    ] = None


class Route(Spec, frozen=True, kw_only=True):
    """A route, or a flow, and the part of the requests that are for it."""

    name: Annotated[str, Meta(min_length=1, description="Its template, or the flow's name.")]
    weight: Annotated[
        Positive, Meta(description="Its share of the requests, relative to the others'.")
    ] = 1.0
    keyed: Annotated[
        bool,
        Meta(description="Whether its requests have a key; the baseline serves those that do not."),
    ] = True
    baseline: Annotated[Answer, Meta(description="What differs on the present version.")] = Answer()
    canary: Annotated[
        Answer, Meta(description="What differs on the new one; the rest as on the present.")
    ] = Answer()

    def answer(self, arm: Arm, service: Service) -> Service:
        """How an arm that serves like `service` serves this route."""
        said = (self.canary, self.baseline) if arm == "canary" else (self.baseline,)
        latencies = [one.latency for one in said if one.latency is not None]
        rates = [one.error_rate for one in said if one.error_rate is not None]
        failures = [one.failure_ms for one in said if one.failure_ms is not None]
        # What a route may change; servers, warm-up and clusters are the whole arm's.
        return Service(
            latency=latencies[0] if latencies else service.latency,
            error_rate=rates[0] if rates else service.error_rate,
            failure_ms=failures[0] if failures else service.failure_ms,
        )


class Payload(Spec, frozen=True, kw_only=True):
    """A class of payload: small, large, …"""

    name: Annotated[str, Meta(min_length=1, description="What it is called.")]
    weight: Annotated[
        Positive, Meta(description="Its share of the requests, relative to the others'.")
    ] = 1.0
    factor: Annotated[
        Positive, Meta(description="Its requests take so many times as long, on either arm.")
    ] = 1.0


class Share:
    """A source of numbers, each as often as its weight says."""

    def __init__(self, weights: Sequence[float], seed: int, purpose: Purpose) -> None:
        self._random = generator(seed_of(seed, purpose)).random
        # The last sum may fall short of 1 by rounding.
        self._upto = (np.cumsum(weights) / fsum(weights))[:-1]

    def draw(self, n: int) -> Ints:
        """The next `n` numbers."""
        return np.searchsorted(self._upto, self._random(n), "right")
