"""Who is told of rollouts and alerts: any callable, and those here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from canario.lazy import lazy

if TYPE_CHECKING:
    from .listeners import Beside, inline
    from .log import LogSink
    from .message import Level, Message, Sink, message_of
    from .otel import OpenTelemetryEvents
    from .signing import WebhookRefusedError, verify_webhook
    from .slack import SlackSink, slack_payload
    from .webhook import WebhookSink, webhook_payload

__all__ = [
    "Beside",
    "Level",
    "LogSink",
    "Message",
    "OpenTelemetryEvents",
    "Sink",
    "SlackSink",
    "WebhookRefusedError",
    "WebhookSink",
    "inline",
    "message_of",
    "slack_payload",
    "verify_webhook",
    "webhook_payload",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy(
        __name__,
        {
            "listeners": ("Beside", "inline"),
            "log": ("LogSink",),
            "message": ("Level", "Message", "Sink", "message_of"),
            "otel": ("OpenTelemetryEvents",),
            "signing": ("WebhookRefusedError", "verify_webhook"),
            "slack": ("SlackSink", "slack_payload"),
            "webhook": ("WebhookSink", "webhook_payload"),
        },
    )
