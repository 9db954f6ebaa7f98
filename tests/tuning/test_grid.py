"""Candidates by their places."""

from __future__ import annotations

from msgspec.structs import replace

from canario.plan import Deployment, FixedThresholds, RollbackThresholds, Sequential
from canario_sim.tuning.grid import Grid

GRID = Grid(
    max_error_rate=(2, 10),
    max_p95_latency_ms=(300, 500),
    metric_window_seconds=(30, 60),
    min_samples=(10,),
    alpha=(0.01,),
)


def test_every_place_is_where_its_candidate_is_found() -> None:
    places = list(GRID.places())
    assert len(places) == len(GRID) == len(set(places)) == 12
    made = [GRID.at(place, Deployment()) for place in places]
    assert [GRID.find(deployment) for deployment in made] == places
    assert {type(deployment.judge) for deployment in made} == {FixedThresholds, Sequential}


def test_a_candidate_keeps_what_is_not_tried() -> None:
    own = Deployment(
        rollback_thresholds=RollbackThresholds(contract_budgets={"x": 1}, check_interval_seconds=7),
        judge=Sequential(alpha=0.2, tolerated_ratio=2),
    )
    made = GRID.at((2, 0, 0, 1), own)
    assert made.rollback_thresholds.contract_budgets == {"x": 1}
    assert made.rollback_thresholds.check_interval_seconds == 7
    assert made.judge == Sequential(alpha=0.01, tolerated_ratio=2)
    assert GRID.at((0, 0, 0, 1), own).judge == FixedThresholds()


def test_a_plan_s_own_values_join_the_candidates() -> None:
    thresholds = RollbackThresholds(
        max_error_rate=3.3, max_p95_latency_ms=450, metric_window_seconds=45, min_samples=12
    )
    own = Deployment(rollback_thresholds=thresholds)
    assert GRID.find(own) is None
    grown = GRID.with_those_of(own)
    assert grown.max_error_rate == (2, 3.3, 10)
    place = grown.find(own)
    assert place is not None
    assert grown.at(place, Deployment()).rollback_thresholds == thresholds
    levels = GRID.with_those_of(replace(own, judge=Sequential(alpha=0.3)))
    assert levels.alpha == (0.01, 0.3)


def test_the_sequential_judge_s_own_limit_is_its_error_rate() -> None:
    own = Deployment(judge=Sequential(alpha=0.01, max_error_rate=2))
    place = GRID.with_those_of(own).find(own)
    assert place is not None
    assert GRID.with_those_of(own).max_error_rate[place[2]] == 2


def test_error_rates_are_exact_parts_of_one_whole() -> None:
    parts, whole = Grid(max_error_rate=(0, 0.1, 7.5, 33.3, 100)).rates
    assert parts == [0, whole // 1000, whole * 75 // 1000, whole * 333 // 1000, whole]
