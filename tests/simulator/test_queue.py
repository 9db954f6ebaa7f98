"""The queue against theory: Erlang's C formula, and what capacity loss means."""

from __future__ import annotations

from math import factorial

import numpy as np
import pytest
from numpy.random import SeedSequence

from canario_sim.pool import Loss, Pool
from canario_sim.service import Gamma
from canario_sim.streams import Floats, generator
from canario_sim.traffic import Poisson

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
