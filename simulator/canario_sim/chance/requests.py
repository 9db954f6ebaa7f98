"""Requests before anybody has routed them: when, from whom, and their fate on either arm.

A fate is settled for both arms and by the arrival alone, so what happens to a request does not
depend on the policy that is rehearsed: two policies meet the same requests.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from canario.control.violation import Violation
from canario_sim.streams import Bytes, Flags, Floats, Ints, Numbers

__all__ = ["CHUNK", "Ahead", "Fates", "Requests", "Source"]

# Requests that are drawn at a time: their arrays fit in a core's cache.
CHUNK = 16_384


@dataclass(frozen=True, slots=True)
class Fates:
    """What one arm does to each request.

    Attributes:
        seconds: How long it takes to serve, without waiting for a server.
        failed: Whether it fails.
        broken: 0, or 1 + the number (in `Source.violations`) of the contract that is broken.
    """

    seconds: Floats
    failed: Flags
    broken: Bytes

    def __getitem__(self, part: slice) -> Fates:
        return Fates(self.seconds[part], self.failed[part], self.broken[part])


@dataclass(frozen=True, slots=True)
class Requests:
    """Requests in order of arrival, as parallel arrays.

    Attributes:
        at: Arrivals, in seconds from the start of the rollout.
        key: Numbers of their keys, in `Source.keys`.
        baseline: Their fates on the present version.
        canary: Their fates on the new one.
        route: Numbers of their routes, in `Scenario.routes`; 0 where there are none.
        payload: Numbers of their payload classes, in `Scenario.payloads`; 0 where there are none.
        session: Numbers of the sessions that they belong to; −1 where there are none.
    """

    at: Floats
    key: Ints
    baseline: Fates
    canary: Fates
    route: Numbers
    payload: Bytes
    session: Ints

    @classmethod
    def alike(cls, at: Floats, key: Ints, baseline: Fates, canary: Fates) -> Requests:
        """Requests without routes, payload classes and sessions."""
        n = len(at)
        route, payload = np.zeros(n, np.uint16), np.zeros(n, np.uint8)
        return cls(at, key, baseline, canary, route, payload, np.full(n, -1))

    def __len__(self) -> int:
        return len(self.at)

    def __getitem__(self, part: slice) -> Requests:
        return Requests(
            self.at[part],
            self.key[part],
            self.baseline[part],
            self.canary[part],
            self.route[part],
            self.payload[part],
            self.session[part],
        )


class Source(Protocol):
    """Where requests come from."""

    @property
    def keys(self) -> Sequence[str]:
        """The keys, by number."""

    @property
    def violations(self) -> Sequence[Violation]:
        """What is said of each contract that may be broken, by number."""

    def chunks(self, size: int) -> Iterator[Requests]:
        """The requests in order, in chunks of at most `size`; the same ones for every size."""


class Ahead:
    """The requests to come, read from their source as they are needed."""

    __slots__ = ("_chunks", "_ended", "requests")

    def __init__(self, source: Source, size: int) -> None:
        self._chunks = source.chunks(size)
        self._ended = False
        # The first chunk at once, so that there is always an array to look in.
        self.requests = next(self._chunks, _nothing())

    def reach(self, instant: float) -> float:
        """Read on until every arrival before `instant` is there.

        Returns the instant up to which they are: `instant` or later.
        """
        parts = [self.requests]
        while not self._ended and not (len(parts[-1]) and parts[-1].at[-1] >= instant):
            part = next(self._chunks, None)
            if part is None:
                self._ended = True
            elif len(part):
                parts.append(part)
        if len(parts) > 1:
            self.requests = _join(parts)
        return float("inf") if self._ended else float(self.requests.at[-1])

    def forget(self, number: int) -> None:
        """Drop the first `number` requests."""
        self.requests = self.requests[number:]


def _nothing() -> Requests:
    return Requests.alike(np.empty(0), np.empty(0, np.int64), _no_fates(), _no_fates())


def _no_fates() -> Fates:
    return Fates(np.empty(0), np.empty(0, np.bool_), np.empty(0, np.uint8))


def _join(parts: list[Requests]) -> Requests:
    return Requests(
        np.concatenate([part.at for part in parts]),
        np.concatenate([part.key for part in parts]),
        _join_fates([part.baseline for part in parts]),
        _join_fates([part.canary for part in parts]),
        np.concatenate([part.route for part in parts]),
        np.concatenate([part.payload for part in parts]),
        np.concatenate([part.session for part in parts]),
    )


def _join_fates(parts: list[Fates]) -> Fates:
    return Fates(
        np.concatenate([part.seconds for part in parts]),
        np.concatenate([part.failed for part in parts]),
        np.concatenate([part.broken for part in parts]),
    )
