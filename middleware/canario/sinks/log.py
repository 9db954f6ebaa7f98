"""A sink that writes to a log."""

from __future__ import annotations

import logging
from functools import partial

from canario.alerts.alert import Alert
from canario.control.events import Event
from canario.plan import Deployment

from .message import Level, Sink, message_of

__all__ = ["LogSink"]

_LEVELS = {
    Level.INFO: logging.INFO,
    Level.WARNING: logging.WARNING,
    Level.CRITICAL: logging.CRITICAL,
}


class LogSink:
    """Writes one line for each event and alert, at the level of its severity.

    A record has the event's name as `canario_event`. A controller logs its events by itself, so
    this is for the alerts of a monitor, or for another log.

    Args:
        log: The logger, or its name.
    """

    inline = True

    def __init__(self, log: logging.Logger | str = "canario.alerts") -> None:
        self._log = logging.getLogger(log) if isinstance(log, str) else log

    def __call__(self, told: Event | Alert, deployment: Deployment | None = None) -> None:
        message = message_of(told, deployment)
        extra = {"canario_event": message.name}
        self._log.log(_LEVELS[message.level], "%s", message.text, extra=extra)

    def __repr__(self) -> str:
        return f"LogSink({self._log.name!r})"

    def for_deployment(self, deployment: Deployment) -> Sink:
        """The sink for one rollout's events."""
        return partial(self, deployment=deployment)
