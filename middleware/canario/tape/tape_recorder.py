"""What a middleware tells a tape of: on the request path one append, the rest on a thread."""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Protocol

from canario.control.rollout import Outcome
from canario.control.violation import Violation
from canario.host.background import BackgroundQueue
from canario.host.notices import Notices
from canario.routing.router import Arm

from .items import Began, Item, Told, Unfinished, Violated
from .mark import Mark
from .writer import TapeWriter

if TYPE_CHECKING:
    from canario.control.events import Event
    from canario.control.open_requests import Request
    from canario.plan import Plan

__all__ = ["Recorded", "TapeRecorder"]


class Recorded(Protocol):
    """Whose rollout a tape records: a controller."""

    @property
    def plan(self) -> Plan:
        """What its verdicts follow from."""

    @property
    def requests_in_flight(self) -> Sequence[Request]:
        """The requests that have not ended."""

    @property
    def notices(self) -> Notices:
        """Where an operator is told what is lost."""


class TapeRecorder:
    """Records what a controller is told, to be judged again: see `docs/tapes.md`.

    One row for each request: when it arrived and ended, its arm, a keyed hash of its key, its
    bucket, route, latency, outcome and broken contract; and the plan and the journal beside them.
    Rows wait in memory for `flush_seconds` at most and are then written on a thread of their
    own, in one transaction: a crash loses what came after the last one.

    Each process writes files of its own. The first file is `path`; the next, of this or of
    another worker or run, is called like it with -2, -3, … before the suffixes.

    Args:
        path: Where to write; folders are made.
        secret: With what users' keys are hashed (BLAKE2b, 64 bits). By default a random one, so
            that no one can look a user up; with the same one, tapes agree on who is who.
        max_bytes: When a file is longer, the next one is begun.
        max_files: When there are more of one name, the oldest that nobody writes is removed.
        flush_seconds: How long a row waits to be written.
        capacity: How many rows may wait; more are dropped, and counted.

    Raises:
        ValueError: When one of these is not valid.
    """

    mark = Mark  # for the gate, which imports nothing of a tape where there is none

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        secret: bytes | None = None,
        max_bytes: int = 64 * 1024 * 1024,
        max_files: int = 16,
        flush_seconds: float = 1.0,
        capacity: int = 100_000,
    ) -> None:
        least = {"max_bytes": (max_bytes, 64 * 1024), "max_files": (max_files, 2)}
        least["capacity"] = (capacity, 1)
        for name, (value, low) in least.items():
            if value < low:
                raise ValueError(f"{name} is {value!r}; it must be at least {low}")
        if not 0 <= flush_seconds < 3600:
            raise ValueError(f"flush_seconds is {flush_seconds!r}; it must be from 0 to 3600")
        if secret is not None and not 1 <= len(secret) <= 64:
            raise ValueError(f"secret has {len(secret)} bytes; give 1 to 64")
        self.path = os.fspath(path)
        self.failed = 0  # flushes that could not be written
        self._flush_seconds = flush_seconds
        self._capacity = capacity
        self._dropped = 0
        self._told_of: Counter[str] = Counter()  # of what is lost, what the controller has counted
        self._waiting: list[Item] = []
        self._asked = False
        self._controller: Recorded | None = None
        self._writer = TapeWriter(
            self.path, secret or os.urandom(32), max_bytes=max_bytes, max_files=max_files
        )
        self.observed = self._observer()
        self._queue = _Flushes(self._flush, self._forget, self._lost)
        atexit.register(_end, weakref.ref(self))

    def __repr__(self) -> str:
        return f"<TapeRecorder {self.path!r} {self.recorded} rows>"

    @property
    def recorded(self) -> int:
        """Rows that this process has written."""
        return self._writer.recorded

    @property
    def removed(self) -> int:
        """Rows of older files that were removed, since there were more than `max_files`."""
        return self._writer.removed

    @property
    def dropped(self) -> int:
        """Rows that found no room, or could not be written."""
        return self._dropped

    def drain(self, timeout: float | None = None) -> bool:
        """Write now all that waits; False when that took longer than `timeout` (s)."""
        return self._queue.drain(timeout)

    def close(self, timeout: float | None = None) -> bool:
        """Write what waits and what is in flight, and end the file, as one without companions;
        later rows go on in it.

        False, and nothing is ended, when that took longer than `timeout` (s).
        """
        if self._controller is not None and self._writer.writing:
            flying = tuple(
                (each.arrived_at, each.arm, each.timed, each.find_route())
                for each in self._controller.requests_in_flight
            )
            self._add(Unfinished(flying))
        return self._queue.drain(timeout) and self._queue.run(self._writer.close, timeout)

    # -- towards the controller, which holds its lock

    def follow(self, controller: Recorded, events: Sequence[Event], now: float) -> None:
        """Record what `controller` is told from now on; `events` is its journal so far."""
        if self._controller not in (None, controller):
            raise ValueError(f"{self!r} records another controller; give each a tape of its own")
        self._controller = controller
        self._writer.plan = controller.plan
        if events:
            # What was counted before is on no tape, so its verdicts cannot be found again.
            self._add(Began(now, tuple(events), whole=False))

    def began(self, now: float, past: Sequence[Event]) -> None:
        """The rollout starts, or is taken up from its journal `past`."""
        self._add(Began(now, tuple(past), whole=True))

    def violated(self, at: float, arm: Arm, violation: Violation, mark: Mark | None) -> None:
        """A contract was broken, by a request that was observed."""
        self._add(Violated(at, arm, violation, mark))

    def given_up(self, request: Request) -> None:
        """A request was counted as failed while it was in flight."""
        at = request.abandoned_at
        assert at is not None
        mark = request.tape_mark() or Mark(request.arrived_at)
        mark.flight, mark.route = Mark.ABANDONED, request.find_route()
        latency_ms = (at - request.started_at) * 1000 if request.timed else None
        self.observed(at, request.arm, Outcome.BAD, latency_ms, mark)

    def told(self, events: Sequence[Event]) -> None:
        """The journal goes on."""
        self._add(Told(tuple(events)))

    def _observer(self) -> Callable[[float, Arm, Outcome, float | None, Mark | None], None]:
        """What is called with each request that ended, and counts at the instant `at`.

        A closure: on the request path looking up attributes is half of the cost.
        """
        waiting, capacity = self._waiting, self._capacity
        append = waiting.append
        good, bad = Outcome.GOOD, Outcome.BAD

        def observed(
            at: float, arm: Arm, outcome: Outcome, latency_ms: float | None, mark: Mark | None
        ) -> None:
            if len(waiting) >= capacity:
                self._dropped += 1
                return
            # Numbers and text alone: a tuple with an enum's member in it is one more thing for the
            # garbage collector to walk through, again and again until it is written.
            code = 0 if outcome is good else 1 if outcome is bad else 2
            append((at, arm, code, latency_ms, mark))
            if not self._asked:
                self._ask()

        return observed

    def _add(self, item: Item) -> None:
        # Rarer than requests, and needed more: they find room when requests no longer do.
        if len(self._waiting) >= 2 * self._capacity:
            self._dropped += 1
            return
        self._waiting.append(item)
        if not self._asked:
            self._ask()

    def _ask(self) -> None:
        """Have what waits written a little later. Never raises: a request may be waiting."""
        self._asked = True
        try:
            self._queue.submit(None)
        except Exception:
            self._asked = False
            self.failed += 1

    # -- on the thread

    def _flush(self, job: Callable[[], object] | None) -> None:
        if job is not None:
            job()
            return
        self._queue.hurry.wait(self._flush_seconds)
        self._asked = False  # before the rows are taken, so that none is left without a flush
        waiting = self._waiting
        # Requests go on appending meanwhile: what they put at the end is left for the next time.
        items = waiting[:]
        del waiting[: len(items)]
        try:
            self._writer.write(items, self._dropped)
        except Exception:
            self.failed += 1
            self._dropped += len(items)
            raise
        finally:
            self._tell_lost()

    def _tell_lost(self) -> None:
        for what, times in (("tape_dropped", self._dropped), ("tape_removed", self.removed)):
            missing = times - self._told_of[what]
            if missing and self._controller is not None:
                self._told_of[what] += missing
                self._controller.notices.count(what, missing)
                if what == "tape_removed":
                    self._controller.notices.warn(
                        "the oldest files of the tape are removed as new ones come, since there "
                        "are more than max_files; counters['tape_removed'] has their rows"
                    )

    def _lost(self, error: BaseException) -> None:
        if self._controller is not None:
            self._controller.notices.fault("writing the tape", error)

    def _forget(self) -> None:
        """In a forked child: what waits is the parent's."""
        self._waiting.clear()
        self._asked = False


class _Flushes(BackgroundQueue[Callable[[], object] | None]):
    """The queue of flushes: one waits for its time, unless somebody waits for it."""

    def __init__(
        self,
        handle: Callable[[Callable[[], object] | None], object],
        forget: Callable[[], object],
        on_error: Callable[[BaseException], object],
    ) -> None:
        self._forget = forget
        super().__init__(
            handle,
            name="canario-tape",
            capacity=16,
            # To start the thread again is dearer than all that a tape asks of a request.
            idle_seconds=60.0,
            exit_seconds=5.0,
            on_error=on_error,
        )

    def drain(self, timeout: float | None = None) -> bool:
        self.hurry.set()
        try:
            return super().drain(timeout)
        finally:
            self.hurry.clear()

    def run(self, job: Callable[[], object], timeout: float | None) -> bool:
        """Do something on the thread, where nothing is being written meanwhile."""
        done = threading.Event()
        self.submit(partial(_then, job, done.set))
        return done.wait(timeout)

    def _begin(self) -> None:
        super()._begin()
        self.hurry = threading.Event()  # the lock in the last one may be a parent's
        self._forget()


def _then(job: Callable[[], object], after: Callable[[], object]) -> None:
    try:
        job()
    finally:
        after()


def _end(recorder: weakref.ref[TapeRecorder]) -> None:
    """At the end of the process: a file without companions, if that takes no longer than this."""
    made = recorder()
    if made is not None:
        made.close(5.0)
