"""Faults that begin by chance: when, how often, and the same for whoever asks."""

from __future__ import annotations

from collections import Counter
from math import inf

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.random import SeedSequence
from scipy.stats import kstest

from canario.plan import Deployment, Plan, Stage
from canario_sim import Scenario, run
from canario_sim.distributions import Gamma
from canario_sim.scenario.broken_contracts import Single
from canario_sim.scenario.dependencies import Dependency, Trouble
from canario_sim.scenario.faults import Errors, LostCapacity, Outage
from canario_sim.scenario.onset import AfterWaiting, InAStage, Onset, WithChance
from canario_sim.scenario.service import Service
from canario_sim.traffic import Poisson

STAGES = (Stage(5, 100), Stage(25, 300), Stage(100, 200))
SEEDS = range(3000)


def begins(onset: Onset, at: float) -> list[float]:
    return [onset.begins(at, STAGES, SeedSequence(seed)) for seed in SEEDS]


def test_waiting_is_exponential_from_the_earliest_instant_on() -> None:
    waited = np.array(begins(AfterWaiting(mean_seconds=70), 30)) - 30
    assert kstest(waited, "expon", args=(0, 70)).pvalue > 0.01


def test_each_stage_has_its_chance_and_each_of_its_instants() -> None:
    found = np.array(begins(InAStage(probability=30), 0))
    share = [
        ((found >= first) & (found < last)).mean()
        for first, last in ((0, 100), (100, 400), (400, 600), (600, inf))
    ]
    assert share == pytest.approx([0.3, 0.7 * 0.3, 0.49 * 0.3, 0], abs=0.03)
    assert np.isinf(found).mean() == pytest.approx(0.343, abs=0.03)
    second = found[(found >= 100) & (found < 400)]
    assert kstest(second, "uniform", args=(100, 300)).pvalue > 0.01


def test_a_stage_counts_from_the_earliest_instant_on() -> None:
    found = np.array(begins(InAStage(probability=50), 250))
    finite = found[np.isfinite(found)]
    assert finite.min() >= 250
    second = found[found < 400]
    assert len(second) / len(SEEDS) == pytest.approx(0.5, abs=0.03)
    assert kstest(second, "uniform", args=(250, 150)).pvalue > 0.01


def test_it_may_happen_or_not() -> None:
    times = Counter(begins(WithChance(probability=20), 55.5))
    assert set(times) == {55.5, inf}
    assert times[55.5] / len(SEEDS) == pytest.approx(0.2, abs=0.025)


def scenario(**parts: object) -> Scenario:
    return Scenario(
        name="chance",
        teaches="that luck is settled before the rollout",
        plan=Plan(deployment=Deployment(canary_stages=STAGES)),
        traffic=Poisson(rate=20),
        baseline=Service(latency=Gamma(mean_ms=50), servers=6),
        **parts,  # type: ignore[arg-type]
    )


SCENARIO = scenario(
    faults=(
        Errors(rate=50, at=20, onset=AfterWaiting(mean_seconds=200), lasts=40),
        Outage(at=10, lasts=3, every=50, onset=WithChance(probability=50)),
        LostCapacity(servers=5, lasts=60, onset=InAStage(probability=50)),
    ),
    contract_failures=(Single(at=5, onset=AfterWaiting(mean_seconds=1000)),),
)


def test_what_is_settled_has_no_chance_left_and_is_what_runs() -> None:
    kinds: Counter[str] = Counter()
    for seed in range(40):
        settled = SCENARIO.settled(seed)
        assert settled.settled(seed) is settled
        assert all(one.onset is None for one in (*settled.faults, *settled.contract_failures))
        kinds.update(type(fault).__name__ for fault in settled.faults)
        assert all(20 <= f.at < SCENARIO.horizon for f in settled.faults if isinstance(f, Errors))
        if seed < 6:
            assert run(SCENARIO, seed) == run(settled, seed)
    # Errors begin nearly always before 960 s, the others half of the time and in 7 of 8.
    assert kinds["Errors"] >= 36
    assert 10 <= kinds["Outage"] <= 30
    assert 28 <= kinds["LostCapacity"] <= 40


def test_a_dependency_may_fail_by_chance() -> None:
    """Its trouble begins at an instant that is settled, for both arms alike."""
    trouble = Trouble(at=20, lasts=60, error_rate=100, onset=AfterWaiting(mean_seconds=150))
    store = Dependency(
        name="store", latency=Gamma(mean_ms=5), troubles=(Trouble(at=1, lasts=1, factor=2), trouble)
    )
    made = scenario(dependencies=(store,))
    ends = set()
    for seed in range(6):
        settled = made.settled(seed)
        assert settled.settled(seed) is settled
        (each,) = settled.dependencies
        assert each.troubles[0] == store.troubles[0]
        begins = [one.at for one in each.troubles[1:]]
        assert all(20 <= at < made.horizon for at in begins)
        done = run(made, seed)
        assert done == run(settled, seed)
        assert done.reason in (None, "error_rate")
        ends.add((done.reason, begins and begins[0] < done.ended_at))
    assert ("error_rate", True) in ends


def test_the_notes_tell_when_it_began() -> None:
    for seed in range(10):
        starts = [f.at for f in SCENARIO.settled(seed).faults if isinstance(f, Errors)]
        made = run(SCENARIO, seed)
        told = [note.at for note in made.notes if "50 % of the requests fail" in note.text]
        assert told[:1] == [at for at in starts if at < made.ended_at][:1]


@settings(max_examples=50)
@given(seed=st.integers(0, 2**40), number=st.integers(0, 3))
def test_one_chance_does_not_depend_on_another(seed: int, number: int) -> None:
    """A fault that is added or taken away at the end of the list changes no other one's luck."""
    fault = Errors(rate=5, onset=AfterWaiting(mean_seconds=300))
    alone = scenario(faults=(fault,) * (number + 1)).settled(seed).faults
    more = scenario(faults=(fault,) * (number + 1) + (Outage(onset=WithChance(probability=1)),))
    assert [f for f in more.settled(seed).faults if isinstance(f, Errors)] == list(alone)
