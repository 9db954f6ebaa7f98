"""Work that is done beside the requests: one thread, a bounded queue, nothing in anyone's way."""

from __future__ import annotations

import atexit
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar
from weakref import WeakSet

from .fork import Forkable, renew_in_child

__all__ = ["BackgroundQueue", "flush", "start_thread"]

T = TypeVar("T")

logger = logging.getLogger("canario")

_queues: WeakSet[BackgroundQueue[Any]] = WeakSet()


def start_thread(
    name: str, target: Callable[..., object], *args: object
) -> threading.Thread | None:
    """A daemon thread that calls `target`; None where there can be none: the interpreter ends, or
    the host allows no more of them."""
    thread = threading.Thread(target=target, args=args, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError:
        return None
    return thread


class BackgroundQueue(Forkable, Generic[T]):
    """Hands items to a function, one after the other, on a thread of its own.

    The thread starts with the first item, so that nothing runs before a server forks, and ends
    when there is nothing to do for a while. At most `capacity` items wait; `submit` never blocks.
    A forked child begins with an empty queue: what waits is the parent's.

    Args:
        handle: Called with each item.
        name: Name of the thread.
        capacity: How many items may wait.
        idle_seconds: How long the thread waits for another item before it ends.
        exit_seconds: How long the end of the process waits for what is still in the queue. The
            queues share this time; they do not wait one after the other.
        on_error: Called with what `handle` raises, before the next item; by default it is logged.
    """

    def __init__(
        self,
        handle: Callable[[T], object],
        *,
        name: str,
        capacity: int = 256,
        idle_seconds: float = 1.0,
        exit_seconds: float = 0.0,
        on_error: Callable[[BaseException], object] | None = None,
    ) -> None:
        if capacity < 1:
            raise ValueError(f"capacity is {capacity!r}; at least 1 item must find room")
        self._handle = handle
        self._name = name
        self._capacity = capacity
        self._idle_seconds = idle_seconds
        self.exit_seconds = exit_seconds
        self._on_error = on_error or self._log
        self._dropped = 0
        self._closed = False
        self._begin()
        _queues.add(self)
        renew_in_child(self)

    @property
    def dropped(self) -> int:
        """How many items found no room."""
        return self._dropped

    @property
    def waiting(self) -> int:
        """How many items wait for their turn."""
        return len(self._waiting)

    def submit(self, item: T) -> bool:
        """Have an item handled soon. False, and counted, when too many wait or it is closed."""
        with self._changed:
            if self._closed or len(self._waiting) >= self._capacity or not self._work_begins():
                self._dropped += 1
                return False
            self._waiting.append(item)
            self._changed.notify_all()
            return True

    def drain(self, timeout: float | None = None) -> bool:
        """Wait until all that was submitted is done. False when `timeout` (s) was too short."""
        with self._changed:
            return self._changed.wait_for(lambda: not (self._waiting or self._busy), timeout)

    def close(self, timeout: float | None = None) -> bool:
        """Take nothing more, and `drain`. What then still waits is dropped, and counted."""
        with self._changed:
            self._closed = True
        done = self.drain(timeout)
        with self._changed:
            self._dropped += len(self._waiting)
            self._waiting.clear()
        return done

    def after_fork_in_child(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._waiting: deque[T] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._busy = False

    def _work_begins(self) -> bool:
        if self._thread is not None and self._thread.is_alive():
            return True
        self._thread = start_thread(self._name, self._work)
        return self._thread is not None

    def _work(self) -> None:
        while True:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                if not self._changed.wait_for(lambda: bool(self._waiting), self._idle_seconds):
                    # Under the lock, so that an item that comes now starts another thread.
                    self._thread = None
                    return
                item = self._waiting.popleft()
                self._busy = True
            try:
                self._handle(item)
            except BaseException as error:  # a handler must not end the thread, however it tries
                self._on_error(error)

    def _log(self, error: BaseException) -> None:
        logger.error("%s failed; the next item follows", self._name, exc_info=error)


def flush() -> None:
    """Wait until every queue of the process is empty, each for its `exit_seconds` at most."""
    began = time.monotonic()
    for queue in list(_queues):
        queue.drain(max(0.0, began + queue.exit_seconds - time.monotonic()))


atexit.register(flush)
