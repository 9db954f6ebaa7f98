"""What came of a rollout, or has come of it so far: frozen values."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from canario.metrics.counts import Counts
from canario.metrics.histogram import DurationTotals
from canario.plan import Deployment

from .events import Event, RollbackReason, StageEntered
from .rollout import MetricsSnapshot
from .state import Phase, State
from .words import describe

__all__ = ["ArmTotals", "DeploymentResult", "result_of"]


class DeploymentResult(Struct, frozen=True, kw_only=True):
    """How a rollout ended, or where it stands.

    `final_stage` names the last stage that was entered (`canary_5`, …, `full_rollout`);
    `stages_completed` those that were passed. `rollback_reason`, and `why`, which says it in a
    sentence, are None unless the canary was withdrawn. `metrics_history` has what the last checks
    saw, oldest first.
    """

    deployment_id: str
    success: bool
    phase: Phase
    final_stage: str | None
    rollback_reason: RollbackReason | None
    why: str | None
    stages_completed: tuple[str, ...]
    metrics_history: tuple[MetricsSnapshot, ...]


class ArmTotals(Struct, frozen=True):
    """Everything counted of one arm since the start; `restart` does not take it back.

    `duration` has the requests that were observed one by one with a latency.
    """

    counts: Counts
    duration: DurationTotals


def result_of(
    deployment: Deployment,
    state: State,
    events: Sequence[Event],
    history: Sequence[MetricsSnapshot],
) -> DeploymentResult:
    """The result of a rollout whose journal so far is `events`."""
    stages = deployment.canary_stages
    begun = any(isinstance(event, StageEntered) for event in events)
    passed = len(stages) if state.phase is Phase.COMPLETED else state.stage
    end = events[-1] if state.phase.withdrawn else None
    return DeploymentResult(
        deployment_id=deployment.deployment_id or "",
        success=state.phase is Phase.COMPLETED,
        phase=state.phase,
        final_stage=stages[state.stage].name if begun else None,
        rollback_reason=state.reason,
        why=describe(end, deployment) if end else None,
        stages_completed=tuple(stage.name for stage in stages[:passed]),
        metrics_history=tuple(history),
    )
