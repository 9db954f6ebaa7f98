"""What is told of each request that ends, and the short way for those that nearly all are."""

from __future__ import annotations

from enum import Enum
from math import inf
from typing import Protocol

from canario.metrics.histogram import BATCH
from canario.routing.router import Arm

from .open_requests import OpenRequests, Request

__all__ = ["GOOD", "Outcome", "Recording"]


class Outcome(Enum):
    """What one finished request says about the service."""

    GOOD = "good"
    BAD = "bad"
    NEUTRAL = "neutral"


GOOD = Outcome.GOOD  # at hand for each request: to ask an enumeration takes longer


class Waiting(Protocol):
    """One arm's latencies that wait to be counted, and when the slice ends that they belong to."""

    waiting: list[float]
    ends: float


class Arms(Protocol):
    """Both arms."""

    @property
    def baseline(self) -> Waiting: ...
    @property
    def canary(self) -> Waiting: ...


class Recording:
    """Who is told of requests: a rollout of its own, or one worker's part of a shared one.

    Args:
        open_requests: What is in flight.
    """

    __slots__ = ("_cursor", "due", "open", "recorder")

    recorder: Arms

    def __init__(self, open_requests: OpenRequests) -> None:
        self.open = open_requests
        self.due = inf  # the next instant at which it looks by itself
        self._cursor = -inf

    def counts_at(self, now: float) -> float:
        """The instant that an observation of `now` counts as: a later one, if it was seen."""
        return now if now > self._cursor else self._cursor

    def count_good(self, now: float, arm: Arm, latency_ms: float, request: Request) -> bool:
        """`observe` for a good request that is timed and has been in flight, without a lock: its
        latency waits until something is read or goes on. False where it does not fit, and then
        `observe` is to be asked.

        A check that another thread makes in the midst of it sees the request neither in flight
        nor ended; the next one sees it.
        """
        recorder = self.recorder
        metrics = recorder.canary if arm == "canary" else recorder.baseline
        if self._cursor <= now < self.due and now < metrics.ends and len(metrics.waiting) < BATCH:
            try:
                del self.open.flying[request]  # whoever takes it out counts it, and nobody else
            except KeyError:
                return False  # it was given up, or is just being given up
            self.open.answered[arm] = now
            metrics.waiting.append(latency_ms)
            return True
        return False
