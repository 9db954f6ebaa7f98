"""A world in which requests act on each other, the slow way: SimPy processes and objects.

It knows nothing of columns, places and heaps: every attempt, every call, every server that comes
is a process. What it shares with the simulator is what is drawn, and the controller.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple

import numpy as np
import simpy
from simpy.events import NORMAL
from tests.simulator.closed_stations import (
    ARRIVAL,
    DONE,
    LEAVE,
    RETRY,
    Breaker,
    Server,
    Signal,
    Station,
    Steps,
    Turn,
    pause_end,
    until,
)
from tests.simulator.oracle import OpenOnes, Waiting, count_without_key

from canario.arms import ARMS, Arm
from canario.control.machine import CommandRefusedError
from canario.control.rollout import Outcome
from canario.controller import CanaryDeploymentController
from canario.plan import Plan
from canario_sim.chance.draws import Draws
from canario_sim.chance.requests import Fates, Requests
from canario_sim.scenario.broken_contracts import Single
from canario_sim.scenario.clients import Clients
from canario_sim.scenario.dependencies import Dependency
from canario_sim.scenario.faults import LostCapacity
from canario_sim.scenario.scenario import Order, Scenario
from canario_sim.streams import Floats
from canario_sim.world.closed.call_draws import CallDraws

__all__ = ["ClosedOracle", "Seen"]


class Seen(NamedTuple):
    """An attempt as the middleware sees it."""

    done: float
    arm: Arm
    failed: bool
    slow: bool
    neutral: bool
    broken: int


class Sent(NamedTuple):
    """An attempt as it arrives."""

    at: float
    key: int
    route: int
    arm: Arm


@dataclass(eq=False)
class Pending:
    """A single contract failure."""

    at: float
    arm: Arm
    number: int


@dataclass(eq=False)
class Request:
    """A request, as the client has it."""

    key: int
    numbers: tuple[int, int, int]
    jitter: list[float]


@dataclass(eq=False)
class Attempt:
    """One time that it is sent: what either arm would do to it, and what has become of it."""

    request: Request
    number: int
    at: float
    seconds: tuple[float, ...] | None = None
    codes: tuple[int, ...] = ()
    calls: list[tuple[float, float]] = field(default_factory=list)
    left: bool = False
    over: bool = False
    turn: Turn | None = None
    waiting: Waiting | None = None


class ClosedOracle:
    """One rehearsal of a scenario, process by process."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self.scenario = scenario.settled(seed)
        self.seed = seed
        self.env = simpy.Environment()
        self.open = OpenOnes(scenario.deployment.rollback_thresholds)
        self.controller = CanaryDeploymentController(
            Plan(deployment=scenario.deployment),
            clock=lambda: float(self.env.now),
            telemetry=False,
            flights=self.open,
        )
        self.limit = scenario.deployment.rollback_thresholds.max_p95_latency_ms
        self.clients = scenario.clients or Clients()
        self.source = Draws(self.scenario, seed)
        self.again = self.source.retries()
        self.call_draws = CallDraws(self.scenario, seed)
        self.tokens = self.clients.budget.burst if self.clients.budget else 0.0
        self.signals: list[Signal] = []
        self.seen: list[Seen] = []
        self.pending: list[Attempt] = []
        self.first = self.retries = self.timeouts = self.denied = self.gave_up = self.fast = 0
        self.sent: list[Sent] = []
        self.stations = [self.station(number) for number in range(2 + len(scenario.dependencies))]
        self.breakers = {
            (number, arm): Breaker(each.breaker, arm, self.signal)
            for number, each in enumerate(self.scenario.dependencies)
            for arm in ARMS
            if each.breaker is not None
        }
        self.singles = [
            Pending(failure.at, arm, number)
            for number, failure in enumerate(self.scenario.contract_failures, start=1)
            if isinstance(failure, Single)
            for arm in ARMS
            if failure.strikes(arm)
        ]

    @property
    def flying(self) -> dict[Arm, int]:
        return {arm: sum(one.arm == arm for one in self.open.there) for arm in ARMS}

    def station(self, number: int) -> Station | None:
        scenario, service = self.scenario, None
        if number < len(ARMS):
            service = scenario.service(ARMS[number])
            servers = service.servers
        else:
            servers = scenario.dependencies[number - len(ARMS)].servers
        if servers is None:
            return None
        horizon = scenario.horizon
        return Station(self.env, servers, service, number, self.seed, horizon, self.signal)

    def run(self) -> ClosedOracle:
        self.controller.start()
        self.ended = self.env.event()
        for station in self.stations:
            if station and station.service and station.service.autoscaling:
                self.env.process(station.autoscale())
        for number, arm in enumerate(ARMS):
            for fault in self.scenario.faults:
                if isinstance(fault, LostCapacity) and fault.strikes(arm):
                    for start, end in self.scenario.occurrences(fault):
                        self.lose(self.stations[number], start, end, fault.servers)
        for station, each in zip(self.stations[2:], self.scenario.dependencies, strict=True):
            for trouble in each.troubles:
                for start, end in self.scenario.occurrences(trouble):
                    self.lose(station, start, end, trouble.lost_servers)
        for order in self.scenario.orders:
            self.env.process(self.order(order))
        self.env.process(self.horizon())
        self.env.process(self.arrive())
        self.env.run(until=self.ended)
        return self

    def horizon(self) -> Steps:
        yield until(self.env, self.scenario.horizon, NORMAL)
        self.tick()
        if not self.ended.triggered:
            self.ended.succeed()

    # -- clients

    def arrive(self) -> Steps:
        for chunk in self.source.chunks(3000):
            fates = (chunk.baseline, chunk.canary)
            draws = self.call_draws.fates_and_calls(fates)
            jitter = self.call_draws.jitter(len(chunk))
            for place in range(len(chunk)):
                at = float(chunk.at[place])
                if at >= self.scenario.horizon:
                    return
                numbers = (
                    int(chunk.route[place]),
                    int(chunk.payload[place]),
                    int(chunk.session[place]),
                )
                request = Request(int(chunk.key[place]), numbers, jitter[place].tolist())
                attempt = Attempt(request, 0, at)
                self.fate(attempt, fates, draws, place)
                yield until(self.env, at, ARRIVAL)
                if self.clients.budget:
                    budget = self.clients.budget
                    self.tokens = min(self.tokens + budget.percent / 100, budget.burst)
                self.send(attempt)

    def fate(self, attempt: Attempt, fates: tuple[Fates, Fates], draws: Floats, place: int) -> None:
        attempt.seconds = tuple(draws[place, :2].tolist())
        attempt.codes = tuple(
            int(each.failed[place]) + 2 * int(each.broken[place]) for each in fates
        )
        calls = draws[place, 2:].tolist()
        attempt.calls = list(zip(calls[::2], calls[1::2], strict=True))

    def send(self, attempt: Attempt) -> None:
        self.tick()
        if self.ended.triggered:
            return
        arm = self.controller.router.route_request(self.source.keys[attempt.request.key])
        names = self.scenario.route_names or ("",)
        if names[attempt.request.numbers[0]] in self.scenario.keyless:
            arm = "baseline"
            count_without_key(self.controller, names[attempt.request.numbers[0]])
        self.first += attempt.number == 0
        numbers = attempt.request.numbers
        self.sent.append(Sent(attempt.at, attempt.request.key, numbers[0], arm))
        attempt.waiting = self.open.begin(attempt.at, arm, names[attempt.request.numbers[0]])
        if self.clients.timeout_ms is not None:
            self.env.process(self.patience(attempt))
        self.env.process(self.serve(attempt, arm))

    def patience(self, attempt: Attempt) -> Steps:
        assert self.clients.timeout_ms is not None
        yield until(self.env, attempt.at + self.clients.timeout_ms / 1000, LEAVE)
        self.tick()
        if not (attempt.over or self.ended.triggered):
            attempt.left = True
            self.timeouts += 1
            if attempt.turn is not None and self.clients.abandoned == "dropped":
                attempt.turn.wanted = False
            self.retry(attempt)

    def retry(self, attempt: Attempt) -> None:
        clients, number = self.clients, attempt.number
        if number + 1 >= clients.attempts:
            self.gave_up += 1
            return
        if clients.budget is not None:
            if self.tokens < 1:
                self.denied += 1
                self.gave_up += 1
                return
            self.tokens -= 1
        self.retries += 1
        wait = (
            min(clients.backoff_ms * clients.backoff_factor**number, clients.backoff_limit_ms)
            / 1000
        )
        wait *= 1 - clients.jitter * attempt.request.jitter[number]
        again = Attempt(attempt.request, number + 1, float(self.env.now) + wait)
        self.pending.append(again)
        self.env.process(self.later(again))

    def later(self, attempt: Attempt) -> Steps:
        yield until(self.env, attempt.at, RETRY)
        if attempt.seconds is None:
            self.fates_of_pending()
        self.send(attempt)

    def fates_of_pending(self) -> None:
        pending = sorted(self.pending, key=lambda attempt: attempt.at)
        self.pending = []
        n = len(pending)
        void = Fates(np.zeros(n), np.zeros(n, np.bool_), np.zeros(n, np.uint8))
        numbers = np.array([each.request.numbers for each in pending], np.int64)
        fates = self.again(
            Requests(
                np.array([each.at for each in pending]),
                np.array([each.request.key for each in pending]),
                void,
                void,
                numbers[:, 0].astype(np.uint16),
                numbers[:, 1].astype(np.uint8),
                numbers[:, 2],
            )
        )
        draws = self.call_draws.fates_and_calls(fates, again=True)
        for place, attempt in enumerate(pending):
            self.fate(attempt, fates, draws, place)

    # -- servers

    def serve(self, attempt: Attempt, arm: Arm) -> Steps:
        side = ARMS.index(arm)
        assert attempt.seconds is not None
        failed, broken = bool(attempt.codes[side] & 1), attempt.codes[side] >> 1
        for single in self.singles:
            if single.at <= attempt.at and single.arm == arm:
                single.at, broken = inf, single.number
        station, service = self.stations[side], self.scenario.service(arm)
        takes = attempt.seconds[side]
        server: Server | None = None
        if station is not None:
            attempt.turn = station.join()
            turn = attempt.turn
            yield turn.event
            attempt.turn = None
            if turn.given is None:
                self.observe(attempt, arm, False, broken)
                return
            server, load = turn.given
            if service.cold_start is not None:
                cold = service.cold_start
                cool = 1 - (float(self.env.now) - server.ready) / cold.seconds
                takes *= 1 + (cold.factor - 1) * max(cool, 0.0)
            if service.contention > 1:
                takes *= 1 + (service.contention - 1) * load
        yield from self.work(takes, server)
        if not failed:
            failed = yield from self.call_all(attempt, arm, server)
        self.observe(attempt, arm, failed, broken)
        attempt.over = True
        if station is not None and server is not None:
            station.release(server)
        if failed and not attempt.left:
            self.retry(attempt)

    def work(self, takes: float, server: Server | None) -> Steps:
        """Work for so long, interrupted by the server's pauses."""
        end = float(self.env.now) + takes
        for start, over in server.pauses if server else ():
            if float(self.env.now) < start < end:
                yield until(self.env, start, DONE)
                end += over - start
        yield until(self.env, end, DONE)

    def call_all(
        self, attempt: Attempt, arm: Arm, server: Server | None
    ) -> Generator[simpy.Event, object, bool]:
        names = self.scenario.route_names or ("",)
        route = names[attempt.request.numbers[0]]
        for number, each in enumerate(self.scenario.dependencies):
            if not each.called_by(arm) or (each.routes is not None and route not in each.routes):
                continue
            breaker = self.breakers.get((number, arm))
            token = None if breaker is None else breaker.ask(float(self.env.now))
            if breaker is not None and token is None:
                self.fast += 1
                if each.optional:
                    continue
                return True
            answer = self.env.event()
            turn: list[Turn] = []
            self.env.process(self.call(number, each, attempt.calls[number], answer, turn))
            if each.timeout_ms is not None:
                self.env.process(self.give_up(each.timeout_ms / 1000, answer, turn))
            failed = bool((yield answer))
            if breaker is not None:
                breaker.tell(token, failed, float(self.env.now))
            pause = pause_end(server, float(self.env.now)) if server else None
            if failed and not each.optional:
                if pause is not None:
                    yield until(self.env, pause, DONE)
                return True
            if pause is not None:
                yield until(self.env, pause, DONE)
        return False

    def call(
        self,
        number: int,
        each: Dependency,
        drawn: tuple[float, float],
        answer: simpy.Event,
        turns: list[Turn],
    ) -> Steps:
        station = self.stations[2 + number]
        server: Server | None = None
        if station is not None:
            turn = station.join()
            turns.append(turn)
            yield turn.event
            turns.clear()
            if turn.given is None:
                return
            server, _ = turn.given
        now, (takes, luck) = float(self.env.now), drawn
        failing = each.error_rate / 100
        for trouble in each.troubles:
            for start, end in self.scenario.occurrences(trouble):
                if start <= now < end:
                    takes = takes * trouble.factor + trouble.added_ms / 1000
                    failing = 1 - (1 - failing) * (1 - trouble.error_rate / 100)
        yield until(self.env, now + takes, DONE)
        if station is not None and server is not None:
            station.release(server)
        if not answer.triggered:
            answer.succeed(luck < failing)

    def give_up(self, seconds: float, answer: simpy.Event, turns: list[Turn]) -> Steps:
        yield until(self.env, float(self.env.now) + seconds, LEAVE)
        if not answer.triggered:
            for turn in turns:
                turn.wanted = False
            answer.succeed(True)

    def lose(self, station: Station | None, start: float, end: float, servers: int) -> None:
        for _ in range(servers):
            assert station is not None
            self.env.process(self.lost(station, start, end))

    def lost(self, station: Station, start: float, end: float) -> Steps:
        yield until(self.env, start, NORMAL)
        turn = station.join()
        yield turn.event
        assert turn.given is not None
        if end < inf:
            yield until(self.env, max(end, float(self.env.now)), DONE)
            station.release(turn.given[0])

    # -- the controller

    def signal(self, signal: Signal) -> None:
        """Checks come first: what a rollout ends at is not followed by anything of its instant."""
        self.tick()
        if not self.ended.triggered:
            self.signals.append(signal)

    def observe(self, attempt: Attempt, arm: Arm, failed: bool, broken: int) -> None:
        self.tick()
        if self.ended.triggered:
            return
        now = float(self.env.now)
        latency_ms = (now - attempt.at) * 1000
        slow = latency_ms > self.limit
        neutral = attempt.left and not failed and not slow
        broken = 0 if attempt.left else broken
        assert attempt.waiting is not None
        if not self.open.end(attempt.waiting, now, answers=not neutral):
            return
        self.seen.append(Seen(now, arm, failed, slow, neutral, broken))
        outcome = Outcome.NEUTRAL if neutral else Outcome.BAD if failed else Outcome.GOOD
        self.controller.observe(arm, outcome, None if neutral else latency_ms, now=now)
        if broken:
            self.controller.report_violation(arm, self.source.violations[broken - 1], now=now)
        self.end_if_over()

    def order(self, order: Order) -> Steps:
        yield until(self.env, order.at, NORMAL)
        self.tick()
        with suppress(CommandRefusedError):
            getattr(self.controller, order.order)()
        self.end_if_over()

    def tick(self) -> None:
        self.controller.tick()
        self.end_if_over()

    def end_if_over(self) -> None:
        if self.controller.state.phase.terminal and not self.ended.triggered:
            self.ended.succeed()
