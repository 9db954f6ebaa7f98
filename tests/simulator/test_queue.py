"""The queue against theory: Erlang's C formula, and what capacity loss means."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from math import factorial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.random import SeedSequence

from canario_sim.distributions import Gamma
from canario_sim.streams import Floats, generator
from canario_sim.traffic import Poisson
from canario_sim.world import fifo, jit, pool
from canario_sim.world.pool import Loss, Pool

MEAN_MS = 100.0
REPLICATIONS = 40
REQUESTS = 12_000


def erlang_c(servers: int, load: float) -> float:
    """Probability that a request waits in M/M/c, with `load` = λ/μ Erlang (Erlang 1917)."""
    full = load**servers / factorial(servers) * servers / (servers - load)
    return full / (sum(load**k / factorial(k) for k in range(servers)) + full)


def waits(servers: int, utilisation: float, seed: int) -> Floats:
    """Waiting times (s) of one replication, without its first third, which begins empty."""
    rate = utilisation * servers / (MEAN_MS / 1000)
    at = next(Poisson(rate=rate).arrivals(seed, REQUESTS))
    seconds = Gamma(mean_ms=MEAN_MS, shape=1).sampler(SeedSequence((seed, 99)))(REQUESTS) / 1000
    _, done = Pool.of(servers).serve(at, seconds)
    return (done - at - seconds)[REQUESTS // 3 :]


@pytest.mark.parametrize(
    ("servers", "utilisation"), [(1, 0.5), (1, 0.8), (2, 0.7), (4, 0.6), (8, 0.8), (20, 0.85)]
)
def test_waits_are_those_of_erlang_c_within_three_standard_errors(
    servers: int, utilisation: float
) -> None:
    made = [waits(servers, utilisation, seed) for seed in range(REPLICATIONS)]
    waiting = erlang_c(servers, utilisation * servers)
    # Rounding leaves 1e-12 s of what is no wait.
    _is_within(np.array([(wait > 1e-9).mean() for wait in made]), waiting)
    mean = waiting * MEAN_MS / 1000 / (servers * (1 - utilisation))
    _is_within(np.array([wait.mean() for wait in made]), mean)


@pytest.mark.parametrize(("shape", "utilisation"), [(0.5, 0.6), (1.0, 0.7), (9.0, 0.8)])
def test_one_server_waits_as_pollaczek_and_khinchine_say(shape: float, utilisation: float) -> None:
    """M/G/1: the mean wait is λ E[S²] / (2 (1 − ρ))."""
    rate, mean = utilisation / (MEAN_MS / 1000), MEAN_MS / 1000
    made = []
    for seed in range(60):
        at = next(Poisson(rate=rate).arrivals(seed, REQUESTS))
        service = Gamma(mean_ms=MEAN_MS, shape=shape).sampler(SeedSequence((seed, 98)))
        seconds = service(REQUESTS) / 1000
        _, done = Pool.of(1).serve(at, seconds)
        made.append(float((done - at - seconds)[REQUESTS // 3 :].mean()))
    square = mean**2 * (1 + 1 / shape)
    _is_within(np.array(made), rate * square / (2 * (1 - utilisation)))


def _is_within(replications: Floats, theory: float) -> None:
    error = replications.std(ddof=1) / len(replications) ** 0.5
    assert abs(replications.mean() - theory) < 3 * error
    # An error so large that anything passes would be no test.
    assert error < 0.05 * theory


def _pool() -> Pool:
    return Pool.of(3, [Loss(5.0, 9.0, 2), Loss(2.0, 2.5, 1)])


def test_serving_in_parts_is_serving_at_once() -> None:
    random = generator(SeedSequence(1)).standard_exponential
    at, seconds = np.cumsum(random(3000)) / 10, random(3000) * 0.25
    whole_pool, whole = _pool().serve(at, seconds)
    for part in (1, 13, 1000):
        pool, done = _pool(), []
        for first in range(0, len(at), part):
            pool, some = pool.serve(at[first : first + part], seconds[first : first + part])
            done.append(some)
        assert np.array_equal(np.concatenate(done), whole)
        assert sorted(pool.free) == sorted(whole_pool.free)
        assert pool.losses == whole_pool.losses == ()


def test_a_pool_is_a_value_that_serving_leaves_alone() -> None:
    pool = _pool()
    pool.serve(np.array([1.0, 6.0]), np.array([3.0, 3.0]))
    assert pool == _pool()


def test_requests_are_served_in_the_order_in_which_they_came() -> None:
    at, seconds = np.array([0.0, 0.1, 0.2, 0.3, 0.4]), np.array([2.0, 1.0, 0.5, 0.5, 0.5])
    _, done = Pool.of(2).serve(at, seconds)
    # The second server is free at 1.1, and takes one after the other; the first at 2.0.
    assert done.tolist() == pytest.approx([2.0, 1.1, 1.6, 2.1, 2.5])


def test_a_server_that_is_lost_finishes_first_and_comes_back() -> None:
    at, seconds = np.array([0.0, 3.0, 9.5]), np.array([6.0, 1.0, 1.0])
    _, done = Pool.of(1, [Loss(2.0, 9.0, 1)]).serve(at, seconds)
    assert done.tolist() == [6.0, 10.0, 11.0]


def test_a_loss_comes_before_the_request_that_arrives_with_it() -> None:
    _, done = Pool.of(1, [Loss(2.0, 4.0, 1)]).serve(np.array([2.0]), np.array([1.0]))
    assert done.tolist() == [5.0]


def test_servers_lost_for_ever_never_serve_again() -> None:
    _, done = Pool.of(1, [Loss(2.0, np.inf, 1)]).serve(np.array([1.0, 3.0]), np.array([1.0, 1.0]))
    assert done.tolist() == [2.0, np.inf]


# -- compiled and interpreted

Loop = Callable[[Floats, Floats, Floats, Floats], None]


def _loops() -> dict[str, Loop]:
    compiled = jit.compiled(fifo)
    assert compiled is not None
    return {"source": fifo.serve, "compiled": compiled.serve, "interpreted": pool._interpreted}


# On a grid, so that servers are free at the same instants, and arrivals meet them there.
GAPS = st.lists(st.tuples(st.sampled_from([0, 0.25, 1, 0.1]), st.sampled_from([0, 0.5, 2, 0.3])))


@settings(max_examples=100)
@given(requests=GAPS, servers=st.integers(1, 9), free=st.sampled_from([0.0, 1.5]))
def test_compiled_or_not_the_queue_is_the_same_to_the_bit(
    requests: list[tuple[float, float]], servers: int, free: float
) -> None:
    at = np.cumsum([gap for gap, _ in requests])
    seconds = np.array([takes for _, takes in requests], np.float64)
    results = {}
    for name, loop in _loops().items():
        heap, done = np.array([0.0] * (servers - 1) + [free]), np.empty(len(at))
        heap.sort()
        loop(heap, at, seconds, done)
        results[name] = done.tobytes(), np.sort(heap).tobytes()
    assert len(set(results.values())) == 1


def test_a_process_that_serves_much_is_served_by_the_compiled_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pool, "_served", 0)
    monkeypatch.setattr(pool, "COMPILED_AFTER", 1000)
    compiled = jit.compiled(fifo)
    assert compiled is not None
    assert pool._loop(1000) is pool._interpreted
    assert pool._loop(1) is compiled.serve
    monkeypatch.setattr(jit, "installed", lambda: False)
    assert pool._loop(1) is pool._interpreted


def test_without_numba_nothing_is_compiled() -> None:
    code = (
        "import sys; sys.modules['numba'] = None\n"
        "from canario_sim.world import fifo, jit\n"
        "assert jit.compiled(fifo) is None and not jit.installed()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_compiled_code_is_kept_for_the_next_process(tmp_path: Path) -> None:
    """What one process compiles, the next one reads."""
    code = (
        "import numpy as np; from canario_sim.world import fifo, jit\n"
        "loop = jit.compiled(fifo).serve\n"
        "loop(np.zeros(2), np.zeros(1), np.ones(1), np.empty(1))\n"
        "print(sum(loop.stats.cache_hits.values()), sum(loop.stats.cache_misses.values()))\n"
    )
    env = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    first, second = (
        subprocess.run(
            [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
        ).stdout.split()
        for _ in range(2)
    )
    assert (first, second) == (["0", "1"], ["1", "0"])
