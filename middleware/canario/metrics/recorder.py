"""What a controller remembers of the traffic: counts of both arms, and latencies to show."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from math import inf

from msgspec import Struct

from canario.routing.router import Arm

from .counts import NONE_BROKEN, NOTHING, Counts
from .histogram import NO_DURATION, DurationTotals, HistogramMemory, SlidingHistogram, durations
from .tally import Tally
from .window import SlidingWindow, WindowMemory

__all__ = ["ArmMetrics", "Recorder", "RecorderMemory"]


class ArmMemory(Struct, frozen=True, array_like=True):
    """All that was counted of one arm."""

    window: WindowMemory
    histogram: HistogramMemory | None
    total_before: Counts
    duration_before: DurationTotals


class RecorderMemory(Struct, frozen=True, array_like=True):
    """All that was counted."""

    baseline: ArmMemory
    canary: ArmMemory
    since: Counts
    broken: dict[str, WindowMemory]
    broken_since: dict[str, int]


class ArmMetrics:
    """One arm: a window of exact counts and a histogram over the same span.

    The histogram is made at the first latency: a simulator, which records counts of many
    requests at once, needs none.

    A good request that was timed may also be recorded by appending its latency to `waiting`, at an
    instant before `ends`. An append is atomic and waits for nobody. What waits belongs to the
    present slice: `settle` counts it, before anything is read and before that slice ends.

    Args:
        seconds: Length of the window.
        slow_ms: Latencies above this are slow.
    """

    __slots__ = (
        "_duration_before",
        "_histogram",
        "_seconds",
        "_slow_ms",
        "_total_before",
        "ends",
        "waiting",
        "window",
    )

    def __init__(self, seconds: float, slow_ms: float) -> None:
        self._seconds = seconds
        self._slow_ms = slow_ms
        self.waiting: list[float] = []
        self.ends = -inf
        # What was counted before the last `clear`.
        self._total_before = NOTHING
        self._duration_before = NO_DURATION
        self.window = SlidingWindow(seconds)
        self._histogram: SlidingHistogram | None = None

    def record(self, now: float, bad: bool, latency_ms: float) -> None:
        """Count one request that was timed; whoever does it settles first."""
        self.window.add_one(now, bad, latency_ms > self._slow_ms)
        histogram = self._histogram
        if histogram is None:
            histogram = self._latencies()
        histogram.add(now, latency_ms)
        self.ends = min(self.window.ends, histogram.ends)

    def settle(self) -> None:
        """Count what waits."""
        waiting = self.waiting
        # Others go on appending: they put at the end what these two leave alone.
        n = len(waiting)
        batch = waiting[:n]
        del waiting[:n]
        batch.sort()
        self.window.add_good(n, n - bisect_right(batch, self._slow_ms))
        histogram = self._histogram
        if histogram is None:  # another thread has appended while all was being forgotten
            histogram = self._latencies()
        histogram.add_sorted(batch)

    def give_up(self, now: float, counts: Counts) -> None:
        """Count requests that nobody answered: how long they take nobody knows, so the quantiles
        do without them."""
        self.window.add_counts(now, counts)

    def count(self, now: float, tally: Tally) -> None:
        """Count what was counted elsewhere, as of the instant `now`; nothing waits then."""
        self.window.add_counts(now, tally.counts)
        if tally.latencies:
            histogram = self._histogram
            if histogram is None:
                histogram = self._latencies()
            histogram.add_counted(now, tally.latencies, tally.sum_us)

    def count_before(self, tally: Tally) -> None:
        """Count what belongs to before the last `clear`: in the totals alone."""
        self._total_before += tally.counts
        self._duration_before += durations(tally.latencies, tally.sum_us)

    def memory(self) -> ArmMemory:
        """What `recall` takes up again; what waits is settled before."""
        return ArmMemory(
            self.window.memory(),
            None if self._histogram is None else self._histogram.memory(),
            self._total_before,
            self._duration_before,
        )

    def recall(self, memory: ArmMemory) -> None:
        """Go on where another one stood; this one must be new."""
        self.window.recall(memory.window)
        if memory.histogram is not None:
            self._latencies().recall(memory.histogram)
        self._total_before = memory.total_before
        self._duration_before = memory.duration_before

    def quantiles(self, now: float, *quantiles: float) -> tuple[float | None, ...]:
        """Latency quantiles of the window, in ms, within 1 %; None where there is none."""
        if self._histogram is None:
            return (None,) * len(quantiles)
        return self._histogram.quantiles(now, *quantiles)

    def total(self) -> Counts:
        """The counts since the start; `clear` does not take them back."""
        return self._total_before + self.window.total()

    def duration(self) -> DurationTotals:
        """The latencies since the start; `clear` does not take them back."""
        if self._histogram is None:
            return self._duration_before
        return self._duration_before + self._histogram.totals()

    def clear(self) -> None:
        """Forget everything but the totals, which others may have read as ever growing."""
        self.ends = -inf
        if self.waiting:
            self.settle()
        self._total_before = self.total()
        self._duration_before = self.duration()
        self.window.clear()
        self._histogram = None

    def _latencies(self) -> SlidingHistogram:
        self._histogram = SlidingHistogram(self._seconds, self.window.slices)
        return self._histogram


class Recorder:
    """Both arms, and the counts at which the present stage began.

    `tolerated` names the contracts that the canary may break now and then: how often it has is
    counted by contract.
    """

    __slots__ = ("_broken", "_broken_since", "_since", "baseline", "canary")

    def __init__(
        self, window_seconds: float, slow_ms: float, tolerated: Iterable[str] = ()
    ) -> None:
        self.baseline = ArmMetrics(window_seconds, slow_ms)
        self.canary = ArmMetrics(window_seconds, slow_ms)
        self._since = Counts()
        self._broken = {name: SlidingWindow(window_seconds) for name in tolerated}
        self._broken_since = dict.fromkeys(self._broken, 0)

    def arm(self, arm: Arm) -> ArmMetrics:
        """The metrics of one arm."""
        return self.canary if arm == "canary" else self.baseline

    def settle(self) -> None:
        """Count what waits of both arms."""
        if self.baseline.waiting:
            self.baseline.settle()
        if self.canary.waiting:
            self.canary.settle()

    def stage_begins(self) -> None:
        """From now on, `stage()` counts anew."""
        self._since = self.canary.window.total()
        for name, window in self._broken.items():
            self._broken_since[name] = window.total().violations

    def marks(self) -> tuple[Counts, dict[str, int]]:
        """Where the present stage began; `mark` puts it there."""
        return self._since, dict(self._broken_since)

    def mark(self, marks: tuple[Counts, dict[str, int]]) -> None:
        """Have the present stage begin where it began once."""
        self._since, self._broken_since = marks

    def stage(self) -> Counts:
        """What the canary did since the present stage began."""
        return self.canary.window.total() - self._since

    def broke(self, arm: Arm, contract: str, now: float) -> bool:
        """Count a broken contract; True when it is one that this arm may break now and then."""
        self.arm(arm).window.add(now, 0, violations=1)
        window = self._broken.get(contract) if arm == "canary" else None
        if window is None:
            return False
        window.add(now, 0, violations=1)
        return True

    def count(self, arm: Arm, now: float, tally: Tally, *, stage_before: bool) -> None:
        """Count what was counted elsewhere, as of the instant `now`.

        With `stage_before` it belongs to a stage that is over, and `stage()` does without it.
        """
        self.arm(arm).count(now, tally)
        if arm != "canary":
            return
        if stage_before:
            self._since += tally.counts
        for name, n in tally.broken.items():
            window = self._broken.get(name)
            if window is not None:
                window.add(now, 0, violations=n)
                if stage_before:
                    self._broken_since[name] += n

    def memory(self) -> RecorderMemory:
        """What `recall` takes up again."""
        self.settle()
        return RecorderMemory(
            self.baseline.memory(),
            self.canary.memory(),
            self._since,
            {name: window.memory() for name, window in self._broken.items()},
            self._broken_since,
        )

    def recall(self, memory: RecorderMemory) -> None:
        """Go on where another recorder of the same plan stood; this one must be new."""
        self.baseline.recall(memory.baseline)
        self.canary.recall(memory.canary)
        self._since = memory.since
        for name, window in memory.broken.items():
            self._broken[name].recall(window)
        self._broken_since = dict(memory.broken_since)

    def broken(self, now: float) -> dict[str, int]:
        """How often each tolerated contract was broken in the canary's window."""
        if not self._broken:
            return NONE_BROKEN
        return {name: window.counts(now).violations for name, window in self._broken.items()}

    def broken_in_stage(self) -> dict[str, int]:
        """The same since the present stage began."""
        if not self._broken:
            return NONE_BROKEN
        since = self._broken_since
        return {
            name: window.total().violations - since[name] for name, window in self._broken.items()
        }

    def clear(self) -> None:
        """Forget everything, as a rollout that starts again does."""
        self.baseline.clear()
        self.canary.clear()
        self._since = Counts()
        for window in self._broken.values():
            window.clear()
        self._broken_since = dict.fromkeys(self._broken, 0)
