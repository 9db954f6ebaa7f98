"""Which arm a request goes to, and why: by a claim, by its key, by a cookie that it is given."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import Any

from canario.config import ConfigError
from canario.controller import CanaryDeploymentController
from canario.exchange import Exchange
from canario.routing.bucket import BUCKETS, MAX_KEY_BYTES, InvalidKeyError, key_bytes
from canario.routing.forced import ClaimRefusedError, ForcedArmReader
from canario.routing.keys import Carrier, KeySource, cookie_value, header_of, key_source

from .options import KeyFunction

__all__ = ["Chooser"]

# By its number: to look for bytes, an index is tried first, which takes ten times as long.
_COMMA = ord(",")

# So many requests are looked at before a release to nobody is warned of.
_FIRST_KEYS = 50

# A year: an anonymous user should stay in one bucket for as long as releases go on.
_COOKIE_SECONDS = 365 * 24 * 3600


class Chooser:
    """Chooses the arm of each request, for one controller.

    Args:
        controller: Decides the share; counts the requests that have no key.
        key: See `Gate`.
        forced: Reads the claims of requests that name their arm themselves; None for none.
        asks_both: Whether both versions are to answer a preflight without a key.
        keeps_keys: Whether a request's key is wanted later, for a span or a tape.
        fault: Called with what `key` raises.

    Raises:
        ConfigError: When `key` is no function.
    """

    def __init__(
        self,
        controller: CanaryDeploymentController,
        key: KeyFunction | None,
        forced: ForcedArmReader | None,
        *,
        asks_both: bool,
        keeps_keys: bool,
        fault: Callable[[str, BaseException], object],
    ) -> None:
        routing = controller.deployment.routing
        self.anonymous = routing.anonymous_cookie
        self._controller = controller
        self._forced = forced
        self._asks_both = asks_both
        self._keeps_keys = keeps_keys
        self._fault = fault
        self._sources = [key_source(spec) for spec in routing.key_sources]
        self._asked = routing.key_sources
        if key is not None:
            self._sources.insert(0, self._function_source(key))
            self._asked = ("key=", *self._asked)
        # The header whose value decides, where it is there and nothing is asked before it.
        self._header: bytes | None = None
        if key is None and forced is None and self._asked[:1]:
            self._header = header_of(self._asked[0])
        self._keys_seen: list[bool] | None = []  # until they were looked at
        self._keys_refused: list[str] = []  # why, of those

    def choose(self, exchange: Exchange, carrier: Carrier, secure: bool) -> None:
        """Set the arm of a request, and the reason. `secure`: whether it came over TLS."""
        controller = self._controller
        if self._header is not None:
            key = carrier.only(self._header)
            if key is not None and 0 < len(key) <= MAX_KEY_BYTES and _COMMA not in key:
                if self._keys_seen is None and not self._keeps_keys:
                    exchange.arm = controller.router.arm_of(key)
                    exchange.reason = "split"
                else:
                    self._split(exchange, key)
                return
        if self._forced is not None:
            try:
                forced = self._forced.read(carrier, exchange.started_at)
            except ClaimRefusedError:
                controller.notices.count("force_refused")
            else:
                if forced is not None:
                    controller.notices.count("forced")
                    exchange.arm = forced
                    exchange.reason = "targeting_match"
                    return
        try:
            key = self.key_of(carrier)
        except InvalidKeyError as error:
            self._without_key("refused_key", exchange, error)
            exchange.reason = "error"
            return
        if key is None and exchange.preflight is not None:
            self._route_preflight(exchange)
            return
        if key is None and self.anonymous is not None:
            key = self._name_anonymous(exchange, self.anonymous, secure)
        if key is None:
            self._without_key("no_key", exchange)
            exchange.reason = "default"
            return
        self._split(exchange, key)

    def _split(self, exchange: Exchange, key: bytes) -> None:
        if self._keys_seen is not None and exchange.timed:
            self._see_key(True)
        exchange.arm = self._controller.router.arm_of(key)
        exchange.reason = "split"
        if self._keeps_keys:
            exchange.key = key

    def _route_preflight(self, exchange: Exchange) -> None:
        """Choose for a preflight without a key: no cookie, since its browser would not keep it."""
        controller = self._controller
        controller.notices.count("preflight_no_key")
        exchange.reason = "default"
        if self._asks_both:
            exchange.asks_both = True
            # By lot: counted for the canary as often as its users come, whoever answers.
            if secrets.randbelow(BUCKETS) < controller.router.weight:
                exchange.arm = "canary"
        else:
            controller.notices.warn(
                "CORS preflights have no key, so the baseline answers those of the canary's users, "
                'too; preflight="both" has both versions asked, and a key source that is in the '
                "URL (path:, query:) or client sends them where the request will go"
            )

    def key_of(self, carrier: Carrier) -> bytes | None:
        """The request's key; None where it has none. Raises `InvalidKeyError`."""
        for source in self._sources:
            key = source(carrier)
            if key is not None:
                return key
        if self.anonymous is not None:
            value = cookie_value(carrier, self.anonymous.encode("latin-1"))
            return key_bytes(value) if value else None
        return None

    def _function_source(self, function: Any) -> KeySource:
        if not callable(function) or iscoroutinefunction(function):
            problem = f"is {function!r}; it must be a function that returns text, bytes or None"
            raise ConfigError("middleware", "key", problem)

        def find(carrier: Carrier) -> bytes | None:
            try:
                key = function(carrier.request())
                if key is not None and not isinstance(key, str | bytes):
                    raise TypeError(f"key= returned {key!r}; it must be text, bytes or None")
            except BaseException as error:
                self._fault("asking key= for a key", error)
                raise _KeyFailedError(f"key= failed: {type(error).__name__}: {error}") from error
            return None if key is None else key_bytes(key)

        return find

    def _without_key(
        self, what: str, exchange: Exchange, refused: InvalidKeyError | None = None
    ) -> None:
        asked = self._asked
        if isinstance(refused, _KeyFailedError):  # no other source was asked after it
            asked = (f"key=, which failed: {type(refused.__cause__).__name__}",)
        self._controller.count_without_key(what, asked)
        if self._keys_seen is not None and exchange.timed:
            self._see_key(False, refused)

    def _see_key(self, found: bool, refused: InvalidKeyError | None = None) -> None:
        """Warn early of a release that reaches nobody. Health checks and the like need no key."""
        seen = self._keys_seen
        if seen is None:  # another thread has just seen the last of them
            return
        if refused is not None:
            self._keys_refused.append(str(refused))
        seen.append(found)
        if len(seen) < _FIRST_KEYS:
            return
        self._keys_seen = None
        without = seen.count(False)
        # Some without a key are as usual; with nearly all of them the release is in vain.
        if without <= 0.9 * len(seen):
            return
        said = (
            f"{without} of the first {len(seen)} requests had no key, so the baseline served "
            "them and the canary will see hardly anybody"
        )
        if self._keys_refused:
            said += (
                f"; what {len(self._keys_refused)} of them gave for one was refused, at first "
                f"since {self._keys_refused[0]}"
            )
        if len(self._keys_refused) < without:
            otherwise = (
                "have key= give one" if "key=" in self._asked else "give the middleware key="
            )
            said += (
                f"; asked was {', '.join(self._asked) or 'nothing'}. Name a source that these "
                "requests have in routing.key_sources (header:NAME, cookie:NAME, user, client, "
                f"client:N, query:NAME, path:/plans/{{id}}), set routing.anonymous_cookie, or "
                f"{otherwise}"
            )
        self._controller.notices.warn(said)

    def _name_anonymous(self, exchange: Exchange, name: str, secure: bool) -> bytes:
        """Give the user a random key to come back with: it carries the bucket of every release."""
        outer = exchange.outer
        while outer is not None:  # a release around this one may have given one under that name
            if outer.given is not None and outer.given[0] == name:
                exchange.given = outer.given
                return outer.given[1]
            outer = outer.outer
        key = secrets.token_urlsafe(16)
        exchange.given = name, key.encode()
        exchange.set_cookie = (
            f"{name}={key}; Path=/; Max-Age={_COOKIE_SECONDS}; HttpOnly; SameSite=Lax"
            + ("; Secure" if secure else "")
        )
        return key.encode()


class _KeyFailedError(InvalidKeyError):
    """What the host's own function raised, or it gave what can be no key."""
