"""What a driver asks of whoever carries the requests, and what it is told.

There are three: `world.open` carries requests that only stand in line, `world.closed.carrier` those
that act on each other, and `backtest.carrier` those of a tape.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from msgspec import Struct

from canario.control.machine import Command
from canario.control.state import State
from canario.control.violation import Violation
from canario.metrics.counts import Counts
from canario.metrics.in_flight import Seen
from canario.routing.router import Arm
from canario_sim.streams import Flags, Ints

from .feedback import Feedback

__all__ = [
    "Act",
    "Broken",
    "Carrier",
    "Check",
    "Ended",
    "Feed",
    "Left",
    "Note",
    "Ordered",
    "Outlook",
    "Stretch",
    "TakenUp",
    "Unwatched",
]

# What the controller is told of requests that are done: when, of which arm, and how many of what.
Feed = tuple[float, Arm, Counts]


class Note(Struct, frozen=True):
    """Something beside the journal that a timeline shows: `text` at the instant `at`."""

    at: float
    text: str


class Check(Struct, frozen=True):
    """The instant that was asked for has come: the controller is to be looked at."""

    at: float


class Broken(Struct, frozen=True):
    """A response of `arm`, which the controller has been told of, breaks its contract."""

    at: float
    arm: Arm
    violation: Violation


class Ordered(Struct, frozen=True):
    """The operator gives an order."""

    at: float
    order: Command


class TakenUp(Struct, frozen=True):
    """Another process takes the rollout up; the one before had watched until then."""

    at: float
    watched: float


class Unwatched(Struct, frozen=True):
    """Nobody has watched since then."""

    at: float
    since: float


class Ended(Struct, frozen=True):
    """The carrier knows nothing of what comes after."""

    at: float


# What is to be done, at an instant that the controller takes for the present one.
Act = Check | Broken | Ordered | TakenUp | Unwatched | Ended


@dataclass(frozen=True, slots=True)
class Stretch:
    """What has happened until something is to be done.

    Attributes:
        at: When it is done: on a tape threads may have been late, so that it is not `act.at`.
        told: What the controller is told first.
        act: What is to be done.
        notes: What has happened beside the requests.
        unrouted: How many requests without a key have come, of which a held stage is told.
    """

    at: float
    told: Sequence[Feed]
    act: Act
    notes: Sequence[Note] = ()
    unrouted: int = 0


class Left(NamedTuple):
    """Requests of one arm that are under way at the end; `overdue` are those of them that have
    waited for longer than the latency limit."""

    in_flight: int
    overdue: int = 0


class Outlook(Protocol):
    """What a carrier may know of the rollout: where it stands, and when it is looked at."""

    @property
    def now(self) -> float:
        """The present instant."""

    @property
    def weight(self) -> int:
        """Requests whose buckets lie below it go to the canary."""

    @property
    def state(self) -> State:
        """Where the rollout stands."""

    def instants(self, reach: float, most: int | None = None) -> list[float]:
        """When the controller will be looked at, if nothing changes its state.

        They go as far as is worth planning ahead: to `reach` or the first one after it, and not
        beyond the end of a hold. There is at least one, and there are at most `most`.
        """


class Carrier(Protocol):
    """Carries requests up to the instants that a driver asks for."""

    @property
    def ends(self) -> float:
        """From when on nothing is known; inf where there is no end."""

    @property
    def served(self) -> Ints:
        """Arms × (requests, errors, slow, violations, bad), of what was done so far, without those
        that a check had given up."""

    @property
    def exposed(self) -> Flags:
        """For each key, whether it has reached the canary; known when it has been closed."""

    @property
    def left(self) -> tuple[Left, Left]:
        """What is under way on the baseline and on the canary; known when it has been closed."""

    @property
    def may_be_taken_back(self) -> bool:
        """Whether it knows of an operator who takes a finished release back."""

    def feedback(self, end: float, limit_ms: float) -> Feedback | None:
        """What requests have done to each other in a rehearsal that ended at an instant; None
        where they do not. `limit_ms` is what the 99th percentile of recoveries may be."""

    def advance(self, outlook: Outlook, until: float) -> Stretch:
        """Go on to `until`, or to what has to be done before it.

        What happens at the instant `until` itself is still to come. It is told once.
        """

    def look(self, outlook: Outlook, at: float, *, settle: bool) -> Seen:
        """See `canario.control.open_requests.Flights`."""

    def close(self, at: float) -> None:
        """The rollout has ended at this instant, or is followed no further."""
