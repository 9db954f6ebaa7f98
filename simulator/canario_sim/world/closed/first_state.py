"""The rules and the first state of a scenario in which requests act on each other."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil, inf

import numpy as np

from canario.arms import ARMS
from canario_sim.scenario.broken_contracts import Single
from canario_sim.scenario.capacity import Autoscaling
from canario_sim.scenario.clients import Clients
from canario_sim.scenario.dependencies import Breaker, Dependency
from canario_sim.scenario.faults import LostCapacity
from canario_sim.scenario.scenario import Scenario, Settled
from canario_sim.scenario.service import Service
from canario_sim.streams import child, seed_of
from canario_sim.world.unfinished import Patience

from . import steps
from .columns import Columns, Rules, State

__all__ = ["first_state", "grown", "rules_of"]

# Observations that are kept before they are taken away.
ROOM = 4096

# Jobs that there is room for at first.
JOBS = 256

_PATIENT = Clients()
_NO_BREAKER = (0, 1, 1)

Rows = list[list[float]]


def rules_of(scenario: Settled, seed: int, patience: Patience, columns: Columns) -> Rules:
    """The rules by which a scenario's requests act on each other; of the seed the pauses."""
    clients = scenario.clients or _PATIENT
    budget = clients.budget
    dependencies = scenario.dependencies
    servers = _servers(scenario)
    jitter = steps.CALLS + 2 * len(dependencies)
    draws = jitter + clients.attempts - 1
    losses = list(_losses(scenario))
    calls, call_times, troubles = _calls(scenario)
    scaling, scale_times = _scaling(scenario)
    sizes = [_size(each.breaker) for each in dependencies for _ in ARMS]
    values: dict[str, object] = {
        "limit_ms": float(patience.limit_ms),
        "patience": patience.after,
        "room": ROOM,
        # One decision of autoscaling may order all servers of a station.
        "spare_events": max(servers) + 2 * steps.SPARE,
        # `jobs` and `times` share places, so the wider one says how far they lie apart.
        "row": max(steps.JOB, steps.J_DRAWS + draws),
        "timeout": _seconds(clients.timeout_ms),
        "attempts": clients.attempts,
        "spread": float(clients.jitter),
        "deposit": 0.0 if budget is None else budget.percent / 100,
        "burst": 0.0 if budget is None else float(budget.burst),
        "price": 0.0 if budget is None else 1.0,
        "drops": clients.abandoned == "dropped",
        "draws": draws,
        "jitter": jitter,
        "waits": clients.waits(),
        "stations": _stations(servers),
        "slowness": _slowness(scenario),
        "pauses": _pauses(scenario, seed)[1],
        "loss_end": [end for _, _, end in losses],
        "loss_station": [steps.STATION * station for station, _, _ in losses],
        "dependencies": len(dependencies),
        "routes": max(len(scenario.route_names), 1),
        "used": [flag for each in dependencies for flag in _used(each, scenario)],
        "calls": calls,
        "call_times": call_times,
        "troubles": troubles,
        "rings": [sum(sizes[:which]) for which in range(len(sizes) + 1)],
        "scaling": scaling,
        "scale_times": scale_times,
    }
    return columns.all_of(Rules, values)


def first_state(scenario: Settled, seed: int, rules: Rules, keys: int, columns: Columns) -> State:
    """The state before the first request, with the events that are known beforehand."""
    most = _servers(scenario)
    present = [scenario.service(arm).servers or 0 for arm in ARMS]
    present += [each.servers or 0 for each in scenario.dependencies]
    stations = np.zeros((len(most), steps.STATION))
    stations[:, steps.S_IDLE] = stations[:, steps.S_PRESENT] = present
    station_times = np.zeros((len(most), steps.STATION))
    station_times[:, steps.S_WAKE] = inf
    singles = [
        (failure.at, int(arm == "canary"), number)
        for number, failure in enumerate(scenario.contract_failures, start=1)
        if isinstance(failure, Single)
        for arm in ARMS
        if failure.strikes(arm)
    ]
    servers, server_times = _first_servers(scenario, seed, most, present)
    breakers = 2 * len(scenario.dependencies) * steps.BREAKER
    memories = [_memory(scenario.service(arm).autoscaling) for arm in ARMS]
    # Before the first decision there are as many servers as it has been decided to keep.
    advice = [there for there, size in zip(present, memories, strict=False) for _ in range(size)]
    events = list(_first_events(scenario))
    values = {
        "n": [0] * steps.ARRIVAL + [-1] * (steps.NUMBERS - steps.ARRIVAL),
        "tokens": [rules.burst],
        "exposed": np.zeros(keys),
        "single_at": [at for at, _, _ in singles],
        "singles": [single[1:] for single in singles],
        "event_at": [0] * len(events),
        "event_key": [0] * len(events),
        "event_of": [0] * len(events),
        "free": [],
        "fresh": [],
        "jobs": [],
        "times": [],
        "answered": [-inf] * len(ARMS),
        "seen": np.zeros(steps.LOOK * len(ARMS)),
        "told": np.zeros(steps.TELLING * ROOM),
        "told_times": np.zeros(steps.TELLING * ROOM),
        "signals": np.zeros(steps.SIGNAL * (ROOM + steps.SPARE)),
        "stations": stations,
        "station_times": station_times,
        "servers": servers,
        "server_times": server_times,
        "breakers": np.zeros(breakers),
        "breaker_times": np.zeros(breakers),
        "rings": np.zeros(int(rules.rings[-1])),
        "decisions": np.zeros(len(ARMS)),
        "advice": advice,
    }
    state = columns.all_of(State, values)
    for at, kind, what in events:
        steps._push(state, at, kind, what)
    return state


def grown(state: State, rules: Rules, columns: Columns) -> State:
    """The same state with room for twice as many jobs."""
    before = len(state.free)
    more = max(before, JOBS)
    added = {
        "free": more,
        "fresh": more,
        "jobs": rules.row * more,
        "times": rules.row * more,
        "told": steps.TELLING * more,
        "told_times": steps.TELLING * more,
    }
    # A job has two events at most: its end and its deadline.
    added |= dict.fromkeys(("event_at", "event_key", "event_of"), 2 * more + rules.spare_events)
    longer = {
        name: columns.one(name, np.concatenate([getattr(state, name), np.zeros(size, np.int64)]))
        for name, size in added.items()
    }
    free = state.n[steps.FREE]
    for number in range(more):
        longer["free"][free + number] = rules.row * (before + number)
    state.n[steps.FREE] = free + more
    return state._replace(**longer)


def _seconds(ms: float | None) -> float:
    return inf if ms is None else ms / 1000


def _servers(scenario: Scenario) -> list[int]:
    """The most servers that each station may have; 0 for no limit."""
    services = [scenario.service(arm) for arm in ARMS]
    most = [
        each.autoscaling.max_servers if each.autoscaling else each.servers or 0 for each in services
    ]
    return most + [each.servers or 0 for each in scenario.dependencies]


def _stations(servers: list[int]) -> Rows:
    """How many servers each station may have, and between which places they are."""
    rows: Rows = []
    place = 0
    for size in servers:
        upto = place + steps.SERVER * size
        # As wide as `STATION`: one place stands for a station in all of its tables.
        rows.append([size, place, upto, 0, 0, 0])
        place = upto
    return rows


def _slowness(scenario: Scenario) -> Rows:
    rows = [_slow(scenario.service(arm)) for arm in ARMS]
    return rows + [[0.0, 1.0, 1.0, 0.0, 0.0, 0.0] for _ in scenario.dependencies]


def _slow(service: Service) -> list[float]:
    cold = service.cold_start
    seconds, factor = (0.0, 1.0) if cold is None else (cold.seconds, cold.factor)
    return [seconds, factor, service.contention, 0.0, 0.0, 0.0]


def _pauses(scenario: Scenario, seed: int) -> tuple[list[int], Rows]:
    """The place of each server's first pause, and starts and ends of all of them.

    A server's pauses are closed by one that never comes; the first of all is for the servers
    that do not pause.
    """
    never = [inf, inf]
    first: list[int] = []
    rows: Rows = [never]
    for station, size in enumerate(_servers(scenario)):
        pauses = scenario.service(ARMS[station]).pauses if station < len(ARMS) else None
        for server in range(size):
            first.append(0 if pauses is None else steps.PAUSE * len(rows))
            if pauses is not None:
                stream = child(child(seed_of(seed, "pauses"), station), server)
                rows += [list(pause) for pause in pauses.draw(stream, scenario.horizon)]
                rows.append(never)
    return first, rows


def _first_servers(
    scenario: Scenario, seed: int, most: list[int], present: list[int]
) -> tuple[Rows, Rows]:
    """The servers at the start: of each station the first `present`."""
    pauses = iter(_pauses(scenario, seed)[0])
    rows: Rows = []
    times: Rows = []
    for station, (size, there) in enumerate(zip(most, present, strict=True)):
        for number in range(size):
            state = steps.IDLE if number < there else steps.ABSENT
            rows.append([state, next(pauses), 0, steps.STATION * station])
            # All but the canary's have been running for ever.
            times.append([0.0, 0.0 if station == 1 else -inf, 0.0, 0.0])
    return rows, times


def _first_events(scenario: Settled) -> Iterator[tuple[float, int, int]]:
    """When servers are lost, and when autoscaling decides for the first time."""
    for number, (_, at, _) in enumerate(_losses(scenario)):
        yield at, steps.LOSE, number
    for arm, name in enumerate(ARMS):
        scaling = scenario.service(name).autoscaling
        if scaling is not None:
            yield scaling.interval_seconds, steps.SCALE, arm


def _losses(scenario: Settled) -> Iterator[tuple[int, float, float]]:
    """Station, start and end of each server that is lost."""
    for station, arm in enumerate(ARMS):
        for fault in scenario.faults:
            if isinstance(fault, LostCapacity) and fault.strikes(arm):
                for start, end in scenario.occurrences(fault):
                    yield from [(station, start, end)] * fault.servers
    for station, each in enumerate(scenario.dependencies, start=len(ARMS)):
        for trouble in each.troubles:
            for start, end in scenario.occurrences(trouble):
                yield from [(station, start, end)] * trouble.lost_servers


def _calls(scenario: Settled) -> tuple[Rows, Rows, Rows]:
    """How dependencies are called, in whole numbers and in others; and their troubles."""
    rows: Rows = []
    times: Rows = []
    troubles: Rows = []
    for each in scenario.dependencies:
        breaker = each.breaker
        numbers = _NO_BREAKER
        if breaker is not None:
            numbers = (breaker.failures, breaker.of_calls, breaker.trials)
        rows.append([int(each.optional), *numbers, steps.TROUBLE * len(troubles)])
        seconds = breaker.open_seconds if breaker else 0.0
        times.append([_seconds(each.timeout_ms), each.error_rate / 100, seconds, 0.0, 0.0])
        for trouble in each.troubles:
            for start, end in scenario.occurrences(trouble):
                fails, added = trouble.error_rate / 100, trouble.added_ms / 1000
                troubles.append([start, end, fails, trouble.factor, added])
    rows.append([0, *_NO_BREAKER, steps.TROUBLE * len(troubles)])
    return rows, times, troubles


def _size(breaker: Breaker | None) -> int:
    return 0 if breaker is None else breaker.of_calls


def _used(dependency: Dependency, scenario: Scenario) -> Iterator[int]:
    """For each arm and route, whether a request calls it."""
    for arm in ARMS:
        for route in scenario.route_names or ("",):
            named = dependency.routes is None or route in dependency.routes
            yield int(named and dependency.called_by(arm))


def _scaling(scenario: Scenario) -> tuple[Rows, Rows]:
    """Autoscaling of each arm, in whole numbers and in others."""
    rows: Rows = []
    times: Rows = []
    advice = 0
    for arm in ARMS:
        scaling = scenario.service(arm).autoscaling
        memory = _memory(scaling)
        if scaling is None:
            rows.append([1, memory, advice, 0])
            times.append([inf, 1.0, 0.0, 0.0])
        else:
            rows.append([scaling.min_servers, memory, advice, 0])
            target, tolerance = scaling.target_percent / 100, scaling.tolerance_percent / 100
            delay = scaling.provisioning_seconds
            times.append([scaling.interval_seconds, target, tolerance, delay])
        advice += memory
    return rows, times


def _memory(scaling: Autoscaling | None) -> int:
    """How many decisions are remembered, with the present one."""
    if scaling is None:
        return 1
    return 1 + ceil(scaling.scale_down_seconds / scaling.interval_seconds)
