"""Telling sinks: in their order, each beside the others, none in the way of a request."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextvars import Context, copy_context
from functools import partial
from threading import Lock
from typing import Any

from canario.alerts.alert import Alert
from canario.control.events import Event
from canario.host.background import BackgroundQueue
from canario.host.fork import Forkable, renew_in_child
from canario.host.interrupts import pass_on
from canario.plan import Deployment

from .otel import OpenTelemetryEvents

__all__ = ["Beside", "Listeners", "inline"]

# A controller's sinks may take events alone, a monitor's alerts alone.
AnySink = Callable[[Any], object]

logger = logging.getLogger("canario")


class inline:  # noqa: N801 - it is used like a decorator
    """Has a callable called where the event or the alert happens, before anything goes on.

    A sink that takes its time there takes it from the request that caused what it is told, so
    this is for what only keeps or counts, and for orders that must follow at once.
    """

    inline = True

    def __init__(self, sink: AnySink) -> None:
        self._sink = sink

    def __call__(self, told: Event | Alert) -> object:
        return self._sink(told)

    def __repr__(self) -> str:
        return f"inline({self._sink!r})"


class Beside:
    """Calls a sink on a thread of its own, in order; it may take its time, hang or raise.

    `delivered`, `failed` (it raised) and `dropped` (`capacity` items waited already) count what
    became of what it was told.
    """

    inline = True

    def __init__(
        self,
        sink: AnySink,
        *,
        capacity: int = 1000,
        on_error: Callable[[BaseException], object] | None = None,
        on_drop: Callable[[], object] | None = None,
    ) -> None:
        self._sink = sink
        self._on_error = on_error or _log
        self._on_drop = on_drop
        self._queue: BackgroundQueue[Event | Alert] = BackgroundQueue(
            self._hand_over,
            name="canario-sink",
            capacity=capacity,
            exit_seconds=2.0,
            on_error=self._fail,
        )
        self.delivered = 0
        self.failed = 0

    def __call__(self, told: Event | Alert) -> None:
        if not self._queue.submit(told) and self._on_drop is not None:
            self._on_drop()

    def __repr__(self) -> str:
        return f"<Beside {self._sink!r} delivered={self.delivered} dropped={self.dropped}>"

    @property
    def sink(self) -> AnySink:
        """The sink that is called."""
        return self._sink

    @property
    def dropped(self) -> int:
        """How much found no room."""
        return self._queue.dropped

    def drain(self, timeout: float | None = None) -> bool:
        """Wait until it was told all; False when `timeout` (s) was too short."""
        return self._queue.drain(timeout)

    def close(self, timeout: float | None = None) -> bool:
        """Take nothing more, and `drain`."""
        return self._queue.close(timeout)

    def _hand_over(self, told: Event | Alert) -> None:
        self._sink(told)
        self.delivered += 1

    def _fail(self, error: BaseException) -> None:
        self.failed += 1
        self._on_error(error)


class Listeners(Forkable):
    """All who are told what happens to one controller or one monitor.

    A sink with a true attribute `inline` is called at once, by whoever causes the event: those
    in `canario.sinks` do no more there than put it into a queue, a log or a list. Any other
    callable may do anything, so it is called `Beside`. What a sink raises goes to `on_error` and
    harms nobody else.

    Everybody hears everything in the order of `queue`, even if a sink itself causes the next
    event, or two threads cause events at once: then one of them tells both.

    Args:
        sinks: Whom to tell.
        deployment: The rollout that the events belong to; a sink that has a method
            `for_deployment` is asked by it for a callable that knows this.
        first: Told before everybody else, on the spot.
        on_error: Called with what a sink raises; by default it is logged.
        on_drop: Called when a sink has no room.
        telemetry: Whether OpenTelemetry's global logger provider is told, too.

    Attributes:
        sinks: Those given, or the `Beside` that calls them.

    Raises:
        TypeError: When `sinks` holds what cannot be called, or is a sink itself.
    """

    def __init__(
        self,
        sinks: Iterable[AnySink] = (),
        *,
        deployment: Deployment | None = None,
        first: AnySink | None = None,
        on_error: Callable[[BaseException], object] | None = None,
        on_drop: Callable[[], object] | None = None,
        telemetry: bool = True,
    ) -> None:
        self._on_error = on_error or _log
        self._begin()
        renew_in_child(self)
        own: list[AnySink] = [] if first is None else [first]
        if telemetry:
            own.append(_knowing(OpenTelemetryEvents(), deployment))
        beside = partial(Beside, on_error=self._on_error, on_drop=on_drop)
        given = _checked(sinks)
        arranged = [_arranged(sink, deployment, beside) for sink in given]
        self._sinks = own + arranged
        self.sinks = tuple(
            mine if isinstance(mine, Beside) else sink
            for sink, mine in zip(given, arranged, strict=True)
        )

    def after_fork_in_child(self) -> None:
        # Another thread may have been telling, which has stayed behind in the parent.
        self._begin()

    def _begin(self) -> None:
        self._outbox: deque[tuple[Event | Alert, Context]] = deque()
        self._telling = Lock()

    def queue(self, told: Iterable[Event | Alert]) -> None:
        """Have everybody told at the next `flush`, in the context of now: a span, a request.

        Called with the lock held that orders what is told; it takes none.
        """
        context = copy_context()
        self._outbox.extend((each, context) for each in told)

    def flush(self) -> None:
        """Tell everybody what is queued, unless another call does so just now and will go on.

        Never raises, and waits for no sink that is not inline.
        """
        # Looked at again after each release: who queued in between found the lock taken, and went.
        while self._outbox and self._telling.acquire(blocking=False):
            try:
                while self._outbox:
                    told, context = self._outbox.popleft()
                    context.run(self._tell, told)
            finally:
                self._telling.release()

    def tell(self, told: Event | Alert) -> None:
        """`queue` and `flush` of one."""
        self.queue([told])
        self.flush()

    def drain(self, timeout: float | None = None) -> bool:
        """Wait until the sinks beside have been told all; False when `timeout` was too short."""
        return self._each("drain", timeout)

    def close(self, timeout: float | None = None) -> bool:
        """Tell the sinks beside what still waits, and no more; the sinks themselves stay open."""
        return self._each("close", timeout)

    def _tell(self, told: Event | Alert) -> None:
        for sink in self._sinks:
            try:
                sink(told)
            except BaseException as error:
                pass_on(error)
                self._on_error(error)

    def _each(self, method: str, timeout: float | None) -> bool:
        began = time.monotonic()
        done = True
        for sink in self._sinks:
            if isinstance(sink, Beside):
                left = None if timeout is None else max(0.0, began + timeout - time.monotonic())
                # The call comes first: each has its turn, also after one that was too slow.
                done = getattr(sink, method)(left) and done
        return done


def _checked(sinks: Iterable[AnySink]) -> tuple[AnySink, ...]:
    if not isinstance(sinks, Iterable):
        raise TypeError(f"sinks is {sinks!r}; it must be a list of callables, such as [print]")
    given = tuple(sinks)
    for sink in given:
        if not (callable(sink) or hasattr(sink, "for_deployment")):
            raise TypeError(f"sinks holds {sink!r}; a sink is called with each event")
    return given


def _arranged(
    sink: AnySink, deployment: Deployment | None, beside: Callable[[AnySink], Beside]
) -> AnySink:
    knowing = _knowing(sink, deployment)
    return knowing if getattr(sink, "inline", False) else beside(knowing)


def _knowing(sink: AnySink, deployment: Deployment | None) -> AnySink:
    bind: Callable[[Deployment], AnySink] | None = getattr(sink, "for_deployment", None)
    return sink if bind is None or deployment is None else bind(deployment)


def _log(error: BaseException) -> None:
    logger.error("a sink failed; the others are told all the same", exc_info=error)
