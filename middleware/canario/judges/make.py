"""From what a plan says about judging to the judge."""

from __future__ import annotations

from canario.plan import Deployment, Sequential

from .thresholds import ThresholdJudge
from .verdict import Judge

__all__ = ["make_judge"]


def make_judge(deployment: Deployment) -> Judge:
    """The judge that a plan asks for: a new one, for one rollout alone."""
    if isinstance(deployment.judge, Sequential):
        # Whoever does without it does not wait for its import either.
        from .sequential import SequentialJudge

        return SequentialJudge(deployment, deployment.judge)
    return ThresholdJudge(deployment.rollback_thresholds)
