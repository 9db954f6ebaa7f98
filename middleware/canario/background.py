"""Work that is done beside the requests: one thread, a bounded queue, nothing in anyone's way."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["BackgroundQueue"]

T = TypeVar("T")

logger = logging.getLogger("canario")


class BackgroundQueue(Generic[T]):
    """Hands items to a function, one after the other, on a thread of its own.

    The thread starts with the first item, so that nothing runs before a server forks, and ends
    when there is nothing to do for a while. At most `capacity` items wait; `submit` never blocks.

    Args:
        handle: Called with each item. What it raises is logged, and the next item follows.
        name: Name of the thread.
        capacity: How many items may wait.
        idle_seconds: How long the thread waits for another item before it ends.
    """

    def __init__(
        self,
        handle: Callable[[T], object],
        *,
        name: str,
        capacity: int = 256,
        idle_seconds: float = 1.0,
    ) -> None:
        self._handle = handle
        self._name = name
        self._capacity = capacity
        self._idle_seconds = idle_seconds
        self._waiting: deque[T] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._busy = False
        self._dropped = 0

    @property
    def dropped(self) -> int:
        """How many items found no room."""
        return self._dropped

    def submit(self, item: T) -> bool:
        """Have an item handled soon. False, and counted, when too many wait."""
        with self._changed:
            if len(self._waiting) >= self._capacity:
                self._dropped += 1
                return False
            self._waiting.append(item)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
                self._thread.start()
            self._changed.notify_all()
            return True

    def drain(self, timeout: float | None = None) -> bool:
        """Wait until all that was submitted is done. False when `timeout` (s) was too short."""
        with self._changed:
            return self._changed.wait_for(lambda: not (self._waiting or self._busy), timeout)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                if not self._changed.wait_for(lambda: bool(self._waiting), self._idle_seconds):
                    self._thread = None
                    return
                item = self._waiting.popleft()
                self._busy = True
            try:
                self._handle(item)
            except Exception:
                logger.exception("%s failed; the next item follows", self._name)
