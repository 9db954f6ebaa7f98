"""What scenarios of the library teach is due to what they say: without it they end otherwise."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from canario.plan import FixedThresholds, Judgement, Sequential
from canario_sim import Scenario, library_path, load_scenario, run
from canario_sim.scenario.clients import Clients
from canario_sim.scenario.faults import AddedLatency, Hang, Outage
from canario_sim.traffic import Poisson


def load(name: str) -> Scenario:
    return load_scenario(library_path() / f"{name}.toml")


def test_the_same_failures_spread_evenly_do_no_harm() -> None:
    """Three rollouts in ten are rolled back where eight tenants in a hundred have all failures."""
    made = load("failures_cluster_by_user")
    even = replace(made, baseline=replace(made.baseline, clustering=None))
    ends = [
        [run(scenario, seed).outcome == "rolled_back" for seed in range(12)]
        for scenario in (made, even)
    ]
    assert 2 <= sum(ends[0]) <= 8
    assert sum(ends[1]) == 0


def test_requests_that_know_nothing_of_each_other_do_not_fill_the_queue() -> None:
    made = load("self_exciting_burst")
    calm = replace(made, traffic=Poisson(rate=40))
    assert [run(calm, seed).outcome for seed in range(1, 4)] == ["completed"] * 3


@pytest.mark.parametrize("closed", [False, True])
def test_requests_without_a_key_are_the_baselines_at_any_share(closed: bool) -> None:
    """With one they would end the rollout within a minute."""
    made = load("preflights_without_a_key")
    if closed:
        made = replace(made, clients=Clients(timeout_ms=60_000))
    unseen = run(made)
    assert unseen.outcome == "completed"
    assert unseen.exposure.bad_requests < unseen.exposure.canary_requests / 100
    keyed = tuple(replace(route, keyed=True) for route in made.routes)
    seen = run(replace(made, routes=keyed))
    assert (seen.reason, seen.ended_at < 60) == ("error_rate", True)


def test_a_route_that_breaks_is_seen_where_it_is_looked_at() -> None:
    """Were every request for it, the rollout would be over in seconds."""
    made = load("one_route_breaks")
    bad = run(made)
    assert 0.025 < bad.exposure.bad_requests / bad.exposure.canary_requests < 0.04
    everywhere = replace(made, faults=(Outage(),))
    assert run(everywhere).reason == "error_rate"
    assert run(replace(made, faults=())).exposure.bad_requests < bad.exposure.bad_requests / 5


def test_a_friday_s_release_ends_on_monday() -> None:
    made = run(load("weekly_release"))
    assert 60 * 3600 < made.ended_at < 64 * 3600
    monday = replace(load("weekly_release").traffic, start="tue 09:00")
    assert run(replace(load("weekly_release"), traffic=monday)).ended_at < 6 * 3600


def test_a_fault_by_chance_costs_more_the_later_it_begins() -> None:
    made = load("fault_by_chance")
    costs = []
    for seed in range(1, 9):
        (fault,) = made.settled(seed).faults
        costs.append((fault.at, run(made, seed).exposure.bad_requests))
    costs.sort()
    early, late = costs[:3], costs[-3:]
    assert sum(bad for _, bad in late) > 2 * sum(bad for _, bad in early)


@pytest.mark.parametrize("name", ["crowds_by_chance", "large_payload_breaks_contract"])
def test_others_end_as_they_say_with_any_traffic(name: str) -> None:
    made = load(name)
    assert all(run(made, seed).ok for seed in range(10, 16))


def judged_by(made: Scenario, judge: Judgement) -> Scenario:
    deployment = replace(made.plan.deployment, judge=judge)
    return replace(made, plan=replace(made.plan, deployment=deployment))


@pytest.mark.parametrize("judge", [FixedThresholds(), Sequential()], ids=lambda judge: type(judge))
@pytest.mark.parametrize("name", ["canary_hangs", "quick_failures", "slow_but_healthy"])
def test_what_has_not_ended_is_judged_by_either_judge(name: str, judge: Judgement) -> None:
    made = judged_by(load(name), judge)
    assert all(run(made, seed).ok for seed in range(1, 4))


def test_a_canary_whose_requests_all_hang_reaches_few_users() -> None:
    """It had reached all users before what has not ended was judged: at 900 s."""
    made = load("canary_hangs")
    hung = run(made)
    assert hung.ended_at - 400 < 30
    assert hung.exposure.users < 1000
    # As good as for ever.
    assert run(replace(made, faults=(AddedLatency(at=400, ms=1e9),))).ended_at == hung.ended_at


def test_a_slow_app_that_then_hangs_is_rolled_back_after_its_limit() -> None:
    made = replace(load("slow_but_healthy"), faults=(Hang(at=1000),), expect=None)
    ended = run(made)
    assert ended.outcome == "rolled_back"
    assert 1000 < ended.ended_at < 1000 + 180
