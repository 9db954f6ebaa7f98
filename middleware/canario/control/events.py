"""The events of a rollout. Its journal is a list of these, and the journal is its state."""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar, Literal

from msgspec import Struct

from canario.judges.verdict import Trigger, Verdict
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
]

By = Literal["evidence", "operator", "deadline"]


class RollbackReason(StrEnum):
    """Why a rollout did not complete."""

    CONTRACT_VIOLATION = "contract_violation"
    ERROR_RATE = "error_rate"
    P95_LATENCY = "p95_latency"
    MISSING_EVIDENCE = "missing_evidence"
    ABORTED = "aborted"


REASON_OF = {
    Trigger.CONTRACT_VIOLATION: RollbackReason.CONTRACT_VIOLATION,
    Trigger.ERROR_RATE: RollbackReason.ERROR_RATE,
    Trigger.P95_LATENCY: RollbackReason.P95_LATENCY,
}


class _Event(Struct, frozen=True, kw_only=True, tag_field="event"):
    """Something that happened at the instant `at`, in seconds on the controller's clock."""

    at: float
    terminal: ClassVar[bool] = False


class Started(_Event, frozen=True, kw_only=True, tag="started"):
    """The rollout began under this plan."""

    deployment: Deployment


class StageEntered(_Event, frozen=True, kw_only=True, tag="stage_entered"):
    """A stage began: from now on `percentage` of the keys go to the canary."""

    stage: int
    percentage: float
    by: By = "evidence"


class Checked(_Event, frozen=True, kw_only=True, tag="checked"):
    """A check came to another kind of verdict than the one before, or it ended a stage."""

    stage: int
    verdict: Verdict


class Held(_Event, frozen=True, kw_only=True, tag="held"):
    """The hold is over and too few requests have come: the stage waits for them."""

    stage: int
    samples: int
    needed: int


class Paused(_Event, frozen=True, kw_only=True, tag="paused"):
    """The hold stands still; the canary is still watched."""

    stage: int
    by: By = "operator"


class Resumed(_Event, frozen=True, kw_only=True, tag="resumed"):
    """The hold runs on."""

    stage: int


class Restarted(_Event, frozen=True, kw_only=True, tag="restarted"):
    """The operator sent the rollout back to its first stage."""


class RolledBack(_Event, frozen=True, kw_only=True, tag="rolled_back"):
    """The canary was judged bad: everything goes to the baseline. Nothing follows.

    `violation` tells which broken contract it was, where it was one.
    """

    stage: int
    reason: RollbackReason
    verdict: Verdict
    violation: Violation | None = None
    terminal: ClassVar[bool] = True


class Promoted(_Event, frozen=True, kw_only=True, tag="promoted"):
    """The canary passed: everything goes to it. Nothing follows."""

    by: By = "evidence"
    terminal: ClassVar[bool] = True


class Aborted(_Event, frozen=True, kw_only=True, tag="aborted"):
    """The operator ended the rollout: everything goes to the baseline. Nothing follows."""

    stage: int
    terminal: ClassVar[bool] = True


Event = (
    Started
    | StageEntered
    | Checked
    | Held
    | Paused
    | Resumed
    | Restarted
    | RolledBack
    | Promoted
    | Aborted
)
