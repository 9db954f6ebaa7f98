"""Parts of the engine by themselves: its columns and its draws."""

from __future__ import annotations

from math import inf
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from numpy.random import SeedSequence
from tests.simulator.test_closed import DATABASE, FREE, scenario

from canario_sim.chance.requests import Fates
from canario_sim.distributions import Gamma
from canario_sim.scenario.broken_contracts import Single
from canario_sim.scenario.clients import Clients, RetryBudget
from canario_sim.scenario.dependencies import Dependency
from canario_sim.scenario.scenario import Settled
from canario_sim.scenario.service import Service
from canario_sim.streams import generator
from canario_sim.world.closed import call_draws as draws
from canario_sim.world.closed import steps
from canario_sim.world.closed.call_draws import CallDraws
from canario_sim.world.closed.columns import Columns, Rules, State
from canario_sim.world.closed.first_state import JOBS, ROOM, first_state, grown, rules_of
from canario_sim.world.unfinished import Patience

LISTS = Columns(False)

# -- columns


def test_compiled_code_is_given_arrays_and_interpreted_code_lists() -> None:
    values = [[1, 2], [3, 4]]
    for name, kind, number in (("times", np.float64, float), ("jobs", np.int64, int)):
        array, listed = Columns(True).one(name, values), Columns(False).one(name, values)
        assert isinstance(array, np.ndarray)
        assert array.dtype == kind
        assert listed == array.tolist() == [1, 2, 3, 4]
        assert {type(each) for each in listed} == {number}
    assert [Columns(compiled).one("limit_ms", 0.5) for compiled in (True, False)] == [0.5, 0.5]


# -- rules, and the state before the first request


def ruled(baseline: Service = FREE, **parts: Any) -> tuple[Settled, Rules]:
    made = scenario(baseline, **parts).settled(1)
    return made, rules_of(made, 1, Patience(500.0, np.array([60.0])), LISTS)


def first(**parts: Any) -> State:
    made, rules = ruled(**parts)
    return first_state(made, 1, rules, 3, LISTS)


def test_where_nobody_asks_again_and_nothing_is_called_no_rule_says_how() -> None:
    _, made = ruled()
    assert (made.attempts, made.waits, made.timeout, made.drops) == (1, [], inf, False)
    assert (made.deposit, made.burst, made.price) == (0, 0, 0)
    assert (made.draws, made.jitter, made.row) == (2, 2, steps.JOB)
    assert (made.dependencies, made.routes, made.used, made.rings) == (0, 1, [], [0])
    assert made.spare_events == 2 * steps.SPARE


def test_there_is_room_for_what_one_event_brings_and_for_what_a_request_draws() -> None:
    _, made = ruled(
        baseline=replace(FREE, servers=3),
        dependencies=(DATABASE, replace(DATABASE, name="b", servers=5)),
        clients=Clients(attempts=50, budget=RetryBudget(percent=20, burst=3)),
    )
    assert made.spare_events == 5 + 2 * steps.SPARE
    assert (made.jitter, made.draws, made.row) == (6, 6 + 49, steps.J_DRAWS + 6 + 49)
    assert len(made.waits) == 49
    assert (made.deposit, made.burst, made.price) == (0.2, 3, 1)
    assert made.rings == [0, 6, 12, 18, 24]


def test_before_the_first_request_there_is_nothing_but_what_is_known() -> None:
    state = first()
    assert state.n == [0] * steps.ARRIVAL + [-1] * (steps.NUMBERS - steps.ARRIVAL)
    sizes = {name: len(column) for name, column in state._asdict().items()}
    told = steps.TELLING * ROOM
    there = {"n": steps.NUMBERS, "tokens": 1, "exposed": 3, "answered": 2, "seen": 2 * steps.LOOK}
    there |= {"told": told, "told_times": told, "signals": steps.SIGNAL * (ROOM + steps.SPARE)}
    there |= dict.fromkeys(("stations", "station_times"), 2 * steps.STATION)
    there |= {"decisions": 2, "advice": 2}
    assert sizes == dict.fromkeys(state._fields, 0) | there
    # Where servers are not limited, none is counted.
    assert state.stations == [0] * 2 * steps.STATION
    assert state.answered == [-inf, -inf]


def test_servers_are_there_at_the_start_and_single_failures_are_to_come() -> None:
    state = first(
        baseline=replace(FREE, servers=3),
        dependencies=(
            replace(DATABASE, servers=2),
            Dependency(name="free", latency=Gamma(mean_ms=1)),
        ),
        contract_failures=(
            Single(at=3, contract="score", arm="both"),
            Single(at=6, contract="total", arm="canary"),
        ),
    )
    rows = np.reshape(state.stations, (4, steps.STATION))
    assert rows[:, [steps.S_IDLE, steps.S_PRESENT]].tolist() == [[3, 3], [3, 3], [2, 2], [0, 0]]
    assert rows.sum() == 2 * 8
    wake = np.reshape(state.station_times, (4, steps.STATION))
    assert wake[:, steps.S_WAKE].tolist() == [inf] * 4
    assert np.isinf(wake).sum() == 4
    assert (state.single_at, state.singles) == ([3, 3, 6], [0, 1, 1, 1, 1, 2])
    assert len(state.servers) == steps.SERVER * 8 == len(state.server_times)
    assert len(state.breakers) == steps.BREAKER * 4 == len(state.breaker_times)
    assert state.rings == [0] * 12


def test_who_never_scales_is_slow_or_remembers_has_rows_that_say_so() -> None:
    _, made = ruled(dependencies=(DATABASE, Dependency(name="free", latency=Gamma(mean_ms=1))))
    calm = [0, 1, 1, 0, 0, 0]
    assert made.slowness == calm * 4
    assert made.scaling == [1, 1, 0, 0, 1, 1, 1, 0]
    assert made.scale_times == [inf, 1, 0, 0] * 2
    assert made.rings == [0, 6, 12, 12, 12]
    fails = [made.troubles[place + steps.W_FAILS] for place in (0, steps.TROUBLE)]
    assert fails == [0.6, 0]


def test_who_grows_has_room_for_twice_as_many_jobs() -> None:
    _, made = ruled()
    state = first()
    for there in (JOBS, 2 * JOBS, 4 * JOBS):
        before = state
        state = grown(state, made, LISTS)
        added = there - len(before.free)
        assert len(state.free) == len(state.fresh) == state.n[steps.FREE] == there
        assert state.free == [made.row * number for number in range(there)]
        assert len(state.jobs) == len(state.times) == made.row * there
        assert len(state.told) == len(state.told_times) == len(before.told) + steps.TELLING * added
        events = {len(each) for each in (state.event_at, state.event_key, state.event_of)}
        assert events == {len(before.event_at) + 2 * added + made.spare_events}


# -- draws


def test_no_two_draws_share_a_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else how long a call takes would say how the next one goes."""
    seeds: list[tuple[object, ...]] = []

    def noted(seed: SeedSequence) -> Any:
        seeds.append((seed.entropy, *seed.spawn_key))
        return generator(seed)

    monkeypatch.setattr(draws, "generator", noted)
    monkeypatch.setattr(Gamma, "sampler", lambda self, seed: noted(seed).random)
    two = tuple(Dependency(name=name, latency=Gamma(mean_ms=1)) for name in "ab")
    CallDraws(scenario(FREE, dependencies=two, clients=Clients(attempts=2)), 7)
    # Back-off; and latency and luck of each dependency, of first attempts and of retries.
    assert len(set(seeds)) == len(seeds) == 1 + 2 * 2 * 2


@pytest.mark.parametrize("attempts", [None, 1, 4])
def test_there_is_a_draw_for_each_wait_that_there_may_be(attempts: int | None) -> None:
    clients = None if attempts is None else Clients(attempts=attempts)
    made = scenario(
        FREE, clients=clients, dependencies=(Dependency(name="a", latency=Gamma(mean_ms=100)),)
    )
    drawn = CallDraws(made, 1)
    assert drawn.jitter(5).shape == (5, (attempts or 1) - 1)
    n = 5
    fates = Fates(
        np.arange(n, dtype=np.float64),
        np.array([True, False] * 3)[:n],
        np.arange(n, dtype=np.uint8),
    )
    columns = drawn.fates_and_calls((fates, fates))
    assert columns.shape == (n, 4)
    assert columns[:, 0].tolist() == columns[:, 1].tolist() == [0, 1, 2, 3, 4]
    assert 0 < columns[:, 2].max() < 10  # seconds, of a mean of 0.1
    assert draws.codes(fates).tolist() == [1, 2, 5, 6, 9]


def test_rules_are_made_of_all_their_columns() -> None:
    values: dict[str, Any] = dict.fromkeys(Rules._fields, (1, 2)) | {"drops": True, "routes": 3}
    made = Columns(False).all_of(Rules, values)
    assert (made.drops, made.routes, made.waits) == (True, 3, [1.0, 2.0])
