"""Test doubles for apps that embed canario: part of the public API."""

from __future__ import annotations

from .alerts.alert import Alert
from .clock import ManualClock
from .control.events import Event

__all__ = ["CapturingSink", "ManualClock"]


class CapturingSink:
    """A sink that keeps what it is told, in order, in `events` and in `alerts`, at once."""

    inline = True

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.alerts: list[Alert] = []

    def __call__(self, told: Event | Alert) -> None:
        if isinstance(told, Alert):
            self.alerts.append(told)
        else:
            self.events.append(told)

    def __repr__(self) -> str:
        return f"<CapturingSink {len(self.events)} events, {len(self.alerts)} alerts>"
