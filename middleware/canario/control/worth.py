"""What one finished request says about the service: stated once, for live traffic and for logs."""

from __future__ import annotations

from collections.abc import Collection

from .rollout import Outcome

__all__ = ["worth"]


def worth(
    status: int | None,
    latency_ms: float | None,
    *,
    limit_ms: float,
    errors: Collection[int] = (),
    left: bool = False,
    failed: bool = False,
) -> tuple[Outcome, float | None]:
    """The outcome of a request, and the latency (ms) that goes with it, None where none counts.

    Args:
        status: Of its response; None where there was none.
        latency_ms: None for a request that is not timed.
        limit_ms: What is slower is slow.
        errors: Statuses below 500 that count as errors.
        left: The client went away before anything had come back.
        failed: It was not answered as a whole, and not because the client left.
    """
    # First: what the app has answered is its own doing, even if nobody waited for it.
    if status is not None and (status >= 500 or status in errors):
        return Outcome.BAD, latency_ms
    if left:
        # Whoever went away after too long a wait says that the service is slow, not failing.
        waited_in_vain = latency_ms is not None and latency_ms > limit_ms
        return (Outcome.GOOD, latency_ms) if waited_in_vain else (Outcome.NEUTRAL, None)
    if failed:  # before the 4xx: one that breaks off has not been answered either
        return Outcome.BAD, latency_ms
    if status is not None and status >= 400:
        return Outcome.NEUTRAL, None
    return Outcome.GOOD, latency_ms
