"""What a scenario expects of its rehearsal, and whether it came true."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from canario.spec import Seconds, Spec

__all__ = ["Ending", "Expect", "Expectation", "Outcome", "Reason", "check", "under"]

Outcome = Literal["completed", "rolled_back", "held", "paused", "aborted", "unfinished"]
Reason = Literal["contract_violation", "error_rate", "p95_latency", "missing_evidence"]


class Expect(Spec, frozen=True, kw_only=True):
    """The outcome that a scenario is there to show: all of it, under whatever seed, unless
    `chance` says under how many."""

    outcome: Annotated[
        Literal["completed", "rolled_back", "held", "paused", "aborted"],
        Meta(description="How it ends, or where it stands at the horizon."),
    ]
    reason: Annotated[Reason | None, Meta(description="Why it is rolled back.")] = None
    stage: Annotated[
        str | None, Meta(description="The last stage entered: canary_5, …, full_rollout.")
    ] = None
    no_later_than: Annotated[
        Seconds | None, Meta(description="It ends at the latest at this instant, in seconds.")
    ] = None
    at_most_bad_requests: Annotated[
        Annotated[int, Meta(ge=0)] | None,
        Meta(description="Bad requests that the canary serves, at most."),
    ] = None
    chance: Annotated[
        float,
        Meta(
            gt=0,
            le=1,
            description="Share of the seeds under which all of this comes true; 1: under any. "
            "`canario simulate --seeds 50` tests it.",
        ),
    ] = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.reason is not None and self.outcome != "rolled_back":
            raise ValueError(
                f"reason is {self.reason!r} and outcome is {self.outcome!r}; only a rollout that "
                "is rolled_back has a reason"
            )


class Ending(Struct, frozen=True, kw_only=True):
    """What expectations are about."""

    outcome: Outcome
    reason: str | None
    stage: str
    at: float
    bad_requests: int


class Expectation(Struct, frozen=True, kw_only=True):
    """One expectation beside what happened."""

    name: str
    expected: str | float
    actual: str | float | None
    ok: bool


def under(chance: float) -> str:
    """Of a `chance`, in words: `under any seed`, `under 90 % of the seeds`."""
    return "under any seed" if chance == 1 else f"under {100 * chance:.4g} % of the seeds"


def check(expect: Expect, ending: Ending) -> tuple[Expectation, ...]:
    """Every expectation that was stated, in the order of `Expect`'s fields."""
    same = (
        ("outcome", expect.outcome, ending.outcome),
        ("reason", expect.reason, ending.reason),
        ("stage", expect.stage, ending.stage),
    )
    most = (
        ("no_later_than", expect.no_later_than, ending.at),
        ("at_most_bad_requests", expect.at_most_bad_requests, ending.bad_requests),
    )
    return tuple(
        [
            Expectation(name=name, expected=wanted, actual=actual, ok=actual == wanted)
            for name, wanted, actual in same
            if wanted is not None
        ]
        + [
            Expectation(name=name, expected=limit, actual=number, ok=number <= limit)
            for name, limit, number in most
            if limit is not None
        ]
    )
