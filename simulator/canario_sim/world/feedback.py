"""What requests have done to each other in a rehearsal."""

from __future__ import annotations

from msgspec import Struct

from canario.slo.recoveries import Recoveries

from .closed import steps
from .closed.loop import Loop

__all__ = ["Feedback", "Recovery", "feedback_of", "in_words"]


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


def feedback_of(loop: Loop, end: float, limit_ms: float) -> Feedback:
    """What has come about in a rehearsal that ended at an instant.

    `limit_ms` is what the 99th percentile of recoveries may be.
    """
    count = loop.count
    return Feedback(
        first=count(steps.FIRST),
        retries=count(steps.RETRIES),
        timeouts=count(steps.TIMEOUTS),
        denied=count(steps.DENIED),
        gave_up=count(steps.GAVE_UP),
        fast_failures=count(steps.FAST),
        recovery=_recovery(loop, end, limit_ms),
    )


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


def _recovery(loop: Loop, end: float, limit_ms: float) -> Recovery:
    # A window longer than the rehearsal, which nothing leaves.
    recoveries = Recoveries(0.0, 2 * end + 1, limit_ms)
    open_since: dict[tuple[int, int], float] = {}
    for signal in loop.signals:
        which = signal.arm, signal.dependency
        if signal.kind == steps.OPENED:
            open_since[which] = signal.at
        elif signal.kind == steps.RECOVERED:
            del open_since[which]
            recoveries.add(signal.at, True, signal.value)
    for since in open_since.values():
        recoveries.add(end, False, (end - since) * 1000)
    seen = recoveries.summary(end)
    return Recovery(
        recoveries=seen.recoveries - seen.failed,
        unfinished=seen.failed,
        p99_ms=seen.p99_ms,
        limit_ms=limit_ms,
        met=None if seen.breached is None else not seen.breached,
    )
