"""What the peers measure: exact shares of the requests, and verdicts on them."""

from __future__ import annotations

from fractions import Fraction

from canario.judges.verdict import Trigger, Verdict, VerdictKind
from canario.metrics.counts import Counts

__all__ = ["healthy", "slower", "succeeds", "undecided", "unhealthy"]


def succeeds(counts: Counts, percent: float) -> bool:
    """True when at least so many percent of the requests succeeded; there must be some.

    Exact: `percent` is taken as the decimal number that it is written as.
    """
    least = Fraction(str(percent)) / 100
    good = counts.requests - counts.errors
    return good * least.denominator >= counts.requests * least.numerator


def slower(counts: Counts, percentile: float) -> bool:
    """True when this percentile of the latency lies above the limit that `slow` counts from.

    The percentile of n latencies is the one of rank ⌊n · percentile / 100⌋ + 1, at most n.
    """
    share = Fraction(str(percentile)) / 100
    below = min(counts.timed * share.numerator // share.denominator, counts.timed - 1)
    return counts.timed > 0 and counts.slow >= counts.timed - below


def healthy(counts: Counts, why: str) -> Verdict:
    """A stage may be left."""
    return Verdict(kind=VerdictKind.HEALTHY, samples=counts.requests, needed=0, why=why)


def undecided(counts: Counts, why: str) -> Verdict:
    """A stage is not left yet; at the next check it is judged again."""
    return Verdict(kind=VerdictKind.INSUFFICIENT, samples=counts.requests, needed=0, why=why)


def unhealthy(counts: Counts, trigger: Trigger | None, why: str) -> Verdict:
    """The canary is rolled back; without a trigger for want of evidence."""
    observed = counts.error_rate if trigger is Trigger.ERROR_RATE else counts.slow_rate
    return Verdict(
        kind=VerdictKind.UNHEALTHY,
        trigger=trigger,
        observed=None if trigger is None else observed,
        samples=counts.requests,
        needed=0,
        why=why,
    )
