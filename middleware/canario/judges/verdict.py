"""What a judge says: a frozen value that carries its reason."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Protocol

from msgspec import Struct

from canario.metrics.counts import Counts

__all__ = ["Evidence", "Judge", "Trigger", "Verdict", "VerdictKind"]


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


class Verdict(Struct, frozen=True, kw_only=True):
    """The state of the canary at one check.

    `observed` and `limit` are in the trigger's unit: a number of violations, the error rate in
    percent, or, for the latency, the percentage of requests that took longer than the latency
    limit (a p95 above the limit is the same statement as more than 5 % above it, and is exact).
    `samples` is the number of requests judged, `needed` the number that a judgement takes.
    Where a contract has used up its budget, `contract` names it, and `observed` and `limit` are
    percentages of the requests.
    """

    kind: VerdictKind
    samples: int
    needed: int
    why: str
    trigger: Trigger | None = None
    observed: float | None = None
    limit: float | None = None
    contract: str | None = None


class Evidence(Struct, frozen=True):
    """What a check may look at: the canary's sliding window, and its stage so far.

    `broken` tells, for each contract with a budget, how many of the window's violations are of
    that contract; `broken_in_stage` the same of the stage's.
    """

    window: Counts
    stage: Counts
    broken: Mapping[str, int] = {}
    broken_in_stage: Mapping[str, int] = {}


class Judge(Protocol):
    """Looks at evidence and says what it means. It keeps no state and reads no clock."""

    def check(self, evidence: Evidence) -> Verdict:
        """The verdict at an ordinary check."""

    def end_of_stage(self, evidence: Evidence) -> Verdict:
        """The verdict on which a stage whose hold is over is left."""
