"""Servers with one line, and circuit breakers, as SimPy processes and objects."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass
from heapq import heappush
from math import ceil, fsum, inf

import simpy
from simpy.events import EventPriority

from canario.arms import ARMS, Arm
from canario_sim.scenario.dependencies import Breaker as Rule
from canario_sim.scenario.service import Service
from canario_sim.streams import child, seed_of

__all__ = [
    "ARRIVAL",
    "CAPACITY",
    "DONE",
    "LEAVE",
    "RETRY",
    "Breaker",
    "Given",
    "Server",
    "Signal",
    "Station",
    "Steps",
    "Turn",
    "pause_end",
    "until",
]

Steps = Generator[simpy.Event, object, None]
Signal = tuple[float, str, Arm, float]

# At one instant: servers that come, decisions, what is done, whoever leaves, retries, arrivals.
CAPACITY, DECISION, DONE, LEAVE, RETRY, ARRIVAL = (
    EventPriority(number) for number in (2, 3, 4, 5, 6, 7)
)


def until(env: simpy.Environment, at: float, priority: EventPriority) -> simpy.Event:
    """An event at the instant `at`, to the bit: no delay need lead there from now."""
    event = simpy.Event(env)
    event._ok, event._value = True, None
    heappush(env._queue, (at, priority, next(env._eid), event))
    return event


@dataclass(eq=False)
class Server:
    """A server, and when it was ready, has last been free, and pauses."""

    name: int
    ready: float
    free: float
    pauses: list[tuple[float, float]]
    leaving: bool = False


Given = tuple[Server, float]


@dataclass(eq=False)
class Turn:
    """A place in a line."""

    event: simpy.Event
    wanted: bool = True
    given: Given | None = None

    def call(self, given: Given | None) -> None:
        """It is its turn, with a server and the busy part of all; or it is dropped."""
        self.given = given
        self.event.succeed()


class Station:
    """Servers with one line."""

    def __init__(
        self,
        env: simpy.Environment,
        servers: int,
        service: Service | None,
        number: int,
        seed: int,
        horizon: float,
        tell: Callable[[Signal], None],
    ) -> None:
        self.env = env
        self.service = service
        self.number = number
        self.seed = seed
        self.horizon = horizon
        self.tell = tell
        self.line: deque[Turn] = deque()
        self.idle = [self.server(number, first=True) for number in range(servers)]
        self.busy: list[Server] = []
        self.coming: list[int] = []
        self.changes: list[tuple[float, int, int]] = [(0.0, 0, servers)]
        self.advice: list[int] = []
        self.first = servers
        self.orders: dict[int, object] = {}

    def server(self, name: int, *, first: bool = False) -> Server:
        now = float(self.env.now)
        pauses: list[tuple[float, float]] = []
        if self.service is not None and self.service.pauses is not None:
            stream = child(child(seed_of(self.seed, "pauses"), self.number), name)
            pauses = self.service.pauses.draw(stream, self.horizon)
        warm = first and self.number != 1
        return Server(name, -inf if warm else now, now, pauses)

    def note(self) -> None:
        self.changes.append((float(self.env.now), len(self.busy), len(self.busy) + len(self.idle)))

    def join(self) -> Turn:
        turn = Turn(self.env.event())
        self.line.append(turn)
        self.next()
        return turn

    def next(self) -> None:
        """Whoever is first in line begins, if there is a server."""
        now = float(self.env.now)
        while self.line:
            there = [server for server in self.idle if pause_end(server, now) is None]
            if not there:
                for server in self.idle:
                    self.env.process(self.wake(pause_end(server, now) or now))
                return
            turn = self.line.popleft()
            if not turn.wanted:
                turn.call(None)
                continue
            server = min(there, key=lambda server: (server.free, server.name))
            self.idle.remove(server)
            self.busy.append(server)
            self.note()
            turn.call((server, len(self.busy) / (len(self.busy) + len(self.idle))))

    def wake(self, at: float) -> Steps:
        yield until(self.env, at, DECISION)
        self.next()

    def release(self, server: Server) -> None:
        self.busy.remove(server)
        if not server.leaving:
            server.free = float(self.env.now)
            self.idle.append(server)
        self.note()
        self.next()

    def autoscale(self) -> Steps:
        assert self.service is not None
        scaling = self.service.autoscaling
        assert scaling is not None
        remembered = ceil(scaling.scale_down_seconds / scaling.interval_seconds)
        number = 0
        while True:
            number += 1
            yield until(self.env, number * scaling.interval_seconds, DECISION)
            now = float(self.env.now)
            here = len(self.idle) + sum(not server.leaving for server in self.busy)
            start = (number - 1) * scaling.interval_seconds
            self.note()
            spans = [
                (max(upto, start) - max(since, start), busy, present)
                for (since, busy, present), (upto, _, _) in zip(
                    self.changes, self.changes[1:], strict=False
                )
            ]
            used = fsum(span * busy for span, busy, _ in spans)
            had = fsum(span * present for span, _, present in spans)
            self.changes = self.changes[-1:]
            ratio = used / had / (scaling.target_percent / 100)
            desired = here
            # Nine digits: what is whole by the rules is whole, however it was added up.
            if round(abs(ratio - 1), 9) > scaling.tolerance_percent / 100:
                desired = ceil(round(here * ratio, 9))
            desired = min(max(desired, scaling.min_servers), scaling.max_servers)
            self.advice.append(desired)
            there = here + len(self.coming)
            if desired < there:
                kept = self.advice[-remembered - 1 :]
                older = [self.first] if len(self.advice) <= remembered else []
                desired = max([*kept, *older])
            if desired > there:
                self.tell((now, "scaled", ARMS[self.number], desired))
                self.hire(desired - there, scaling.provisioning_seconds, scaling.max_servers)
            elif desired < there:
                self.tell((now, "scaled", ARMS[self.number], desired))
                self.dismiss(there - desired)

    def hire(self, number: int, delay: float, most: int) -> None:
        taken = {server.name for server in (*self.idle, *self.busy)} | set(self.coming)
        for name in [name for name in range(most) if name not in taken][:number]:
            self.coming.append(name)
            self.env.process(self.arrive(name, delay))

    def arrive(self, name: int, delay: float) -> Steps:
        order = object()
        self.orders[name] = order
        yield until(self.env, float(self.env.now) + delay, CAPACITY)
        if self.orders.get(name) is order and name in self.coming:
            self.coming.remove(name)
            self.idle.append(self.server(name))
            self.note()
            self.next()

    def dismiss(self, number: int) -> None:
        for _ in range(number):
            staying = [server for server in self.busy if not server.leaving]
            if self.coming:
                self.coming.remove(max(self.coming))
            elif self.idle:
                self.idle.remove(max(self.idle, key=lambda server: server.name))
                self.note()
            else:
                max(staying, key=lambda server: server.name).leaving = True


def pause_end(server: Server, now: float) -> float | None:
    return next((end for start, end in server.pauses if start <= now < end), None)


class Breaker:
    """A circuit breaker of one arm around one dependency."""

    def __init__(self, rule: Rule, arm: Arm, signal: Callable[[Signal], None]) -> None:
        self.rule, self.arm, self.signal = rule, arm, signal
        self.latest: deque[bool] = deque(maxlen=self.rule.of_calls)
        self.state: object = "closed"
        self.half = False
        self.closed = True
        self.trials = self.good = 0
        self.until = self.since = 0.0

    def ask(self, now: float) -> object | None:
        """A token of the present state when a call may be made."""
        if not self.closed and not self.half and now >= self.until:
            self.half, self.state, self.trials, self.good = True, object(), 0, 0
        if not self.closed and not self.half:
            return None
        if self.half:
            if self.trials >= self.rule.trials:
                return None
            self.trials += 1
        return self.state

    def tell(self, token: object, failed: bool, now: float) -> None:
        if token is not self.state:
            return
        if self.half:
            if failed:
                self.open(now)
                return
            self.good += 1
            if self.good >= self.rule.trials:
                self.closed, self.half, self.state = True, False, object()
                took = (now - self.since) * 1000
                self.signal((now, "recovered", self.arm, took))
            return
        self.latest.append(failed)
        if sum(self.latest) >= self.rule.failures:
            self.latest.clear()
            self.since = now
            self.signal((now, "opened", self.arm, 0.0))
            self.open(now)

    def open(self, now: float) -> None:
        self.closed, self.half, self.state = False, False, object()
        self.until = now + self.rule.open_seconds
