"""A sink for Slack's incoming webhooks, and for what takes the same payload."""

from __future__ import annotations

from typing import Any

from canario.alerts.alert import Alert, AlertState
from canario.control.words import seconds_in_words
from canario.printable import printable_lines

from .message import Level, Message
from .webhook import WebhookSink

__all__ = ["SlackSink", "slack_payload"]

# Block Kit's limits, in characters of the text as it is sent.
HEADER, SECTION, FIELD, FALLBACK = 150, 3000, 2000, 3000

_SIGNS = {Level.INFO: "INFO", Level.WARNING: "WARNING", Level.CRITICAL: "CRITICAL"}

_ESCAPED = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


class SlackSink(WebhookSink):
    """Posts each event and alert as a Slack message. Its arguments are those of `WebhookSink`.

    The URL of an incoming webhook is itself the secret; it is never shown.
    """

    def payload(self, message: Message) -> object:
        return slack_payload(message)


def slack_payload(message: Message) -> dict[str, Any]:
    """Blocks within Block Kit's limits, and a plain text for notifications."""
    title = f"{_SIGNS[message.level]} {message.name.removeprefix('canario.')}"
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": {"type": "plain_text", "text": escape(title, HEADER)}},
        {"type": "section", "text": _mrkdwn(message.text, SECTION)},
    ]
    if isinstance(message.told, Alert):
        blocks.append({"type": "section", "fields": _fields(message.told)})
        if message.told.state is AlertState.FIRING:
            blocks.append({"type": "section", "text": _mrkdwn(_steps(message.told), SECTION)})
    return {"text": escape(f"{title}: {message.text}", FALLBACK), "blocks": blocks}


def escape(text: str, limit: int) -> str:
    """Escape what Slack would obey, in at most `limit` characters that end in no half an escape."""
    pieces = [_ESCAPED.get(character, character) for character in printable_lines(text)]
    if sum(map(len, pieces)) <= limit:
        return "".join(pieces)
    room, kept = limit - 1, []
    for piece in pieces:
        room -= len(piece)
        if room < 0:
            break
        kept.append(piece)
    return "".join(kept) + "…"


def _mrkdwn(text: str, limit: int) -> dict[str, Any]:
    # Verbatim, lest a path or an @ in an app's text becomes a link or wakes somebody.
    return {"type": "mrkdwn", "text": escape(text, limit), "verbatim": True}


def _fields(alert: Alert) -> list[dict[str, Any]]:
    shown = {
        "flow": alert.flow_name,
        "observed": "no data" if alert.observed is None else f"{alert.observed:.6g} {alert.unit}",
        "limit": f"{alert.limit:.6g} {alert.unit}",
        "samples": str(alert.samples),
        "alert": alert.alert_id,
    }
    if alert.trace_id:
        shown["trace"] = alert.trace_id
    if alert.fired_at is not None and alert.resolved_at is not None:
        shown["fired for"] = seconds_in_words(alert.resolved_at - alert.fired_at)
    return [_mrkdwn(f"{name}: {value}", FIELD) for name, value in shown.items()]


def _steps(alert: Alert) -> str:
    return "\n".join(f"{number}. {step}" for number, step in enumerate(alert.look_at, start=1))
