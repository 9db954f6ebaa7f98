"""A sink that posts JSON to an address, signed, in the background."""

from __future__ import annotations

import logging
import os
import time
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from msgspec import json

from canario._version import __version__
from canario.alerts.alert import Alert
from canario.config import ConfigError
from canario.control.events import Event
from canario.host.background import BackgroundQueue
from canario.plan import Deployment

from .delivery import Poster, Undeliverable
from .message import Message, Sink, message_of
from .signing import ID, SIGNATURE, TIMESTAMP, key_of, signed_headers

if TYPE_CHECKING:
    import urllib3

__all__ = ["WebhookSink", "webhook_payload"]

logger = logging.getLogger("canario")

_OURS = frozenset({ID, TIMESTAMP, SIGNATURE, "content-type", "content-length", "host"})


class _Item(NamedTuple):
    message_id: str
    told: Event | Alert
    deployment: Deployment | None


class WebhookSink:
    """Posts each event and alert as JSON, signed as Standard Webhooks 1.0 says.

    It never blocks: a thread of its own sends one after the other, and at most `capacity` wait.
    Connection errors, 429 and 5xx are tried again, with the same `webhook-id`; see `Poster`.
    `delivered`, `failed` (given up) and `dropped` (no room) count what became of them.

    Args:
        url: Where to post, http or https. Only its host is ever shown.
        secret: Signs id, time and body; see `verify_webhook`. Unsigned without one.
        secret_env: Environment variable that holds the secret, instead.
        timeout: Seconds that one attempt may take.
        attempts: How often one message is tried.
        backoff_seconds: The wait after the first failure; it doubles each time, up to 60 s.
        capacity: How many may wait.
        headers: More headers, such as `Authorization`.
        exit_seconds: How long the end of the process waits for what still waits.
        pool: A `urllib3.PoolManager` or `ProxyManager` of your own, for a proxy or a private CA.
        environ: Where `secret_env` is read from; `os.environ` by default.

    Raises:
        ConfigError: When `secret_env` names a variable that is not set.
        ImportError: When urllib3 is missing; it is in the extra `webhook`.
        ValueError: When an argument is not valid.
    """

    inline = True  # a call only puts into the queue

    def __init__(
        self,
        url: str,
        *,
        secret: str | bytes | None = None,
        secret_env: str | None = None,
        timeout: float = 10.0,
        attempts: int = 6,
        backoff_seconds: float = 1.0,
        capacity: int = 256,
        headers: Mapping[str, str] | None = None,
        exit_seconds: float = 5.0,
        pool: urllib3.PoolManager | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._key = _key(secret, secret_env, os.environ if environ is None else environ)
        self._headers = _checked(headers or {})
        self._poster = Poster(
            url, timeout=timeout, attempts=attempts, backoff_seconds=backoff_seconds, pool=pool
        )
        self._queue: BackgroundQueue[_Item] = BackgroundQueue(
            self._deliver,
            name="canario-webhook",
            capacity=capacity,
            exit_seconds=exit_seconds,
            on_error=self._fail,
        )
        self.delivered = 0
        self.failed = 0
        self._said_full = False

    def __call__(self, told: Event | Alert, deployment: Deployment | None = None) -> None:
        if self._queue.submit(_Item(f"msg_{uuid.uuid4().hex}", told, deployment)):
            self._said_full = False
        elif not self._said_full:
            self._said_full = True
            logger.warning("%r has no room for more; what comes now is dropped", self)

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} {self._poster.address} delivered={self.delivered} "
            f"failed={self.failed} dropped={self.dropped}>"
        )

    @property
    def dropped(self) -> int:
        """How much found no room."""
        return self._queue.dropped

    def for_deployment(self, deployment: Deployment) -> Sink:
        """The sink for one rollout's events."""
        return partial(self, deployment=deployment)

    def payload(self, message: Message) -> object:
        """What is posted, before it is made JSON."""
        return webhook_payload(message)

    def drain(self, timeout: float | None = None) -> bool:
        """Wait until all was delivered or given up; False when `timeout` (s) was too short."""
        return self._queue.drain(timeout)

    def close(self, timeout: float | None = 5.0) -> bool:
        """Take nothing more, deliver what waits, and give up the rest after `timeout` (s)."""
        done = self._queue.close(timeout)
        self._poster.stop.set()
        return done

    def _deliver(self, item: _Item) -> None:
        body = json.encode(self.payload(message_of(item.told, item.deployment)))
        headers = {
            "content-type": "application/json",
            "user-agent": f"canario/{__version__}",
            **self._headers,
        }

        def stamped() -> Mapping[str, str]:
            return headers | signed_headers(self._key, item.message_id, time.time(), body)

        self._poster.post(body, stamped)
        self.delivered += 1

    def _fail(self, error: BaseException) -> None:
        self.failed += 1
        if isinstance(error, Undeliverable):
            logger.warning("%s gives a message up: %s", type(self).__name__, error)
        else:
            # Its text may hold what the message holds.
            kind = type(error).__name__
            logger.error("%s failed to make or send a message: %s", type(self).__name__, kind)


def webhook_payload(message: Message) -> dict[str, object]:
    """The JSON of a message: `type`, `timestamp` (ISO 8601, UTC) and `data`."""
    kind = "alert" if isinstance(message.told, Alert) else "event"
    return {
        "type": message.name,
        "timestamp": datetime.fromtimestamp(message.at, UTC).isoformat(),
        "data": {
            "deployment_id": message.deployment_id,
            "severity": message.level,
            "message": message.text,
            kind: message.told,
        },
    }


def _key(
    secret: str | bytes | None, secret_env: str | None, environ: Mapping[str, str]
) -> bytes | None:
    if secret is not None and secret_env is not None:
        raise ValueError("both secret and secret_env are given; give one of them")
    if secret_env is not None:
        secret = environ.get(secret_env, "")
        if not secret:
            raise ConfigError(secret_env, "", "is empty or not set; secret_env names it")
    return None if secret is None else key_of(secret)


def _checked(headers: Mapping[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        if name.lower() in _OURS:
            raise ValueError(f"headers has {name!r}, which the sink itself sets")
        if any(c in "\r\n\0" for c in name + value):
            raise ValueError(f"headers has a line break in {name!r}")
    return {name.lower(): value for name, value in headers.items()}
