"""One worker's part of a shared rollout: what it has counted since it last told the others."""

from __future__ import annotations

from bisect import bisect_right
from math import inf

from msgspec import Struct

from canario.arms import ARMS
from canario.metrics.counts import NOTHING, Counts
from canario.metrics.histogram import in_buckets, microseconds
from canario.metrics.in_flight import Seen, SeenOfArm
from canario.metrics.tally import Tally
from canario.plan import Deployment
from canario.routing.router import Arm

from .open_requests import OpenRequests, Request
from .recording import Outcome, Recording
from .state import Era
from .violation import Violation

__all__ = ["Row", "Shard"]


class Row(Struct, frozen=True, array_like=True):
    """What was counted of one arm in one slice of the window, as of the instant `at`, on the log's
    time."""

    at: float
    arm: Arm
    era: Era
    tally: Tally


class _Arm:
    """One arm's part of the present slice.

    `waiting` and `ends` are as in `ArmMetrics`.
    """

    __slots__ = ("_broken", "_counts", "_latencies", "_slow_ms", "_sum_us", "ends", "waiting")

    def __init__(self, slow_ms: float) -> None:
        self._slow_ms = slow_ms
        self.waiting: list[float] = []
        self.ends = -inf
        self._begin()

    def _begin(self) -> None:
        self._counts = NOTHING
        self._latencies: dict[int, int] = {}
        self._sum_us = 0
        self._broken: dict[str, int] = {}

    def settle(self) -> None:
        """Count what waits."""
        waiting = self.waiting
        n = len(waiting)  # others go on appending
        batch = waiting[:n]
        del waiting[:n]
        batch.sort()
        slow = n - bisect_right(batch, self._slow_ms)
        self._counts += Counts(requests=n, timed=n, slow=slow)
        self._count_latencies(batch)

    def record(self, bad: bool, latency_ms: float) -> None:
        """Count one request that was timed."""
        slow = latency_ms > self._slow_ms
        self._counts += Counts(requests=1, errors=int(bad), timed=1, slow=int(slow))
        self._count_latencies([latency_ms])

    def add(self, counts: Counts) -> None:
        """Count what has no latency."""
        self._counts += counts

    def broke(self, contract: str | None) -> None:
        """Count a broken contract; by its name, where it is one that has a budget."""
        self._counts += Counts(violations=1)
        if contract is not None:
            self._broken[contract] = self._broken.get(contract, 0) + 1

    def take(self) -> Tally:
        """What was counted, and begin anew."""
        if self.waiting:
            self.settle()
        tally = Tally(self._counts, self._latencies, self._sum_us, self._broken)
        self._begin()
        return tally

    def _count_latencies(self, batch: list[float]) -> None:
        latencies = self._latencies
        for bucket, n in in_buckets(batch):
            latencies[bucket] = latencies.get(bucket, 0) + n
        self._sum_us += microseconds(batch)


class _Arms:
    """Both arms."""

    __slots__ = ("baseline", "canary")

    def __init__(self, slow_ms: float) -> None:
        self.baseline = _Arm(slow_ms)
        self.canary = _Arm(slow_ms)

    def arm(self, arm: Arm) -> _Arm:
        """One of them."""
        return self.canary if arm == "canary" else self.baseline


class Shard(Recording):
    """Counts what one worker serves, by slices of the window, until it is taken.

    Instants are those of the worker's clock; rows have the log's, which is `ahead` by so many
    seconds. Nothing is judged here.

    Args:
        deployment: What is counted for.
        open_requests: What the worker has in flight.
    """

    __slots__ = ("_latest", "_rows", "_slice_seconds", "_tolerated", "ahead", "era", "recorder")

    def __init__(self, deployment: Deployment, open_requests: OpenRequests) -> None:
        super().__init__(open_requests)
        thresholds = deployment.rollback_thresholds
        self.recorder: _Arms = _Arms(thresholds.max_p95_latency_ms)
        self.ahead = 0.0
        self.era = Era(0, 0)
        # The window's own slices, so that what is told later counts where it belongs.
        self._slice_seconds = thresholds.metric_window_seconds / 60
        self._tolerated = frozenset(thresholds.tolerated)
        self._rows: list[Row] = []
        self._latest: dict[str, Violation] = {}

    def observe(
        self,
        now: float,
        arm: Arm,
        outcome: Outcome,
        latency_ms: float | None = None,
        request: Request | None = None,
    ) -> None:
        """Count one finished request; see `Rollout.observe`."""
        now = self._reach(now)
        if request is not None:
            self.open.close(request, now, answered=outcome is not Outcome.NEUTRAL)
            if request.abandoned_at is not None:
                return
        metrics = self.recorder.arm(arm)
        if outcome is Outcome.NEUTRAL:
            metrics.add(Counts(neutral=1))
        elif latency_ms is None:
            metrics.add(Counts(requests=1, errors=int(outcome is Outcome.BAD)))
        else:
            metrics.record(outcome is Outcome.BAD, latency_ms)

    def observe_counts(self, now: float, arm: Arm, counts: Counts) -> None:
        """Count many requests of one instant."""
        self._reach(now)
        self.recorder.arm(arm).add(counts)

    def tolerates(self, arm: Arm, violation: Violation) -> bool:
        """False for a broken contract that is to be judged at once."""
        return arm != "canary" or violation.contract in self._tolerated

    def violate(self, now: float, arm: Arm, violation: Violation) -> None:
        """Count a broken contract, that of a request which was observed."""
        self._reach(now)
        contract = violation.contract
        tolerated = contract if arm == "canary" and contract in self._tolerated else None
        if tolerated is not None:
            self._latest[tolerated] = violation
        self.recorder.arm(arm).broke(tolerated)

    def enter(self, era: Era) -> None:
        """What comes from now on belongs to another stage, or to another start."""
        if era != self.era:
            self._close()
            self.era = era

    def forget(self) -> None:
        """What was counted so far is of nobody knows which stage: of before the log was read."""
        self._close()
        self._rows.clear()
        self._latest.clear()

    def reach_anew(self) -> None:
        """Look again where the present slice ends: the next check, or the log's time, was moved."""
        self._close()
        self.recorder.baseline.ends = self.recorder.canary.ends = -inf

    def take(self, until: float) -> tuple[list[Row], Seen, dict[str, Violation]]:
        """What was counted before the instant `until` and was not taken yet; what was in flight
        then, of which those that had waited for too long are given up, and counted; and the last
        violation of each contract that has a budget."""
        seen = self.open.look(until, settle=True)
        self._close()
        at = until + self.ahead
        rows = [row for row in self._rows if row.at < at]
        self._rows = [row for row in self._rows if row.at >= at]
        for arm, its in zip(ARMS, (seen.baseline, seen.canary), strict=True):
            if its.given_up.requests:
                rows.append(Row(at, arm, self.era, Tally(its.given_up)))
        latest, self._latest = self._latest, {}
        return (
            rows,
            Seen(SeenOfArm(seen.baseline.in_flight), SeenOfArm(seen.canary.in_flight)),
            latest,
        )

    def _reach(self, now: float) -> float:
        """Begin the slice of `now`, unless it is the present one; the instant that it counts as."""
        now = self.counts_at(now)
        if now >= self.recorder.baseline.ends:
            self._close()
            width = self._slice_seconds
            number = (now + self.ahead) // width
            ends = (number + 1) * width - self.ahead
            if ends <= now:  # rounded
                ends += width
            if self.due > now:  # and what comes before a check is told apart from what comes after
                ends = min(ends, self.due)
            self.recorder.baseline.ends = self.recorder.canary.ends = ends
        self._cursor = now
        return now

    def _close(self) -> None:
        """What was counted so far is of the instant that has been reached."""
        for arm in ARMS:
            tally = self.recorder.arm(arm).take()
            if tally:
                self._rows.append(Row(self._cursor + self.ahead, arm, self.era, tally))
