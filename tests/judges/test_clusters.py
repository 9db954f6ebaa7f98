"""Failures that come in clusters: bets on bins keep the bound that independence is needed for."""

from __future__ import annotations

from itertools import product
from math import exp, prod
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from canario.control.rollout import Rollout
from canario.explain import explain
from canario.judges.alternatives import Bets
from canario.judges.change import Change
from canario.judges.eprocess import EProcess, Increment, log_e_values
from canario.judges.mixture import Mixture
from canario.metrics.counts import Counts
from canario.plan import Deployment, RollbackThresholds, Sequential, Stage
from canario_sim.lab.intervals import wilson

STAGES = (Stage(20, 150), Stage(50, 150))
SESSION = 5  # requests of a session, which fail together


def plan(alpha: float, bin_seconds: float | None) -> Deployment:
    return Deployment(
        deployment_id="release",
        canary_stages=STAGES,
        rollback_thresholds=RollbackThresholds(min_samples=1),
        judge=Sequential(alpha=alpha, bin_seconds=bin_seconds),
    )


def sessions(seed: int, canary: float, baseline: float, rate: float = 6) -> list[Increment]:
    """Sessions (so many per second) of five requests, which a check may cut in two."""
    random = np.random.default_rng(seed)
    made = []
    left = np.zeros((2, 2), int)  # requests and errors that an arm's last sessions still bring
    for number, stage in enumerate(STAGES):
        for _ in range(int(stage.hold_seconds / 5)):
            share = stage.percentage / 100
            arms = []
            for arm, (part, p) in enumerate(((share, canary), (1 - share, baseline))):
                many = int(random.poisson(rate * 5 * part))
                failing = random.random(many) < p
                # Most sessions lie within one check; of one in ten, two requests come later.
                late = random.random(many) < 0.1
                later = 2 * np.array([late.sum(), (late & failing).sum()])
                n, errors = SESSION * np.array([many, failing.sum()]) - later + left[arm]
                left[arm] = later
                arms.append(Counts(requests=int(n), errors=int(errors), timed=int(n)))
            made.append(Increment(arms[0], arms[1], number))
    return made


def rolled_back_at(deployment: Deployment, increments: list[Increment]) -> float | None:
    rollout = Rollout(deployment)
    rollout.start(0)
    for each in increments:
        at = rollout.due
        rollout.observe_counts(at - 1e-3, "canary", each.canary)
        rollout.observe_counts(at - 1e-3, "baseline", each.baseline)
        rollout.advance(at)
        if rollout.state.reason is not None:
            return at
    return None


SHARES = st.floats(0.01, 0.9)


@settings(max_examples=40)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), SHARES, SHARES)
def test_whatever_the_clusters_the_mean_of_the_evidence_is_1(
    sizes: list[int], null: float, mix: float
) -> None:
    """Bins that fail as a whole, or one in `n` of them, with the mean of the null."""
    total = 0.0
    # A bin is all bad with probability p, has one bad event with probability r, else none:
    # p + r / n is the null.
    outcomes = []
    for n in sizes:
        p = null * mix
        r = min((null - p) * n, 1 - p)
        p = null - r / n
        outcomes.append([(n, p), (1, r), (0, 1 - p - r)])
    for path in product(*outcomes):
        mixture = Mixture(Bets())
        for number, ((bad, _), n) in enumerate(zip(path, sizes, strict=True)):
            mixture.step(bad, n, null, 0.5 if number == 0 else 0.1)
        total += prod(chance for _, chance in path) * exp(mixture.log_e)
    assert total == pytest.approx(1, rel=1e-9)


def test_sessions_that_fail_as_a_whole_need_bins() -> None:
    """At the limit, where requests taken as independent give several times as many false alarms."""
    alpha = 0.1
    worlds = [sessions(seed, 0.1, 0.08) for seed in range(150)]
    binned, single = (
        sum(rolled_back_at(plan(alpha, seconds), made) is not None for made in worlds)
        for seconds in (10, None)
    )
    assert wilson(binned, len(worlds))[1] <= alpha
    assert wilson(single, len(worlds))[0] > alpha


def test_a_release_that_fails_three_times_as_often_is_still_seen() -> None:
    ends = [rolled_back_at(plan(0.01, 10), sessions(seed, 0.3, 0.08)) for seed in range(30)]
    assert None not in ends
    assert np.mean([end for end in ends if end]) <= 130


def test_a_bin_counts_when_it_is_full_and_a_stage_begins_a_new_one() -> None:
    one = Counts(requests=50, errors=20, timed=50)
    stages = [0, 0, 0, 0, 0, 1, 1]
    log_es = log_e_values(
        plan(0.01, 15), Sequential(bin_seconds=15), [Increment(one, one, each) for each in stages]
    )
    assert log_es[0] == log_es[1] == 0
    assert log_es[1] < log_es[2] == log_es[3] == log_es[4]
    # The bin that the first stage has left unfinished counts as soon as the second one begins.
    assert log_es[4] < log_es[5] == log_es[6]


class Noted(EProcess):
    """Keeps what is added to the evidence: the bins, each with its mass."""

    added: list[tuple[Increment, float]]

    def _add(self, came: Increment, mass: float) -> float:
        self.added.append((came, mass))
        return super()._add(came, mass)


@given(
    st.lists(st.integers(1, 7), min_size=1, max_size=4),
    st.integers(1, 4),
    st.randoms(use_true_random=False),
)
@settings(deadline=None)
def test_each_check_is_in_one_bin_of_its_stage_wherever_a_stage_ends(
    lengths: list[int], size: int, random: Random
) -> None:
    """A stage that changes with a half-full bin counts it, once, and begins another one."""
    increments = [
        Increment(
            Counts(requests=random.randint(0, 9), errors=random.randint(0, 9), timed=1),
            Counts(requests=random.randint(0, 9)),
            stage,
            arrived=random.randint(0, 9),
            baseline_arrived=random.randint(0, 9),
        )
        for stage, length in enumerate(lengths)
        for _ in range(length)
    ]
    deployment = Deployment(canary_stages=tuple(Stage(10 * (n + 1), 60) for n in range(4)))
    process = Noted(deployment, Sequential(bin_seconds=5 * size))
    process.added = []
    for each in increments:
        process.step(each)
    bins = [
        increments[first + start : first + min(start + size, length)]
        for stage, length in enumerate(lengths)
        for first in [sum(lengths[:stage])]
        for start in range(0, length, size)
    ]
    if len(bins[-1]) < size:  # nothing has closed the last one yet
        last = bins.pop()
        assert process.waiting == (
            sum((each.canary for each in last), Counts()),
            sum((each.baseline for each in last), Counts()),
        )
    masses = Change.of(deployment)
    masses.begin()
    mass = {id(each): masses.mass(each.stage) for each in increments}
    assert [came for came, _ in process.added] == [
        Increment(
            sum((each.canary for each in held), Counts()),
            sum((each.baseline for each in held), Counts()),
            held[0].stage,
            arrived=sum(each.arrived for each in held),
            baseline_arrived=sum(each.baseline_arrived for each in held),
        )
        for held in bins
    ]
    assert [given for _, given in process.added] == pytest.approx(
        [sum(mass[id(each)] for each in held) for held in bins]
    )


def test_the_same_bins_are_the_same_evidence_however_often_one_looks() -> None:
    """Bins of 10 s, looked at every 5 s, and every 10 s: counts, arrivals and masses add up."""
    half = Increment(
        Counts(requests=40, errors=6, timed=40, slow=3),
        Counts(requests=50, errors=2, timed=50, slow=1),
        arrived=44,
        baseline_arrived=51,
    )
    whole = Increment(
        half.canary + half.canary,
        half.baseline + half.baseline,
        arrived=88,
        baseline_arrived=102,
    )
    settings = Sequential(bin_seconds=10)
    often, seldom = (
        Deployment(
            canary_stages=STAGES,
            rollback_thresholds=RollbackThresholds(check_interval_seconds=seconds),
        )
        for seconds in (5, 10)
    )
    assert log_e_values(often, settings, [half] * 8)[1::2] == pytest.approx(
        log_e_values(seldom, settings, [whole] * 4)
    )
    # A bin that ends within a check goes on to that check's end.
    longer = log_e_values(seldom, Sequential(bin_seconds=11), [whole] * 4)
    assert longer == log_e_values(seldom, Sequential(bin_seconds=20), [whole] * 4)


def test_bins_of_one_check_are_the_checks() -> None:
    one = Counts(requests=50, errors=20, timed=50)
    process = EProcess(plan(0.01, 5), Sequential(bin_seconds=5))
    assert 0 < process.step(Increment(one, one)) < process.step(Increment(one, one))
    process.begin()
    assert process.log_e == 0


def test_what_must_not_happen_and_what_says_nothing() -> None:
    assert Mixture(Bets()).step(1, 10, 0.0, 0.5) == float("inf")
    assert Mixture(Bets()).step(0, 10, 0.0, 0.5) == pytest.approx(0)
    assert Mixture(Bets()).step(10, 10, 1.0, 0.5) == pytest.approx(0)


def test_the_plan_says_that_requests_are_taken_together() -> None:
    told = " ".join(dict(explain(plan(0.01, 30)))["rollback"])
    assert "the requests of 30 s are judged as one" in told


def test_a_bin_has_a_length() -> None:
    with pytest.raises(ValueError, match="bin_seconds is 0"):
        Sequential(bin_seconds=0)
