"""What is read of one line of a log, and how lines become recorded traffic."""

from __future__ import annotations

import os
import re
from array import array
from collections.abc import Collection, Iterable
from math import isnan, nan
from typing import Literal

import numpy as np
from msgspec import Struct

from canario.gate import HEALTH_PATHS
from canario.routing.bucket import MAX_KEY_BYTES, bucket_of
from canario.tape.writer import identity
from canario_sim.streams import Floats

from .recording import BAD, GOOD, NEUTRAL, Recording

__all__ = ["Collector", "Line", "LineError", "Stamp", "Unit", "outcome_of_status", "route_of"]

Unit = Literal["s", "ms", "us"]

# Which end of a request its log's instant tells.
Stamp = Literal["start", "end"]

SECONDS: dict[Unit, float] = {"s": 1.0, "ms": 1e-3, "us": 1e-6}

# Names of routes beyond so many are `other`, as on a tape of the middleware.
_ROUTES = 200
_OTHER = "other"

# A part of a path that names one thing: digits, a UUID, a long hexadecimal or random token.
_ONE_OF_MANY = re.compile(
    r"\d+|[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}|[0-9a-fA-F]{12,}|(?=.*\d)[A-Za-z0-9_-]{20,}"
)

_UNTIMED_METHODS = frozenset({"HEAD", "OPTIONS"})


class LineError(ValueError):
    """Why a line was left out."""


class Line(Struct):
    """One request as a log tells it.

    `at` is the instant that is logged, `took` the request's time in the log's unit, NaN where it
    was not timed.
    """

    at: float
    took: float
    outcome: int
    key: str | None = None
    route: str | None = None
    arm: int = -1


def outcome_of_status(status: int, errors: Collection[int]) -> int:
    """What a status says: as in the middleware, 5xx is bad and 4xx nothing, unless told so."""
    if status >= 500 or status in errors:
        return BAD
    return NEUTRAL if status >= 400 else GOOD


def route_of(path: str) -> str:
    """A template for a raw path: without its query, and with `{id}` for what names one thing."""
    plain = path.partition("?")[0].partition("#")[0]
    return "/".join("{id}" if _ONE_OF_MANY.fullmatch(part) else part for part in plain.split("/"))


def untimed(method: str, path: str) -> bool:
    """Whether a request does not do the work that a latency limit is about."""
    return method in _UNTIMED_METHODS or path.partition("?")[0] in HEALTH_PATHS


class Collector:
    """Gathers lines, column by column.

    Args:
        salt: Under which keys fall into buckets.
        secret: With what keys are hashed; a random one by default.
    """

    def __init__(self, salt: str, secret: bytes | None = None) -> None:
        self._salt = salt.encode()
        self._secret = secret or os.urandom(32)
        self._at, self._took = array("d"), array("d")
        self._outcome, self._arm = array("b"), array("b")
        self._key, self._route = array("q"), array("q")
        self._keys: dict[str, int] = {}
        self._routes: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._at)

    def add(self, line: Line) -> None:
        """Take one more line. Raises `LineError` for a key that cannot be routed."""
        key = -1
        if line.key:
            if len(line.key.encode("utf-8", "replace")) > MAX_KEY_BYTES:
                raise LineError(f"the key has more than {MAX_KEY_BYTES} bytes")
            key = self._keys.setdefault(line.key, len(self._keys))
        self._at.append(line.at)
        self._took.append(line.took)
        self._outcome.append(line.outcome)
        self._arm.append(line.arm)
        self._key.append(key)
        self._route.append(self._number(line.route))

    def recording(
        self, unit: Unit, stamp: Stamp, source: str, *, rounded: bool = False
    ) -> Recording:
        """All of it, in the order in which the requests ended.

        `rounded`: the instants were rounded down to whole seconds.
        """
        logged = np.array(self._at)
        if rounded:
            logged = _spread(logged)
        seconds = np.array(self._took) * SECONDS[unit]
        lasted = np.nan_to_num(seconds)
        at = logged - lasted if stamp == "end" else logged
        ended = logged if stamp == "end" else logged + lasted
        outcome = np.array(self._outcome, np.uint8)
        latency = np.where(outcome == NEUTRAL, nan, seconds * 1000)
        raw = [key.encode("utf-8", "replace") for key in self._keys]
        hashed = np.array([identity(self._secret, key) for key in raw], np.int64)
        identities, number = np.unique(hashed, return_inverse=True)
        buckets = np.array([*(bucket_of(self._salt, key) for key in raw), -1], np.int64)
        keys = np.array(self._key, np.int64)
        order = np.argsort(ended, kind="stable")
        return Recording(
            at=at,
            ended=ended,
            arm=np.array(self._arm, np.int8),
            outcome=outcome,
            latency_ms=latency,
            bucket=buckets[keys],
            key=np.append(number, -1)[keys],
            route=np.array(self._route, np.int64),
            routes=tuple(self._routes),
            identities=identities,
            source=source,
        ).taken(order)

    def took(self) -> Iterable[float]:
        """The requests' times as they are logged, without those that were not timed."""
        return (took for took in self._took if not isnan(took))

    def _number(self, route: str | None) -> int:
        if not route:
            return -1
        number = self._routes.get(route)
        if number is None:
            if len(self._routes) >= _ROUTES and route != _OTHER:
                return self._number(_OTHER)
            number = self._routes[route] = len(self._routes)
        return number


def _spread(at: Floats) -> Floats:
    """Instants that a log has rounded down to whole seconds, spread evenly over their seconds.

    They keep the order of the lines. Instants with fractions are left as they are.
    """
    if not len(at) or np.any(at != np.floor(at)):
        return at
    order = np.argsort(at, kind="stable")
    sorted_at = at[order]
    first = np.searchsorted(sorted_at, sorted_at, "left")
    count = np.searchsorted(sorted_at, sorted_at, "right") - first
    spread = np.empty(len(at))
    spread[order] = sorted_at + (np.arange(len(at)) - first + 0.5) / count
    return spread
