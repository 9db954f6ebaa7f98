"""The state of a rollout, and how an event changes it."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from msgspec import Struct
from msgspec.structs import replace

from canario.judges.verdict import VerdictKind
from canario.plan import Deployment

from .events import (
    Aborted,
    Checked,
    Event,
    Held,
    Paused,
    Promoted,
    Restarted,
    Resumed,
    RollbackReason,
    RolledBack,
    StageEntered,
    Started,
)

__all__ = ["Phase", "State", "apply", "replay"]


class Phase(StrEnum):
    """Where a rollout stands. The last three are terminal."""

    PENDING = "pending"
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    ROLLED_BACK = "rolled_back"
    ABORTED = "aborted"

    @property
    def terminal(self) -> bool:
        """True when nothing can follow."""
        return self is Phase.COMPLETED or self.withdrawn

    @property
    def withdrawn(self) -> bool:
        """True when the canary must not be reached by anybody any more."""
        return self is Phase.ROLLED_BACK or self is Phase.ABORTED


class State(Struct, frozen=True, kw_only=True):
    """All that a controller must know of the past; instants in seconds on its clock."""

    phase: Phase = Phase.PENDING
    stage: int = 0
    share: float = 0.0
    entered_at: float = 0.0
    ends_at: float = 0.0  # end of the hold
    held_at: float | None = None  # when the stage began to wait for requests
    paused_at: float | None = None
    last_verdict: VerdictKind | None = None
    reason: RollbackReason | None = None


def apply(deployment: Deployment, state: State, event: Event) -> State:
    """The state after `event`.

    Raises `ValueError` when the event cannot follow: after a terminal event nothing does.
    """
    if state.phase.terminal:
        raise ValueError(f"nothing follows a rollout that is {state.phase}, but {event!r} came")
    match event:
        case Started():
            return replace(state, phase=Phase.RUNNING)
        case Restarted():
            return State(phase=Phase.RUNNING)
        case StageEntered():
            return State(
                phase=Phase.RUNNING,
                stage=event.stage,
                share=event.percentage,
                entered_at=event.at,
                ends_at=event.at + deployment.canary_stages[event.stage].hold_seconds,
                last_verdict=state.last_verdict,
            )
        case Checked():
            return replace(state, last_verdict=event.verdict.kind)
        case Held():
            return replace(state, held_at=event.at)
        case Paused():
            return replace(state, phase=Phase.PAUSED, paused_at=event.at)
        case Resumed():
            return _resumed(state, event.at)
        case RolledBack():
            return replace(state, phase=Phase.ROLLED_BACK, share=0.0, reason=event.reason)
        case Aborted():
            return replace(state, phase=Phase.ABORTED, share=0.0, reason=RollbackReason.ABORTED)
        case Promoted():
            return replace(state, phase=Phase.COMPLETED, share=100.0)


def _resumed(state: State, at: float) -> State:
    """The hold goes on where it stood; a wait for requests begins anew."""
    paused_at = at if state.paused_at is None else state.paused_at
    return replace(
        state,
        phase=Phase.RUNNING,
        paused_at=None,
        ends_at=state.ends_at + max(0.0, at - paused_at),
        held_at=None if state.held_at is None else at,
    )


def replay(deployment: Deployment, events: Iterable[Event]) -> State:
    """The state that a journal's events lead to. Raises `ValueError` as `apply` does."""
    state = State()
    for event in events:
        state = apply(deployment, state, event)
    return state
