"""The requests in flight: who is there, since when, and what that says at a check.

Whoever serves requests adds each when it arrives; an observation closes it. At a check the rollout
looks: what was there before that instant and has not ended. So the answer depends on instants
alone, not on who looks or how late.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import inf
from typing import Any, Protocol

from canario.metrics.counts import NOTHING, Counts
from canario.metrics.in_flight import NOTHING_SEEN, InFlight, Seen, SeenOfArm, abandoned
from canario.plan import RollbackThresholds
from canario.routing.router import Arm
from canario.routing.template import normal_route

__all__ = ["Flights", "OpenRequests", "Request", "patience"]


class Request(Protocol):
    """A request that somebody serves."""

    arm: Arm
    started_at: float
    timed: bool
    # When a WebSocket or an event stream sent its first message.
    first_at: float | None
    # Set when it has been counted while it was still in flight: nobody answered it in time.
    abandoned_at: float | None

    @property
    def arrived_at(self) -> float:
        """When it arrived: earlier than `started_at`, where nobody watched in between."""

    def silent_since(self, at: float) -> float:
        """When it last gave a sign of life, a piece of its body or its arrival, as far as who asks
        now and then can know: what came since the last time came at `at`."""

    def still_timed(self) -> bool:
        """Whether it is timed, as far as is known by now."""

    def find_route(self) -> str | None:
        """Template of its route, where that is known."""

    def tape_mark(self) -> Any:
        """What a tape says of it, where one is recorded."""

    def unwatched(self, seconds: float) -> None:
        """Nobody watched for so long: it was served by nobody, and has not waited meanwhile."""

    def given_up(self) -> None:
        """It has been counted as failed while it was in flight. Never raises."""


class Flights(Protocol):
    """Tells a rollout what is in flight: what a middleware serves, or what a simulator flies."""

    def look(self, at: float, *, settle: bool) -> Seen:
        """What had arrived before the instant `at` and had not ended then.

        With `settle`, which a check asks for, whoever has waited for too long is given up.
        """


def patience(thresholds: RollbackThresholds) -> Callable[[str | None], float]:
    """How long (s) a request of a route may be in flight before it is given up.

    As in all that is said by route, what its parameters are called makes no difference.
    """
    by_route = {
        normal_route(route): after for route, after in thresholds.abandoned_after_by_route.items()
    }

    def after(route: str | None) -> float:
        default = thresholds.abandoned_after
        return default if route is None else by_route.get(normal_route(route), default)

    return after


class OpenRequests:
    """What the middleware serves.

    Adding, ending and looking up are single operations on a dict, so requests of many threads need
    no lock for them; `close` and `look` are called with the controller's.
    """

    __slots__ = (
        "_after",
        "_by_route",
        "_least",
        "_patience",
        "_slow_ms",
        "add",
        "answered",
        "flying",
        "given_up",
        "stage_began",
    )

    def __init__(self, thresholds: RollbackThresholds) -> None:
        self._slow_ms = thresholds.max_p95_latency_ms
        self._after = thresholds.abandoned_after
        self._by_route = bool(thresholds.abandoned_after_by_route)
        self._patience = patience(thresholds)
        self._least = min(self._after, *thresholds.abandoned_after_by_route.values(), inf)
        # Whoever takes a request out counts it, and nobody else does.
        # No set, whose order is that of addresses: who is given up first, and so stands first on a
        # tape, is who arrived first.
        self.flying: dict[Request, bool | None] = {}
        self.answered: dict[Arm, float] = {"baseline": -inf, "canary": -inf}
        self.given_up: list[Request] = []  # until somebody takes note of them
        self.stage_began = -inf  # when the present stage did
        # One call of C on the request path: `add(request)` puts it there.
        self.add = self.flying.setdefault

    def close(self, request: Request, at: float, *, answered: bool) -> None:
        """A request has ended at the instant `at`, which is not before any other's.

        `answered` tells a response from a client that left.
        """
        if answered:
            self.answered[request.arm] = at
        self.flying.pop(request, None)

    def discard(self, request: Request) -> None:
        """Forget a request that is not to be counted."""
        self.flying.pop(request, None)

    def clear(self) -> None:
        """Forget all of them."""
        self.flying.clear()
        self.given_up.clear()

    def requests(self) -> list[Request]:
        """Those in flight now."""
        return list(self.flying)

    def look(self, at: float, *, settle: bool) -> Seen:
        """See `Flights`."""
        if not self.flying:
            return NOTHING_SEEN
        mine: dict[Arm, list[Request]] = {"baseline": [], "canary": []}
        given_up: dict[Arm, Counts] = {"baseline": NOTHING, "canary": NOTHING}
        for request in list(self.flying):  # at one stroke: threads go on adding
            if request.started_at >= at:  # what arrives at an instant is not there before it
                continue
            # The shortest patience first: a route's own takes the route's name, which is dear.
            if (
                settle
                and at - request.started_at > self._least
                and not _stands(request, at)
                and self._is_over(request, at)
            ):
                if self.flying.pop(request, False) is False:  # another thread has just ended it
                    continue
                request.abandoned_at = at
                self.given_up.append(request)
                given_up[request.arm] += abandoned(1, timed=request.still_timed())
            else:
                mine[request.arm].append(request)
        return Seen(
            SeenOfArm(self._seen(mine["baseline"], "baseline", at), given_up["baseline"]),
            SeenOfArm(self._seen(mine["canary"], "canary", at), given_up["canary"]),
        )

    def last_sign(self, now: float) -> float:
        """The last instant up to `now` at which this process took a request in, or answered one."""
        began = [request.started_at for request in list(self.flying)]
        return max((at for at in (*began, *self.answered.values()) if at <= now), default=-inf)

    def unwatched(self, since: float, seconds: float) -> None:
        """For so long after `since` nobody watched: who waited then has not waited meanwhile."""
        for request in list(self.flying):
            if request.started_at <= since:
                request.unwatched(seconds)
        for arm in self.answered:
            self.answered[arm] += seconds

    def _is_over(self, request: Request, at: float) -> bool:
        """Whether it has been silent for so long that nobody waits any more."""
        after = self._after
        if self._by_route:
            after = self._patience(request.find_route())
        return at - request.silent_since(at) > after

    def _seen(self, requests: Iterable[Request], arm: Arm, at: float) -> InFlight:
        waiting = [request for request in requests if not _stands(request, at)]
        standing = [
            (request.first_at, request.first_at - request.started_at)
            for request in requests
            if request.first_at is not None and request.first_at < at
        ]
        # Compared as when a request ends, to the bit: a difference in ms, and not an instant with
        # that of the limit, or what is overdue now might turn out to have been in time.
        limit = self._slow_ms
        answered = max([self.answered[arm], *(first_at for first_at, _ in standing)])
        return InFlight(
            requests=len(waiting),
            # Whether it is `still_timed` is asked last, of few: its path has to be read for that.
            overdue=sum(
                request.timed and (at - request.started_at) * 1000 > limit and request.still_timed()
                for request in waiting
            ),
            unanswered=sum(request.started_at > answered for request in waiting),
            standing=len(standing),
            standing_slow=sum(seconds * 1000 > limit for _, seconds in standing),
            standing_in_stage=sum(first_at >= self.stage_began for first_at, _ in standing),
        )


def _stands(request: Request, at: float) -> bool:
    """Whether it is a socket or an event stream that had been answered before `at`."""
    return request.first_at is not None and request.first_at < at
