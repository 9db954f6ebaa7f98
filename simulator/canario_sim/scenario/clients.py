"""Clients that lose patience, and ask again."""

from __future__ import annotations

from math import inf
from typing import Annotated, Literal

from msgspec import Meta

from canario.spec import Percent, Positive, Spec

__all__ = ["Clients", "RetryBudget"]


class RetryBudget(Spec, frozen=True, kw_only=True):
    """How many retries there may be to how many requests, all clients together.

    A bucket of tokens, full at the start: every request puts in `percent` / 100 of one, up to
    `burst`, every retry takes one out, and without one there is no retry.
    """

    percent: Annotated[Percent, Meta(description="Retries to 100 requests, in the long run.")]
    burst: Annotated[
        float, Meta(ge=1, description="Retries that may come at once, after a calm time.")
    ] = 10.0


class Clients(Spec, frozen=True, kw_only=True):
    """How long a client waits for its answer, and what it does without a good one.

    A request that has failed, or has not been answered within the time-out, is sent again after
    a wait, with the same key, until `attempts` have been made. The n-th wait is
    `backoff_ms` × `backoff_factor`^(n − 1), at most `backoff_limit_ms`, less a part of it that is
    drawn evenly from 0 to `jitter`.
    """

    timeout_ms: Annotated[
        Positive | None, Meta(description="How long a client waits; none: for ever.")
    ] = None
    attempts: Annotated[
        int, Meta(ge=1, le=50, description="How often a request is sent at most, in all.")
    ] = 1
    backoff_ms: Annotated[
        float, Meta(ge=0, description="The wait before the first retry, without jitter.")
    ] = 100.0
    backoff_factor: Annotated[
        float, Meta(ge=1, description="How many times as long the next wait is.")
    ] = 2.0
    backoff_limit_ms: Annotated[Positive, Meta(description="The longest wait.")] = 10_000.0
    jitter: Annotated[
        float, Meta(ge=0, le=1, description="Part of a wait that is left to chance; 1: all of it.")
    ] = 1.0
    budget: Annotated[
        RetryBudget | None, Meta(description="What bounds the retries; none: nothing does.")
    ] = None
    abandoned: Annotated[
        Literal["served", "dropped"],
        Meta(
            description="What becomes of a request whose client has left: it is served all the "
            "same, or dropped when its turn in line comes. One that is being served is finished."
        ),
    ] = "served"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.attempts == 1 and self.budget is not None:
            raise ValueError("budget is given, but attempts is 1; there is no retry to bound")
        if self.abandoned == "dropped" and self.timeout_ms is None:
            raise ValueError("abandoned is 'dropped', but no client leaves without a timeout_ms")

    def waits(self) -> list[float]:
        """Seconds before each retry, without jitter."""
        return [self._wait_ms(number) / 1000 for number in range(self.attempts - 1)]

    def _wait_ms(self, number: int) -> float:
        try:
            wait = self.backoff_ms * self.backoff_factor**number
        except OverflowError:  # a factor of a million passes every limit, and then every float
            wait = inf if self.backoff_ms else 0.0
        return min(wait, self.backoff_limit_ms)
