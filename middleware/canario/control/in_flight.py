"""The requests in flight: who is there, since when, and what that says at a check.

Whoever serves requests adds each when it arrives; an observation closes it. At a check the rollout
looks: what was there before that instant and has not ended. So the answer depends on instants
alone, not on who looks or how late.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from typing import Protocol

from canario.metrics.counts import NOTHING, Counts
from canario.metrics.in_flight import NOTHING_SEEN, InFlight, Seen, SeenOfArm
from canario.plan import RollbackThresholds
from canario.routing.router import Arm

__all__ = ["Flights", "OpenRequests", "Request"]


class Request(Protocol):
    """A request that somebody serves."""

    arm: Arm
    started_at: float
    timed: bool
    # Set when it has been counted while it was still in flight: nobody answered it in time.
    abandoned_at: float | None

    def silent_since(self, at: float) -> float:
        """When it last gave a sign of life, a piece of its body or its arrival, as far as who asks
        now and then can know: what came since the last time came at `at`."""

    def find_route(self) -> str | None:
        """Template of its route, where that is known."""


class Flights(Protocol):
    """Tells a rollout what is in flight: what a middleware serves, or what a simulator flies."""

    def look(self, at: float, *, settle: bool) -> Seen:
        """What had arrived before the instant `at` and had not ended then.

        With `settle`, which a check asks for, whoever has waited for too long is given up.
        """


class OpenRequests:
    """What the middleware serves.

    Adding and looking up are single operations on a dict, so requests of many threads need no
    lock for them; `close` and `look` are called with the controller's.
    """

    __slots__ = (
        "_after",
        "_answered",
        "_by_route",
        "_least",
        "_open",
        "_slow_ms",
        "add",
        "given_up",
    )

    def __init__(self, thresholds: RollbackThresholds) -> None:
        self._slow_ms = thresholds.max_p95_latency_ms
        self._after = thresholds.abandoned_after
        self._by_route = thresholds.abandoned_after_by_route
        self._least = min(self._after, *self._by_route.values(), inf)
        self._open: dict[Request, None] = {}
        self._answered: dict[Arm, float] = {"baseline": -inf, "canary": -inf}
        self.given_up: list[Request] = []  # until somebody takes note of them
        # One call of C on the request path: `add(request)` puts it there.
        self.add = self._open.setdefault

    def __len__(self) -> int:
        return len(self._open)

    def close(self, request: Request, at: float, *, answered: bool) -> bool:
        """A request has ended, or has sent the message it is counted with.

        False when it is not there: it has been counted, or nobody has added it. `answered` tells
        a response from a client that left.
        """
        if answered and at > self._answered[request.arm]:
            self._answered[request.arm] = at
        return self._open.pop(request, self) is None

    def discard(self, request: Request) -> None:
        """Forget a request that is not to be counted."""
        self._open.pop(request, None)

    def clear(self) -> None:
        """Forget all of them."""
        self._open.clear()
        self.given_up.clear()

    def requests(self) -> list[Request]:
        """Those in flight now."""
        return list(self._open)

    def look(self, at: float, *, settle: bool) -> Seen:
        """See `Flights`."""
        if not self._open:
            return NOTHING_SEEN
        mine: dict[Arm, list[Request]] = {"baseline": [], "canary": []}
        given_up: dict[Arm, Counts] = {"baseline": NOTHING, "canary": NOTHING}
        for request in list(self._open):  # at one stroke: threads go on adding
            if request.started_at >= at:
                continue
            if settle and at - request.started_at > self._least and self._is_over(request, at):
                self._open.pop(request, None)
                request.abandoned_at = at
                self.given_up.append(request)
                given_up[request.arm] += _given_up(timed=request.timed)
            else:
                mine[request.arm].append(request)
        return Seen(
            SeenOfArm(self._seen(mine["baseline"], "baseline", at), given_up["baseline"]),
            SeenOfArm(self._seen(mine["canary"], "canary", at), given_up["canary"]),
        )

    def _is_over(self, request: Request, at: float) -> bool:
        """Whether it has been silent for so long that nobody waits any more."""
        after = self._after
        if self._by_route:
            after = self._by_route.get(request.find_route() or "", after)
        return at - request.silent_since(at) > after

    def _seen(self, requests: Iterable[Request], arm: Arm, at: float) -> InFlight:
        answered = self._answered[arm]
        number = overdue = unanswered = 0
        for request in requests:
            number += 1
            # As the difference that would be measured if it ended now, to the bit.
            if request.timed and (at - request.started_at) * 1000 > self._slow_ms:
                overdue += 1
            if request.started_at > answered:
                unanswered += 1
        return InFlight(requests=number, overdue=overdue, unanswered=unanswered)


def _given_up(*, timed: bool) -> Counts:
    return Counts(requests=1, errors=1, timed=timed, slow=timed, abandoned=1)
