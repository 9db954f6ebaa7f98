"""The columns that `steps` works on: arrays for compiled code, lists for interpreted.

An element of a list is read in a third of the time that one of an array takes, so without numba
the engine works on lists. Each column is a table, row after row; see `steps` for what is in them.
They are few, since what compiling costs grows with their number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np

__all__ = ["Columns", "Queue", "Rules", "State"]

# An array or a list.
Column = Any


class State(NamedTuple):
    """What there is at an instant; `steps` changes it in place.

    Attributes:
        n: Counts, `steps.EVENTS` and so on.
        tokens: What is in the bucket of the retry budget.
        exposed: By key, whether it has reached the canary.
        single_at: Single contract failures: from when on each happens.
        singles: On which arm, and the number of its contract.
        event_at: Events, as a heap: when.
        event_key: Their order at one instant.
        event_of: What each is about.
        free: Places of jobs that are free.
        fresh: Retries that have no fate yet.
        jobs: Jobs, and requests.
        times: Their instants, seconds and draws.
        answered: When each arm has answered for the last time.
        seen: What was in flight when somebody looked, by arm.
        told: Observations that have not been taken away.
        told_times: Their instants.
        signals: Signals that have not been taken away.
        stations: Lines and servers.
        station_times: Their instants and seconds.
        servers: Servers.
        server_times: Their instants.
        breakers: Circuit breakers.
        breaker_times: Their instants.
        rings: Which of the latest calls have failed, by breaker.
        decisions: Decisions of autoscaling, by arm.
        advice: The latest ones, by arm.
    """

    n: Column
    tokens: Column
    exposed: Column
    single_at: Column
    singles: Column
    event_at: Column
    event_key: Column
    event_of: Column
    free: Column
    fresh: Column
    jobs: Column
    times: Column
    answered: Column
    seen: Column
    told: Column
    told_times: Column
    signals: Column
    stations: Column
    station_times: Column
    servers: Column
    server_times: Column
    breakers: Column
    breaker_times: Column
    rings: Column
    decisions: Column
    advice: Column


class Rules(NamedTuple):
    """What does not change: clients, servers, dependencies, breakers, autoscaling.

    Attributes:
        limit_ms: A request that takes longer is slow.
        patience: One that takes longer has failed; seconds, by route.
        room: Observations that are kept before they are taken away.
        spare_events: Events that one event may add.
        row: Columns of `State.jobs`.
        timeout: A client's patience, in seconds.
        attempts: Attempts at most.
        spread: Part of a wait that is left to chance.
        deposit: Tokens for a request.
        burst: Tokens at most.
        price: Tokens for a retry.
        drops: Whether who waits for a client that has left is dropped.
        draws: Draws of a request.
        jitter: The first of them that is a wait's.
        waits: Seconds before each retry.
        stations: How many servers each station may have, and where they are.
        slowness: Cold start and contention of each.
        pauses: Starts and ends of servers' pauses.
        loss_end: Until when each lost server is lost.
        loss_station: Where.
        dependencies: How many there are.
        routes: How many there are.
        used: Dependencies × arms × routes: whether a request calls it.
        calls: Of each dependency: how it is called, and its breaker; one row more at the end.
        call_times: The same, in seconds and probabilities.
        troubles: What is wrong with dependencies.
        rings: Where the ring of each breaker begins.
        scaling: Autoscaling of each arm.
        scale_times: The same, in seconds and ratios.
    """

    limit_ms: float
    patience: Column
    room: int
    spare_events: int
    row: int
    timeout: float
    attempts: int
    spread: float
    deposit: float
    burst: float
    price: float
    drops: bool
    draws: int
    jitter: int
    waits: Column
    stations: Column
    slowness: Column
    pauses: Column
    loss_end: Column
    loss_station: Column
    dependencies: int
    routes: int
    used: Column
    calls: Column
    call_times: Column
    troubles: Column
    rings: Column
    scaling: Column
    scale_times: Column


class Queue(NamedTuple):
    """Requests to come, in order of arrival.

    Attributes:
        at: When each arrives.
        numbers: Key, bucket, route, payload class, session, and its fate on either arm: 1 for
            failed + 2 × the broken contract.
        draws: As in `State.times`.
    """

    at: Column
    numbers: Column
    draws: Column


# The columns of floats; all others are of integers.
_FLOATS = frozenset(
    {"tokens", "single_at", "event_at", "times", "told_times", "signals", "station_times"}
    | {"answered", "patience"}
    | {"server_times", "breaker_times", "waits", "slowness", "pauses", "loss_end", "call_times"}
    | {"troubles", "scale_times", "at", "draws"}
)
T = TypeVar("T", State, Rules, Queue)


@dataclass(frozen=True, slots=True)
class Columns:
    """Makes columns: arrays when `compiled`, else lists."""

    compiled: bool

    def all_of(self, kind: type[T], values: Mapping[str, Any]) -> T:
        """A state, rules or a queue with these columns and numbers."""
        return kind(**{name: self.one(name, values[name]) for name in kind._fields})

    def one(self, name: str, values: Any) -> Any:
        """The column called `name`; a number is left as it is."""
        if isinstance(values, int | float):
            return values
        made = np.array(values, np.float64 if name in _FLOATS else np.int64).ravel()
        return made if self.compiled else made.tolist()
