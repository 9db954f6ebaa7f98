"""What a controller remembers of the traffic: counts of both arms, and latencies to show."""

from __future__ import annotations

from canario.routing.router import Arm

from .counts import Counts
from .histogram import SlidingHistogram
from .window import SlidingWindow

__all__ = ["ArmMetrics", "Recorder"]


class ArmMetrics:
    """One arm: a window of exact counts and a histogram over the same span.

    The histogram is made at the first latency: a simulator, which records counts of many
    requests at once, needs none.
    """

    __slots__ = ("_histogram", "_seconds", "window")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.window = SlidingWindow(seconds)
        self._histogram: SlidingHistogram | None = None

    def record(self, now: float, bad: bool, latency_ms: float, slow: bool) -> None:
        """Count one request that was timed."""
        self.window.add_one(now, bad, slow)
        histogram = self._histogram
        if histogram is None:
            histogram = self._histogram = SlidingHistogram(self._seconds, self.window.slices)
        histogram.add(now, latency_ms)

    def quantiles(self, now: float, *quantiles: float) -> tuple[float | None, ...]:
        """Latency quantiles of the window, in ms, within 1 %; None where there is none."""
        if self._histogram is None:
            return (None,) * len(quantiles)
        return self._histogram.quantiles(now, *quantiles)

    def clear(self) -> None:
        """Forget everything."""
        self.window.clear()
        self._histogram = None


class Recorder:
    """Both arms, and the counts at which the present stage began."""

    __slots__ = ("_since", "baseline", "canary")

    def __init__(self, window_seconds: float) -> None:
        self.baseline = ArmMetrics(window_seconds)
        self.canary = ArmMetrics(window_seconds)
        self._since = Counts()

    def arm(self, arm: Arm) -> ArmMetrics:
        """The metrics of one arm."""
        return self.canary if arm == "canary" else self.baseline

    def stage_begins(self) -> None:
        """From now on, `stage()` counts anew."""
        self._since = self.canary.window.total()

    def stage(self) -> Counts:
        """What the canary did since the present stage began."""
        return self.canary.window.total() - self._since

    def clear(self) -> None:
        """Forget everything, as a rollout that starts again does."""
        self.baseline.clear()
        self.canary.clear()
        self._since = Counts()
