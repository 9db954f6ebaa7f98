"""One rehearsal: its outcome, what it counts, what it says, and what it expects."""

from __future__ import annotations

import json
import logging
import pkgutil
from math import nextafter

import pytest
from msgspec.structs import replace

import canario_sim
from canario.control.events import Held, RolledBack, StageEntered
from canario.plan import Deployment, MissingEvidence, Plan, RollbackThresholds, Stage
from canario_sim import (
    Expectation,
    Fate,
    RecordedRequest,
    Scenario,
    replay_tape,
    report,
    run,
    timeline,
)
from canario_sim.chance.draws import Draws
from canario_sim.chance.requests import Requests
from canario_sim.distributions import Empirical, Lognormal
from canario_sim.scenario.broken_contracts import ByKey, ByRate, Single
from canario_sim.scenario.expect import Expect
from canario_sim.scenario.faults import AddedLatency, Errors, Outage
from canario_sim.scenario.scenario import Order
from canario_sim.scenario.service import Service
from canario_sim.traffic import Constant, Poisson, Population, Ramp
from canario_sim.world.carrier import Carrier
from canario_sim.world.driver import Driver, Steps
from canario_sim.world.rehearsal import driver_of

CALM = Service(latency=Lognormal(p50_ms=80, p95_ms=250))
SHORT = Plan(deployment=Deployment(canary_stages=(Stage(10, 60), Stage(100, 60))))


def scenario(**changes: object) -> Scenario:
    made = Scenario(
        name="short",
        teaches="how a run is told",
        plan=SHORT,
        traffic=Poisson(rate=40, keys=Population(size=200)),
        baseline=CALM,
    )
    return replace(made, **changes)


def first(made: Scenario, seed: int = 1) -> Requests:
    return next(Draws(made.settled(seed), seed).chunks(4000))


def test_a_good_release_completes_and_a_bad_one_is_rolled_back_with_its_reason() -> None:
    good = run(scenario())
    assert (good.outcome, good.reason, good.ended_at) == ("completed", None, 120)
    assert good.final_stage == "full_rollout"
    assert good.why == "promoted: 100 % of the keys"
    bad = run(scenario(faults=(Outage(at=30),)))
    assert (bad.outcome, bad.reason, bad.final_stage) == ("rolled_back", "error_rate", "canary_10")
    assert 30 < bad.ended_at < 45
    assert bad.why.startswith("rolled back, error_rate: ")
    assert isinstance(bad.events[-1], RolledBack)


def test_a_release_that_nobody_meets_is_held_to_the_horizon() -> None:
    held = run(scenario(traffic=Constant(rate=1e-6)))
    assert (held.outcome, held.reason, held.ended_at) == ("held", None, 240)
    assert isinstance(held.events[-1], Held)
    assert held.canary.requests == held.baseline.requests == 0
    assert run(scenario(traffic=Constant(rate=0))).events == held.events
    assert run(scenario(horizon_seconds=30)).outcome == "unfinished"


def test_a_stage_whose_traffic_ceases_is_held() -> None:
    held = run(scenario(traffic=Ramp(from_rate=9, to_rate=0, over_seconds=61)))
    assert (held.outcome, held.final_stage, held.ended_at) == ("held", "full_rollout", 240)


def test_missing_evidence_and_operators_have_their_outcomes() -> None:
    missing = replace(
        SHORT.deployment, missing_evidence=MissingEvidence(deadline_seconds=7, then="rollback")
    )
    late = run(scenario(plan=Plan(deployment=missing), traffic=Constant(rate=1e-6)))
    assert (late.outcome, late.reason, late.ended_at) == ("rolled_back", "missing_evidence", 67)
    assert run(scenario(orders=(Order(at=5, order="pause"),))).outcome == "paused"
    aborted = run(scenario(orders=(Order(at=5.5, order="abort"),)))
    assert (aborted.outcome, aborted.reason, aborted.ended_at) == ("aborted", None, 5.5)


def test_an_order_that_is_refused_is_noted_and_changes_nothing() -> None:
    refused = run(scenario(orders=(Order(at=5, order="resume"),)))
    assert refused.events == run(scenario()).events
    assert [(note.at, note.text[:13]) for note in refused.notes] == [(5, "cannot resume")]


def tape(*rows: tuple[float, str, Fate]) -> list[RecordedRequest]:
    return [
        RecordedRequest(at=at, key=key, baseline=Fate(1), canary=fate) for at, key, fate in rows
    ]


ALL = Plan(
    deployment=Deployment(
        deployment_id="tape",
        canary_stages=(Stage(100, 60),),
        rollback_thresholds=RollbackThresholds(max_error_rate=100, min_samples=1000),
    )
)


def test_a_bad_request_counts_once_however_bad_it_is() -> None:
    made = replay_tape(
        ALL,
        tape(
            (1, "a", Fate(100)),
            (2, "b", Fate(900)),
            (3, "a", Fate(900, ok=False)),
            (4, "c", Fate(100, ok=False)),
            (5, "d", Fate(8000)),
            (6, "e", Fate(500, ok=False, contract_valid=False)),
            (6.4, "f", Fate(500)),
            (6.5, "g", Fate(500)),
        ),
    )
    # The violation is seen when its request is done; f is under way, g meets no canary.
    assert (made.outcome, made.reason, made.ended_at) == ("rolled_back", "contract_violation", 6.5)
    assert (made.canary.requests, made.canary.errors, made.canary.slow) == (5, 3, 2)
    assert (made.canary.violations, made.canary.in_flight) == (1, 2)
    assert made.exposure.bad_requests == 4
    assert (made.exposure.users, made.exposure.population) == (6, 7)
    assert made.exposure.canary_requests == made.canary.requests
    assert made.seed is None


def test_a_request_that_takes_no_time_is_done_when_it_arrives() -> None:
    rows = [(1, "a", Fate(0)), (2, "b", Fate(0)), (2, "c", Fate(0, contract_valid=False))]
    made = replay_tape(ALL, tape(*rows, (2, "d", Fate(0)), (3, "e", Fate(0))))
    assert made.ended_at == 2
    assert (made.canary.requests, made.canary.violations, made.canary.in_flight) == (3, 1, 0)
    assert made.exposure.users == 3


def test_a_tape_out_of_order_or_with_an_impossible_latency_is_refused() -> None:
    for rows in ([(2, "a", Fate(1)), (1, "a", Fate(1))], [(-1, "a", Fate(1))]):
        with pytest.raises(ValueError, match="order of arrival"):
            replay_tape(ALL, tape(*rows))
    for wrong in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=r"request 0 takes .* finite"):
            replay_tape(ALL, tape((1, "a", Fate(wrong))))


def test_an_empty_tape_is_held() -> None:
    assert replay_tape(ALL, []).outcome == "held"


def test_faults_act_on_their_arm_keys_and_time_alone() -> None:
    calm = first(scenario())
    struck = first(
        scenario(
            faults=(
                Errors(arm="canary", at=10, lasts=20, rate=100, keys=("user-3", "user-5")),
                AddedLatency(arm="both", at=40, ms=250),
            )
        )
    )
    assert struck.at.tolist() == calm.at.tolist()
    hit = ((calm.key == 3) | (calm.key == 5)) & (calm.at >= 10) & (calm.at < 30)
    assert hit.sum() > 3
    assert struck.canary.failed.tolist() == hit.tolist()
    assert not struck.baseline.failed.any()
    for before, after in ((calm.baseline, struck.baseline), (calm.canary, struck.canary)):
        added = after.seconds - before.seconds
        assert added.tolist() == pytest.approx(0.25 * (calm.at >= 40))


def test_causes_of_failure_are_independent() -> None:
    made = scenario(
        baseline=replace(CALM, error_rate=20),
        faults=(Errors(rate=50), Errors(rate=50)),
        traffic=Poisson(rate=40),
    )
    chunks = Draws(made.settled(1), 1).chunks(20_000)
    requests = next(chunks)
    # 1 - 0.8 · 0.5 · 0.5; the standard error of 4,000 and more is below 0.7 %.
    assert requests.canary.failed.mean() == pytest.approx(0.8, abs=0.025)
    assert requests.baseline.failed.mean() == pytest.approx(0.2, abs=0.025)
    # What fails without faults fails with them: the draws are the same.
    assert requests.canary.failed[requests.baseline.failed].all()


def test_contracts_are_broken_where_the_scenario_says() -> None:
    made = scenario(
        contract_failures=(
            ByKey(keys=("user-1",), at=20, lasts=10, detail="a"),
            ByRate(rate=10, arm="both", detail="b"),
            ByKey(keys=("user-2",), arm="baseline", detail="c"),
        )
    )
    requests = first(made)
    first_key = (requests.key == 1) & (requests.at >= 20) & (requests.at < 30)
    assert first_key.any()
    assert (requests.canary.broken[first_key] == 1).all()
    assert (requests.canary.broken == 1).sum() == first_key.sum()
    assert (requests.canary.broken == 3).sum() == 0
    others = requests.canary.broken[~first_key]
    assert (others == 2).mean() == pytest.approx(0.1, abs=0.02)
    second_key = requests.key == 2
    assert set(requests.baseline.broken[second_key].tolist()) <= {2, 3}
    assert (requests.baseline.broken[second_key] == 3).mean() > 0.7


def test_a_single_contract_failure_is_that_of_the_first_request_from_then_on() -> None:
    made = scenario(
        traffic=Constant(rate=10),
        baseline=Service(latency=Empirical(values_ms=(250,))),
        plan=Plan(deployment=Deployment(canary_stages=(Stage(100, 60),))),
        contract_failures=(Single(at=20, arm="both", detail="no score"),),
    )
    broken = run(made)
    assert broken.reason == "contract_violation"
    assert broken.ended_at == 20.25
    assert broken.why.endswith("(no score)")
    assert broken.canary.violations == 1
    assert broken.baseline.violations == 0


def test_expectations_are_compared_one_by_one() -> None:
    wanted = Expect(
        outcome="rolled_back",
        reason="p95_latency",
        stage="canary_10",
        no_later_than=1000,
        at_most_bad_requests=0,
    )
    made = run(scenario(faults=(Outage(at=30),), expect=wanted))
    assert made.expectations == (
        Expectation(name="outcome", expected="rolled_back", actual="rolled_back", ok=True),
        Expectation(name="reason", expected="p95_latency", actual="error_rate", ok=False),
        Expectation(name="stage", expected="canary_10", actual="canary_10", ok=True),
        Expectation(name="no_later_than", expected=1000, actual=made.ended_at, ok=True),
        Expectation(
            name="at_most_bad_requests",
            expected=0,
            actual=made.exposure.bad_requests,
            ok=False,
        ),
    )
    assert not made.ok
    assert run(scenario(expect=Expect(outcome="completed"))).ok
    assert run(scenario()).ok
    assert not run(scenario(expect=Expect(outcome="completed", no_later_than=119))).ok


def test_a_timeline_tells_faults_and_decisions_in_order() -> None:
    made = run(scenario(faults=(Outage(at=30, lasts=3),), orders=(Order(at=30, order="resume"),)))
    told = timeline(made)
    assert [at for at, _ in told] == sorted(at for at, _ in told)
    texts = [text for _, text in told]
    assert texts[0] == "rollout of short started"
    assert (30, "fault on the canary starts: outage") in told
    assert (33, "fault on the canary ends: outage") in told
    assert texts[-1] == made.why
    assert len(told) == len(made.events) + len(made.notes)


def test_a_report_is_one_json_document_of_the_run() -> None:
    made = run(scenario(faults=(Outage(at=30),), expect=Expect(outcome="completed")))
    raw = report(made)
    assert raw.endswith(b"}\n")
    document = json.loads(raw)
    assert document["ok"] is False
    told = document["run"]
    assert told["scenario"] == "short"
    assert told["seed"] == 1
    assert told["outcome"] == "rolled_back"
    assert told["canary"]["requests"] == made.canary.requests
    assert [event["event"] for event in told["events"]][-1] == "rolled_back"
    assert len(told["history"]) == len(made.history)
    assert told["expectations"][0] == {
        "name": "outcome",
        "expected": "completed",
        "actual": "rolled_back",
        "ok": False,
    }


def test_the_seed_of_the_call_comes_before_the_scenarios() -> None:
    made = scenario(seed=3)
    assert run(made).seed == 3
    assert report(run(made, 4)) == report(run(replace(made, seed=4)))


def test_stages_follow_each_other_when_their_holds_end() -> None:
    made = run(scenario())
    entered = [(e.at, e.percentage) for e in made.events if isinstance(e, StageEntered)]
    assert entered == [(0, 10), (60, 100)]


def test_a_rehearsals_rollback_is_not_logged_as_a_live_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.DEBUG):
        assert run(scenario(faults=(Outage(),))).outcome == "rolled_back"
    names = {record.name for record in caplog.records}
    assert {name.partition(".")[0] for name in names} <= {"canario_sim"}


def test_requests_from_the_horizon_on_are_not_counted() -> None:
    made = run(scenario(horizon_seconds=10, traffic=Constant(rate=2)))
    total = made.canary.requests + made.canary.in_flight
    assert total + made.baseline.requests + made.baseline.in_flight == 19


def test_the_driver_comes_to_an_instant_to_the_bit() -> None:
    """From 0.25 and a little no single delay leads to every instant below 1: sums are rounded."""
    start, ends = nextafter(0.25, 1), [0.8]
    for _ in range(40):
        ends.append(nextafter(ends[-1], 1))
    reached = []
    for end in ends:
        driver = driver_of(scenario(), 1)

        def walk(driver: Driver[Carrier] = driver, end: float = end) -> Steps:
            yield from driver._until(start)
            yield from driver._until(end)

        driver.env.run(until=driver.env.process(walk()))
        reached.append(driver.now)
    assert reached == ends


def test_no_public_name_is_that_of_a_module() -> None:
    # Importing such a module would put it in the name's place.
    modules = {module.name for module in pkgutil.iter_modules(canario_sim.__path__)}
    assert modules & set(canario_sim.__all__) == set()
