"""What has not ended, as a judge sees it: in which counts it stands, and what is said of it."""

from __future__ import annotations

from math import exp
from typing import Any

import pytest
from msgspec.structs import replace

from canario.judges.eprocess import EProcess, Increment, log_e_values
from canario.judges.sequential import SequentialJudge
from canario.judges.thresholds import ThresholdJudge
from canario.judges.verdict import Evidence, Judge, Trigger, VerdictKind
from canario.metrics.counts import Counts
from canario.metrics.in_flight import NONE_IN_FLIGHT, InFlight
from canario.plan import Deployment, RollbackThresholds, Sequential, Weights

PLAN = Deployment(judge=Sequential())


def thresholds() -> ThresholdJudge:
    return ThresholdJudge(RollbackThresholds())


def sequential(**settings: Any) -> SequentialJudge:
    return SequentialJudge(PLAN, Sequential(**settings))


def counts(n: int, errors: int = 0, slow: int = 0) -> Counts:
    return Counts(requests=n, errors=errors, timed=n, slow=slow)


def seen(done: Counts, in_flight: InFlight = NONE_IN_FLIGHT, **other: Any) -> Evidence:
    given = {"window": done, "stage": done, "total": done, "in_flight": in_flight} | other
    return Evidence(**given)


JUDGES = pytest.mark.parametrize("make", [thresholds, sequential], ids=["fixed", "odds"])


# -- the thresholds


def test_what_is_in_flight_stands_in_the_denominator_of_the_error_rate() -> None:
    """Sockets as well: 20 of 200 are 10 %, which may be; 20 of 199 are more."""
    flying = InFlight(requests=70, standing=30)
    assert thresholds().check(seen(counts(100, 20), flying)).kind is VerdictKind.HEALTHY
    verdict = thresholds().check(seen(counts(99, 20), flying))
    assert (verdict.kind, verdict.trigger) == (VerdictKind.UNHEALTHY, Trigger.ERROR_RATE)
    assert (verdict.observed, verdict.limit) == (100 * 20 / 199, 10)
    assert (verdict.samples, verdict.needed, verdict.in_flight) == (199, 10, 70)
    assert verdict.why == "20 of 199 requests failed (10.05 %); at most 10 % may"


def test_failures_of_too_few_that_ended_are_no_verdict_however_many_wait() -> None:
    verdict = thresholds().check(seen(counts(9, 9), InFlight(requests=20, standing=3)))
    assert verdict.kind is VerdictKind.INSUFFICIENT
    assert (verdict.samples, verdict.needed, verdict.in_flight) == (9, 10, 20)
    assert verdict.why == "9 of the 10 requests that a judgement takes"


def test_what_is_overdue_is_slow_already() -> None:
    """One of twenty is the p95 itself, which lies on the wrong side then; one of 21 does not."""
    overdue = InFlight(requests=5, overdue=1)
    verdict = thresholds().check(seen(counts(19), overdue))
    assert (verdict.kind, verdict.trigger) == (VerdictKind.UNHEALTHY, Trigger.P95_LATENCY)
    assert (verdict.observed, verdict.limit, verdict.samples) == (5.0, 5.0, 20)
    assert (verdict.needed, verdict.in_flight, verdict.overdue) == (10, 5, 1)
    assert verdict.why == (
        "1 of 20 requests (5 %) took longer than 500 ms, so the p95 is above it "
        "(1 of them still waiting for their answer)"
    )
    healthy = thresholds().check(seen(counts(20), overdue))
    assert (healthy.kind, healthy.samples, healthy.needed) == (VerdictKind.HEALTHY, 20, 10)
    assert (healthy.in_flight, healthy.overdue) == (5, 1)
    assert healthy.why == (
        "0 of 20 requests failed, 1 of 21 were slow (1 of them still waiting for their answer)"
    )


def test_sockets_that_began_slowly_are_slow_requests() -> None:
    standing = InFlight(standing=20, standing_slow=2)
    assert thresholds().check(seen(counts(0), standing)).trigger is Trigger.P95_LATENCY
    quick = InFlight(standing=20, standing_slow=0)
    assert thresholds().check(seen(counts(0), quick)).kind is VerdictKind.HEALTHY


def test_what_is_overdue_is_too_slow_only_where_it_is_enough_to_be_judged() -> None:
    assert thresholds().check(seen(counts(3), InFlight(requests=6, overdue=6))).samples == 3
    verdict = thresholds().check(seen(counts(3), InFlight(requests=7, overdue=7)))
    assert verdict.trigger is Trigger.P95_LATENCY


def test_a_socket_that_stands_is_a_sample_and_a_stage_takes_its_own() -> None:
    """The window counts all that stand; a stage those that were answered in it."""
    older = InFlight(standing=10, standing_in_stage=4)
    assert thresholds().check(seen(counts(0), older)).kind is VerdictKind.HEALTHY
    verdict = thresholds().end_of_stage(seen(counts(5), older))
    assert verdict.kind is VerdictKind.INSUFFICIENT
    assert (verdict.samples, verdict.why) == (9, "9 of the 10 requests that a stage takes")
    enough = replace(older, standing_in_stage=5)
    assert thresholds().end_of_stage(seen(counts(5), enough)).kind is VerdictKind.HEALTHY
    # Untimed requests are no samples of the latency; sockets are.
    untimed = Counts(requests=50, timed=4)
    verdict = thresholds().end_of_stage(seen(untimed, enough))
    assert verdict.why == "9 of the 10 timed requests that a stage takes"


# -- the sequential judge


def test_sockets_of_its_own_are_samples_of_a_stage_by_evidence_too() -> None:
    verdict = sequential().check(seen(counts(5), InFlight(standing=40, standing_in_stage=4)))
    assert (verdict.kind, verdict.samples) == (VerdictKind.INSUFFICIENT, 9)
    assert verdict.why.startswith("9 of the 10 requests that a stage takes, evidence against it")
    enough = InFlight(standing=40, standing_in_stage=5)
    assert sequential().check(seen(counts(5), enough)).kind is VerdictKind.HEALTHY


def test_what_is_overdue_is_told_as_slow_by_evidence_too() -> None:
    waiting = InFlight(requests=30, overdue=25, standing=15, standing_slow=5)
    verdict = sequential().check(seen(counts(20), waiting))
    assert verdict.trigger is Trigger.P95_LATENCY
    assert (verdict.in_flight, verdict.overdue) == (30, 25)
    assert verdict.why.endswith(
        ": 30 of 60 requests took longer than 500 ms (50 %); at most 5 % may "
        "(25 of them still waiting for their answer)"
    )


def test_quick_failures_are_not_told_with_what_is_in_flight() -> None:
    """The share of those that ended is said, of which there is evidence."""
    verdict = sequential().check(seen(counts(40, 30), InFlight(requests=10)))
    assert verdict.why.endswith(": 30 of 40 requests failed (75 %); at most 10 % may")


def alone(metric: str, **settings: Any) -> EProcess:
    """The evidence of one metric."""
    weights = dict.fromkeys(("errors", "slow", "relative_errors", "relative_slow"), 0.0)
    return EProcess(PLAN, Sequential(weights=Weights(**weights | {metric: 1.0}), **settings))


def test_what_is_in_flight_is_taken_for_a_success_and_not_for_good() -> None:
    """At the check it is as if it had succeeded; when it has failed, it has only failed."""
    came = Increment(counts(30, 9), in_flight=InFlight(requests=20, standing=5))
    assert alone("errors").step(came) == pytest.approx(
        alone("errors").step(Increment(counts(55, 9)))
    )
    both = alone("errors")
    both.step(came)
    once = alone("errors")
    once.step(Increment(counts(30, 9)))
    assert both.step(Increment(counts(4, 2))) == pytest.approx(once.step(Increment(counts(4, 2))))


def test_what_is_overdue_is_slow_at_the_check_and_not_for_good() -> None:
    came = Increment(
        counts(30), in_flight=InFlight(requests=20, overdue=12, standing=5, standing_slow=1)
    )
    ended = Increment(counts(47, slow=13))
    assert alone("slow").step(came) == pytest.approx(alone("slow").step(ended))
    both, once = alone("slow"), alone("slow")
    both.step(came)
    once.step(Increment(counts(30)))
    assert both.step(Increment(counts(4, 0, 2))) == pytest.approx(
        once.step(Increment(counts(4, 0, 2)))
    )


def test_a_bet_is_on_the_share_of_what_arrived() -> None:
    """Nine failed at once of forty that came, of which thirty ended; and at least of those."""
    came = Increment(counts(30, 9), arrived=40)
    assert came.exposed == 40
    assert Increment(counts(30, 9), arrived=20).exposed == 30
    assert Increment(Counts(requests=3, errors=5)).exposed == 5
    binned = alone("errors", bin_seconds=1)
    assert binned.step(came) == pytest.approx(
        alone("errors", bin_seconds=1).step(Increment(counts(40, 9)))
    )


# -- both


@JUDGES
def test_a_stage_does_not_end_on_requests_none_of_which_was_answered(make: Any) -> None:
    judge: Judge = make()
    answered = replace(counts(100, 1), abandoned=1)
    silent = InFlight(requests=12, overdue=1, unanswered=10)
    verdict = judge.end_of_stage(seen(answered, silent))
    assert verdict.kind is VerdictKind.INSUFFICIENT
    assert (verdict.samples, verdict.needed) == (0, 10)
    assert (verdict.in_flight, verdict.overdue, verdict.abandoned) == (12, 1, 1)
    assert verdict.why == (
        "10 requests have come since the last answer, and none of them was answered "
        "(1 of them still waiting for their answer, 1 never answered)"
    )
    judge = make()
    quiet = replace(silent, unanswered=9)
    assert judge.end_of_stage(seen(answered, quiet)).kind is VerdictKind.HEALTHY


@JUDGES
def test_every_verdict_says_how_many_were_never_answered(make: Any) -> None:
    for n, errors in ((100, 1), (100, 90), (5, 1)):
        judge: Judge = make()
        verdict = judge.check(seen(replace(counts(n, errors), abandoned=1)))
        assert verdict.abandoned == 1
        assert verdict.why.endswith(" (1 never answered)")
    assert "answer" not in make().check(seen(counts(100))).why


@pytest.mark.parametrize("bin_seconds", [None, 5.0])
def test_what_arrived_is_what_ended_or_left_and_what_is_in_flight_since(
    bin_seconds: float | None,
) -> None:
    settings = Sequential(bin_seconds=bin_seconds)
    judge = SequentialJudge(PLAN, settings)
    canary, baseline = counts(20, 6, 1), counts(30, 2, 1)
    left = Counts(neutral=3)
    waiting, others = InFlight(requests=7, standing=2), InFlight(requests=4)
    first = judge.check(
        seen(
            canary + left,
            waiting,
            baseline_total=baseline + left,
            baseline_in_flight=others,
        )
    )
    more, longer = counts(30, 4, 2), InFlight(requests=25, standing=5)
    second = judge.check(
        seen(
            canary + more + left + left,
            longer,
            baseline_total=baseline + baseline + left,
            baseline_in_flight=NONE_IN_FLIGHT,
        )
    )
    path = log_e_values(
        PLAN,
        settings,
        [
            Increment(canary, baseline, 0, waiting, 20 + 3 + 9, 30 + 3 + 4),
            Increment(more, baseline, 0, longer, 30 + 3 + 30 - 9, 30 + 0 - 4),
        ],
    )
    assert [first.observed, second.observed] == pytest.approx([exp(each) for each in path])
