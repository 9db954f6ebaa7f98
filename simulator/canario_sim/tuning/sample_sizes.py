"""How many requests it takes to tell a bad release from a good one: what no judge can beat."""

from __future__ import annotations

from math import ceil, inf, log, log1p

__all__ = ["divergence", "requests_to_see_one", "requests_to_tell"]


def divergence(p: float, q: float) -> float:
    """Kullback and Leibler's divergence of one coin from another, in nats: D(p ‖ q)."""
    # Between neighbouring numbers the two parts cancel, and rounding may leave less than nothing.
    return max(0.0, _part(p, q) + _part(1 - p, 1 - q))


def requests_to_tell(good: float, bad: float, false_rollback: float, detect: float) -> float:
    """Requests of the canary that any judge needs on average before it rolls back a bad release.

    Wald's bound (Wald 1945, Sequential Tests of Statistical Hypotheses, section 4.3): a test that
    rolls back a release with the share `good` of bad requests at most with the probability
    `false_rollback`, and one with the share `bad` at least with the probability `detect`, looks on
    average at

        D(detect ‖ false_rollback) / D(bad ‖ good)

    requests of the latter or more, however it is made and whenever it looks; the sequential
    probability ratio test comes down to it, but for what it overshoots. Of a test with a fixed
    number of requests the same holds.

    Args:
        good: Share of bad requests of a good release, 0 to 1.
        bad: Share of bad requests of a bad one.
        false_rollback: Probability of rolling back the good one.
        detect: Probability of rolling back the bad one; more than `false_rollback`.

    Returns:
        The number; inf where the two are the same, 0 where one bad request is proof.
    """
    said = divergence(bad, good)
    needed = divergence(detect, false_rollback)
    if said == 0:
        return inf
    return 0.0 if said == inf else needed / said


def requests_to_see_one(bad: float, detect: float) -> float:
    """Requests until one of the share `bad` is among them with the probability `detect`.

    The geometric distribution's quantile: ⌈log(1 − detect) / log(1 − bad)⌉.
    """
    if bad <= 0 or detect >= 1:
        return inf if bad < 1 else 1.0
    return 1.0 if bad >= 1 else float(ceil(log1p(-detect) / log1p(-bad)))


def _part(p: float, q: float) -> float:
    if p == 0:
        return 0.0
    return inf if q == 0 else p * log(p / q)
