"""What requests have done to each other in a rehearsal."""

from __future__ import annotations

from msgspec import Struct

__all__ = ["Feedback", "Recovery", "in_words"]


class Recovery(Struct, frozen=True, kw_only=True):
    """Recoveries of circuit breakers of both arms, from opening to closing.

    `unfinished` are those that had not closed at the end. `p99_ms` is the 99th percentile, an
    unfinished one counting as longer than the limit, and None without recoveries; `met` is
    whether it is at most `limit_ms`, the plan's `slo.p99_recovery_time_ms`.
    """

    recoveries: int
    unfinished: int
    p99_ms: float | None
    limit_ms: float
    met: bool | None


class Feedback(Struct, frozen=True, kw_only=True):
    """What clients and breakers have done, on both arms together.

    `first` are requests that were sent for the first time, `retries` those that were to be sent
    again. `timeouts` were left by their clients, `denied` are retries that the budget did not
    allow, `gave_up` requests that were not sent again after their last failure for this or any
    other reason. `fast_failures` are calls that an open circuit breaker let fail at once.
    """

    first: int
    retries: int
    timeouts: int
    denied: int
    gave_up: int
    fast_failures: int
    recovery: Recovery


def in_words(feedback: Feedback) -> list[str]:
    """What there is to say of it, a line each."""
    lines = []
    if feedback.retries or feedback.timeouts or feedback.denied:
        lines.append(
            f"clients sent {feedback.first:,} requests and {feedback.retries:,} retries; they left "
            f"{feedback.timeouts:,} before the answer, and gave up {feedback.gave_up:,}"
        )
    recovery = feedback.recovery
    number = recovery.recoveries + recovery.unfinished
    if number:
        opened = (
            "a circuit breaker opened"
            if number == 1
            else f"circuit breakers opened {number:,} times"
        )
        still = f", {recovery.unfinished:,} not closed yet" if recovery.unfinished else ""
        least = "at least " if recovery.unfinished else ""
        lines.append(
            f"{opened}{still}; p99 of the recovery {least}{recovery.p99_ms:,.0f} ms, "
            f"{'as' if recovery.met else 'not as'} the plan asks (at most "
            f"{recovery.limit_ms:,.0f} ms)"
        )
    return lines
