"""Recoveries from faults: rare, so those of the window are kept one by one."""

from __future__ import annotations

from collections import deque
from math import inf, nextafter
from typing import NamedTuple

__all__ = ["KEPT", "Recoveries", "RecoverySummary"]

# Of a flow with more recoveries in its window than this the latest are kept.
KEPT = 1000


class RecoverySummary(NamedTuple):
    """The recoveries of a window; `late` took longer than the limit, or failed (`failed`)."""

    recoveries: int = 0
    failed: int = 0
    late: int = 0
    p99_ms: float | None = None

    @property
    def breached(self) -> bool | None:
        """Whether the p99 is above the limit; None without recoveries."""
        n = self.recoveries
        return self.late >= n - n * 99 // 100 if n else None


class Recoveries:
    """The recoveries of one flow. `total` and `failed` count all since the start."""

    __slots__ = ("_kept", "failed", "total")

    def __init__(self) -> None:
        self._kept: deque[tuple[float, bool, float]] = deque(maxlen=KEPT)
        self.total = 0
        self.failed = 0

    def add(self, now: float, success: bool, recovery_ms: float) -> None:
        """Count one recovery, or one that did not succeed."""
        self._kept.append((now, success, recovery_ms))
        self.total += 1
        self.failed += not success

    def summary(self, now: float, seconds: float, limit_ms: float) -> RecoverySummary:
        """The recoveries of the last `seconds`.

        One that failed counts as longer than the limit, whatever time it was given. The p99 of n
        is the one of rank floor(0.99 n) + 1 from below.
        """
        kept = self._kept
        while kept and kept[0][0] < now - seconds:
            kept.popleft()
        if not kept:
            return RecoverySummary()
        over = nextafter(limit_ms, inf)
        times = sorted(ms if success else max(ms, over) for _, success, ms in kept)
        n = len(times)
        return RecoverySummary(
            recoveries=n,
            failed=sum(not success for _, success, _ in kept),
            late=sum(ms > limit_ms for ms in times),
            p99_ms=times[n * 99 // 100],
        )
