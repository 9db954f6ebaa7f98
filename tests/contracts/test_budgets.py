"""Budgets of contracts: judged exactly, at the violation, from a minimum of requests on."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canario import CanaryDeploymentController, Outcome, Phase, Plan
from canario.config import ConfigError, load_plan
from canario.control.events import RolledBack
from canario.control.journal import parse_journal
from canario.control.violation import Violation
from canario.explain import explain
from canario.judges.thresholds import ThresholdJudge
from canario.judges.verdict import Trigger, VerdictKind
from canario.metrics.counts import Counts
from canario.plan import Deployment, RollbackThresholds, Stage
from canario.testing import ManualClock

SUMMARY = Violation(message="the grader doubts it", contract="summary", rule="faithful", path="/s")


def controller(
    clock: ManualClock | None = None, journal: Path | None = None, **thresholds: Any
) -> CanaryDeploymentController:
    thresholds = {"contract_budgets": {"summary": 10.0, "none": 0.0}, **thresholds}
    deployment = Deployment(
        deployment_id="budgets",
        canary_stages=(Stage(100, 1000),),
        rollback_thresholds=RollbackThresholds(**thresholds),
    )
    made = CanaryDeploymentController(
        Plan(deployment=deployment), clock=clock or ManualClock(), journal=journal
    )
    made.start()
    return made


def serve(made: CanaryDeploymentController, requests: int) -> None:
    for _ in range(requests):
        made.observe("canary", Outcome.GOOD, 10)


def test_within_its_budget_a_contract_may_be_broken() -> None:
    made = controller()
    serve(made, 20)
    for _ in range(2):  # 2 of 20 is not more than 10 %
        made.report_violation("canary", SUMMARY)
    assert made.state.phase is Phase.RUNNING
    assert len(made.events) == 2
    made.report_violation("canary", SUMMARY)
    end = made.events[-1]
    assert isinstance(end, RolledBack)
    assert end.reason == "contract_violation"
    assert end.violation == SUMMARY
    assert end.verdict.contract == "summary"
    assert (end.verdict.observed, end.verdict.limit, end.verdict.samples) == (15.0, 10.0, 20)
    assert "3 of 20 requests broke the contract summary (15 %); at most 10 % may" in end.verdict.why


@pytest.mark.parametrize("contract", ["contract", "another", "none"])
def test_what_has_no_budget_ends_it_at_the_first_violation(contract: str) -> None:
    made = controller()
    serve(made, 20)
    made.report_violation("canary", SUMMARY)
    made.report_violation("canary", Violation(message="wrong", contract=contract))
    end = made.events[-1]
    assert isinstance(end, RolledBack)
    assert end.violation is not None
    assert end.violation.contract == contract
    assert end.verdict.why == "1 contract violation; none is allowed"


def test_the_baseline_uses_nobody_s_budget_up() -> None:
    made = controller()
    serve(made, 20)
    for _ in range(50):
        made.report_violation("baseline", SUMMARY)
    made.report_violation("canary", SUMMARY)
    assert made.state.phase is Phase.RUNNING


def test_too_few_requests_are_not_judged_until_they_have_come() -> None:
    clock = ManualClock()
    made = controller(clock)
    serve(made, 9)
    for _ in range(5):
        made.report_violation("canary", SUMMARY)
    assert made.state.phase is Phase.RUNNING
    serve(made, 1)
    assert made.state.phase is Phase.RUNNING  # a request is no check
    clock.advance(5)
    made.tick()
    end = made.events[-1]
    assert isinstance(end, RolledBack)
    assert end.at == 5
    assert end.violation == SUMMARY  # the last of them, though the check came later


def test_what_has_left_the_window_is_forgotten() -> None:
    clock = ManualClock()
    made = controller(clock, metric_window_seconds=60)
    serve(made, 20)
    for _ in range(2):
        made.report_violation("canary", SUMMARY)
    clock.advance(70)
    made.tick()
    serve(made, 20)
    for _ in range(2):
        made.report_violation("canary", SUMMARY)
    assert made.state.phase is Phase.RUNNING


def test_a_violation_is_no_check_of_anything_else() -> None:
    clock = ManualClock()
    made = controller(clock)
    for _ in range(20):
        made.observe("canary", Outcome.BAD, 10)
    clock.advance(1)
    made.report_violation("canary", SUMMARY)
    assert made.state.phase is Phase.RUNNING
    clock.advance(4)
    made.tick()
    assert made.state.reason == "error_rate"


def test_a_paused_canary_is_watched_as_well() -> None:
    made = controller()
    serve(made, 20)
    made.pause()
    for _ in range(3):
        made.report_violation("canary", SUMMARY)
    assert made.state.phase is Phase.ROLLED_BACK


def test_the_journal_keeps_it_and_a_rollout_is_taken_up_with_its_budget(tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    clock = ManualClock()
    first = controller(clock, journal)
    serve(first, 20)
    first.report_violation("canary", SUMMARY)
    assert first.close(10)
    second = controller(clock, journal)
    assert second.state == first.state
    serve(second, 20)
    for _ in range(3):
        second.report_violation("canary", SUMMARY)
    assert second.state.phase is Phase.ROLLED_BACK
    assert second.close(10)
    events = parse_journal(journal.read_bytes()).events
    assert events == second.events
    assert controller(clock, journal).state == second.state


@given(
    requests=st.integers(0, 300),
    broken=st.integers(0, 40),
    others=st.integers(0, 2),
    budget=st.sampled_from([0.1, 0.3, 1.0, 2.5, 7.0, 33.3, 100.0]),
)
def test_a_budget_is_judged_exactly(requests: int, broken: int, others: int, budget: float) -> None:
    limits = RollbackThresholds(contract_budgets={"summary": budget})
    counts = Counts(requests=requests, timed=requests, violations=broken + others)
    verdict = ThresholdJudge(limits).judge(counts, {"summary": broken})
    over = requests >= 10 and Fraction(100 * broken, requests) > Fraction(str(budget))
    assert (verdict.trigger is Trigger.CONTRACT_VIOLATION) == (others > 0 or over)
    if verdict.kind is VerdictKind.HEALTHY and broken:
        assert f"{broken} broke the contract summary" in verdict.why


def test_a_budget_is_a_percentage(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    for value, wrong in (("101", "<= 100"), ("-1", ">= 0"), ('"x"', "got `str`")):
        path.write_text(f"[deployment.rollback_thresholds]\ncontract_budgets = {{ a = {value} }}\n")
        with pytest.raises(ConfigError, match=wrong):
            load_plan(path)
    with pytest.raises(ValueError, match=r"contract_budgets\.a is nan"):
        RollbackThresholds(contract_budgets={"a": float("nan")})


def test_a_plan_says_its_budgets_in_words(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(
        "[deployment.rollback_thresholds]\ncontract_budgets = { answers = 1.5, strict = 0 }\n"
    )
    lines = dict(explain(load_plan(path).deployment))["rollback"]
    assert lines[0] == "at the first contract violation of the canary, at once, but for answers"
    assert (
        "more than 1.5 % of its requests of the last 1 min broke the contract answers" in lines[1]
    )
