"""Recorded traffic as arrays: what was asked, who served it, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from canario.control.events import (
    Aborted,
    Event,
    Paused,
    Promoted,
    Restarted,
    Resumed,
    StageEntered,
    Started,
    Unwatched,
)
from canario.control.machine import Command
from canario.control.violation import Violation
from canario.plan import Deployment, Plan
from canario_sim.streams import Bytes, Flags, Floats, Ints

__all__ = [
    "ABANDONED",
    "BAD",
    "GOOD",
    "NEUTRAL",
    "STREAM",
    "TIMED",
    "UNSEEN",
    "UNTIMED",
    "Breaking",
    "Gap",
    "Given",
    "Noted",
    "Recording",
    "Restart",
    "Unfinished",
]

# The numbers in `Recording.outcome`, as on a tape.
GOOD, BAD, NEUTRAL = 0, 1, 2

# The numbers in `Recording.flight`: what was known of a request before it ended, as on a tape.
UNSEEN, UNTIMED, TIMED, STREAM, ABANDONED = range(5)


class Breaking(Struct, frozen=True):
    """A contract that was broken: after `position` requests had been taken in, at the instant
    `at`, on the canary or not; `request` is the place of the request that did, -1 where it is
    not known."""

    position: int
    at: float
    canary: bool
    violation: Violation
    request: int = -1


class Restart(Struct, frozen=True):
    """The process took its rollout up at `at` from the first `past` events of the journal, after
    `position` requests and `broken` broken contracts: what it had counted was gone."""

    position: int
    broken: int
    at: float
    past: int


class Gap(Struct, frozen=True):
    """Nobody watched from `since` until `at`, after `position` requests and `broken` broken
    contracts: the process was stopped, or its host slept."""

    position: int
    broken: int
    at: float
    since: float


class Unfinished(Struct, frozen=True):
    """A request that was in flight when the tape ended: when it arrived, whether the canary served
    it, whether it is timed, and its route."""

    at: float
    canary: bool
    timed: bool
    route: str | None


class Noted(Struct, frozen=True):
    """An event of the journal, after `position` requests and `broken` broken contracts."""

    position: int
    broken: int
    event: Event


class Given(Struct, frozen=True):
    """An order of the operator, after `position` requests and `broken` broken contracts.

    `known` is the instant of the event before it in the journal.
    """

    position: int
    broken: int
    at: float
    order: Command
    known: float


@dataclass(frozen=True, slots=True, repr=False)
class Recording:
    """Requests in the order in which they were taken in: when each had ended.

    Attributes:
        at: When each arrived, in seconds since the epoch (or what the clock was).
        ended: When it ended, as it counts for the controller.
        arm: Who served it: 0 baseline, 1 canary, -1 where that is not known.
        outcome: `GOOD`, `BAD` or `NEUTRAL`.
        latency_ms: NaN for a request that was not timed.
        bucket: From 0 to 99,999, by which it is routed; -1 for one without a key.
        key: Number of its user, from 0 on; -1 for one without a key.
        route: Number of its route in `routes`; -1 for one without a name.
        routes: Their names.
        identities: The users' hashed keys, by number.
        broken: The contracts that were broken, in order.
        journal: What the live rollout decided; empty where there was none.
        plan: What it went by.
        restarts: When the process began anew.
        takes_up: The rollout was taken up from the journal that another process had ended with.
        whole: All that the rollout has seen is here, so that it can be decided again.
        dropped: Rows that found no room when it was recorded.
        workers: How many controllers decided for themselves; the journal is that of one of them.
        sources: Files that it was put together from.
        source: What it is called.
        closed: The recording was ended, not cut off.
        flight: What was known of each request before it ended: `UNSEEN` for one of which the
            controller was told with its end, `UNTIMED` or `TIMED` for one in flight, `STREAM` for
            a socket or an event stream, answered with its first message, `ABANDONED` for one that
            was given up at `ended`. By default all are in flight, timed where they have a latency.
        unfinished: What was in flight when the recording ended.
    """

    at: Floats
    ended: Floats
    arm: NDArray[np.int8]
    outcome: Bytes
    latency_ms: Floats
    bucket: Ints
    key: Ints
    route: Ints
    routes: tuple[str, ...] = ()
    identities: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    broken: tuple[Breaking, ...] = ()
    journal: tuple[Noted, ...] = ()
    plan: Plan | None = None
    restarts: tuple[Restart, ...] = ()
    takes_up: bool = False
    whole: bool = False
    dropped: int = 0
    workers: int = 1
    sources: int = 1
    source: str = "tape"
    closed: bool = True
    flight: Bytes = field(default_factory=lambda: np.empty(0, np.uint8))
    unfinished: tuple[Unfinished, ...] = ()

    def __post_init__(self) -> None:
        if len(self.flight) != len(self.at):
            timed = np.where(np.isnan(self.latency_ms), UNTIMED, TIMED).astype(np.uint8)
            object.__setattr__(self, "flight", timed)

    def __len__(self) -> int:
        return len(self.at)

    def __repr__(self) -> str:
        return (
            f"<Recording {self.source!r}: {len(self)} requests of {self.users} users, "
            f"{len(self.journal)} events>"
        )

    @property
    def events(self) -> tuple[Event, ...]:
        """The journal's events."""
        return tuple(noted.event for noted in self.journal)

    @property
    def began(self) -> float:
        """When the rollout started; without one, when the first request arrived."""
        for noted in self.journal:
            if isinstance(noted.event, Started):
                return noted.event.at
        return float(self.at.min()) if len(self) else 0.0

    @property
    def starts(self) -> float:
        """When what is recorded of the rollout starts: later than it, if it was taken up."""
        return self.restarts[0].at if self.restored else self.began

    @property
    def deployment(self) -> Deployment:
        """What the live rollout went by; the defaults where there was none."""
        return Deployment() if self.plan is None else self.plan.deployment

    @property
    def orders(self) -> tuple[Given, ...]:
        """What the operator ordered, as far as it was recorded with the requests."""
        given = []
        before = None
        for number, noted in enumerate(self.journal):
            order = _order_of(noted.event, before)
            if order is not None and number >= self.restored:
                known = noted.event.at if before is None else before.at
                given.append(Given(noted.position, noted.broken, noted.event.at, order, known))
            before = noted.event
        return tuple(given)

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """When nobody watched, as far as it was recorded with the requests."""
        return tuple(
            Gap(noted.position, noted.broken, noted.event.at, noted.event.since)
            for noted in self.journal[self.restored :]
            if isinstance(noted.event, Unwatched) and not noted.event.restart
        )

    def watched_until(self, restart: Restart) -> float:
        """Up to when the process before a restart had watched."""
        last = self.journal[restart.past - 1].event.at
        if restart.past < len(self.journal):
            after = self.journal[restart.past].event
            if isinstance(after, Unwatched) and after.restart:
                return after.since
        return last

    @property
    def ends(self) -> float:
        """The last instant that the tape knows of."""
        last = [float(self.ended.max())] if len(self) else []
        last += [noted.event.at for noted in self.journal[-1:]]
        last += [breaking.at for breaking in self.broken[-1:]]
        return max(last, default=0.0)

    @property
    def users(self) -> int:
        """How many keys there are."""
        return len(self.identities)

    @property
    def latency_s(self) -> Floats:
        """Latencies in seconds; NaN for requests that were not timed."""
        return self.latency_ms / 1000

    @property
    def failed(self) -> Flags:
        """Which requests failed."""
        failed: Flags = self.outcome == BAD
        return failed

    @property
    def broke(self) -> Flags:
        """Which requests are known to have broken a contract."""
        flags = np.zeros(len(self), np.bool_)
        places = [each.request for each in self.broken if each.request >= 0]
        flags[places] = True
        return flags

    @property
    def restored(self) -> int:
        """How many events the journal had before anything of it was recorded."""
        if not (self.restarts and self.restarts[0].position == self.restarts[0].broken == 0):
            return 0
        return self.restarts[0].past

    def window(self, first: float, last: float, upto: Floats | None = None) -> Recording:
        """The requests that arrived from `first` on and had ended by `last`, without a journal.

        `upto` is the running maximum of `ended`, for whoever asks for many windows.
        """
        # Requests stand as they were told of; a thread that was late told of an earlier end.
        upto = np.maximum.accumulate(self.ended) if upto is None else upto
        low = int(np.searchsorted(upto, first, "left"))
        high = int(np.searchsorted(upto, last, "right"))
        part = replace(
            self.taken(slice(low, high)),
            broken=tuple(
                Breaking(
                    each.position - low, each.at, each.canary, each.violation, each.request - low
                )
                for each in self.broken
                if low <= each.request < high
            ),
        )
        return part.where(part.at >= first)

    def where(self, chosen: Flags) -> Recording:
        """Some of the requests, with what they broke, without a journal."""
        place = np.cumsum(chosen)  # requests that are kept up to and including each one
        before = np.concatenate([[0], place])
        broken = tuple(
            Breaking(
                int(before[each.position]),
                each.at,
                each.canary,
                each.violation,
                int(place[each.request]) - 1,
            )
            for each in self.broken
            if each.request >= 0 and chosen[each.request]
        )
        return replace(
            self.taken(chosen),
            broken=broken,
            journal=(),
            restarts=(),
            whole=False,
            unfinished=(),
        )

    def taken(self, rows: Flags | Ints | slice) -> Recording:
        """Some of the requests or another order of them, with all else as it is."""
        return replace(
            self,
            at=self.at[rows],
            ended=self.ended[rows],
            arm=self.arm[rows],
            outcome=self.outcome[rows],
            latency_ms=self.latency_ms[rows],
            bucket=self.bucket[rows],
            key=self.key[rows],
            route=self.route[rows],
            flight=self.flight[rows],
        )


def _order_of(event: Event, before: Event | None) -> Command | None:
    """The order that an event is what came of; `before` stands before it in the journal."""
    match event:
        case Paused(by="operator"):
            return Command.PAUSE
        case Resumed():
            return Command.RESUME
        case Restarted():
            return Command.RESTART
        case Aborted():
            return Command.ABORT
        case Promoted(by="operator"):
            return Command.PROMOTE
        case StageEntered(by="operator") if not isinstance(before, Restarted):
            return Command.SKIP
        case _:
            return None
