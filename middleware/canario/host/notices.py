"""What an operator should know of one release: counters, and what is logged once."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from threading import RLock

from .fork import Forkable, renew_in_child

__all__ = ["Notices"]


class Notices(Forkable):
    """Counts, and logs each thing once: a warning that comes with every request is read by nobody.

    Args:
        name: The release, which each line begins with.
        log: Where it is logged.
    """

    def __init__(self, name: str, log: logging.Logger) -> None:
        self._name = name
        self._log = log
        self._counters: Counter[str] = Counter()
        self._told: set[str] = set()
        # Entered again by a signal handler of the thread that holds it.
        self._lock = RLock()
        renew_in_child(self)

    @property
    def counters(self) -> Mapping[str, int]:
        """A copy of all counters."""
        with self._lock:
            return dict(self._counters)

    def count(self, what: str, times: int = 1) -> None:
        """Add `times` to the counter `what`."""
        with self._lock:
            self._counters[what] += times

    def warn(self, what: str) -> None:
        """Log `what` once."""
        if self._first(what):
            self._log.warning("%s: %s", self._name, what)

    def fault(self, where: str, error: BaseException) -> None:
        """Count an error inside canario, and log it the first time that its kind appears."""
        kind = f"{where}: {type(error).__name__}"
        self.count("faults")
        if self._first(kind):
            self._log.error(
                "canario failed in %s; requests are served all the same", kind, exc_info=error
            )

    def _first(self, what: str) -> bool:
        with self._lock:
            first = what not in self._told
            self._told.add(what)
        return first

    def after_fork_in_child(self) -> None:
        self._lock = RLock()
