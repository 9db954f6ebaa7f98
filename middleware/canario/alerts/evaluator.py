"""Having alerts evaluated when it is time, beside the requests."""

from __future__ import annotations

import time
from collections.abc import Callable
from math import inf

from canario.host.background import BackgroundQueue

__all__ = ["AlertEvaluator"]

# After an evaluation its thread rests for so many times as long, lest a contract that every
# request breaks has the alerts evaluated without a pause, which the requests would feel.
_REST = 20


class AlertEvaluator:
    """Calls `evaluate` on a thread of its own: every `interval` seconds, and when asked to.

    Whoever carries requests compares its clock with `due`, and calls `look` when that has come.
    The first evaluation comes an interval after the first look.

    Args:
        evaluate: Evaluates the alerts.
        interval: Seconds between two evaluations.
        on_error: Called with what `evaluate` raises.
    """

    def __init__(
        self,
        evaluate: Callable[[], object],
        *,
        interval: float = 15.0,
        on_error: Callable[[BaseException], object] | None = None,
    ) -> None:
        if not 0 < interval < inf:
            raise ValueError(f"interval is {interval!r}; it must be a number of seconds above 0")
        self._evaluate = evaluate
        self._interval = interval
        self._rests_until = -inf
        self.due = -inf
        # One that waits will see everything, so a second need not wait behind it. The thread
        # outlives the pause between two evaluations: starting one takes time from a request.
        self._queue: BackgroundQueue[None] = BackgroundQueue(
            self._run,
            name="canario-alerts",
            capacity=1,
            idle_seconds=2 * interval,
            on_error=on_error,
        )

    def look(self, now: float) -> None:
        """Have the alerts evaluated soon if that is due at the instant `now`."""
        if now < self.due:
            return
        first = self.due == -inf
        self.due = now + self._interval
        if not first:
            self.soon()

    def soon(self) -> None:
        """Have the alerts evaluated soon, due or not."""
        self._queue.submit(None)

    def drain(self, timeout: float | None = None) -> bool:
        """Wait until they are; False when `timeout` (s) was too short."""
        return self._queue.drain(timeout)

    def _run(self, _: None) -> None:
        began = time.monotonic()
        if began < self._rests_until:
            time.sleep(self._rests_until - began)
            began = time.monotonic()
        try:
            self._evaluate()
        finally:
            ended = time.monotonic()
            self._rests_until = ended + min(_REST * (ended - began), self._interval)
