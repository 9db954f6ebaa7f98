"""How long an arm takes for a request, and how often it fails."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from msgspec import Meta

from canario.spec import Count, Percent, Positive, Spec
from canario_sim.distributions import Latency
from canario_sim.streams import Floats

from .capacity import Autoscaling, ColdStart, Pauses
from .clustering import Clustering

__all__ = ["Service", "WarmUp"]


class WarmUp(Spec, frozen=True, kw_only=True):
    """Cold caches: latency begins at `factor` times its length and evens out."""

    seconds: Annotated[Positive, Meta(description="How long it takes, from the rollout's start.")]
    factor: Annotated[float, Meta(ge=1, description="How many times as long, at the start.")]

    def factors(self, at: Floats) -> Floats:
        """What latencies of requests that arrive at `at` (seconds) are multiplied by."""
        return 1 + (self.factor - 1) * np.maximum(1 - at / self.seconds, 0)


class Service(Spec, frozen=True, kw_only=True):
    """One arm: its latencies, its errors and, if it is finite, its capacity."""

    latency: Annotated[Latency, Meta(description="Time that one request takes to serve.")]
    error_rate: Annotated[Percent, Meta(description="Requests that fail, in percent.")] = 0.0
    failure_ms: Annotated[
        Positive | None,
        Meta(
            description="How long one of them takes, in ms, whatever slows the others; none: as "
            "long as any."
        ),
    ] = None
    clustering: Annotated[
        Clustering | None, Meta(description="Whose failures come together; none: nobody's.")
    ] = None
    servers: Annotated[
        Count | None,
        Meta(description="Requests served at a time, the others wait in line; none: no limit."),
    ] = None
    warm_up: WarmUp | None = None
    autoscaling: Annotated[
        Autoscaling | None, Meta(description="More and fewer servers; `servers` are the first.")
    ] = None
    cold_start: Annotated[
        ColdStart | None, Meta(description="How slow each server is when it is new.")
    ] = None
    pauses: Annotated[
        Pauses | None, Meta(description="Stops of single servers, as for garbage collection.")
    ] = None
    contention: Annotated[
        float,
        Meta(
            ge=1,
            description="How many times as long a request takes when all servers are busy; in "
            "proportion when fewer are.",
        ),
    ] = 1.0

    @property
    def acts_back(self) -> bool:
        """Whether how long a request takes depends on other requests, beside standing in line."""
        parts = (self.autoscaling, self.cold_start, self.pauses)
        return self.contention > 1 or any(part is not None for part in parts)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.acts_back and self.servers is None:
            raise ValueError(
                "servers is missing; autoscaling, cold_start, pauses and contention need them"
            )
        scaling, servers = self.autoscaling, self.servers or 0
        if scaling and not scaling.min_servers <= servers <= scaling.max_servers:
            raise ValueError(
                f"servers is {servers!r}; autoscaling asks for {scaling.min_servers} to "
                f"{scaling.max_servers}"
            )
        if self.clustering is not None:
            self.clustering.check(self.error_rate, "error_rate")
