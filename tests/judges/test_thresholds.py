"""The fixed thresholds against sorted lists and decimal arithmetic."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from canario.judges.thresholds import ThresholdJudge
from canario.judges.verdict import Evidence, Trigger, VerdictKind
from canario.metrics.counts import Counts
from canario.plan import RollbackThresholds

JUDGE = ThresholdJudge(RollbackThresholds())


def counts(requests: int, errors: int = 0, slow: int = 0, violations: int = 0) -> Counts:
    return Counts(
        requests=requests, errors=errors, timed=requests, slow=slow, violations=violations
    )


@given(st.lists(st.floats(0, 2_000), min_size=10, max_size=300))
def test_too_slow_means_that_the_p95_of_the_sorted_latencies_is_above_the_limit(
    latencies: list[float],
) -> None:
    slow = sum(latency > 500 for latency in latencies)
    p95 = sorted(latencies)[int(len(latencies) * 95 // 100)]
    verdict = JUDGE.judge(counts(len(latencies), slow=slow))
    assert (verdict.trigger is Trigger.P95_LATENCY) == (p95 > 500)


def test_it_takes_a_twentieth_of_slow_requests_whatever_their_number() -> None:
    """Rounded up; exact where floats no longer are."""
    for n in (*range(10, 300), 10**18 + 20):
        enough = -(-n // 20)
        assert JUDGE.judge(counts(n, slow=enough)).trigger is Trigger.P95_LATENCY
        assert JUDGE.judge(counts(n, slow=enough - 1)).kind is VerdictKind.HEALTHY


@given(
    st.integers(10, 10**9),
    st.decimals(0, 100, places=3),
    st.integers(-2, 2),
)
def test_the_error_rate_is_compared_exactly(n: int, limit: Decimal, nudge: int) -> None:
    judge = ThresholdJudge(RollbackThresholds(max_error_rate=float(limit)))
    errors = min(max(int(n * limit / 100) + nudge, 0), n)
    verdict = judge.judge(counts(n, errors))
    assert (verdict.trigger is Trigger.ERROR_RATE) == (Decimal(errors) * 100 > limit * n)


def test_exactly_at_the_limit_is_not_above_it() -> None:
    assert JUDGE.judge(counts(100, 10)).kind is VerdictKind.HEALTHY
    assert JUDGE.judge(counts(100, 11)).kind is VerdictKind.UNHEALTHY


def test_a_limit_of_so_many_hundredths_is_exact() -> None:
    judge = ThresholdJudge(RollbackThresholds(max_error_rate=7))
    assert judge.judge(counts(100, 7)).kind is VerdictKind.HEALTHY
    assert judge.judge(counts(100, 8)).trigger is Trigger.ERROR_RATE


def test_a_contract_violation_comes_first_and_needs_no_samples() -> None:
    verdict = JUDGE.judge(counts(1, 1, 1, 1))
    assert verdict.trigger is Trigger.CONTRACT_VIOLATION
    assert (verdict.observed, verdict.limit, verdict.samples) == (1, 0, 1)
    verdict = JUDGE.judge(counts(100, 100, 100, 2))
    assert verdict.trigger is Trigger.CONTRACT_VIOLATION


def test_then_the_error_rate_then_the_latency() -> None:
    verdict = JUDGE.judge(counts(40, 20, 20))
    assert verdict.trigger is Trigger.ERROR_RATE
    assert (verdict.observed, verdict.limit, verdict.samples) == (50, 10, 40)
    assert verdict.why == "20 of 40 requests failed (50 %); at most 10 % may"
    verdict = JUDGE.judge(counts(40, 0, 20))
    assert verdict.trigger is Trigger.P95_LATENCY
    assert (verdict.observed, verdict.limit, verdict.samples) == (50, 5, 40)


def test_too_few_samples_are_a_verdict_of_their_own() -> None:
    verdict = JUDGE.judge(counts(9, 9, 9))
    assert verdict.kind is VerdictKind.INSUFFICIENT
    assert (verdict.samples, verdict.needed) == (9, 10)
    assert JUDGE.judge(counts(10, 9, 9)).trigger is Trigger.ERROR_RATE


def test_untimed_requests_are_no_samples_of_the_latency() -> None:
    errors_only = Counts(requests=50, errors=0, timed=3, slow=3)
    assert JUDGE.judge(errors_only).kind is VerdictKind.INSUFFICIENT
    assert JUDGE.judge(errors_only).samples == 3
    assert JUDGE.judge(Counts(requests=50, errors=6, timed=3)).trigger is Trigger.ERROR_RATE


def test_a_stage_ends_on_requests_of_its_own() -> None:
    """A window full of the stage before it says nothing about this one."""
    verdict = JUDGE.end_of_stage(Evidence(window=counts(500), stage=counts(3)))
    assert verdict.kind is VerdictKind.INSUFFICIENT
    assert verdict.samples == 3


def test_where_the_window_is_too_short_the_stage_is_judged() -> None:
    """An app that sees one request a minute never fills a window of one minute."""
    window = counts(1)
    assert JUDGE.check(Evidence(window, counts(20, 5))).kind is VerdictKind.INSUFFICIENT
    assert JUDGE.end_of_stage(Evidence(window, counts(20))).kind is VerdictKind.HEALTHY
    assert JUDGE.end_of_stage(Evidence(window, counts(20, 5))).trigger is Trigger.ERROR_RATE


def test_the_window_decides_where_it_can() -> None:
    """What went wrong long ago and is over does not end a stage that is healthy now."""
    evidence = Evidence(window=counts(100), stage=counts(200, 30))
    assert JUDGE.end_of_stage(evidence).kind is VerdictKind.HEALTHY
    evidence = Evidence(window=counts(100, 30), stage=counts(1000, 30))
    assert JUDGE.end_of_stage(evidence).trigger is Trigger.ERROR_RATE
