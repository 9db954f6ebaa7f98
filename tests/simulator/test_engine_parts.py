"""Parts of the engine by themselves: its columns and its draws."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.random import SeedSequence
from tests.simulator.test_closed import FREE, scenario

from canario_sim.chance.requests import Fates
from canario_sim.distributions import Gamma
from canario_sim.scenario.clients import Clients
from canario_sim.scenario.dependencies import Dependency
from canario_sim.streams import generator
from canario_sim.world.closed import call_draws as draws
from canario_sim.world.closed.call_draws import CallDraws
from canario_sim.world.closed.columns import Columns, Rules

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
