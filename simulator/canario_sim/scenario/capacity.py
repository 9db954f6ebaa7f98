"""The servers of an arm: how many there are, how soon there are more, and what keeps them."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta
from numpy.random import SeedSequence

from canario.spec import Count, Percent, Positive, Seconds, Spec
from canario_sim.streams import generator

__all__ = ["Autoscaling", "ColdStart", "Pauses"]


class ColdStart(Spec, frozen=True, kw_only=True):
    """A server that is new is slow: `factor` times at first, and evenly less until it is warm.

    The canary's servers are new at the rollout's start, the baseline's are warm, and those that
    autoscaling adds are new when they come.
    """

    seconds: Annotated[Positive, Meta(description="How long it takes, from a server's start.")]
    factor: Annotated[float, Meta(ge=1, description="How many times as long, at the start.")]


class Pauses(Spec, frozen=True, kw_only=True):
    """Each server stops now and then, as a garbage collector stops the world.

    What it is serving takes longer by the pause, and it begins nothing new. Servers pause
    independently of each other.
    """

    ms: Annotated[Positive, Meta(description="How long a pause lasts.")]
    every_seconds: Annotated[
        Positive, Meta(description="From the end of one to the start of the next; the mean.")
    ]
    kind: Annotated[
        Literal["random", "periodic"],
        Meta(
            description="Random: the time between two is exponential. Periodic: it is always the "
            "same, and each server begins somewhere in it."
        ),
    ] = "random"

    def draw(self, seed: SeedSequence, until: float) -> list[tuple[float, float]]:
        """Start and end of one server's pauses that start before `until`, in seconds."""
        random = generator(seed)
        lasts, at = self.ms / 1000, 0.0
        pauses: list[tuple[float, float]] = []
        while True:
            if self.kind == "random":
                at += random.standard_exponential() * self.every_seconds
            else:
                # The first falls anywhere in a period, so that servers do not all pause at once.
                at += self.every_seconds * (1.0 if pauses else random.random())
            if at >= until:
                return pauses
            pauses.append((at, at + lasts))
            at += lasts


class Autoscaling(Spec, frozen=True, kw_only=True):
    """Servers are added and let go so that their utilisation comes to a target.

    Every `interval_seconds` as many are asked for as would have brought the utilisation of the
    interval to the target: ⌈servers × utilisation / target⌉, as Kubernetes' horizontal pod
    autoscaler does. A server that is let go finishes what it is serving.
    """

    min_servers: Annotated[Count, Meta(description="Never fewer.")] = 1
    max_servers: Annotated[int, Meta(ge=1, le=10_000, description="Never more.")]
    target_percent: Annotated[
        float, Meta(gt=0, le=100, description="Busy part of the servers that is aimed at.")
    ] = 60.0
    tolerance_percent: Annotated[
        Percent, Meta(description="Nothing is done when it is so close to the target.")
    ] = 10.0
    interval_seconds: Annotated[Positive, Meta(description="From one decision to the next.")] = 15.0
    provisioning_seconds: Annotated[
        Seconds, Meta(description="From a decision until its servers have come.")
    ] = 60.0
    scale_down_seconds: Annotated[
        Seconds,
        Meta(description="Servers are let go when no decision for so long wanted to keep them."),
    ] = 300.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_servers < self.min_servers:
            raise ValueError(
                f"max_servers is {self.max_servers!r}; it must be at least min_servers, which is "
                f"{self.min_servers!r}"
            )
