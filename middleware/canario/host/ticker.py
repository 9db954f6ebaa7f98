"""A thread that looks after something from time to time, for as long as it is there."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from weakref import WeakMethod

from .background import start_thread

__all__ = ["LONGEST_SECONDS", "Pulse", "Ticker"]

logger = logging.getLogger("canario")

# Orders and other threads may change what is due, so it looks at least so often.
LONGEST_SECONDS = 1.0

# Clocks may stand still or be coarse: neither may make it spin.
SHORTEST_SECONDS = 0.02

Look = Callable[[], "float | None"]


class Ticker:
    """Calls a method again and again on a daemon thread of its own.

    Nothing runs before `start`, so a server may fork meanwhile. The thread keeps nobody alive: it
    ends at `stop`, when the method returns None, or at the next look at an object that is garbage.

    Args:
        look: A bound method that returns the seconds until it is to be called again, or None.
    """

    def __init__(self, look: Look) -> None:
        self._ended = threading.Event()
        # No callback wakes the thread: the collector, or the interpreter at its end, would run it
        # in the midst of anything, and it takes a lock that may be held, by a dead thread too.
        self._look = WeakMethod(look)
        self._thread: threading.Thread | None = None

    def start(self) -> bool:
        """Have it look from now on. False where no thread can be had."""
        thread = self._thread
        if thread is not None and thread.is_alive():  # in a forked child it is not
            return True
        self._ended = threading.Event()  # the last one's lock may be a parent's
        self._thread = start_thread("canario-ticker", _run, self._look, self._ended)
        return self._thread is not None

    def stop(self) -> None:
        """Look no more."""
        self._ended.set()


class Pulse:
    """Under gevent, where all else is a greenlet: a thread of the system's that calls a method
    about once a second, whatever a greenlet waits for in C.

    Elsewhere nothing: any thread is one of the system's, and the ticker's is enough.

    Args:
        beat: A bound method; it must take no lock, since what gevent makes of one is for greenlets.
    """

    def __init__(self, beat: Callable[[], object]) -> None:
        self._beat = WeakMethod(beat)

    def start(self) -> None:
        """Have it beat from now on, for as long as the method's object is there."""
        monkey = sys.modules.get("gevent.monkey")
        if monkey is None or not monkey.is_module_patched("threading"):
            return
        with suppress(RuntimeError):  # the host allows no more threads
            monkey.get_original("_thread", "start_new_thread")(
                _beat, (self._beat, monkey.get_original("time", "sleep"))
            )


def _beat(beat: WeakMethod[Callable[[], object]], sleep: Callable[[float], object]) -> None:
    while True:
        method = beat()
        if method is None or method() is False:
            return
        del method
        sleep(LONGEST_SECONDS)


def _run(look: WeakMethod[Look], ended: threading.Event) -> None:
    told = False
    while True:
        method = look()
        if method is None:
            return
        seconds: float | None = LONGEST_SECONDS
        try:
            seconds = method()
        except BaseException:
            if not told:
                logger.exception("%r failed; it is tried again", method)
            told = True
        del method  # nothing is kept alive while it waits
        if seconds is None:
            return
        if ended.wait(min(max(seconds, SHORTEST_SECONDS), LONGEST_SECONDS)):
            return
