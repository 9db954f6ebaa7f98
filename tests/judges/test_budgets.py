"""Contracts that may be broken now and then: judged exactly, and told by name."""

from __future__ import annotations

from canario.judges.budgets import ContractRule
from canario.judges.verdict import Trigger, Verdict, VerdictKind
from canario.metrics.counts import Counts
from canario.plan import RollbackThresholds


def rule() -> ContractRule:
    budgets = {"summary": 3.0, "total": 12.5}
    return ContractRule(RollbackThresholds(min_samples=10, contract_budgets=budgets))


def judged(n: int, *, summary: int = 0, total: int = 0, other: int = 0) -> Verdict | None:
    broken = {"summary": summary, "total": total}
    return rule().judge(Counts(requests=n, violations=summary + total + other), broken)


def test_a_budget_is_used_up_by_one_more_than_it_allows() -> None:
    assert judged(100) is None
    assert judged(100, summary=3) is None
    verdict = judged(100, summary=4)
    assert verdict == Verdict(
        kind=VerdictKind.UNHEALTHY,
        trigger=Trigger.CONTRACT_VIOLATION,
        observed=4.0,
        limit=3.0,
        samples=100,
        needed=10,
        why="4 of 100 requests broke the contract summary (4 %); at most 3 % may",
        contract="summary",
    )


def test_each_contract_has_its_own_budget() -> None:
    assert judged(16, total=2) is None  # 12.5 %
    verdict = judged(16, total=3)
    assert verdict is not None
    assert (verdict.contract, verdict.observed, verdict.limit) == ("total", 18.75, 12.5)


def test_a_budget_is_judged_of_so_many_requests_as_a_judgement_takes() -> None:
    assert judged(9, summary=9) is None
    assert judged(10, summary=1) is not None


def test_a_contract_without_a_budget_is_never_broken() -> None:
    for verdict in (
        judged(3, summary=1, other=1),
        rule().judge(Counts(requests=3, violations=1), {}),
    ):
        assert verdict == Verdict(
            kind=VerdictKind.UNHEALTHY,
            trigger=Trigger.CONTRACT_VIOLATION,
            observed=1,
            limit=0,
            samples=3,
            needed=0,
            why="1 contract violation; none is allowed",
        )
    many = judged(3, other=2)
    assert many is not None
    assert many.why == "2 contract violations; none is allowed"


def test_what_was_broken_within_its_budget_is_told() -> None:
    assert rule().within({"summary": 1, "total": 3}, 100) == (
        ", 1 broke the contract summary (1 %), 3 broke the contract total (3 %)"
    )
    assert rule().within({"summary": 0, "total": 3}, 100) == ", 3 broke the contract total (3 %)"
    assert rule().within({}, 0) == ""
