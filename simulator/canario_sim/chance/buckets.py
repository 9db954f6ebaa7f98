"""The buckets of requests: those of their keys, and none for a request that has no key."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from canario.routing.bucket import BUCKETS
from canario.routing.router import TrafficRouter
from canario_sim.streams import Ints, Numbers

from .requests import Requests

__all__ = ["Buckets"]

# Buckets of so many keys are kept: thousands of replications route the same users.
_FEW = 100_000


class Buckets:
    """Who goes to the canary: requests whose bucket lies below the router's weight.

    Args:
        router: Puts the keys in buckets.
        keys: The keys by number, as in `Requests.key`.
        routes: The routes by number.
        keyless: Those whose requests have no key, and so go to the baseline at any share.
    """

    def __init__(
        self,
        router: TrafficRouter,
        keys: Sequence[str],
        routes: Sequence[str] = (),
        keyless: Sequence[str] = (),
    ) -> None:
        self._by_key = _by_key(router, keys)
        self._keyless = np.isin(routes, keyless) if keyless else None
        # The middleware counts preflights apart, and no held stage is told of them.
        named = [name in keyless and not name.startswith("OPTIONS ") for name in routes]
        self._told_of = np.array(named, np.bool_) if any(named) else None

    def __len__(self) -> int:
        return len(self._by_key)

    def of(self, requests: Requests) -> Ints:
        """The bucket of each request; `BUCKETS`, which no share reaches, without a key."""
        found: Ints = self._by_key[requests.key]
        if self._keyless is not None:
            found[self._keyless[requests.route]] = BUCKETS
        return found

    @property
    def tells(self) -> bool:
        """Whether there are requests without a key of which a held stage is told."""
        return self._told_of is not None

    def unrouted(self, routes: Numbers) -> Ints:
        """The places of those requests, by the routes of all of them."""
        return _NONE if self._told_of is None else np.flatnonzero(self._told_of[routes])


_NONE: Ints = np.empty(0, np.int64)


def _by_key(router: TrafficRouter, keys: Sequence[str]) -> Ints:
    if len(keys) > _FEW:
        return np.fromiter(map(router.bucket, keys), np.int64, len(keys))
    return _few_buckets(router.salt, tuple(keys))


@lru_cache(maxsize=4)
def _few_buckets(salt: str, keys: tuple[str, ...]) -> Ints:
    buckets = np.fromiter(map(TrafficRouter(salt).bucket, keys), np.int64, len(keys))
    # It is shared by whoever asks again.
    buckets.flags.writeable = False
    return buckets
