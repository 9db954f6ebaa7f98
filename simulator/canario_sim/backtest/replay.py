"""A tape through the controller: the very one that guards a live app."""

from __future__ import annotations

from collections.abc import Callable

from canario.judges.verdict import Judge
from canario.plan import Plan
from canario.stores import MemoryJournal
from canario_sim.tapes.recording import Recording
from canario_sim.world.driver import Driver

from .assign import Routing
from .carrier import TapeCarrier

__all__ = ["replay_of"]


def replay_of(
    recording: Recording,
    plan: Plan,
    routing: Routing,
    *,
    judge: Judge | None = None,
    start: float | None = None,
    end: float | None = None,
    orders: bool = True,
    watch: Callable[[Driver[TapeCarrier]], object] | None = None,
) -> Driver[TapeCarrier]:
    """One policy on one tape, from the rollout's start to its end or to the tape's.

    Args:
        recording: The tape.
        plan: What the controller is to do.
        routing: Decides who serves each request.
        judge: Judges instead of the plan's own; it is this replay's alone.
        start: When the rollout starts; by default when the tape's did.
        end: When the replay ends, at the latest; by default with the tape.
        orders: Whether the operator's recorded orders are given again.
        watch: As of `Driver`.
    """
    start = recording.starts if start is None else start
    end = recording.ends if end is None else end
    return Driver(
        plan,
        lambda _: TapeCarrier(recording, routing, plan, start=start, end=end, orders=orders),
        start=start,
        judge=judge,
        # Another policy would not have come to the past that the tape goes on from.
        journal=_past(recording) if judge is None and recording.plan == plan else None,
        watch=watch,
    )


def _past(recording: Recording) -> MemoryJournal | None:
    """What the rollout was taken up from when the tape began."""
    if not recording.restored:
        return None
    past = recording.events[: recording.restored]
    return MemoryJournal(past, recording.watched_until(recording.restarts[0]))
