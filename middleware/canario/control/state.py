"""The state of a rollout, and how an event changes it."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

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
    Unwatched,
)

__all__ = ["Era", "JournalError", "Phase", "State", "apply", "replay"]


class JournalError(ValueError):
    """A journal that cannot be used: a line that is no event, or one that cannot follow."""


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
        """True when nothing can follow, but for what takes a finished release back."""
        return self is Phase.COMPLETED or self.withdrawn

    @property
    def withdrawn(self) -> bool:
        """True when the canary must not be reached by anybody any more."""
        return self is Phase.ROLLED_BACK or self is Phase.ABORTED


class Era(NamedTuple):
    """When something was counted: a rollout may go on, or begin anew, before all have heard of it.

    A later one is greater: after a restart the stages begin with the first one again.
    """

    restarts: int
    stage: int


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
    restarts: int = 0  # how often it was sent back to the first stage

    @property
    def era(self) -> Era:
        """What is counted now belongs to this restart and this stage."""
        return Era(self.restarts, self.stage)


def apply(deployment: Deployment, state: State, event: Event) -> State:
    """The state after `event`.

    Raises `JournalError` when the event cannot follow: in another phase or stage than it belongs
    to, or after the end, where nothing does but what takes a completed rollout back.
    """
    if not _may_follow(deployment, state, event):
        where = f"a rollout that is {state.phase} in stage {state.stage}"
        if state.phase.terminal:
            raise JournalError(f"nothing follows {where}, but {_named(event)} came")
        raise JournalError(f"{_named(event)} cannot follow in {where}")
    match event:
        case Started():
            return replace(state, phase=Phase.RUNNING)
        case Restarted():
            return State(phase=Phase.RUNNING, restarts=state.restarts + 1)
        case StageEntered():
            # Anew, so that no hold, pause or wait is carried over. The verdict is: a journal tells
            # only of another kind than the last one's, whichever stage that was in.
            return State(
                phase=Phase.RUNNING,
                stage=event.stage,
                share=event.percentage,
                entered_at=event.at,
                ends_at=event.at + deployment.canary_stages[event.stage].hold_seconds,
                last_verdict=state.last_verdict,
                restarts=state.restarts,
            )
        case Checked():
            return replace(state, last_verdict=event.verdict.kind)
        case Held():
            return replace(state, held_at=event.at)
        case Paused():
            return replace(state, phase=Phase.PAUSED, paused_at=event.at)
        case Resumed():
            return _resumed(state, event.at)
        case Unwatched():
            return _moved(state, event.at - event.since)
        case RolledBack():
            return replace(state, phase=Phase.ROLLED_BACK, share=0.0, reason=event.reason)
        case Aborted():
            return replace(state, phase=Phase.ABORTED, share=0.0, reason=RollbackReason.ABORTED)
        case Promoted():
            return replace(state, phase=Phase.COMPLETED, share=100.0)


def _named(event: Event) -> str:
    stage = getattr(event, "stage", None)
    of = "" if stage is None else f" of stage {stage}"
    # With 17 digits no two instants look alike, and one is said to be earlier than the other.
    return f"{event.__struct_config__.tag!r}{of} at {event.at:.17g}"


def _may_follow(deployment: Deployment, state: State, event: Event) -> bool:
    match event:
        case Started():
            return state.phase is Phase.PENDING
        case Aborted():
            return not state.phase.withdrawn
        case RolledBack() if state.phase is Phase.COMPLETED:
            # A worker that saw it fail could not tell the others before they promoted it.
            return event.stage == state.stage
    entered = state.share > 0  # every stage has a share; before the first one there is none
    if state.phase not in (Phase.RUNNING, Phase.PAUSED):
        return False
    match event:
        case StageEntered():
            stages = deployment.canary_stages
            return (
                event.stage == (state.stage + 1 if entered else 0)
                and event.stage < len(stages)
                and event.percentage == stages[event.stage].percentage
            )
        case Paused() | Held():
            return entered and state.phase is Phase.RUNNING and event.stage == state.stage
        case Resumed():
            return entered and state.phase is Phase.PAUSED and event.stage == state.stage
        case Checked() | Unwatched() | RolledBack():
            return entered and event.stage == state.stage
        case _:
            return entered


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


def _moved(state: State, by: float) -> State:
    """All that was, that much later: so the hold, a pause and a wait go on where they stood."""
    return replace(
        state,
        entered_at=state.entered_at + by,
        ends_at=state.ends_at + by,
        held_at=None if state.held_at is None else state.held_at + by,
        paused_at=None if state.paused_at is None else state.paused_at + by,
    )


def replay(deployment: Deployment, events: Iterable[Event]) -> State:
    """The state that a journal's events lead to.

    Raises `JournalError` as `apply` does, and for one that goes back in time where no other
    process with another clock has taken the rollout up.
    """
    state = State()
    last: Event | None = None
    for event in events:
        # After the end nobody takes a rollout up, so an abort has whatever clock its process has.
        if last is not None and not last.terminal:
            since = event.since if isinstance(event, Unwatched) else event.at
            if since < last.at:
                raise JournalError(f"{_named(event)} is earlier than {_named(last)} before it")
        state = apply(deployment, state, event)
        last = event
    return state
