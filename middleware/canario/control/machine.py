"""The decisions: from a state, the evidence and an instant to the events that follow.

Nothing here reads a clock, draws a number, logs or stores. Every instant at which the machine
looks by itself follows from the state (`next_due`), so whoever drives it, often or seldom, gets
the same events at the same instants.
"""

from __future__ import annotations

from enum import StrEnum
from math import floor, inf

from canario.judges.verdict import Verdict, VerdictKind
from canario.plan import Deployment

from .events import (
    Aborted,
    By,
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
from .state import Phase, State
from .violation import Violation

__all__ = [
    "Command",
    "CommandRefusedError",
    "check",
    "command",
    "complete",
    "hold_is_over",
    "next_due",
    "start",
    "take_up",
]


class Command(StrEnum):
    """What an operator may order."""

    PROMOTE = "promote"
    PAUSE = "pause"
    RESUME = "resume"
    SKIP = "skip"
    ABORT = "abort"
    RESTART = "restart"


class CommandRefusedError(ValueError):
    """A command that the rollout's state does not allow; the message says which do."""


def start(deployment: Deployment, now: float) -> list[Event]:
    """The first events of a rollout."""
    return [Started(at=now, deployment=deployment), _enter(deployment, 0, now, "evidence")]


def next_due(deployment: Deployment, state: State, after: float) -> float:
    """The next instant later than `after` at which `check` must be called; inf when none is.

    Checks lie on a grid that begins with the stage; the end of the hold and the deadline for
    missing evidence are further ones.
    """
    if state.phase not in (Phase.RUNNING, Phase.PAUSED):
        return inf
    interval = deployment.rollback_thresholds.check_interval_seconds
    # One interval in at the earliest: at its first instant a stage has nothing to be judged by.
    step = max(floor((after - state.entered_at) / interval) + 1, 1)
    due = state.entered_at + step * interval
    if due <= after:  # the division rounded down
        due = state.entered_at + (step + 1) * interval
    if state.phase is Phase.RUNNING:
        for instant in (state.ends_at, _deadline(deployment, state)):
            if after < instant:
                due = min(due, instant)
    return due


def hold_is_over(state: State, now: float) -> bool:
    """True when a check at `now` may end the stage."""
    return state.phase is Phase.RUNNING and now >= state.ends_at


def check(
    deployment: Deployment,
    state: State,
    verdict: Verdict,
    now: float,
    violation: Violation | None = None,
) -> list[Event]:
    """What follows from a verdict at `now`, in a rollout that runs or is paused.

    The verdict is the judge's `end_of_stage` where `hold_is_over`, else its `check`. `violation`
    is the broken contract that made the check necessary, if one did.
    """
    over = hold_is_over(state, now)
    events: list[Event] = []
    # Only news: a check every 5 s that says the same would make a week's journal 120,000 lines.
    if over or verdict.kind is not state.last_verdict:
        events.append(Checked(at=now, stage=state.stage, verdict=verdict))
    if verdict.kind is VerdictKind.UNHEALTHY:
        events.append(_roll_back(state, verdict, now, violation))
    elif over and verdict.kind is VerdictKind.HEALTHY:
        events.append(_forward(deployment, state, now, "evidence"))
    elif over:
        return _wait(deployment, state, verdict, now, events)
    return events


def complete(deployment: Deployment, state: State, last: Event, now: float) -> list[Event]:
    """What must follow when a journal ends with `last`, between two events of one decision.

    A crash may have cut the second one off: the stage that a start enters, or the rollback that
    an unhealthy verdict is.
    """
    match last:
        case Started() | Restarted():
            return [_enter(deployment, 0, now, "evidence")]
        case Checked(verdict=verdict) if verdict.kind is VerdictKind.UNHEALTHY:
            return [_roll_back(state, verdict, now)]
        case _:
            return []


def take_up(state: State, since: float, now: float, *, restart: bool = False) -> list[Event]:
    """What follows when nobody has watched from `since` until `now`."""
    if state.phase not in (Phase.RUNNING, Phase.PAUSED):
        return []
    return [Unwatched(at=now, stage=state.stage, since=since, restart=restart)]


def command(deployment: Deployment, state: State, order: Command, now: float) -> list[Event]:
    """What follows from an operator's order.

    Raises `CommandRefusedError` when the state does not allow it. An abort is allowed in every
    state, and takes a completed rollout back; of one that is withdrawn it changes nothing.
    """
    if order is Command.ABORT:
        return [] if state.phase.withdrawn else [Aborted(at=now, stage=state.stage)]
    allowed = _ALLOWED[state.phase]
    if order not in allowed:
        valid = ", ".join(allowed) or "none: release again under a new deployment_id"
        raise CommandRefusedError(f"cannot {order} a rollout that is {state.phase}; valid: {valid}")
    match order:
        case Command.PAUSE:
            return [Paused(at=now, stage=state.stage)]
        case Command.RESUME:
            return [Resumed(at=now, stage=state.stage)]
        case Command.SKIP:
            return [_forward(deployment, state, now, "operator")]
        case Command.PROMOTE:
            return [Promoted(at=now, by="operator")]
        case _:
            return [Restarted(at=now), _enter(deployment, 0, now, "operator")]


_ALLOWED: dict[Phase, tuple[Command, ...]] = {
    Phase.PENDING: (Command.ABORT,),
    Phase.RUNNING: (
        Command.PROMOTE,
        Command.PAUSE,
        Command.SKIP,
        Command.ABORT,
        Command.RESTART,
    ),
    Phase.PAUSED: (
        Command.PROMOTE,
        Command.RESUME,
        Command.SKIP,
        Command.ABORT,
        Command.RESTART,
    ),
    Phase.COMPLETED: (Command.ABORT,),
    Phase.ROLLED_BACK: (),
    Phase.ABORTED: (),
}


def _enter(deployment: Deployment, stage: int, now: float, by: By) -> StageEntered:
    percentage = deployment.canary_stages[stage].percentage
    return StageEntered(at=now, stage=stage, percentage=percentage, by=by)


def _forward(deployment: Deployment, state: State, now: float, by: By) -> Event:
    """Into the next stage, or out of the last one."""
    following = state.stage + 1
    if following == len(deployment.canary_stages):
        return Promoted(at=now, by=by)
    return _enter(deployment, following, now, by)


def _roll_back(
    state: State, verdict: Verdict, now: float, violation: Violation | None = None
) -> RolledBack:
    reason = RollbackReason.MISSING_EVIDENCE
    if verdict.trigger is not None:
        reason = RollbackReason(verdict.trigger)
    return RolledBack(
        at=now, stage=state.stage, reason=reason, verdict=verdict, violation=violation
    )


def _deadline(deployment: Deployment, state: State) -> float:
    """When the wait for requests is over; inf without a wait or without a deadline."""
    seconds = deployment.missing_evidence.deadline_seconds
    if seconds is None or state.held_at is None:
        return inf
    return state.held_at + seconds


def _wait(
    deployment: Deployment, state: State, verdict: Verdict, now: float, events: list[Event]
) -> list[Event]:
    """The hold is over without enough requests: wait, or do what the plan says at its deadline."""
    missing = deployment.missing_evidence
    if state.held_at is None:
        held = Held(at=now, stage=state.stage, samples=verdict.samples, needed=verdict.needed)
        # A deadline of 0 is over with the hold: what it leads to belongs to this very check.
        if missing.deadline_seconds != 0:
            return [*events, held]
        events.append(held)
    elif now < _deadline(deployment, state):
        # Already waiting: only a verdict that changed is news.
        return events if verdict.kind is not state.last_verdict else []
    match missing.then:
        case "rollback":
            events.append(_roll_back(state, verdict, now))
        case "advance":
            events.append(_forward(deployment, state, now, "deadline"))
        case "pause":
            events.append(Paused(at=now, stage=state.stage, by="deadline"))
        case None:  # without a deadline, which therefore never comes
            pass
    return events
