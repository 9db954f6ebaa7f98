"""Distributions of latencies, as scenario files declare them, and how they are drawn."""

from __future__ import annotations

from collections.abc import Callable
from math import fsum, log
from statistics import NormalDist
from typing import Annotated

import numpy as np
from msgspec import Meta, field
from numpy.random import SeedSequence

from canario.config import ConfigError
from canario.limits import MOST
from canario.spec import Positive, Spec

from .models import Modelled, load_model
from .streams import Floats, child, generator

__all__ = [
    "AllowedModel",
    "BuiltIn",
    "Component",
    "Empirical",
    "Gamma",
    "Latency",
    "Lognormal",
    "Mixture",
    "Model",
    "Sampler",
]

# Draws the latencies (ms) of the next n requests.
Sampler = Callable[[int], Floats]

_Z95 = NormalDist().inv_cdf(0.95)


class _Latency(Spec, frozen=True, kw_only=True, tag_field="kind"):
    def sampler(self, seed: SeedSequence) -> Sampler:
        """A source of latencies; what it draws does not depend on the sizes asked for."""
        raise NotImplementedError


class Lognormal(_Latency, frozen=True, kw_only=True, tag="lognormal"):
    """exp(μ + σ Z) with μ = ln p50 and σ = ln(p95 / p50) / 1.6449."""

    p50_ms: Annotated[Positive, Meta(description="Median.")]
    p95_ms: Annotated[Positive, Meta(description="95th percentile.")]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.p95_ms < self.p50_ms:
            raise ValueError(
                f"p95_ms is {self.p95_ms!r}; it must be at least p50_ms, which is {self.p50_ms!r}"
            )

    def sampler(self, seed: SeedSequence) -> Sampler:
        """See `Latency`."""
        normal = generator(seed).standard_normal
        mu, sigma = log(self.p50_ms), log(self.p95_ms / self.p50_ms) / _Z95

        def sample(n: int) -> Floats:
            drawn = normal(n)
            drawn *= sigma
            drawn += mu
            return np.exp(drawn, out=drawn)

        return sample


class Gamma(_Latency, frozen=True, kw_only=True, tag="gamma"):
    """Gamma; with the shape 1 exponential, with a large one almost constant."""

    mean_ms: Annotated[Positive, Meta(description="Mean.")]
    shape: Annotated[
        Positive, Meta(description="1 / (coefficient of variation)²; 1: exponential.")
    ] = 1.0

    def sampler(self, seed: SeedSequence) -> Sampler:
        """See `Latency`."""
        gamma, scale = generator(seed).standard_gamma, self.mean_ms / self.shape
        return lambda n: gamma(self.shape, n) * scale


class Empirical(_Latency, frozen=True, kw_only=True, tag="empirical"):
    """Drawn with replacement from measured values, given here or as a file of one a line."""

    values_ms: Annotated[tuple[float, ...], Meta(description="Measured latencies.")] = ()
    file: Annotated[
        str | None, Meta(description="CSV file beside the scenario: latencies in its last column.")
    ] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if bool(self.values_ms) == (self.file is not None):
            raise ValueError("give either values_ms, with at least one value, or file")
        for value in self.values_ms:
            if not 0 <= value <= MOST:
                raise ValueError(
                    f"values_ms has {value!r}; it must be a finite number, at least 0 and at most "
                    f"{MOST:g}"
                )

    def sampler(self, seed: SeedSequence) -> Sampler:
        """See `Latency`. Raises `ValueError` for values in a file that was not read."""
        if self.file is not None:
            raise ValueError(f"the file {self.file!r} was not read; load_scenario does that")
        # One number of the stream for each request, whatever is made of it: `integers` and `choice`
        # may take more or fewer, and the next requests would depend on the size of this call.
        random, values = generator(seed).random, np.array(self.values_ms, np.float64)
        return lambda n: values[(random(n) * len(values)).astype(np.int64)]


class Component(Spec, frozen=True, kw_only=True):
    """One part of a mixture."""

    weight: Annotated[Positive, Meta(description="Its share, relative to the others'.")]
    latency: Lognormal | Gamma | Empirical


class Mixture(_Latency, frozen=True, kw_only=True, tag="mixture"):
    """Several kinds of request: cached and not, small and large."""

    components: Annotated[tuple[Component, ...], Meta(min_length=1)]

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.components:
            raise ValueError("components is empty; give at least one")

    def sampler(self, seed: SeedSequence) -> Sampler:
        """See `Latency`."""
        # Place 0 is the choice's; the parts' streams follow, so that each draws the same in any
        # mixture.
        random = generator(child(seed, 0)).random
        parts = [
            part.latency.sampler(child(seed, number))
            for number, part in enumerate(self.components, start=1)
        ]
        weights = [part.weight for part in self.components]
        upto = np.cumsum(weights) / fsum(weights)

        def sample(n: int) -> Floats:
            # Every part draws for every request, so that none depends on the choices before it.
            drawn = np.stack([part(n) for part in parts])
            # The last sum may fall short of 1 by rounding.
            chosen = np.minimum(np.searchsorted(upto, random(n), "right"), len(parts) - 1)
            mixed: Floats = drawn[chosen, np.arange(n)]
            return mixed

        return sample


BuiltIn = Lognormal | Gamma | Mixture | Empirical


class Model(_Latency, frozen=True, kw_only=True, tag="model"):
    """A model of one's own, in Python: see `models.ServiceModel`. It says which requests fail, too.

    A scenario file is data, so the code that it names runs only when whoever loads it allows it;
    then `load_scenario` makes it an `AllowedModel`.
    """

    model: Annotated[
        str,
        Meta(
            pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*:[A-Za-z_][A-Za-z0-9_]*$",
            description="module:Class; the module lies beside the scenario, or can be imported.",
        ),
    ]
    options: Annotated[
        dict[str, bool | int | float | str],
        Meta(description="What its class is called with, by name."),
    ] = field(default_factory=dict)
    base: Annotated[
        BuiltIn | None, Meta(description="Latencies that it is given to build on; none: zeros.")
    ] = None

    def sampler(self, seed: SeedSequence) -> Sampler:  # noqa: ARG002
        """Raises `ValueError`: it takes more than a number of requests."""
        raise ValueError(f"{self.model} is a model; only an arm or a route can have one")

    def instance(self, seed: SeedSequence) -> Modelled:  # noqa: ARG002
        """A new instance of the model. Raises `ConfigError` when its code may not run."""
        raise ConfigError(
            self.model,
            "",
            "is Python code, which runs only when it is allowed: canario simulate --allow-models, "
            "or load_scenario(path, models=True)",
        )


class AllowedModel(Model, frozen=True, kw_only=True, tag="model"):
    """A model whose code may run; `folder` is where its module may lie."""

    folder: str

    def instance(self, seed: SeedSequence) -> Modelled:
        """See `Model`."""
        make = load_model(self.model, self.folder, self.options)
        return Modelled(self.model, make, seed)


Latency = Lognormal | Gamma | Mixture | Empirical | Model
