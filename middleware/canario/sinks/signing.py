"""Signatures of webhooks, as Standard Webhooks 1.0 has them, and how a receiver verifies them."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Mapping

__all__ = ["WebhookRefusedError", "key_of", "signed_headers", "verify_webhook"]

ID, TIMESTAMP, SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"

_PREFIX = "whsec_"


class WebhookRefusedError(ValueError):
    """A webhook that was not signed with the secret, or too long ago."""


def key_of(secret: str | bytes) -> bytes:
    """The key that a secret stands for: after `whsec_` it is base64, else the text itself."""
    if isinstance(secret, str) and secret.startswith(_PREFIX):
        try:
            key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
        except binascii.Error:
            raise ValueError(f"the secret begins with {_PREFIX}, but is not base64") from None
    else:
        key = secret.encode() if isinstance(secret, str) else bytes(secret)
    if not key:
        raise ValueError("the secret is empty; it must be a text of some length")
    return key


def signed_headers(key: bytes | None, message_id: str, now: float, body: bytes) -> dict[str, str]:
    """The headers that name a message, and sign its id, the instant and the body."""
    timestamp = str(int(now))
    headers = {ID: message_id, TIMESTAMP: timestamp}
    if key is not None:
        headers[SIGNATURE] = f"v1,{_signature(key, message_id, timestamp, body)}"
    return headers


def verify_webhook(
    secret: str | bytes,
    headers: Mapping[str, str],
    body: bytes,
    now: float | None = None,
    *,
    tolerance_seconds: float = 300.0,
) -> str:
    """Make sure that a webhook is genuine and recent; returns its id.

    A message is sent again, with the same id, when its answer was lost: whoever acts on it
    remembers the ids of the last `tolerance_seconds`, which refuses replays, too.

    Args:
        secret: What the sender signs with.
        headers: The request's; upper and lower case are alike.
        body: The body as it came, before any parsing.
        now: Seconds since the epoch; by default the present instant.
        tolerance_seconds: How far the sender's instant may be from `now`.

    Raises:
        WebhookRefusedError: When it is not to be trusted; it says why.
    """
    given = {name.lower(): value for name, value in headers.items()}
    missing = [name for name in (ID, TIMESTAMP, SIGNATURE) if not given.get(name)]
    if missing:
        raise WebhookRefusedError(f"the header {missing[0]} is missing")
    timestamp = given[TIMESTAMP]
    # Python calls other scripts' digits digits too, and takes long to read very many of them.
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) < 16):
        raise WebhookRefusedError(f"{TIMESTAMP} is {timestamp[:40]!r}, no number of seconds")
    at = time.time() if now is None else now
    if abs(at - int(timestamp)) > tolerance_seconds:
        raise WebhookRefusedError(f"it was signed more than {tolerance_seconds:g} s away from now")
    expected = f"v1,{_signature(key_of(secret), given[ID], timestamp, body)}".encode()
    # Several are given while a sender changes its secret.
    signatures = given[SIGNATURE].encode("utf-8", "surrogateescape").split(b" ")
    if not any(hmac.compare_digest(expected, each) for each in signatures):
        raise WebhookRefusedError("no signature is right for this body and this secret")
    return given[ID]


def _signature(key: bytes, message_id: str, timestamp: str, body: bytes) -> str:
    content = f"{message_id}.{timestamp}.".encode("utf-8", "surrogateescape") + body
    return base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
