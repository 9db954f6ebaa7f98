"""Operating characteristics: what the rows say of a policy under a condition."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from .experiment import Experiment, Kind, Row
from .intervals import bootstrap_quantile, paired_difference, paired_mean, quantile, wilson

__all__ = [
    "Characteristics",
    "Difference",
    "Estimate",
    "Quantile",
    "characteristics",
    "differences",
]


class Estimate(Struct, frozen=True, kw_only=True):
    """An estimate with its interval: Wilson's, where it is a probability."""

    value: float
    low: float
    high: float


class Quantile(Struct, frozen=True, kw_only=True):
    """A quantile with the bootstrap's interval."""

    q: float
    value: float
    low: float
    high: float


class Characteristics(Struct, frozen=True, kw_only=True):
    """How one policy does under one condition.

    Attributes:
        condition: Its name.
        kind: `healthy`, where a rollback is false, or `regression`, where it is a detection.
        policy: Its name.
        replications: How many.
        rolled_back: Probability of a rollback: of a false one, or of detection.
        promoted: Probability that the canary gets everything: the aim, or a miss.
        undecided: Probability that neither came before the horizon.
        reasons: Rollbacks by reason.
        seconds_to_rollback: Quantiles over those that were rolled back (s); empty without any.
        seconds_to_promotion: Quantiles over those that were promoted (s).
        bad_requests: Quantiles of bad requests that the canary served.
        users: Quantiles of the users that it reached.
        budget_burnt: Quantiles of the share of a 30-day error budget, in percent.
        rolled_back_by: For a picture: points (seconds, share of all rollouts that were rolled
            back by then), at most 101 of them, rising.
    """

    condition: str
    kind: Kind
    policy: str
    replications: int
    rolled_back: Estimate
    promoted: Estimate
    undecided: Estimate
    reasons: dict[str, int]
    seconds_to_rollback: tuple[Quantile, ...]
    seconds_to_promotion: tuple[Quantile, ...]
    bad_requests: tuple[Quantile, ...]
    users: tuple[Quantile, ...]
    budget_burnt: tuple[Quantile, ...]
    rolled_back_by: tuple[tuple[float, float], ...]


class Difference(Struct, frozen=True, kw_only=True):
    """One policy against another on the very same requests.

    Attributes:
        condition: Its name.
        policy: Which is compared.
        against: With which.
        replications: Pairs.
        rolled_back: By how much `policy` rolls back more often; negative: less often.
        bad_requests: How many more bad requests its canary serves on average; None of one pair.
    """

    condition: str
    policy: str
    against: str
    replications: int
    rolled_back: Estimate
    bad_requests: Estimate | None


QUANTILES = (0.5, 0.9, 0.99)


def characteristics(
    experiment: Experiment, rows: Sequence[Row], *, confidence: float = 0.95
) -> tuple[Characteristics, ...]:
    """Every condition × policy that has rows, in the experiment's order."""
    cells: dict[tuple[int, int], list[Row]] = {}
    for row in rows:
        cells.setdefault((row.condition, row.policy), []).append(row)
    return tuple(
        _cell(experiment, cells[key], *key, confidence=confidence) for key in sorted(cells)
    )


def _cell(
    experiment: Experiment, rows: list[Row], condition: int, policy: int, *, confidence: float
) -> Characteristics:
    n = len(rows)
    back = [row for row in rows if row.outcome == "rolled_back"]
    through = [row for row in rows if row.outcome == "completed"]
    reasons = [str(row.reason) for row in back]

    def share(count: int) -> Estimate:
        low, high = wilson(count, n, confidence)
        return Estimate(value=count / n, low=low, high=high)

    def quantiles(values: Sequence[float]) -> tuple[Quantile, ...]:
        if not values:
            return ()
        made = []
        for q in QUANTILES:
            low, high = bootstrap_quantile(values, q, confidence)
            made.append(Quantile(q=q, value=quantile(values, q), low=low, high=high))
        return tuple(made)

    return Characteristics(
        condition=experiment.conditions[condition].name,
        kind=experiment.conditions[condition].kind,
        policy=experiment.policies[policy].name,
        replications=n,
        rolled_back=share(len(back)),
        promoted=share(len(through)),
        undecided=share(n - len(back) - len(through)),
        reasons={reason: reasons.count(reason) for reason in sorted(set(reasons))},
        seconds_to_rollback=quantiles([row.at for row in back]),
        seconds_to_promotion=quantiles([row.at for row in through]),
        bad_requests=quantiles([row.bad for row in rows]),
        users=quantiles([row.users for row in rows]),
        budget_burnt=quantiles([row.budget_burnt for row in rows if row.budget_burnt is not None]),
        rolled_back_by=_curve(sorted(row.at for row in back), n),
    )


# Points of a curve, besides the first.
_POINTS = 100


def _curve(times: Sequence[float], n: int) -> tuple[tuple[float, float], ...]:
    """The share of `n` rollouts that had happened by each of the times, thinned out."""
    places = sorted({round(k * (len(times) - 1) / _POINTS) for k in range(_POINTS + 1)})
    # Of several at one instant the last stays, with the share that they make together.
    last = {times[place]: (place + 1) / n for place in places} if times else {}
    return tuple(last.items())


def differences(
    experiment: Experiment, rows: Sequence[Row], *, confidence: float = 0.95
) -> tuple[Difference, ...]:
    """Every further policy against the first one, under each condition that has rows."""
    cells: dict[tuple[int, int], dict[int, Row]] = {}
    for row in rows:
        cells.setdefault((row.condition, row.policy), {})[row.replication] = row
    return tuple(
        _difference(experiment, condition, policy, cells, confidence)
        for condition, policy in sorted(cells)
        if policy and (condition, 0) in cells
    )


def _difference(
    experiment: Experiment,
    condition: int,
    policy: int,
    cells: dict[tuple[int, int], dict[int, Row]],
    confidence: float,
) -> Difference:
    own, other = cells[condition, policy], cells[condition, 0]
    pairs = [(own[number], other[number]) for number in sorted(own.keys() & other.keys())]
    back = [tuple(row.outcome == "rolled_back" for row in pair) for pair in pairs]
    share = paired_difference(
        back.count((True, False)), back.count((False, True)), len(pairs), confidence
    )
    more = [mine.bad - theirs.bad for mine, theirs in pairs]
    bad = paired_mean(more, confidence) if len(more) > 1 else None
    return Difference(
        condition=experiment.conditions[condition].name,
        policy=experiment.policies[policy].name,
        against=experiment.policies[0].name,
        replications=len(pairs),
        rolled_back=Estimate(value=share[0], low=share[1], high=share[2]),
        bad_requests=bad and Estimate(value=bad[0], low=bad[1], high=bad[2]),
    )
