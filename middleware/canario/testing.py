"""Test doubles for apps that embed canario: part of the public API."""

from __future__ import annotations

from .clock import ManualClock
from .control.events import Event

__all__ = ["CapturingSink", "ManualClock"]


class CapturingSink:
    """A sink that keeps the events it is given, in order, in `events`."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    def __repr__(self) -> str:
        return f"<CapturingSink {len(self.events)} events>"
