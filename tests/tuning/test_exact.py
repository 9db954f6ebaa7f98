"""One trajectory under every candidate gives what an ordinary rehearsal of each would give."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from canario.plan import (
    Deployment,
    MissingEvidence,
    Plan,
    RollbackThresholds,
    Sequential,
    Stage,
)
from canario_sim import Scenario, load_scenario, run
from canario_sim.distributions import Lognormal
from canario_sim.lab.experiment import Ended
from canario_sim.scenario.broken_contracts import ByRate, Single
from canario_sim.scenario.faults import AddedLatency, Errors, Fault, Hang
from canario_sim.scenario.load import library_path
from canario_sim.scenario.scenario import Order
from canario_sim.scenario.service import Service
from canario_sim.traffic import Poisson
from canario_sim.tuning.grid import Grid
from canario_sim.tuning.judged import Judged, judge_all

GRID = Grid(
    max_error_rate=(0, 2, 7.5, 10, 33.3, 100),
    max_p95_latency_ms=(120, 180.5, 500, 2000),
    metric_window_seconds=(7, 60, 250),
    min_samples=(1, 10, 40),
    alpha=(1e-6, 0.01, 0.3),
)


def ordinary(scenario: Scenario, deployment: Deployment, seed: int) -> Ended:
    """What `run` says of a candidate; bad requests by the candidate's own limit."""
    made = run(replace(scenario, plan=replace(scenario.plan, deployment=deployment)), seed)
    return Ended.of(made, deployment)


def part_of(made: tuple[Judged, ...], sample: int, limit: int) -> Judged:
    (own,) = (judged for judged in made if sample in judged.samples and limit in judged.limits)
    return own


def agree(scenario: Scenario, grid: Grid, seed: int, tries: int, *, hurry: bool = False) -> int:
    """Compare some candidates; returns how many trajectories it took."""
    fixed = replace(scenario, horizon_seconds=scenario.horizon_seconds or scenario.horizon)
    fixed = replace(fixed, expect=None)
    made = judge_all(fixed, seed, grid, hurry=hurry)
    choose = random.Random(seed)
    for _ in range(tries):
        rule, sample, rate, limit = (choose.randrange(size) for size in grid.shape)
        place = rule, sample, rate, limit
        candidate = grid.at(place, scenario.plan.deployment)
        slow_above = candidate.rollback_thresholds.max_p95_latency_ms
        mine = part_of(made, sample, limit).ended(place, slow_above)
        assert mine == ordinary(fixed, candidate, seed), candidate
    return len(made)


def tried(scenario: Scenario) -> Scenario:
    """The scenario, but for two options of the sequential judge that tuning refuses."""
    judge = scenario.plan.deployment.judge
    if not isinstance(judge, Sequential):
        return scenario
    judge = replace(judge, promotion_alpha=None, bin_seconds=None)
    deployment = replace(scenario.plan.deployment, judge=judge)
    return replace(scenario, plan=replace(scenario.plan, deployment=deployment))


@pytest.mark.parametrize("path", sorted(library_path().glob("*.toml")), ids=lambda path: path.stem)
def test_every_scenario_of_the_library(path: Path) -> None:
    scenario = tried(load_scenario(path))
    if scenario.clients is None:
        agree(scenario, GRID, 7, 2)
        agree(scenario, GRID, 8, 1, hurry=True)
    else:  # a rehearsal for every latency limit
        grid = replace(GRID, max_p95_latency_ms=(180.5, 500), min_samples=(10,))
        agree(scenario, grid, 7, 4)


def released(**kwargs: object) -> Scenario:
    base = Scenario(
        name="release",
        teaches="candidates",
        plan=Plan(
            deployment=Deployment(
                canary_stages=(Stage(20, 40), Stage(50, 60)),
                rollback_thresholds=RollbackThresholds(contract_budgets={"tolerated": 3}),
            )
        ),
        traffic=Poisson(rate=6),
        baseline=Service(latency=Lognormal(p50_ms=80, p95_ms=180), error_rate=6),
    )
    return replace(base, **kwargs)


waits = st.sampled_from(
    [
        MissingEvidence(),
        MissingEvidence(deadline_seconds=0, then="rollback"),
        MissingEvidence(deadline_seconds=15, then="rollback"),
        MissingEvidence(deadline_seconds=15, then="pause"),
        MissingEvidence(deadline_seconds=15, then="advance"),
    ]
)
orders = st.lists(
    st.builds(
        Order,
        at=st.sampled_from([5.0, 12.5, 40.0, 47.3, 90.0]),
        order=st.sampled_from(["pause", "resume", "skip", "restart", "promote", "abort"]),
    ),
    max_size=3,
)
grids = st.builds(
    Grid,
    max_error_rate=st.lists(
        st.sampled_from([0, 0.1, 2, 5, 6.6, 10, 20, 33.3, 50, 100]), min_size=1, unique=True
    ).map(lambda values: tuple(sorted(values))),
    max_p95_latency_ms=st.lists(
        st.floats(20, 3000).map(lambda value: round(value, 1)), min_size=1, max_size=6, unique=True
    ).map(lambda values: tuple(sorted(values))),
    metric_window_seconds=st.lists(
        st.sampled_from([0.7, 3, 10, 60, 61.7, 500]), min_size=1, max_size=3, unique=True
    ).map(lambda values: tuple(sorted(values))),
    min_samples=st.lists(
        st.sampled_from([1, 2, 10, 25, 60, 400]), min_size=1, max_size=3, unique=True
    ).map(lambda values: tuple(sorted(values))),
    alpha=st.sampled_from([(), (0.01,), (1e-9, 0.05, 0.5)]),
)


@settings(max_examples=60)
@given(
    grid=grids,
    missing=waits,
    given_orders=orders,
    rate=st.sampled_from([0.3, 2, 15]),
    budgeted=st.sampled_from([0, 1, 5]),
    intolerable=st.booleans(),
    failing=st.sampled_from([0, 10, 60]),
    slower=st.sampled_from([0, 200, 2000, 20_000]),
    hangs=st.sampled_from([None, "both", "canary"]),
    patience=st.sampled_from([None, 3.0, 12.0]),
    quick=st.sampled_from([None, 3.0]),
    long=st.booleans(),
    servers=st.sampled_from([None, 2]),
    interval=st.sampled_from([0.9, 5.0, 50.0]),
    seed=st.integers(0, 1000),
    hurry=st.booleans(),
)
def test_whatever_happens(
    grid: Grid,
    missing: MissingEvidence,
    given_orders: list[Order],
    rate: float,
    budgeted: float,
    intolerable: bool,
    failing: float,
    slower: float,
    hangs: Literal["both", "canary"] | None,
    patience: float | None,
    quick: float | None,
    long: bool,
    servers: int | None,
    interval: float,
    seed: int,
    hurry: bool,
) -> None:
    scenario = released(orders=tuple(given_orders), traffic=Poisson(rate=rate))
    deployment = scenario.plan.deployment
    thresholds = replace(
        deployment.rollback_thresholds,
        check_interval_seconds=interval,
        abandoned_after_seconds=patience,
    )
    deployment = replace(deployment, missing_evidence=missing, rollback_thresholds=thresholds)
    failures = [ByRate(rate=budgeted, contract="tolerated")] if budgeted else []
    if intolerable:
        failures.append(Single(at=30, contract="never"))  # type: ignore[arg-type]
    faults: list[Fault] = [Errors(rate=failing, at=20, failure_ms=quick)] if failing else []
    if slower:
        faults.append(AddedLatency(ms=slower, at=50, lasts=30))
    if hangs:
        faults.append(Hang(arm=hangs, at=50, lasts=7))
    latency = Lognormal(p50_ms=4000, p95_ms=9000) if long else scenario.baseline.latency
    scenario = replace(
        scenario,
        plan=replace(scenario.plan, deployment=deployment),
        contract_failures=tuple(failures),
        faults=tuple(faults),
        baseline=replace(scenario.baseline, latency=latency, failure_ms=quick, servers=servers),
        horizon_seconds=220.0,
    )
    agree(scenario, grid, seed, 3, hurry=hurry)


def test_all_candidates_wait_equally_long_for_an_answer() -> None:
    """A request that hangs is given up at the same check, whatever the latency limit."""
    grid = Grid(
        max_error_rate=(5, 30),
        max_p95_latency_ms=(500, 5000, 50_000),
        metric_window_seconds=(30, 60),
        min_samples=(5,),
    )
    scenario = released(faults=(Hang(at=20),), horizon_seconds=300.0)
    given = scenario.plan.deployment
    waits = [grid.at((0, 0, 0, limit), given).rollback_thresholds for limit in range(3)]
    assert [each.abandoned_after for each in waits] == [100, 100, 100]
    # Written down where the plan would do otherwise by itself.
    assert [each.abandoned_after_seconds for each in waits] == [100, 100, None]
    agree(scenario, grid, 1, 12)


def test_a_stage_that_waits_for_more_requests_is_another_trajectory() -> None:
    scenario = released(traffic=Poisson(rate=1))
    grid = Grid(
        max_error_rate=(30, 50),
        max_p95_latency_ms=(2000,),
        metric_window_seconds=(30, 60),
        min_samples=(1, 2, 15, 30),
    )
    assert agree(scenario, grid, 1, 16) == 3
    # Where all stages bring enough, one serves them all; but for a minimum that is as small as
    # what comes between two answers.
    grid = replace(grid, min_samples=(8, 9, 15, 30))
    assert agree(released(traffic=Poisson(rate=40)), grid, 1, 4) == 1


def test_candidates_that_all_step_in_early_need_no_more_than_the_beginning() -> None:
    scenario = released(faults=(Errors(rate=90, at=10),), traffic=Poisson(rate=40))
    scenario = replace(scenario, horizon_seconds=300.0)
    grid = Grid(
        max_error_rate=(5, 50),
        max_p95_latency_ms=(500,),
        metric_window_seconds=(10,),
        min_samples=(10,),
    )
    (whole,) = judge_all(scenario, 3, grid)
    (part,) = judge_all(scenario, 3, grid, hurry=True)
    assert part.trajectory.end is None
    assert whole.trajectory.end is not None
    assert len(part.trajectory.at) < len(whole.trajectory.at)
    assert (part.crossings.look == whole.crossings.look).all()
