"""The fixed thresholds: contract violation, then error rate, then 95th percentile of latency."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from functools import partial

from canario.metrics.counts import NONE_BROKEN, Counts
from canario.metrics.in_flight import NONE_IN_FLIGHT, InFlight
from canario.plan import RollbackThresholds

from .budgets import ContractRule
from .verdict import Evidence, Trigger, Verdict, VerdictKind
from .waiting import silence, waiting_words

__all__ = ["ThresholdJudge"]


class ThresholdJudge:
    """Judges the sliding window by the plan's `rollback_thresholds`.

    All comparisons are between integers, so they are exact: `max_error_rate` is taken as the
    decimal number it is written as, and the p95 of n latencies is the one of rank ⌊0.95 n⌋ + 1,
    which lies above the limit exactly when at least n − ⌊0.95 n⌋ of them do. A contract's budget
    is a decimal number as well.

    What has not ended is judged too: it stands in the denominator of the error rate, since
    failures are often quicker than successes, and what is overdue is slow already.
    """

    __slots__ = ("_contracts", "_error_denominator", "_error_numerator", "thresholds")

    def __init__(self, thresholds: RollbackThresholds) -> None:
        self.thresholds = thresholds
        # errors / n > rate / 100  <=>  errors · denominator > n · numerator
        rate = Fraction(str(thresholds.max_error_rate)) / 100
        self._error_numerator, self._error_denominator = rate.as_integer_ratio()
        self._contracts = ContractRule(thresholds)

    def begin(self) -> None:
        """Nothing to forget: every check stands alone."""

    def memory(self) -> None:
        """Nothing, see `begin`."""

    def recall(self, memory: object) -> None:
        """Nothing, see `begin`."""

    def broken(self, evidence: Evidence) -> Verdict | None:
        """Judge the contracts alone: what else is wrong waits for the next check."""
        return self._contracts.judge(evidence.window, evidence.broken)

    def check(self, evidence: Evidence) -> Verdict:
        """Judge the window."""
        return self.judge(evidence.window, evidence.broken, evidence.in_flight)

    def end_of_stage(self, evidence: Evidence) -> Verdict:
        """Judge what ends a stage: the window, and enough requests of the stage itself.

        A window may be full of an earlier stage's requests, or too short for an app that sees
        one request a minute. So the stage must have brought `min_samples` of its own, and where
        the window holds fewer the whole stage is judged. Neither says anything of a canary that
        no longer answers: then what it answered before does not count.
        """
        in_flight = evidence.in_flight
        verdict = self.judge(evidence.window, evidence.broken, in_flight)
        if verdict.kind is VerdictKind.UNHEALTHY:
            return verdict
        stage = self.judge(evidence.stage, evidence.broken_in_stage, in_flight, " of the stage")
        if stage.kind is VerdictKind.INSUFFICIENT or verdict.kind is VerdictKind.INSUFFICIENT:
            verdict = stage
        if verdict.kind is VerdictKind.HEALTHY:
            return silence(evidence, self.thresholds.min_samples) or verdict
        return verdict

    def judge(
        self,
        counts: Counts,
        broken: Mapping[str, int] = NONE_BROKEN,
        in_flight: InFlight = NONE_IN_FLIGHT,
        of: str = "",
    ) -> Verdict:
        """The verdict on one set of counts.

        `broken` is how many of the violations are of each contract that has a budget; `in_flight`
        has arrived beside what is counted, and has not ended. `of` says whose requests they are
        where they are not the window's.
        """
        limits = self.thresholds
        needed = limits.min_samples
        verdict = self._contracts.judge(counts, broken)
        if verdict is not None:
            return verdict
        n = counts.requests
        told = partial(
            Verdict,
            in_flight=in_flight.requests,
            overdue=in_flight.overdue,
            abandoned=counts.abandoned,
        )
        arrived = n + in_flight.all
        failing = counts.errors * self._error_denominator > arrived * self._error_numerator
        if failing and n >= needed:
            rate = 100 * counts.errors / arrived
            return told(
                kind=VerdictKind.UNHEALTHY,
                trigger=Trigger.ERROR_RATE,
                observed=rate,
                limit=limits.max_error_rate,
                samples=arrived,
                needed=needed,
                why=f"{counts.errors} of {arrived} requests{of} failed ({rate:.4g} %); "
                f"at most {limits.max_error_rate:g} % may" + waiting_words(counts, in_flight),
            )
        slow, timed = counts.slow + in_flight.slow, counts.timed + in_flight.timed
        if timed >= needed and slow >= timed - timed * 95 // 100:
            share = 100 * slow / timed
            return told(
                kind=VerdictKind.UNHEALTHY,
                trigger=Trigger.P95_LATENCY,
                observed=share,
                limit=5.0,
                samples=timed,
                needed=needed,
                why=f"{slow} of {timed} requests{of} ({share:.4g} %) took longer than "
                f"{limits.max_p95_latency_ms:g} ms, so the p95 is above it"
                + waiting_words(counts, in_flight),
            )
        # A socket that stands has been answered: that is a sample as good as any.
        standing = in_flight.standing_in_stage if of else in_flight.standing
        answered, timed_answers = n + standing, counts.timed + standing
        if failing or answered < needed or timed_answers < needed:
            # What fails too often and is not rolled back yet lacks requests that have ended.
            have = n if failing else min(answered, timed_answers)
            what = "requests" if failing or answered <= timed_answers else "timed requests"
            return told(
                kind=VerdictKind.INSUFFICIENT,
                samples=have,
                needed=needed,
                why=f"{have} of the {needed} {what} that a "
                f"{'stage' if of else 'judgement'} takes" + waiting_words(counts, in_flight),
            )
        return told(
            kind=VerdictKind.HEALTHY,
            samples=answered,
            needed=needed,
            why=f"{counts.errors} of {answered} requests{of} failed, {slow} of {timed} were slow"
            + self._contracts.within(broken, n)
            + waiting_words(counts, in_flight),
        )
