"""What is read of one line of a log, and how lines become recorded traffic."""

from __future__ import annotations

import os
import re
from array import array
from collections.abc import Collection, Sequence
from math import isnan, nan
from typing import Literal

import numpy as np
from msgspec import Struct

from canario.control.rollout import Outcome
from canario.control.worth import worth
from canario.gate.options import HEALTH_PATHS
from canario.limits import LONGEST_MS
from canario.plan import RollbackThresholds
from canario.routing.bucket import MAX_KEY_BYTES, bucket_of
from canario.tape.writer import identity
from canario_sim.streams import Floats

from .paths import OTHER, named, route_of
from .recording import BAD, GOOD, NEUTRAL, Recording

__all__ = [
    "LEFT",
    "LIMIT_MS",
    "Collector",
    "Columns",
    "Line",
    "LineError",
    "Stamp",
    "Unit",
    "client_of",
    "endless",
    "outcome_of_status",
    "route_of",
    "untimed",
    "worth_of_status",
]

Unit = Literal["s", "ms", "us", "ns"]

# Which end of a request its log's instant tells.
Stamp = Literal["start", "end"]

SECONDS: dict[Unit, float] = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}

# Whoever left after waiting longer than this says that the service is slow; a plan's own default.
LIMIT_MS = RollbackThresholds().max_p95_latency_ms

# Names of routes beyond so many are `other`, as on a tape of the middleware.
_ROUTES = 200
# So many paths are remembered until it is known which of them are names.
_PATHS = 50_000

_UNTIMED_METHODS = frozenset({"HEAD", "OPTIONS", "CONNECT"})

# What servers write for a client that left before it was answered: nginx, AWS's load balancers.
LEFT = frozenset({499, 460})
_WEBSOCKET = 101

_CODES = {Outcome.GOOD: GOOD, Outcome.BAD: BAD, Outcome.NEUTRAL: NEUTRAL}

# An address with the port that it came from.
_WITH_PORT = re.compile(r"(\d{1,3}(?:\.\d{1,3}){3}):\d+|\[([0-9a-fA-F:.]+)\](?::\d+)?")


class LineError(ValueError):
    """Why a line was left out."""


class Line(Struct):
    """One request as a log tells it.

    `at` is the instant that is logged, `took` the request's time in the log's unit, NaN where it
    was not timed. `status` is for the reader of an example.
    """

    at: float
    took: float
    outcome: int
    key: str | None = None
    route: str | None = None
    arm: int = -1
    status: str = ""


class Columns:
    """Several requests, column by column; each as `Line` has it, but `took` is in ms.

    `wrong` are the places of those that cannot be read, with why not: nothing else of them counts.
    """

    def __init__(self, n: int) -> None:
        self.at, self.took = np.zeros(n), np.full(n, nan)
        self.outcome, self.arm = np.full(n, NEUTRAL, np.int8), np.full(n, -1, np.int8)
        self.key: list[str | None] = [None] * n
        self.route: list[str | None] = [None] * n
        self.status: list[str] = [""] * n
        self.wrong: dict[int, LineError] = {}

    def put(self, places: Sequence[int], others: Columns) -> None:
        """Take over others, each at its place."""
        self.at[places], self.took[places] = others.at, others.took
        self.outcome[places], self.arm[places] = others.outcome, others.arm
        for place, key, route, status in zip(
            places, others.key, others.route, others.status, strict=True
        ):
            self.key[place], self.route[place], self.status[place] = key, route, status
        self.wrong |= {places[number]: error for number, error in others.wrong.items()}

    def line(self, place: int) -> Line:
        """One of them."""
        return Line(
            float(self.at[place]),
            float(self.took[place]),
            int(self.outcome[place]),
            self.key[place],
            self.route[place],
            int(self.arm[place]),
            self.status[place],
        )


def endless(latency_ms: float) -> LineError:
    """Of a time that no controller takes."""
    return LineError(f"it took {latency_ms / 3.6e6:,.0f} hours, which no request does")


def outcome_of_status(status: int, errors: Collection[int]) -> int:
    """What a status alone says: as in the middleware, 5xx is bad and 4xx nothing, unless told so.

    0 is no response, which is bad.
    """
    return worth_of_status(status, nan, errors)[0]


def worth_of_status(
    status: int, latency_ms: float, errors: Collection[int], limit_ms: float = LIMIT_MS
) -> tuple[int, float]:
    """What a status says of a request that took `latency_ms`, and the latency that counts, or NaN.

    A client that left (499, 460) counts as in the middleware: slow if it had waited for longer
    than `limit_ms`. 0 is no response. The life of a WebSocket (101) is no latency. A neutral one
    keeps its time, which tells when it arrived; it counts nowhere. Raises `LineError` for a time of
    more than a day.
    """
    if latency_ms > LONGEST_MS and status != _WEBSOCKET:
        raise endless(latency_ms)
    if 200 <= status < 400 and not errors:
        return GOOD, latency_ms  # as nearly all are
    outcome, counts = worth(
        status or None,
        None if isnan(latency_ms) or status == _WEBSOCKET else latency_ms,
        limit_ms=limit_ms,
        errors=errors,
        left=status in LEFT,
        failed=not status,
    )
    if outcome is Outcome.NEUTRAL:
        return NEUTRAL, latency_ms
    return _CODES[outcome], nan if counts is None else counts


def untimed(method: str, path: str) -> bool:
    """Whether a request does not do the work that a latency limit is about."""
    return method in _UNTIMED_METHODS or path.partition("?")[0] in HEALTH_PATHS


def client_of(text: str) -> str | None:
    """The client in what a log says of it: the first of several, without a port; None for none.

    Proxies append to X-Forwarded-For, so its first address is the client's; a comma may follow it.
    """
    if "," in text:
        text = text.partition(",")[0]
    text = text.strip()
    if not text.strip("- "):
        return None
    if ":" in text:
        found = _WITH_PORT.fullmatch(text)
        if found is not None:
            return found[1] or found[2]
    return text


_LONG_KEY = LineError(f"the key has more than {MAX_KEY_BYTES} bytes")


def _fits(key: str) -> bool:
    return len(key.encode("utf-8", "replace")) <= MAX_KEY_BYTES


class Collector:
    """Gathers lines, column by column.

    Args:
        salt: Under which keys fall into buckets.
        secret: With what keys are hashed; a random one by default.
        paths: Whether routes are what clients have asked for, and not a framework's own names:
            then only what somebody was served is a name.
    """

    def __init__(self, salt: str, secret: bytes | None = None, *, paths: bool = False) -> None:
        self._paths = paths
        self._salt = salt.encode()
        self._secret = secret or os.urandom(32)
        # Arrays, which take a number's own bytes: a log has millions of lines.
        self._at, self._took = array("d"), array("d")
        self._outcome, self._arm = array("b"), array("b")
        self._key, self._route = array("q"), array("q")
        self._keys: dict[str, int] = {}
        self._routes: dict[str, int] = {}
        self._served = array("q")  # by number of the route: requests that say something

    def __len__(self) -> int:
        return len(self._at)

    def add(self, line: Line) -> None:
        """Take one more line. Raises `LineError` for a key that cannot be routed."""
        key = -1
        if line.key:
            known = self._keys.get(line.key)
            if known is None:
                if not _fits(line.key):
                    raise _LONG_KEY
                known = self._keys[line.key] = len(self._keys)
            key = known
        self._at.append(line.at)
        self._took.append(line.took)
        self._outcome.append(line.outcome)
        self._arm.append(line.arm)
        self._key.append(key)
        self._route.append(self._number(line.route, line.outcome != NEUTRAL or not self._paths))

    def add_all(self, columns: Columns) -> list[int]:
        """Take many lines; their places, without those of `columns.wrong`.

        What has a key that cannot be routed is put among the wrong ones.
        """
        keys, wrong = self._keys, columns.wrong
        # Of lines that are read alone: a key of another one is nobody's.
        given = [key for place, key in enumerate(columns.key) if place not in wrong]
        for key in dict.fromkeys(given if wrong else columns.key):
            if key and key not in keys and _fits(key):
                keys[key] = len(keys)
        numbers = [keys.get(key, -2) if key else -1 for key in columns.key]
        if -2 in numbers:
            for place, number in enumerate(numbers):
                if number == -2:
                    wrong.setdefault(place, _LONG_KEY)
        places, routes, outcome = list(range(len(numbers))), columns.route, columns.outcome
        at, took, arm = columns.at, columns.took, columns.arm
        if wrong:
            places = [place for place in places if place not in wrong]
            numbers = [numbers[place] for place in places]
            routes = [routes[place] for place in places]
            at, took, outcome, arm = at[places], took[places], outcome[places], arm[places]
        self._at.frombytes(at.tobytes())
        self._took.frombytes(took.tobytes())
        self._outcome.frombytes(outcome.tobytes())
        self._arm.frombytes(arm.tobytes())
        self._key.extend(numbers)
        served = (outcome != NEUTRAL).tolist() if self._paths else [True] * len(places)
        self._route.extend(map(self._number, routes, served))
        return places

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
        # In this table and those below the last place is where -1, nobody and no name, leads to.
        buckets = np.array([*(bucket_of(self._salt, key) for key in raw), -1], np.int64)
        keys = np.array(self._key, np.int64)
        asked = dict(zip(self._routes, self._served, strict=True))
        names = named(asked, _ROUTES, paths=self._paths)
        routes = {name: number for number, name in enumerate(dict.fromkeys(names.values()))}
        numbers = np.array([*(routes[name] for name in names.values()), -1], np.int64)
        order = np.argsort(ended, kind="stable")
        return Recording(
            at=at,
            ended=ended,
            arm=np.array(self._arm, np.int8),
            outcome=outcome,
            latency_ms=latency,
            bucket=buckets[keys],
            key=np.append(number, -1)[keys],
            route=numbers[np.array(self._route, np.int64)],
            routes=tuple(routes),
            identities=identities,
            source=source,
        ).taken(order)

    def _number(self, route: str | None, served: bool) -> int:
        if not route:
            return -1
        number = self._routes.get(route)
        if number is None:
            # Half of the room is for what somebody was served; a scanner cannot take it.
            room = _PATHS if served else _PATHS // 2
            if len(self._routes) >= room and route != OTHER:
                return self._number(OTHER, served)
            number = self._routes[route] = len(self._routes)
            self._served.append(0)
        self._served[number] += served
        return number


def _spread(at: Floats) -> Floats:
    """Instants that a log has rounded down to whole seconds, spread evenly over their seconds: all
    at one instant would be a burst that nobody has sent.

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
