"""Whose fate stands in for a request that another arm served: laws."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from canario_sim.backtest.assign import Assignment, Matched, Shares
from canario_sim.backtest.fates import NOBODY, Donors
from canario_sim.tapes.recording import Recording


def recording_of(seed: int, n: int, canary: float) -> Recording:
    rng = np.random.default_rng(seed)
    at = np.sort(rng.uniform(0, 1000, n))
    took = rng.exponential(0.1, n)
    return Recording(
        at=at,
        ended=at + took,
        arm=(rng.random(n) < canary).astype(np.int8),
        outcome=np.zeros(n, np.uint8),
        latency_ms=took * 1000,
        bucket=rng.integers(-1, 100_000, n),
        key=np.full(n, -1),
        route=rng.integers(-1, 3, n),
        routes=("/a", "/b", "/c"),
    )


@settings(max_examples=60)
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(1, 300),
    canary=st.sampled_from([0.0, 0.05, 0.5, 1.0]),
    within=st.sampled_from([0.0, 5.0, 60.0, 2000.0]),
    weight=st.sampled_from([1, 20_000, 100_000]),
    now=st.floats(0, 1000),
)
def test_a_fate_is_ones_own_or_that_of_a_near_one_of_the_arm(
    seed: int, n: int, canary: float, within: float, weight: int, now: float
) -> None:
    recording = recording_of(seed, n, canary)
    assigned = Assignment.as_recorded(recording)
    end = Matched(recording, Donors(recording, seed, within)).assign(assigned, weight, now)
    place = np.arange(n)
    early = recording.at < now
    assert (assigned.fate[early] == place[early]).all()
    known = recording.at < min(end, 2000.0)
    own = assigned.fate == place
    # Who stays with the arm keeps the fate.
    stays = assigned.canary == (recording.arm == 1)
    assert own[stays].all()
    assert (assigned.ended[own] == recording.ended[own]).all()
    # Whoever is routed by a bucket is where the share sends it.
    routed = ~early & known & (recording.bucket >= 0)
    assert (assigned.canary[routed] == (recording.bucket[routed] < weight)).all()
    drawn = np.flatnonzero(~own)
    donor = assigned.fate[drawn]
    assert (recording.arm[donor] == assigned.canary[drawn]).all()
    assert (np.abs(recording.at[donor] - recording.at[drawn]) <= within + 1e-9).all()
    lasted = recording.ended[donor] - recording.at[donor]
    assert np.allclose(assigned.ended[drawn] - recording.at[drawn], lasted)
    for row, other in zip(drawn.tolist(), donor.tolist(), strict=True):
        near = np.abs(recording.at - recording.at[row]) <= within
        alike = near & (recording.arm == recording.arm[other])
        if (alike & (recording.route == recording.route[row])).any():
            assert recording.route[other] == recording.route[row]


def test_every_policy_draws_the_same_for_a_request() -> None:
    recording = recording_of(3, 400, 0.3)
    donors = Donors(recording, 1, 2000)
    routing = Matched(recording, donors)
    few, many = Assignment.as_recorded(recording), Assignment.as_recorded(recording)
    routing.assign(few, 20_000, 0.0)
    routing.assign(many, 60_000, 0.0)
    both = few.canary == many.canary
    assert (few.fate[both] == many.fate[both]).all()
    assert (many.canary | ~few.canary).all()  # a raised share takes nobody away
    again = Donors(recording, 1, 2000).of(1, np.arange(400))
    assert (again == donors.of(1, np.arange(400))).all()
    assert (Donors(recording, 2, 2000).of(1, np.arange(400)) != again).any()


def test_where_nobody_was_nobody_stands_in() -> None:
    recording = recording_of(3, 50, 0.0)
    found = Donors(recording, 1, 2000).of(1, np.arange(50))
    assert (found == NOBODY).all()


def test_draws_are_even_over_those_who_may_stand_in() -> None:
    n = 20_000
    recording = Recording(
        at=np.zeros(n),
        ended=np.ones(n),
        arm=(np.arange(n) < 10).astype(np.int8),
        outcome=np.zeros(n, np.uint8),
        latency_ms=np.ones(n),
        bucket=np.zeros(n, np.int64),
        key=np.full(n, -1),
        route=np.zeros(n, np.int64),
        routes=("/",),
    )
    found = Donors(recording, 1, 1.0).of(1, np.arange(10, n))
    numbers = np.bincount(found, minlength=10)
    expected = (n - 10) / 10
    # Pearson's χ² with 9 degrees of freedom: 27.9 at one in a thousand.
    assert ((numbers - expected) ** 2 / expected).sum() < 27.9


def test_shares_that_differ_are_found() -> None:
    one = Shares(np.array([10.0, 20.0]), np.array([0, 5, 9]))
    other = Shares(np.array([10.0, 25.0]), np.array([0, 5, 9]))
    assert one.at(np.array([9.9, 10.0, 19.9, 20.0])).tolist() == [0, 5, 5, 9]
    assert one.differs_from(other, 0.0, 100.0) == 20.0
    assert one.differs_from(other, 0.0, 20.0) == float("inf")
    assert one.differs_from(one, 0.0, 100.0) == float("inf")
    assert one.differs_from(other, 22.0, 100.0) == 22.0
