"""The events of a rollout. Its journal is a list of these, and the journal is its state."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from msgspec import Meta, Struct
from msgspec.structs import replace

from canario.judges.verdict import Trigger, Verdict
from canario.limits import LATEST
from canario.plan import Deployment

from .violation import Violation

__all__ = [
    "Aborted",
    "By",
    "Checked",
    "Event",
    "Held",
    "Paused",
    "Promoted",
    "Restarted",
    "Resumed",
    "RollbackReason",
    "RolledBack",
    "StageEntered",
    "Started",
    "Unwatched",
]

# Bounded, since journals are read back: checks are due up to whatever instant is believed.
Instant = Annotated[float, Meta(ge=-LATEST, le=LATEST)]
StageNumber = Annotated[int, Meta(ge=0)]

By = Literal["evidence", "operator", "deadline"]


class RollbackReason(StrEnum):
    """Why a rollout did not complete: what triggers a rollback, by the same name, or one more."""

    CONTRACT_VIOLATION = Trigger.CONTRACT_VIOLATION.value
    ERROR_RATE = Trigger.ERROR_RATE.value
    P95_LATENCY = Trigger.P95_LATENCY.value
    CRASHED = Trigger.CRASHED.value
    MISSING_EVIDENCE = "missing_evidence"
    ABORTED = "aborted"


class _Event(Struct, frozen=True, kw_only=True, tag_field="event"):
    """Something that happened at the instant `at`, in seconds on the controller's clock."""

    at: Instant
    terminal: ClassVar[bool] = False


class Started(_Event, frozen=True, kw_only=True, tag="started"):
    """The rollout began under this plan."""

    deployment: Deployment


class StageEntered(_Event, frozen=True, kw_only=True, tag="stage_entered"):
    """A stage began: from now on `percentage` of the keys go to the canary."""

    stage: StageNumber
    percentage: float
    by: By = "evidence"


class Checked(_Event, frozen=True, kw_only=True, tag="checked"):
    """A check came to another kind of verdict than the one before, or it ended a stage."""

    stage: StageNumber
    verdict: Verdict


class Held(_Event, frozen=True, kw_only=True, omit_defaults=True, tag="held"):
    """The hold is over and too few requests have come: the stage waits for them.

    `without_key` requests of the stage could not be routed, since none of the `key_sources` that
    were asked gave a key. No decision depends on it, and a journal has it only where there are
    such requests.
    """

    stage: StageNumber
    samples: int
    needed: int
    without_key: int = 0
    key_sources: tuple[str, ...] = ()


class Paused(_Event, frozen=True, kw_only=True, tag="paused"):
    """The hold stands still; the canary is still watched."""

    stage: StageNumber
    by: By = "operator"


class Resumed(_Event, frozen=True, kw_only=True, tag="resumed"):
    """The hold runs on."""

    stage: StageNumber


class Unwatched(_Event, frozen=True, kw_only=True, tag="unwatched"):
    """Nobody watched from `since` to `at`: what the stage had served by then, it has served.

    The process was stopped or suspended, or, with `restart`, another one took the rollout up, on
    a clock of its own: `since` is an instant of the clock before, and may be later than `at`.
    """

    stage: StageNumber
    since: Instant
    restart: bool = False


class Restarted(_Event, frozen=True, kw_only=True, tag="restarted"):
    """The operator sent the rollout back to its first stage."""


class RolledBack(_Event, frozen=True, kw_only=True, tag="rolled_back"):
    """The canary was judged bad: everything goes to the baseline. Nothing follows.

    `violation` tells which broken contract it was, where it was one.
    """

    stage: StageNumber
    reason: RollbackReason
    verdict: Verdict
    violation: Violation | None = None
    terminal: ClassVar[bool] = True


class Promoted(_Event, frozen=True, kw_only=True, tag="promoted"):
    """The canary passed: everything goes to it. Only what takes it back may follow."""

    by: By = "evidence"
    terminal: ClassVar[bool] = True


class Aborted(_Event, frozen=True, kw_only=True, tag="aborted"):
    """The operator ended the rollout: everything goes to the baseline. Nothing follows."""

    stage: StageNumber
    terminal: ClassVar[bool] = True


def decided(events: Iterable[Event]) -> tuple[Event, ...]:
    """The events as they were decided, without what a journal tells beside that."""
    return tuple(
        replace(event, without_key=0, key_sources=()) if isinstance(event, Held) else event
        for event in events
    )


Event = (
    Started
    | StageEntered
    | Checked
    | Held
    | Paused
    | Resumed
    | Unwatched
    | Restarted
    | RolledBack
    | Promoted
    | Aborted
)
