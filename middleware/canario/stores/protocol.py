"""The seam: what a controller asks of whatever keeps its journal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from canario.control.events import Event
from canario.control.journal import Journal

__all__ = ["JournalStore", "MemoryJournal"]

Check = Callable[[Sequence[Event]], object]


class JournalStore(Protocol):
    """Keeps the events of one rollout, in order. Only `open`, `drain` and `close` may wait."""

    def open(self, check: Check) -> Journal:
        """Claim the journal, and read it. What `check` raises about its events lets go of it."""

    def append(self, events: Sequence[Event]) -> None:
        """Keep events. Never waits, never raises."""

    def watched(self, at: float) -> None:
        """Keep that somebody watched until `at`. Never waits, never raises."""

    def drain(self, timeout: float | None = None) -> bool:
        """Wait until all is kept; False when it cannot be, or not within `timeout` (s)."""

    def close(self, timeout: float | None = None) -> bool:
        """`drain`, and let go of it."""


class MemoryJournal:
    """A past that is handed over, and a present that is kept nowhere else: for replays.

    Args:
        events: What came before.
        watched: Until when it was watched; by default until the last of them.
    """

    def __init__(self, events: Sequence[Event], watched: float | None = None) -> None:
        self._past = Journal(tuple(events), 0, watched=watched)

    def open(self, check: Check) -> Journal:
        """The past."""
        check(self._past.events)
        return self._past

    def append(self, events: Sequence[Event]) -> None:
        """Nothing: whoever replays asks the controller."""

    def watched(self, at: float) -> None:
        """Nothing."""

    def drain(self, timeout: float | None = None) -> bool:  # noqa: ARG002 - nothing waits
        """True."""
        return True

    def close(self, timeout: float | None = None) -> bool:  # noqa: ARG002 - nothing waits
        """True."""
        return True
