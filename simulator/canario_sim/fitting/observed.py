"""What was observed of a service, from whatever source: what a scenario is fitted to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from canario.plan import Plan
from canario_sim.streams import Flags, Ints
from canario_sim.tapes.recording import BAD, NEUTRAL, Recording

from .arrivals import Counts, counts_of
from .samples import Latencies, sample_of

__all__ = ["ArmObserved", "Observed", "RouteObserved", "of_recording"]

# Fewer requests than this of a route, or of the canary, are not fitted by themselves.
LEAST = 200
MOST_ROUTES = 20


@dataclass(frozen=True, slots=True)
class ArmObserved:
    """What one arm did: requests that say something, how many of them failed, and latencies."""

    requests: int
    errors: int
    latencies: Latencies | None

    @property
    def error_rate(self) -> float:
        """In percent."""
        return 100 * self.errors / self.requests if self.requests else 0.0


@dataclass(frozen=True, slots=True)
class RouteObserved:
    """One route: its name, how many requests it had, and what either arm did with them."""

    name: str
    requests: int
    baseline: ArmObserved
    canary: ArmObserved


@dataclass(frozen=True, slots=True)
class Observed:
    """All of it.

    Attributes:
        source: What it is called.
        counts: Arrivals; None where they are not known.
        baseline: The present version, or all there is.
        canary: The new one, where it had enough requests.
        routes: With enough requests, the most used first; the others together are `other`.
        per_user: Requests of each user; empty where users are not known.
        plan: The plan that was recorded with it.
        notes: What a reader should know of how it was read.
    """

    source: str
    counts: Counts | None
    baseline: ArmObserved
    canary: ArmObserved | None = None
    routes: tuple[RouteObserved, ...] = ()
    per_user: Ints | None = None
    plan: Plan | None = None
    notes: tuple[str, ...] = ()


def of_recording(recording: Recording, notes: tuple[str, ...] = ()) -> Observed:
    """What a tape holds. Raises `ValueError` for one that has too few requests."""
    mine = recording.arm == 1
    canary = _arm(recording, mine)
    named = recording.key[recording.key >= 0]
    return Observed(
        source=recording.source,
        counts=counts_of(recording.at),
        baseline=_arm(recording, ~mine),
        canary=canary if canary.requests >= LEAST and canary.latencies is not None else None,
        routes=tuple(_routes(recording)),
        per_user=np.bincount(named, minlength=recording.users) if len(named) else None,
        plan=recording.plan,
        notes=notes,
    )


def _arm(recording: Recording, chosen: Flags) -> ArmObserved:
    says = chosen & (recording.outcome != NEUTRAL)
    timed = recording.latency_ms[says & np.isfinite(recording.latency_ms)]
    return ArmObserved(
        requests=int(np.count_nonzero(says)),
        errors=int(np.count_nonzero(chosen & (recording.outcome == BAD))),
        latencies=sample_of(timed) if len(timed) >= 2 else None,
    )


def _routes(recording: Recording) -> list[RouteObserved]:
    """The routes that are worth their own line, and the rest as one."""
    # Place 0 is for requests without a route.
    numbers = np.bincount(recording.route + 1, minlength=len(recording.routes) + 1)
    ranked = np.argsort(-numbers[1:], kind="stable")[:MOST_ROUTES]
    kept = [number for number in ranked.tolist() if numbers[number + 1] >= LEAST]
    found = [
        _route(recording, recording.routes[number], recording.route == number) for number in kept
    ]
    rest = ~np.isin(recording.route, kept)
    if found and rest.any():
        found.append(_route(recording, _unused("other", found), rest))
    # A single route tells requests apart no better than none.
    return found if len(found) > 1 else []


def _route(recording: Recording, name: str, chosen: Flags) -> RouteObserved:
    mine = recording.arm == 1
    return RouteObserved(
        name,
        int(np.count_nonzero(chosen)),
        _arm(recording, chosen & ~mine),
        _arm(recording, chosen & mine),
    )


def _unused(name: str, routes: list[RouteObserved]) -> str:
    names = {route.name for route in routes}
    while name in names:
        name += " routes"
    return name
