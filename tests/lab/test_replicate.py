"""Replications: the same rows whoever makes them, for every policy the same requests."""

from __future__ import annotations

from concurrent.futures import BrokenExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace
from numpy.random import SeedSequence
from tests.lab.worlds import (
    BAD,
    DEPLOYMENT,
    GOOD,
    POLICIES,
    STRICT,
    experiment,
    here,
    jumbled,
    scenario,
)

from canario.plan import Deployment, Stage
from canario_sim.chance.draws import Draws
from canario_sim.lab import (
    Condition,
    Experiment,
    Policy,
    Progress,
    Replications,
    Row,
    Workers,
    executor,
    processes,
    replicate,
)
from canario_sim.lab.experiment import met, rehearse, seed_number
from canario_sim.lab.intervals import wilson
from canario_sim.peers import Argo, Flagger
from canario_sim.scenario.faults import Errors as Failing
from canario_sim.scenario.onset import InAStage
from canario_sim.world.rehearsal import run


def rows_of(tried: Experiment, workers: Workers | None = None, most: int = 12) -> tuple[Row, ...]:
    return replicate(tried, workers or here(), most=most).rows


def test_a_row_says_what_the_rehearsal_of_its_seed_does() -> None:
    row = rehearse(experiment(), 1, 0, 7)
    made = run(BAD.scenario, seed_number(1, 7))
    assert (row.condition, row.policy, row.replication) == (1, 0, 7)
    assert (row.outcome, row.reason, row.at) == (made.outcome, made.reason, made.ended_at)
    assert row.bad == made.exposure.bad_requests
    assert row.requests == made.canary.requests
    assert row.users == made.exposure.users


def test_the_streams_of_replications_are_numpy_s_children() -> None:
    children = SeedSequence(5).spawn(4)
    for number, child in enumerate(children):
        low, high = child.generate_state(2)
        assert seed_number(5, number) == int(high) << 32 | int(low)
    many = {seed_number(seed, number) for seed in (1, 2) for number in range(500)}
    assert len(many) == 1000


def test_the_rows_are_the_same_in_whatever_order_workers_finish_and_however_work_is_cut() -> None:
    expected = rows_of(experiment())
    assert len(expected) == 2 * 2 * 12
    for workers in (jumbled(1), jumbled(2), here(slots=1), here(slots=40)):
        assert rows_of(experiment(), workers) == expected


def test_processes_give_the_same_rows_and_the_same_file(tmp_path: Path) -> None:
    files = [tmp_path / "one.jsonl", tmp_path / "two.jsonl", tmp_path / "here.jsonl"]
    crews = [processes(1), processes(2), jumbled(3)]
    made = [
        replicate(experiment(), crew, most=30, file=file)
        for crew, file in zip(crews, files, strict=True)
    ]
    assert made[0].rows == made[1].rows == made[2].rows
    assert files[0].read_bytes() == files[1].read_bytes() == files[2].read_bytes()


def test_two_policies_of_one_plan_have_the_same_fate_everywhere() -> None:
    twins = (Policy(name="a"), Policy(name="b", deployment=DEPLOYMENT))
    rows = rows_of(experiment(*twins), most=20)
    first = [row for row in rows if row.policy == 0]
    second = [replace(row, policy=0) for row in rows if row.policy == 1]
    assert first == second
    assert {row.outcome for row in first} == {"completed", "rolled_back"}


def test_every_policy_meets_the_same_requests_whatever_its_stages_and_horizon() -> None:
    """Arrivals, keys, service times and luck, to the bit, up to the shorter horizon."""
    waiting = Failing(rate=50, onset=InAStage(probability=90))
    tried = experiment(
        Policy(name="own"),
        Policy(name="slow", deployment=Deployment(canary_stages=(Stage(5, 900),))),
        Policy(name="flagger", peer=Flagger()),
        conditions=(Condition(scenario=replace(scenario(), faults=(waiting,)), kind="regression"),),
    )
    own, slow, peer = (met(tried, 0, policy, 3)[0] for policy in range(3))
    assert own.faults == slow.faults == peer.faults
    assert 0 < own.faults[0].at < 40
    assert len({own.horizon, slow.horizon, peer.horizon}) == 3
    sources = [Draws(each, seed_number(1, 3)) for each in (own, slow, peer)]
    drawn = [next(source.chunks(10_000)) for source in sources]
    n = min(len(chunk) for chunk in drawn)
    assert n > 300
    for other in drawn[1:]:
        assert np.array_equal(other.at[:n], drawn[0].at[:n])
        assert np.array_equal(other.key[:n], drawn[0].key[:n])
        for arm in ("baseline", "canary"):
            ours, theirs = getattr(drawn[0], arm), getattr(other, arm)
            for column in ("seconds", "failed", "broken"):
                assert np.array_equal(getattr(theirs, column)[:n], getattr(ours, column)[:n])
    assert own.deployment.routing == slow.deployment.routing == peer.deployment.routing
    assert len({each.deployment.deployment_id for each in (own, slow, peer)}) == 1


def test_a_stricter_limit_never_lets_a_rollout_live_longer() -> None:
    """Only on the same requests does this hold for each single replication."""
    rows = {(row.condition, row.policy, row.replication): row for row in rows_of(experiment())}
    for (condition, policy, number), row in rows.items():
        if policy == 0 and row.outcome == "rolled_back":
            strict = rows[condition, 1, number]
            assert strict.outcome == "rolled_back"
            assert strict.at <= row.at


def test_more_replications_begin_with_the_fewer() -> None:
    few = [row for row in rows_of(experiment(), most=10) if row.replication < 4]
    assert tuple(few) == rows_of(experiment(), most=4)


def test_an_experiment_is_told_from_any_other() -> None:
    tried = experiment()
    others = [
        experiment(seed=2),
        experiment(*reversed(POLICIES)),
        experiment(conditions=(GOOD,)),
        experiment(conditions=(Condition(scenario=BAD.scenario, kind="healthy"), GOOD)),
        experiment(Policy(name="p", peer=Argo())),
        experiment(Policy(name="p", peer=Argo(failure_limit=3))),
        experiment(Policy(name="p", deployment=STRICT)),
    ]
    digests = {each.digest for each in [tried, *others]}
    assert len(digests) == len(others) + 1
    assert experiment().digest == tried.digest


def test_an_experiment_needs_names_of_its_own() -> None:
    with pytest.raises(ValueError, match="conditions has 'good' twice"):
        experiment(conditions=(GOOD, GOOD))
    with pytest.raises(ValueError, match="policies is empty"):
        Experiment(conditions=(GOOD,), policies=())
    with pytest.raises(ValueError, match="seed is -1"):
        experiment(seed=-1)
    with pytest.raises(ValueError, match="a deployment and a peer"):
        Policy(name="both", deployment=STRICT, peer=Argo())


# -- when there are enough


def test_it_goes_on_until_every_interval_is_narrow_enough() -> None:
    # Rolled back in about half of the rollouts, and in all of them: the first takes longer.
    half = Condition(scenario=scenario("half", errors=3), kind="regression")
    sure = Condition(scenario=scenario("sure", errors=60), kind="regression")
    tried = experiment(Policy(name="own"), conditions=(half, sure))
    made = replicate(tried, here(), most=10_000, precision=0.06)
    counts = [0, 0]
    backs = [0, 0]
    for row in made.rows:
        counts[row.condition] += 1
        backs[row.condition] += row.outcome == "rolled_back"
    # It is looked at after 100, 200, 400 …, and so it is deterministic.
    assert counts == [400, 100]
    for count, back, enough in ((400, backs[0], True), (100, backs[1], True)):
        low, high = wilson(back, count)
        assert ((high - low) / 2 <= 0.06) is enough
    before = [row for row in made.rows if row.condition == 0 and row.replication < 200]
    low, high = wilson(sum(row.outcome == "rolled_back" for row in before), 200)
    assert (high - low) / 2 > 0.06
    assert made.complete
    assert made.planned == 500
    assert replicate(tried, jumbled(4), most=10_000, precision=0.06) == made


def test_it_stops_at_the_most_that_is_asked_for() -> None:
    half = Condition(scenario=scenario("half", errors=3), kind="regression")
    made = replicate(experiment(conditions=(half,)), here(), most=130, precision=0.001)
    assert len(made.rows) == 2 * 130


# -- lost workers, and what is told


def test_a_lost_worker_s_work_is_done_again() -> None:
    assert rows_of(experiment(), here(lose=3)) == rows_of(experiment())


def test_workers_that_are_lost_again_and_again_end_it() -> None:
    with pytest.raises(BrokenExecutor):
        rows_of(experiment(), here(lose=1000))


def test_progress_tells_how_far_it_is() -> None:
    told: list[Progress] = []
    replicate(experiment(), here(), most=8, progress=told.append)
    assert told[0].done == 0
    assert told[-1].done == told[-1].planned == 16
    assert [each.done for each in told] == sorted(each.done for each in told)
    assert all(each.taken_up == 0 for each in told)


def test_what_there_is_to_say_is_said_before_it_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """And changes nothing of the end: the same rows for the same number of replications."""
    monkeypatch.setattr(executor, "FIRST_ANSWER_SECONDS", 1e-9)
    told: list[tuple[Replications, Progress]] = []
    tried = experiment()
    made = replicate(tried, here(), most=40, so_far=lambda rows, at: told.append((rows, at)))
    assert made.rows == rows_of(tried, most=40)
    assert told
    for rows, at in told:
        assert not rows.complete
        assert 0 < len(rows.rows) < len(made.rows)
        assert set(rows.rows) < set(made.rows)
        assert len(rows.rows) == at.done * len(tried.policies)
    seconds = [at.seconds for _, at in told]
    assert all(later >= 2 * earlier for earlier, later in pairwise(seconds))


def test_time_left_is_what_the_rest_takes_at_the_same_pace() -> None:
    at = Progress(done=30, planned=130, taken_up=10, seconds=4.0)
    assert at.seconds_left == 20
    assert at.in_words("tasks") == "after 4 s, 30 of 130 tasks, some 20 s left"
    slow = Progress(done=1, planned=100, taken_up=0, seconds=31.0)
    assert slow.in_words("tasks") == "after 31 s, 1 of 100 tasks, some 51 min left"
    none = Progress(done=10, planned=130, taken_up=10, seconds=0.0)
    assert none.seconds_left is None
    assert none.in_words("tasks") == "after 0 s, 10 of 130 tasks"


@pytest.mark.parametrize(
    ("most", "precision", "message"),
    [(0, None, "most is 0"), (1, 0.0, "precision is 0"), (1, 1.5, "precision is 1.5")],
)
def test_numbers_out_of_range_are_refused(most: int, precision: float | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replicate(experiment(), here(), most=most, precision=precision)
    with pytest.raises(ValueError, match="workers is 0"):
        processes(0)
