"""One HTTP POST, tried again with patience: the part of a webhook that touches the network."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from canario.host.fork import Forkable, renew_in_child

if TYPE_CHECKING:
    import urllib3

__all__ = ["Poster", "Undeliverable", "backoff"]

logger = logging.getLogger("canario")

LONGEST_BACKOFF = 60.0

# A receiver may ask for more patience than the queue behind a message has.
LONGEST_RETRY_AFTER = 300.0

_TOO_MANY_REQUESTS = 429


class Undeliverable(Exception):  # noqa: N818 - it says what became of a message
    """A message that was given up. Its text names no secret, neither of the URL nor another."""


class _TryAgain(Exception):  # noqa: N818
    """An attempt that failed in a way that may pass; `after` is what the receiver asks for (s)."""

    def __init__(self, why: str, after: float | None = None) -> None:
        super().__init__(why)
        self.after = after


def backoff(attempt: int, first: float, draw: float) -> float:
    """Seconds to wait after the failed attempt `attempt` (from 0): exponential, with jitter.

    The half of it is certain and the other drawn, `draw` being in [0, 1): so that many senders
    do not come back at once, and none at once.
    """
    # Long before 60 it is the longest, and 2.0 to the power of 1024 would be no float.
    whole = min(first * 2.0 ** min(attempt, 60), LONGEST_BACKOFF)
    return whole / 2 + draw * whole / 2


class Poster(Forkable):
    """Posts JSON to one address until it is taken, given up, or `stop` is set.

    Connection errors, 429 and 5xx are tried again, not before the instant that `Retry-After`
    names; anything else that is not 2xx is final, and a redirect is not followed: the receiver
    was named by the user. TLS certificates are verified.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float,
        attempts: int,
        backoff_seconds: float,
        pool: urllib3.PoolManager | None,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(
                f"url has the scheme {parts.scheme!r} and the host {parts.hostname!r}; it must be "
                "a whole http or https address"
            )
        if attempts < 1:
            raise ValueError(f"attempts is {attempts!r}; it must be 1 or more")
        for name, seconds in (("timeout", timeout), ("backoff_seconds", backoff_seconds)):
            if not seconds > 0:
                raise ValueError(f"{name} is {seconds!r}; it must be more than 0 seconds")
        try:
            import urllib3
        except ImportError:
            raise ImportError(
                "webhooks need urllib3; install it with: pip install 'canario[webhook]'"
            ) from None
        self._url = url
        self._timeout = urllib3.Timeout(total=timeout)
        self._attempts = attempts
        self._backoff_seconds = backoff_seconds
        self._own_pool = pool is None
        self._pool = pool or _pool()
        self.stop = threading.Event()
        renew_in_child(self)
        # All of the URL that may be shown: a path or a user part often is a secret.
        port = "" if parts.port is None else f":{parts.port}"
        self.address = f"{parts.scheme}://{parts.hostname}{port}"

    def post(self, body: bytes, headers: Callable[[], Mapping[str, str]]) -> None:
        """Deliver `body`; `headers` is asked anew for each attempt. Raises `Undeliverable`."""
        for attempt in range(self._attempts):
            try:
                self._try(body, headers())
            except _TryAgain as failure:
                why = f"{self.address}: {failure}"
                if attempt + 1 == self._attempts:
                    raise Undeliverable(f"{why}; {self._attempts} attempts were made") from None
                wait = backoff(attempt, self._backoff_seconds, random.random())
                if failure.after is not None:
                    wait = max(wait, failure.after)
                if wait > LONGEST_RETRY_AFTER:
                    raise Undeliverable(f"{why}, which is too long to wait") from None
                if self.stop.wait(wait):
                    raise Undeliverable(f"{why}; no time was left to try again") from None
            else:
                return

    def after_fork_in_child(self) -> None:
        """Leave the parent's connections to it: two on one would hear each other's answers."""
        self.stop = threading.Event()
        if self._own_pool:
            self._pool = _pool()

    def _try(self, body: bytes, headers: Mapping[str, str]) -> None:
        import urllib3

        try:
            response = self._pool.request(
                "POST",
                self._url,
                body=body,
                headers=headers,
                timeout=self._timeout,
                retries=False,
                redirect=False,
                preload_content=False,  # so that an answer without end keeps nobody
            )
        # From None, here and below: a cause is logged with its text, and that may hold the URL.
        except (urllib3.exceptions.SSLError, urllib3.exceptions.LocationValueError) as error:
            raise Undeliverable(f"{self.address}: {_named(error)}") from None
        except urllib3.exceptions.HTTPError as error:
            raise _TryAgain(_named(error)) from None
        status, after = response.status, response.headers.get("retry-after")
        response.close()
        if 200 <= status < 300:
            return
        if status == _TOO_MANY_REQUESTS or status >= 500:
            seconds = _seconds(after)
            asked = "" if seconds is None else f", asking for {seconds:g} s of patience"
            raise _TryAgain(f"it answered {status}{asked}", seconds)
        raise Undeliverable(f"{self.address}: it answered {status}, which is final")


def _pool() -> urllib3.PoolManager:
    import urllib3

    return urllib3.PoolManager(cert_reqs="CERT_REQUIRED")


def _named(error: Exception) -> str:
    """The kind of an error. Its text may hold the URL, and that a secret."""
    return type(error).__name__


def _seconds(retry_after: str | None) -> float | None:
    """What `Retry-After` asks for: a number of seconds, or the time until a date."""
    if retry_after is None:
        return None
    import urllib3

    try:
        return max(0.0, float(urllib3.Retry().parse_retry_after(retry_after)))
    except urllib3.exceptions.InvalidHeader:
        return None
