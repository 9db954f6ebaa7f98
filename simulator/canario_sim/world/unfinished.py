"""What has not ended at an instant: as `canario.control.open_requests` sees it live, on arrays.

Requests stand in order of arrival, and whoever has waited for longer than some time is among the
first of them. So the numbers at all checks of a stretch are a few searches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf

import numpy as np

from canario.arms import ARMS
from canario.control.open_requests import patience
from canario.metrics.in_flight import NOTHING_SEEN, InFlight, Seen, SeenOfArm, abandoned
from canario.plan import RollbackThresholds
from canario_sim.streams import Flags, Floats, Ints

from .flights import CANARY, GIVEN_UP, SLOW, Flights

__all__ = [
    "GivenUp",
    "Patience",
    "at_instant",
    "at_instants",
    "during",
    "given_up",
    "of_arm",
    "waited",
]

_BOTH = range(len(ARMS))


@dataclass(frozen=True, slots=True)
class Patience:
    """How long requests are waited for.

    Attributes:
        limit_ms: In flight for longer they are slow already.
        after: In flight for longer they have failed; seconds, by the number of the route.
    """

    limit_ms: float
    after: Floats

    @classmethod
    def of(cls, thresholds: RollbackThresholds, routes: Sequence[str] = ()) -> Patience:
        """That of a plan, for these routes by number; none where all requests are alike."""
        after = list(map(patience(thresholds), routes or (None,)))
        return cls(thresholds.max_p95_latency_ms, np.array(after, np.float64))

    @property
    def least(self) -> float:
        """Whoever does not wait for longer is never given up."""
        return float(self.after.min())

    def of_flights(self, flights: Flights) -> Floats:
        """How long each of them is waited for."""
        if len(self.after) == 1:
            return np.full(len(flights), self.after[0])
        return self.after[flights.route]


@dataclass(frozen=True, slots=True)
class GivenUp:
    """Flights that are given up.

    Attributes:
        place: Their places among all flights, rising.
        when: The check at which each is.
    """

    place: Ints
    when: Floats

    def __len__(self) -> int:
        return len(self.place)


_NOBODY = GivenUp(np.empty(0, np.int64), np.empty(0))


def given_up(flights: Flights, checks: Floats, patience: Patience) -> GivenUp:
    """Who is given up at which of the checks.

    That is the first at which they have waited for too long, if they have not ended before it.
    """
    took = flights.done - flights.at
    # Mostly nobody waits for so long, and nothing is to be searched.
    if not len(took) or took.max() <= patience.least:
        return _NOBODY
    place = np.flatnonzero((took > patience.least) & (flights.code & GIVEN_UP == 0))
    those = flights[place]
    after = patience.of_flights(those)

    def too_long(number: Ints) -> Flags:
        return np.append(checks, inf)[number] - those.at > after

    first = np.searchsorted(checks, those.at + after, "right")
    first = _settled(first, lambda number: ~too_long(number), len(checks))
    when = np.append(checks, inf)[first]
    mine = (first < len(checks)) & (when <= those.done)
    return GivenUp(place[mine], when[mine])


def waited(at: Floats, instants: Floats, limit_ms: float) -> Ints:
    """For each instant, how many of those that arrived at `at` (rising) had waited for longer than
    the limit; they are the first ones."""

    def long(number: Ints) -> Flags:
        # The middleware measures the difference of two clock readings; so must this, to the bit.
        held: Flags = (instants - np.append(at, inf)[number]) * 1000 > limit_ms
        return held

    return _settled(np.searchsorted(at, instants - limit_ms / 1000, "left"), long, len(at))


def _settled(upto: Ints, holds: Callable[[Ints], Flags], most: int) -> Ints:
    """How many places from the first on `holds` is true of, by a guess that rounding may have led
    a few places astray."""
    while True:
        up = (upto < most) & holds(upto)
        down = (upto > 0) & ~holds(np.maximum(upto - 1, 0))
        if not (up | down).any():
            return upto
        upto = upto + up - down


def at_instants(
    flights: Flights,
    gone: GivenUp,
    ended: Ints,
    answered: Floats,
    instants: Floats,
    limit_ms: float,
) -> list[Seen]:
    """What is in flight at each of the checks that follow each other.

    Args:
        flights: Those that had not ended before the first of them, and those that came since.
        gone: Who is given up when; they are marked in `flights`.
        ended: Instants × arms × (requests, slow): how many of the others had ended before each.
        answered: Instants × arms: when each had answered for the last time before each.
        instants: The checks.
        limit_ms: Who has waited for longer is overdue.
    """
    mine = flights.code & CANARY > 0
    flags = int(np.bitwise_or.reduce(flights.code, initial=0))
    counted = _Upto(flights.code & GIVEN_UP == 0 if flags & GIVEN_UP else None, mine)
    came = np.searchsorted(flights.at, instants, "left")
    since = np.searchsorted(flights.at, answered, "right")
    number = counted(came) - ended[:, :, 0]
    unanswered = counted(came) - np.stack([counted(since[:, arm])[:, arm] for arm in _BOTH], 1)
    overdue, settled = np.zeros_like(number), np.zeros_like(number)
    # Who is overdue ends slow or is given up, so without either there is nobody to look for.
    if len(gone) or flags & SLOW:
        late = waited(flights.at, instants, limit_ms)
        slow = flights.code & (SLOW | GIVEN_UP) == SLOW
        overdue = _Upto(slow, mine)(late) - ended[:, :, 1]
        for arm in _BOTH if len(gone) else ():
            # Until they are given up they are in flight like others.
            own = mine[gone.place] == arm
            place, until = gone.place[own], np.searchsorted(instants, gone.when[own])
            there = np.searchsorted(came, place, "right")
            answers = np.searchsorted(since[:, arm], place, "right")
            number[:, arm] += during(there, until, len(instants))
            overdue[:, arm] += during(np.searchsorted(late, place, "right"), until, len(instants))
            unanswered[:, arm] += during(there, np.minimum(until, answers), len(instants))
            settled[:, arm] = np.bincount(until, minlength=len(instants))
    baseline, canary = (
        map(of_arm, *(each[:, arm].tolist() for each in (number, overdue, unanswered, settled)))
        for arm in _BOTH
    )
    return list(map(Seen, baseline, canary))


class _Upto:
    """How many of the flights that are marked (None: all are) stand before a place, by arm."""

    def __init__(self, marked: Flags | None, canary: Flags) -> None:
        self._all = None if marked is None else np.flatnonzero(marked)
        self._canary = np.flatnonzero(canary if marked is None else marked & canary)

    def __call__(self, places: Ints) -> Ints:
        """Places × arms."""
        canary = np.searchsorted(self._canary, places)
        both = places if self._all is None else np.searchsorted(self._all, places)
        return np.stack([both - canary, canary], 1)


def during(first: Ints, last: Ints, size: int) -> Ints:
    """For each of so many places, how many stretches lie over it, from the first up to the last
    of their own."""
    last = np.maximum(first, last)
    begun, over = (np.bincount(each, minlength=size + 1) for each in (first, last))
    lying: Ints = np.cumsum(begun - over)[:size]
    return lying


def of_arm(number: int, overdue: int, unanswered: int, given_up: int) -> SeenOfArm:
    """One arm at a check, at which so many are given up."""
    if not (number or given_up):
        return NOTHING_SEEN.canary
    return SeenOfArm(
        InFlight(requests=number, overdue=overdue, unanswered=unanswered), abandoned(given_up)
    )


def at_instant(
    flights: Flights, ended: Flags, at: float, answered: tuple[float, float], limit_ms: float
) -> Seen:
    """What is in flight at one instant, when `ended` of the flights had ended; see `at_instants`.

    Those that have been given up are marked.
    """
    there = (flights.at < at) & ~ended & (flights.code & GIVEN_UP == 0)
    overdue = there & ((at - flights.at) * 1000 > limit_ms)
    arms = []
    for arm in _BOTH:
        mine = flights.code & CANARY == CANARY * arm
        last = max(answered[arm], flights.done[mine & ended].max(initial=-inf))
        arms.append(
            SeenOfArm(
                InFlight(
                    requests=int(np.count_nonzero(there & mine)),
                    overdue=int(np.count_nonzero(overdue & mine)),
                    unanswered=int(np.count_nonzero(there & mine & (flights.at > last))),
                )
            )
        )
    return Seen(*arms)
