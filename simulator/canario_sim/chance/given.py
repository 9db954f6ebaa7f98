"""Recorded requests, to be rehearsed instead of drawn ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import isfinite

import numpy as np
from msgspec import Struct

from canario.control.violation import Violation

from .requests import Fates, Requests

__all__ = ["BROKEN", "Fate", "RecordedRequest", "Tape"]

BROKEN = Violation(message="the response broke its contract")


class Fate(Struct, frozen=True):
    """What one arm does to a request: how long it takes (ms), whether it succeeds, and whether
    its response is valid."""

    latency_ms: float
    ok: bool = True
    contract_valid: bool = True


class RecordedRequest(Struct, frozen=True, kw_only=True):
    """A request, and what either arm would do to it.

    It arrives `at` seconds after the rollout's start and is done at  at + latency_ms / 1000,
    in floats.
    """

    at: float
    key: str
    baseline: Fate
    canary: Fate


class Tape:
    """A `Source` of recorded requests.

    Raises `ValueError` for one that arrives before another that stands before it, and for an
    instant or a latency that is negative or not finite.
    """

    def __init__(self, requests: Iterable[RecordedRequest], violation: Violation = BROKEN) -> None:
        requests = tuple(requests)
        _check(requests)
        numbers: dict[str, int] = {}
        key = [numbers.setdefault(request.key, len(numbers)) for request in requests]
        self.keys = tuple(numbers)
        self.violations = (violation,)
        self._requests = Requests.alike(
            np.array([request.at for request in requests], np.float64),
            np.array(key, np.int64),
            _fates([request.baseline for request in requests]),
            _fates([request.canary for request in requests]),
        )

    def chunks(self, size: int) -> Iterator[Requests]:
        """See `Source`."""
        for first in range(0, len(self._requests), size):
            yield self._requests[first : first + size]


def _check(requests: tuple[RecordedRequest, ...]) -> None:
    before = 0.0
    for number, request in enumerate(requests):
        if not (isfinite(request.at) and request.at >= before):
            raise ValueError(
                f"request {number} arrives at {request.at!r}, after one at {before!r}; "
                "give them in order of arrival, from 0 on"
            )
        before = request.at
        for fate in (request.baseline, request.canary):
            if not (isfinite(fate.latency_ms) and fate.latency_ms >= 0):
                raise ValueError(
                    f"request {number} takes {fate.latency_ms!r} ms; it must be finite, at least 0"
                )


def _fates(fates: list[Fate]) -> Fates:
    return Fates(
        np.array([fate.latency_ms for fate in fates], np.float64) / 1000,
        np.array([not fate.ok for fate in fates], np.bool_),
        np.array([not fate.contract_valid for fate in fates], np.uint8),
    )
