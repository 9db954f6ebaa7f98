"""The sequential judge in a rollout: what it says, what it remembers, and that plans obey it."""

from __future__ import annotations

import json
import re
from math import exp, log
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from canario import create_canary_controller
from canario.config import ConfigError, load_plan
from canario.control.events import Checked, Event, Held, Promoted, RollbackReason, RolledBack
from canario.control.journal import dump_journal, parse_journal
from canario.control.machine import Command
from canario.control.rollout import Outcome, Rollout
from canario.control.violation import Violation
from canario.explain import explain
from canario.judges import make_judge
from canario.judges.eprocess import EProcess, Increment, first_crossing, log_e_values
from canario.judges.promotion import at_least, log_e_good
from canario.judges.sequential import SequentialJudge
from canario.judges.thresholds import ThresholdJudge
from canario.judges.verdict import Evidence, Trigger, Verdict, VerdictKind
from canario.metrics.counts import Counts
from canario.metrics.in_flight import InFlight
from canario.plan import (
    Deployment,
    FixedThresholds,
    MissingEvidence,
    RollbackThresholds,
    Sequential,
    Stage,
    Weights,
)
from canario.routing.router import Arm
from canario.testing import ManualClock

STAGES = (Stage(5, 60), Stage(50, 60), Stage(100, 60))
PLAN = Deployment(deployment_id="release", canary_stages=STAGES, judge=Sequential())


def counts(n: int, errors: int = 0, slow: int = 0, violations: int = 0) -> Counts:
    return Counts(requests=n, errors=errors, timed=n, slow=slow, violations=violations)


def evidence(
    total: Counts, baseline: Counts | None = None, stage: Counts | None = None, number: int = 0
) -> Evidence:
    return Evidence(
        window=total,
        stage=stage or total,
        total=total,
        baseline_total=baseline or Counts(),
        number=number,
    )


def judge(**settings: Any) -> SequentialJudge:
    made = make_judge(replace(PLAN, judge=Sequential(**settings)))
    assert isinstance(made, SequentialJudge)
    return made


def plan(**settings: Any) -> Deployment:
    return replace(PLAN, judge=Sequential(**settings))


def rollout_of(deployment: Deployment) -> Rollout:
    rollout = Rollout(deployment)
    rollout.start(0)
    return rollout


def fed(rollout: Rollout, until: float, canary: Counts, baseline: Counts | None = None) -> None:
    """Between two checks come so many requests of either arm, all of them at one instant."""
    while rollout.due <= until and not rollout.state.phase.terminal:
        between = rollout.due - 1e-3
        rollout.observe_counts(between, "baseline", baseline or Counts())
        rollout.observe_counts(between, "canary", canary)
        rollout.advance(rollout.due)


def test_the_plan_says_which_judge() -> None:
    assert isinstance(make_judge(Deployment()), ThresholdJudge)
    assert isinstance(make_judge(Deployment(judge=FixedThresholds())), ThresholdJudge)
    assert isinstance(make_judge(PLAN), SequentialJudge)


def test_every_rollout_has_a_judge_of_its_own() -> None:
    """What one rollout has seen is no evidence against another's canary."""
    first, second = rollout_of(PLAN), rollout_of(PLAN)
    fed(first, 30, counts(20, 10))
    fed(second, 30, counts(20))
    assert first.state.reason is RollbackReason.ERROR_RATE
    assert second.state.reason is None


def test_errors_far_above_the_limit_are_evidence_against_it() -> None:
    verdict = judge().check(evidence(counts(40, 20)))
    assert (verdict.kind, verdict.trigger) == (VerdictKind.UNHEALTHY, Trigger.ERROR_RATE)
    assert verdict.limit == 100
    assert verdict.observed is not None
    assert verdict.observed > 100
    assert (verdict.samples, verdict.needed) == (40, 0)
    assert verdict.why.endswith("20 of 40 requests failed (50 %); at most 10 % may")


def test_it_needs_no_minimum_of_samples_to_roll_back() -> None:
    assert judge().check(evidence(counts(6, 6))).kind is VerdictKind.UNHEALTHY


def test_slow_requests_are_evidence_of_a_p95_above_the_limit() -> None:
    verdict = judge().check(evidence(counts(60, 0, 25)))
    assert verdict.trigger is Trigger.P95_LATENCY
    assert "25 of 60 requests took longer than 500 ms (41.7 %); at most 5 % may" in verdict.why


def test_a_canary_far_below_the_limit_is_compared_with_the_baseline() -> None:
    """2 % are well below 10 %, and twenty times what the present version has."""
    verdict = judge().check(evidence(counts(1000, 20), counts(19_000, 19)))
    assert verdict.trigger is Trigger.ERROR_RATE
    assert "20 of 1000 requests failed (2 %), of the baseline's 19 of 19000 (0.1 %)" in verdict.why
    assert verdict.why.endswith("at most 1.25 times its share may")
    slow = judge().check(evidence(counts(1000, 0, 30), counts(19_000, 0, 57)))
    assert slow.trigger is Trigger.P95_LATENCY
    assert "took longer than 500 ms (3 %), of the baseline's 57 of 19000 (0.3 %)" in slow.why
    both_bad = judge().check(evidence(counts(1000, 20), counts(19_000, 380)))
    assert both_bad.kind is VerdictKind.HEALTHY


@pytest.mark.parametrize("bin_seconds", [None, 5.0])
def test_a_canary_twice_as_bad_is_told_as_twice_as_bad_through_all_stages(
    bin_seconds: float | None,
) -> None:
    """Quiet while the baseline has nearly all requests, an incident while the arms share them.

    Over both stages the canary fails many times as often as the baseline.
    """
    one = judge(weights=Weights(errors=0, slow=0), bin_seconds=bin_seconds)
    verdict = one.check(evidence(counts(500, 10), counts(100_000, 1000), number=0))
    checks = 0
    while verdict.kind is not VerdictKind.UNHEALTHY:
        checks += 1
        canary, baseline = counts(100 * checks, 20 * checks), counts(100 * checks, 10 * checks)
        both = evidence(counts(500, 10) + canary, counts(100_000, 1000) + baseline, canary, 1)
        verdict = one.check(both)
    assert checks < 60
    assert verdict.why.partition(" of 100")[2] == (
        f", above all of stage canary_50: {20 * checks} of {100 * checks} requests failed (20 %), "
        f"of the baseline's {10 * checks} of {100 * checks} (10 %); at most 1.25 times its share "
        "may"
    )


def test_what_waits_for_its_bin_to_be_full_is_not_told_as_evidence() -> None:
    """The stage changes with a bin half full: it is judged, and what came after it is not yet."""
    one = judge(weights=Weights(errors=0, slow=0), bin_seconds=60)
    one.check(evidence(counts(1000, 900), counts(19_000, 19)))
    verdict = one.check(evidence(counts(1100, 1000), counts(19_100, 19), counts(100), number=1))
    assert verdict.kind is VerdictKind.HEALTHY
    assert "evidence against it" in verdict.why
    sure = judge(weights=Weights(errors=0, slow=0), bin_seconds=60, alpha=0.5)
    sure.check(evidence(counts(1000, 900), counts(19_000, 19)))
    verdict = sure.check(evidence(counts(1100, 1000), counts(19_100, 19), counts(100), number=1))
    assert ": 900 of 1000 requests failed (90 %), of the baseline's 19 of 19000" in verdict.why
    assert "above all" not in verdict.why  # of the new stage nothing is judged yet


def test_what_is_as_bad_in_both_arms_is_judged_by_the_limit_alone() -> None:
    without = judge(weights=Weights(errors=0, slow=0))
    incident = evidence(counts(1000, 300), counts(1000, 300))
    assert without.check(incident).kind is VerdictKind.HEALTHY
    assert judge().check(incident).trigger is Trigger.ERROR_RATE


def test_a_healthy_verdict_tells_how_strong_the_evidence_is() -> None:
    verdict = judge().check(evidence(counts(50, 1, 2)))
    assert verdict.kind is VerdictKind.HEALTHY
    assert (verdict.samples, verdict.needed, verdict.limit) == (50, 10, 100)
    assert verdict.observed is not None
    assert 0 < verdict.observed < 100
    assert verdict.why.startswith("1 of 50 requests of the stage failed, 2 of 50 were slow, evid")


def test_a_stage_with_too_few_requests_is_not_left() -> None:
    for look in (SequentialJudge.check, SequentialJudge.end_of_stage):
        verdict = look(judge(), evidence(counts(500), stage=counts(9)))
        assert verdict.kind is VerdictKind.INSUFFICIENT
        assert (verdict.samples, verdict.needed) == (9, 10)
        assert verdict.why.startswith("9 of the 10 requests that a stage takes")
    untimed = Counts(requests=50, timed=3)
    assert "3 of the 10 timed requests" in judge().check(evidence(untimed)).why


def test_contracts_are_judged_as_by_the_thresholds() -> None:
    limits = RollbackThresholds(contract_budgets={"summary": 2.0})
    deployment = replace(PLAN, rollback_thresholds=limits)
    for broken, other in ((3, 0), (1, 0), (1, 1), (0, 1)):
        seen = Evidence(
            window=counts(100, violations=broken + other),
            stage=counts(100, violations=broken + other),
            broken={"summary": broken},
            broken_in_stage={"summary": broken},
            total=counts(100, violations=broken + other),
        )
        fixed, sequential = ThresholdJudge(limits), SequentialJudge(deployment, Sequential())
        assert sequential.broken(seen) == fixed.broken(seen)
        assert sequential.check(seen).kind is fixed.check(seen).kind
    tolerated = SequentialJudge(deployment, Sequential()).check(
        Evidence(
            window=counts(100, violations=1),
            stage=counts(100, violations=1),
            broken={"summary": 1},
            broken_in_stage={"summary": 1},
            total=counts(100, violations=1),
        )
    )
    assert "1 broke the contract summary (1 %)" in tolerated.why


@settings(max_examples=200)
@given(
    st.integers(0, 40),
    st.integers(0, 40),
    st.integers(0, 3),
    st.integers(0, 3),
    st.integers(0, 3),
    st.integers(0, 1),
)
def test_at_the_end_of_a_stage_contracts_are_judged_as_by_the_thresholds(
    n: int, more: int, broken: int, before: int, untimed: int, other: int
) -> None:
    """In the window, or in the whole stage where the window is too short."""
    limits = RollbackThresholds(contract_budgets={"summary": 4.0})
    window = replace(counts(n, violations=broken + other), timed=max(n - untimed, 0))
    stage = window + counts(more, violations=before)
    seen = Evidence(
        window=window,
        stage=stage,
        broken={"summary": broken},
        broken_in_stage={"summary": broken + before},
        total=stage,
    )
    fixed = ThresholdJudge(limits).end_of_stage(seen)
    sequential = SequentialJudge(replace(PLAN, rollback_thresholds=limits), Sequential())
    mine = sequential.end_of_stage(seen)
    assert mine.kind is fixed.kind
    assert mine.trigger is fixed.trigger
    if mine.trigger is not None:
        assert mine == fixed


def test_where_the_window_is_too_short_the_contracts_of_the_stage_are_judged() -> None:
    """5 of 100 broke a contract that 4 % may; none of the last ones did."""
    limits = RollbackThresholds(min_samples=10, contract_budgets={"summary": 4.0})
    stage = counts(100, violations=5)

    def ends(window: Counts) -> Verdict:
        made = SequentialJudge(replace(PLAN, rollback_thresholds=limits), Sequential())
        return made.end_of_stage(
            Evidence(
                window=window,
                stage=stage,
                broken={"summary": 0},
                broken_in_stage={"summary": 5},
                total=stage,
            )
        )

    assert ends(counts(10)).kind is VerdictKind.HEALTHY
    for window in (counts(9), replace(counts(10), timed=9), replace(counts(9), timed=10)):
        verdict = ends(window)
        assert (verdict.trigger, verdict.samples) == (Trigger.CONTRACT_VIOLATION, 100)
    # What is wrong within the window is told of the window.
    assert (ends(counts(9, violations=1)).samples, ends(counts(9, violations=1)).observed) == (9, 1)


def test_a_judge_that_begins_again_is_a_new_one() -> None:
    """In the middle of a stage, of a bin, and of what speaks against the canary."""
    for bin_seconds in (None, 10.0):
        one = judge(bin_seconds=bin_seconds, weights=Weights(slow=0))
        courses = []
        for _ in range(2):
            one.begin()
            course = []
            for check in range(1, 6):
                total = counts(30 * check, 4 * check)
                seen = evidence(total, counts(30 * check), total, check // 3)
                flying = InFlight(requests=check, overdue=1)
                course.append(one.check(replace(seen, in_flight=flying)))
            courses.append(course)
        assert courses[0] == courses[1]
        assert courses[0][-1].observed != courses[0][0].observed


def test_a_broken_contract_rolls_back_at_once() -> None:
    rollout = rollout_of(PLAN)
    rollout.observe(1, "canary", Outcome.GOOD, 10)
    events = rollout.violate(1, "canary", Violation(message="no total"))
    assert isinstance(events[-1], RolledBack)
    assert events[-1].reason is RollbackReason.CONTRACT_VIOLATION


def test_limits_of_0_are_broken_by_the_first_failure() -> None:
    verdict = judge(max_error_rate=0).check(evidence(counts(10**6, 1)))
    assert verdict.trigger is Trigger.ERROR_RATE
    # The evidence is infinite, which JSON cannot say.
    assert msgspec.json.decode(msgspec.json.encode(verdict), type=Verdict) == verdict
    only_latency = judge(max_error_rate=0, weights=Weights(errors=0, relative_errors=0))
    assert only_latency.check(evidence(counts(1000, 900))).kind is VerdictKind.HEALTHY


def test_evidence_is_gathered_over_checks_and_forgotten_at_a_restart() -> None:
    """No window holds enough of it: two failures of eleven, check after check."""
    rollout = rollout_of(PLAN)
    fed(rollout, 20, counts(11, 2))
    assert not rollout.state.phase.terminal
    rollout.command(Command.RESTART, 20)
    fed(rollout, 40, counts(11, 2))
    assert not rollout.state.phase.terminal
    fed(rollout, 80, counts(11, 3))
    assert rollout.state.reason is RollbackReason.ERROR_RATE


def test_what_speaks_against_it_is_told_without_the_good_time_before() -> None:
    rollout = rollout_of(PLAN)
    fed(rollout, 55, counts(40, 1))
    events: list[Event] = []
    while not rollout.state.phase.terminal:
        rollout.observe_counts(rollout.due - 1e-3, "canary", counts(40, 15))
        events += rollout.advance(rollout.due)
    assert isinstance(events[-1], RolledBack)
    assert "30 of 80 requests failed (37.5 %)" in events[-1].verdict.why


def told(*stages: list[tuple[Counts, Counts]], **settings: Any) -> str:
    """What is said when the last of these checks has rolled back, and none before it."""
    one = judge(**settings)
    canary = baseline = Counts()
    verdicts = []
    for number, checks in enumerate(stages):
        for mine, theirs in checks:
            canary, baseline = canary + mine, baseline + theirs
            verdicts.append(one.check(evidence(canary, baseline, number=number)))
    assert [each.kind is VerdictKind.UNHEALTHY for each in verdicts] == [
        *[False] * (len(verdicts) - 1),
        True,
    ]
    reached = re.match(r"evidence \S+ of [0-9.]+(?:: |, )", verdicts[-1].why)
    assert reached is not None
    return verdicts[-1].why[reached.end() :]


def test_what_speaks_against_it_begins_where_the_evidence_was_lowest() -> None:
    """Not at the last check at which there was less than none."""
    one = EProcess(PLAN, Sequential())
    canary = [counts(300, 3), counts(300, 3), counts(100, 17), counts(100, 40)]
    path = [one.step(Increment(each)) and one.metrics[0] for each in canary]
    assert path[1] < path[2] < 0 < path[3]
    nothing = Counts()
    assert told([(each, nothing) for each in canary]) == (
        "57 of 200 requests failed (28.5 %); at most 10 % may"
    )


def test_checks_that_say_nothing_are_told_with_those_that_speak_against_it() -> None:
    """Without a failure of either arm there is nothing to compare, and there were requests."""
    quiet = [(counts(50), counts(60))] * 3
    assert told([*quiet, (counts(50, 20), counts(60, 1))], weights=RELATIVE) == (
        "20 of 200 requests failed (10 %), of the baseline's 1 of 240 (0.417 %); at most 1.25 "
        "times its share may"
    )


RELATIVE = Weights(errors=0, slow=0)


def test_of_several_stages_the_one_is_told_that_speaks_loudest() -> None:
    """Which is not the one with the most failures."""
    mild, clear = (counts(1000, 70), counts(1000, 40)), (counts(100, 25), counts(100, 2))
    assert told([mild], [clear], weights=RELATIVE) == (
        "above all of stage canary_50: 25 of 100 requests failed (25 %), of the baseline's 2 of "
        "100 (2 %); at most 1.25 times its share may"
    )


def test_stages_before_the_evidence_was_lowest_are_not_told() -> None:
    well, ill = (counts(1000, 10), counts(1000, 20)), (counts(100, 25), counts(100))
    assert told([well], [ill], weights=RELATIVE) == (
        "25 of 100 requests failed (25 %), of the baseline's 0 of 100 (0 %); at most 1.25 times "
        "its share may"
    )


def test_a_stage_without_one_of_the_arms_says_nothing() -> None:
    """However little the other one says: here 1.1 times what there was at the beginning."""
    speaks = counts(40, 6), counts(40, 2)
    weights = replace(RELATIVE, relative_slow=0)
    for other in ((counts(500, 100), Counts()), (Counts(), counts(500, 0))):
        assert told([other], [speaks], weights=weights, alpha=0.9).startswith(
            "above all of stage canary_50: 6 of 40 requests failed"
        )


def test_a_paused_rollout_is_guarded() -> None:
    rollout = rollout_of(PLAN)
    rollout.command(Command.PAUSE, 1)
    fed(rollout, 7200, counts(40, 0))
    assert not rollout.state.phase.terminal
    fed(rollout, 7300, counts(40, 20))
    assert rollout.state.reason is RollbackReason.ERROR_RATE


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.floats(0.1, 190),
            st.sampled_from(["canary", "canary", "baseline"]),
            st.booleans(),
            st.sampled_from([10.0, 10.0, 900.0]),
        ),
        max_size=120,
    ),
)
def test_one_by_one_at_once_and_by_its_path_it_decides_the_same(requests: list[Any]) -> None:
    """Increments may be cut in any way between two checks, and the path needs no rollout."""
    requests.sort(key=lambda each: each[0])
    deployment = plan(alpha=0.2)
    singly, together = rollout_of(deployment), rollout_of(deployment)
    journals: tuple[list[Event], list[Event]] = ([], [])
    due, pile = singly.due, {"canary": Counts(), "baseline": Counts()}
    increments, stages = [], []

    def flush() -> None:
        for arm, n in pile.items():
            together.observe_counts(due - 1e-6, arm, n)  # type: ignore[arg-type]
        increments.append(Increment(pile["canary"], pile["baseline"], together.state.stage))
        stages.append(together.state.stage)
        journals[1].extend(together.advance(due))
        pile.update(canary=Counts(), baseline=Counts())

    for at, arm, bad, latency in [*requests, (200.0, "baseline", False, 10.0)]:
        while at >= due and not together.state.phase.terminal:
            flush()
            due = together.due
        outcome = Outcome.BAD if bad else Outcome.GOOD
        journals[0].extend(singly.observe(at, arm, outcome, latency))
        pile[arm] = pile[arm] + counts(1, int(bad), int(latency > 500))
    assert dump_journal(journals[0]) == dump_journal(journals[1])
    log_es = log_e_values(deployment, Sequential(), increments)
    crossed = first_crossing(log_es, 0.2)
    rolled_back = singly.state.reason is not None
    assert rolled_back == (crossed is not None)
    if rolled_back:
        assert crossed == len(increments) - 1
        last = journals[0][-1]
        assert isinstance(last, RolledBack)
        assert last.verdict.observed == pytest.approx(exp(log_es[-1]))


def test_a_journal_says_by_which_judge_and_an_older_one_was_by_the_thresholds() -> None:
    rollout = Rollout(PLAN)
    raw = dump_journal(rollout.start(0))
    (started, _) = parse_journal(raw).events
    assert started.deployment == PLAN  # type: ignore[union-attr]
    document = json.loads(raw.splitlines()[0])
    del document["deployment"]["judge"]
    (older,) = parse_journal(json.dumps(document).encode() + b"\n").events
    assert older.deployment.judge == FixedThresholds()  # type: ignore[union-attr]


def test_a_rollout_that_is_taken_up_again_gathers_its_evidence_anew() -> None:
    whole, again = Rollout(PLAN), Rollout(PLAN)
    events = whole.start(0)
    again.restore(events, 10)
    fed(whole, 60, counts(11, 3))
    fed(again, 60, counts(11, 3))
    assert whole.state.reason is again.state.reason is RollbackReason.ERROR_RATE
    assert len(whole.history) == len(again.history)
    assert again.history[-1].at == whole.history[-1].at + 10


def test_promotion_may_ask_for_proof() -> None:
    deployment = plan(promotion_alpha=0.05)
    rollout = rollout_of(deployment)
    fed(rollout, 60, counts(2))
    assert rollout.state.stage == 0
    assert rollout.state.held_at == 60
    held = rollout.history[-1]
    assert held.verdict is VerdictKind.INSUFFICIENT
    fed(rollout, 600, counts(2))
    assert rollout.state.stage > 0


def test_what_is_not_proven_is_inconclusive_and_says_how_much_it_takes() -> None:
    strict = judge(promotion_alpha=0.05)
    verdict = strict.end_of_stage(evidence(counts(40, 4)))
    assert verdict.kind is VerdictKind.INSUFFICIENT
    assert verdict.samples == 40
    assert verdict.needed > 40
    assert verdict.why.startswith("inconclusive: 4 of 40 requests of the stage failed")
    assert f"at least {verdict.needed}" in verdict.why
    strict.begin()
    enough = strict.end_of_stage(evidence(counts(400, 4, 4)))
    assert enough.kind is VerdictKind.HEALTHY
    strict.begin()
    slow = strict.end_of_stage(evidence(counts(400, 4, 16)))
    assert slow.why.startswith("inconclusive: 16 of 400 requests of the stage were slow")
    # Of two that are lacking the one is told that takes longer.
    strict.begin()
    both = strict.end_of_stage(evidence(counts(60, 0, 1)))
    assert both.needed == at_least(1, 60, 0.05, log(20))
    assert both.why.partition(", evidence")[0] == (
        "inconclusive: 1 of 60 requests of the stage were slow, which does not prove less than "
        f"5 % (evidence {exp(log_e_good(1, 60, 0.05)):.3g} of 20); it takes at least {both.needed}"
    )
    # Where it is off, the same evidence is enough.
    assert judge().end_of_stage(evidence(counts(40, 1))).kind is VerdictKind.HEALTHY


def test_proof_of_exactly_one_over_alpha_is_proof() -> None:
    met = 0
    for n in range(40, 120):
        log_e = log_e_good(1, n, 0.1)
        alpha = exp(-log_e)
        if log_e > 0 and -log(alpha) == log_e:  # as floats have it, of some of them
            met += 1
            # Much less of it is slow than may be, so that this is proven by far.
            proven = judge(promotion_alpha=alpha, max_slow_share=60).end_of_stage(
                evidence(counts(n, 1))
            )
            assert proven.kind is VerdictKind.HEALTHY
    assert met > 3


def test_a_deadline_ends_the_wait_for_proof() -> None:
    deployment = replace(
        plan(promotion_alpha=0.01),
        missing_evidence=MissingEvidence(deadline_seconds=30, then="rollback"),
    )
    rollout = rollout_of(deployment)
    events: list[Event] = []
    while not rollout.state.phase.terminal:
        rollout.observe_counts(rollout.due - 1e-3, "canary", counts(2))
        events += rollout.advance(rollout.due)
    assert any(isinstance(event, Held) for event in events)
    assert rollout.state.reason is RollbackReason.MISSING_EVIDENCE
    assert events[-1].at == 90


def test_a_healthy_rollout_is_promoted() -> None:
    rollout = rollout_of(PLAN)
    events: list[Event] = []
    while not rollout.state.phase.terminal:
        rollout.observe_counts(rollout.due - 1e-3, "canary", counts(50, 1, 1))
        rollout.observe_counts(rollout.due - 1e-3, "baseline", counts(50, 1, 1))
        events += rollout.advance(rollout.due)
    assert isinstance(events[-1], Promoted)
    kinds = {event.verdict.kind for event in events if isinstance(event, Checked)}
    assert kinds == {VerdictKind.HEALTHY}


def test_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(
        """
        [deployment.judge]
        kind = "sequential"
        alpha = 0.001
        max_error_rate = 1
        weights = { slow = 0, relative_slow = 0 }
        """
    )
    assert load_plan(path).deployment.judge == Sequential(
        alpha=0.001, max_error_rate=1, weights=Weights(slow=0, relative_slow=0)
    )


@pytest.mark.parametrize(
    ("text", "key", "said"),
    [
        ('kind = "sequentiel"', "judge.kind", "valid are thresholds, sequential"),
        ("alpha = 0.1", "judge", "the key kind is missing"),
        ('kind = "sequential"\nalfa = 0.1', "judge.alfa", "did you mean alpha"),
        ('kind = "sequential"\nalpha = 1', "judge.alpha", "< 1.0; it is 1"),
        ('kind = "sequential"\ntolerated_ratio = 0.5', "judge.tolerated_ratio", ">= 1.0"),
        ('kind = "thresholds"\nalpha = 0.1', "judge.alpha", "unknown key; valid are kind"),
        (
            'kind = "sequential"\npromotion_alpha = 0.1\nmax_slow_share = 0',
            "",
            "max_slow_share is 0",
        ),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, key: str, said: str) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(f"[deployment.judge]\n{text}\n")
    with pytest.raises(ConfigError) as caught:
        load_plan(path)
    assert caught.value.key == f"deployment.{key}".rstrip(".")
    assert said in caught.value.problem


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"alpha": 0.0}, "alpha is 0.0"),
        ({"alpha": 1.0}, "alpha is 1.0; it must be a finite number, more than 0 and less than 1"),
        ({"promotion_alpha": 2.0}, "promotion_alpha is 2.0"),
        ({"max_error_rate": 101.0}, "max_error_rate is 101.0"),
        ({"tolerated_ratio": float("inf")}, "tolerated_ratio is inf"),
    ],
)
def test_a_judgement_made_in_python_checks_itself(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match="it must be") as caught:
        Sequential(**values)
    assert str(caught.value).startswith(said)


def test_weights_of_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="give at least one metric some weight"):
        Weights(errors=0, slow=0, relative_errors=0, relative_slow=0)


def test_a_plan_is_explained() -> None:
    said = dict(explain(plan(alpha=0.001, max_error_rate=2, promotion_alpha=0.05)))
    rollback = " ".join(said["rollback"])
    assert "reached 1000" in rollback
    assert "0.1 % at most" in rollback
    assert "2 % of its requests fail, 5 % take longer than 500 ms" in rollback
    assert "1.25 times the baseline's share" in rollback
    assert "proof takes at least" in said["evidence"][1]
    only_absolute = dict(explain(plan(weights=Weights(relative_errors=0, relative_slow=0))))
    assert "baseline" not in " ".join(only_absolute["rollback"])
    assert len(only_absolute["evidence"]) == 1


def test_the_level_is_reached_at_one_over_alpha() -> None:
    """Neither above nor below it: the bound is on reaching it."""
    n, total = 0, counts(0)
    looked = judge(alpha=0.05)
    while True:
        n += 1
        total = counts(n, n // 4)
        verdict = looked.check(evidence(total))
        log_e = log(verdict.observed or 0)
        assert (verdict.kind is VerdictKind.UNHEALTHY) == (log_e >= log(20))
        if verdict.kind is VerdictKind.UNHEALTHY:
            break
    assert n > 4


def test_evidence_of_exactly_one_over_alpha_has_reached_it() -> None:
    met = 0
    for n in range(20, 60):
        seen = evidence(counts(n, n // 3))
        (log_e,) = log_e_values(PLAN, Sequential(), [Increment(counts(n, n // 3))])
        alpha = exp(-log_e)
        if log_e > 0 and -log(alpha) == log_e:  # as floats have it, of some of them
            met += 1
            assert judge(alpha=alpha).check(seen).kind is VerdictKind.UNHEALTHY
    assert met > 3


def test_a_live_controller_obeys_a_plan_file_and_its_journal(tmp_path: Path) -> None:
    """2 % of the canary's requests fail and 0.1 % of the baseline's: no threshold is passed."""
    path, journal = tmp_path / "plan.toml", tmp_path / "journal.jsonl"
    path.write_text('[deployment]\njudge = { kind = "sequential" }\n')
    clock = ManualClock()
    controller = create_canary_controller("v2", config=path, clock=clock, journal=journal)
    controller.start()
    for number in range(20_000):
        clock.now = number / 500
        arm: Arm = "canary" if number % 20 == 0 else "baseline"
        every = 1000 if arm == "canary" else 999
        controller.observe(arm, Outcome.BAD if number % every == 0 else Outcome.GOOD, 50.0)
        if controller.state.phase.terminal:
            break
    assert controller.state.reason is RollbackReason.ERROR_RATE
    last = controller.events[-1]
    assert isinstance(last, RolledBack)
    assert "of the baseline's" in last.verdict.why
    assert controller.close(10)
    again = create_canary_controller("v2", config=path, clock=clock, journal=journal)
    again.start()
    assert again.state == controller.state
