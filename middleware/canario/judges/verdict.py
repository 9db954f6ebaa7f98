"""What a judge says: a frozen value that carries its reason."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Protocol, runtime_checkable

from msgspec import Struct

from canario.metrics.counts import NOTHING, Counts
from canario.metrics.in_flight import NONE_IN_FLIGHT, InFlight

__all__ = ["Evidence", "Judge", "RememberingJudge", "Trigger", "Verdict", "VerdictKind"]


class VerdictKind(StrEnum):
    """No data is a verdict, neither a pass nor a failure."""

    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    INSUFFICIENT = "insufficient"


class Trigger(StrEnum):
    """Which rule an unhealthy verdict rests on."""

    CONTRACT_VIOLATION = "contract_violation"
    ERROR_RATE = "error_rate"
    P95_LATENCY = "p95_latency"
    CRASHED = "crashed"


class Verdict(Struct, frozen=True, kw_only=True):
    """The state of the canary at one check.

    `observed` and `limit` are in the trigger's unit: a number of violations, the error rate in
    percent, or, for the latency, the percentage of requests that took longer than the latency
    limit (a p95 above the limit is the same statement as more than 5 % above it, and is exact).
    `samples` is the number of requests judged, `needed` the number that a judgement takes.
    Where a contract has used up its budget, `contract` names it, and `observed` and `limit` are
    percentages of the requests. Of the sequential judge they are the evidence against the canary
    and what it may reach (1/α), in every verdict but one on contracts; `samples` are then the
    stage's requests, or all the canary's where it is unhealthy.

    `in_flight` and `overdue` are the canary's requests that had not ended, and those of them that
    had waited for longer than the latency limit; `abandoned` are those of the requests judged
    that count as failed since nobody answered them.
    """

    kind: VerdictKind
    samples: int
    needed: int
    why: str
    trigger: Trigger | None = None
    observed: float | None = None
    limit: float | None = None
    contract: str | None = None
    in_flight: int = 0
    overdue: int = 0
    abandoned: int = 0


class Evidence(Struct, frozen=True):
    """What a check may look at: the canary's sliding window, its stage so far, and all of it.

    `broken` tells, for each contract with a budget, how many of the window's violations are of
    that contract; `broken_in_stage` the same of the stage's. `baseline` is the baseline's window;
    `total` and `baseline_total` what either arm did since the rollout started. `at` is the instant
    of the check, in seconds, `number` the stage's place in the plan, from 0 on. `in_flight` and
    `baseline_in_flight` have not ended, and stand in none of the counts. `unheard` workers serve
    the release as well, and what they have seen is not known.
    """

    window: Counts
    stage: Counts
    broken: Mapping[str, int] = {}
    broken_in_stage: Mapping[str, int] = {}
    baseline: Counts = NOTHING
    total: Counts = NOTHING
    baseline_total: Counts = NOTHING
    at: float = 0.0
    number: int = 0
    in_flight: InFlight = NONE_IN_FLIGHT
    baseline_in_flight: InFlight = NONE_IN_FLIGHT
    unheard: int = 0


class Judge(Protocol):
    """Looks at evidence and says what it means. It reads no clock and draws no number.

    A judge that remembers earlier checks is one rollout's own, and forgets them at `begin`.
    """

    def begin(self) -> None:
        """The rollout starts, or starts again."""

    def broken(self, evidence: Evidence) -> Verdict | None:
        """The verdict at a broken contract, between two checks; None when nothing follows."""

    def check(self, evidence: Evidence) -> Verdict:
        """The verdict at an ordinary check."""

    def end_of_stage(self, evidence: Evidence) -> Verdict:
        """The verdict on which a stage whose hold is over is left."""


@runtime_checkable
class RememberingJudge(Judge, Protocol):
    """A judge whose memory can be kept, and handed to another one of its kind.

    A rollout that is shared by several processes, or outlives one, takes such a judge.
    """

    def memory(self) -> object:
        """All that it remembers of earlier checks, of types that msgspec encodes."""

    def recall(self, memory: object) -> None:
        """Go on as the one whose `memory` this was, as it comes back from msgpack."""
