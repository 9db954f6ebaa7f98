"""Faults that begin by chance."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Annotated

from msgspec import Meta
from numpy.random import SeedSequence

from canario.plan import Stage
from canario.spec import Positive, Spec
from canario_sim.streams import generator

__all__ = ["AfterWaiting", "InAStage", "Onset", "WithChance"]

Probability = Annotated[float, Meta(gt=0, le=100)]


class _Onset(Spec, frozen=True, kw_only=True, tag_field="kind"):
    """When something begins, from its `at` on, if it does.

    It is drawn before the rehearsal and for the plan's stages as they would be without waiting,
    so that it does not depend on what the rollout does.
    """

    def begins(self, at: float, stages: Sequence[Stage], seed: SeedSequence) -> float:
        """The instant, at least `at`; inf when it does not begin."""
        raise NotImplementedError


class AfterWaiting(_Onset, frozen=True, kw_only=True, tag="exponential"):
    """After an exponential time: at every instant as likely as at any other."""

    mean_seconds: Annotated[Positive, Meta(description="How long after `at`, in the mean.")]

    def begins(self, at: float, stages: Sequence[Stage], seed: SeedSequence) -> float:  # noqa: ARG002
        """See `_Onset`."""
        return at + self.mean_seconds * float(generator(seed).standard_exponential())


class InAStage(_Onset, frozen=True, kw_only=True, tag="per_stage"):
    """In every stage with a probability, once: a stage's every instant is as likely."""

    probability: Annotated[Probability, Meta(description="In percent, of each stage.")]

    def begins(self, at: float, stages: Sequence[Stage], seed: SeedSequence) -> float:
        """See `_Onset`. A stage that is over at `at` is left out, and so is a part before it."""
        random = generator(seed).random
        start = 0.0
        for stage in stages:
            end = start + stage.hold_seconds
            # Drawn for every stage, also for one that is over: so `at` moves no draw of a later
            # stage.
            strikes, where = random(2).tolist()
            first = max(start, at)
            if first < end and strikes * 100 < self.probability:
                return float(first + where * (end - first))
            start = end
        return inf


class WithChance(_Onset, frozen=True, kw_only=True, tag="once"):
    """At `at` or not at all."""

    probability: Annotated[Probability, Meta(description="In percent.")]

    def begins(self, at: float, stages: Sequence[Stage], seed: SeedSequence) -> float:  # noqa: ARG002
        """See `_Onset`."""
        return at if generator(seed).random() * 100 < self.probability else inf


Onset = AfterWaiting | InAStage | WithChance
