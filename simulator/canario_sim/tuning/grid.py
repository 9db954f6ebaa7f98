"""The candidates that share a trajectory: every combination of the values given."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from math import lcm
from typing import Annotated

from msgspec import Meta
from msgspec.structs import replace

from canario.plan import Deployment, FixedThresholds, RollbackThresholds, Sequential
from canario.spec import Count, Percent, Positive, Spec

__all__ = ["Grid", "Place"]

_AT_LEAST_ONE = Meta(min_length=1)

# Where a candidate is: which rule judges (a window of the thresholds, or a level of the sequential
# judge), and which minimum of samples, error rate and latency it has.
Place = tuple[int, int, int, int]


class Grid(Spec, frozen=True, kw_only=True):
    """Candidate values of each threshold, rising and without repetition.

    The documented defaults are among them: 10 %, 500 ms, 60 s, 10 samples. `alpha` are levels of
    the sequential judge, which takes the others' place beside the windows of the thresholds; none
    leaves it out.
    """

    max_error_rate: Annotated[tuple[Percent, ...], _AT_LEAST_ONE] = (
        1, 2, 3, 4, 5, 7.5, 10, 12.5, 15, 20, 30,
    )  # fmt: skip
    max_p95_latency_ms: Annotated[tuple[Positive, ...], _AT_LEAST_ONE] = (
        200, 250, 300, 400, 500, 600, 750, 1000, 1500, 2000, 3000,
    )  # fmt: skip
    metric_window_seconds: Annotated[tuple[Positive, ...], _AT_LEAST_ONE] = (30, 60, 120, 300)
    min_samples: Annotated[tuple[Count, ...], _AT_LEAST_ONE] = (10, 20, 50, 100)
    alpha: tuple[float, ...] = (0.001, 0.01)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.__struct_fields__:
            values = getattr(self, name)
            if not values and name != "alpha":
                raise ValueError(f"{name} is empty; give at least one value")
            for value in values:
                # The plan's own check names the key, the value and what is valid.
                _ = Sequential(alpha=value) if name == "alpha" else _only(name, value)
            if sorted(set(values)) != list(values):
                raise ValueError(f"{name} is {values!r}; give rising values, each once")

    def __len__(self) -> int:
        rules, samples, rates, limits = self.shape
        return rules * samples * rates * limits

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """How many rules, minimums of samples, error rates and latencies there are: the order of
        the axes everywhere."""
        return (
            len(self.metric_window_seconds) + len(self.alpha),
            len(self.min_samples),
            len(self.max_error_rate),
            len(self.max_p95_latency_ms),
        )

    def abandoned_after(self, deployment: Deployment) -> float:
        """How long a request is waited for under every candidate, in seconds.

        It is what the plan says, or else the default of the largest latency limit: so that the
        same requests are given up at the same checks, whoever judges.
        """
        thresholds = deployment.rollback_thresholds
        largest = RollbackThresholds(max_p95_latency_ms=self.max_p95_latency_ms[-1])
        return thresholds.abandoned_after_seconds or max(
            thresholds.abandoned_after, largest.abandoned_after
        )

    def settled(self, deployment: Deployment) -> Deployment:
        """A plan that says how long that is."""
        after = self.abandoned_after(deployment)
        thresholds = replace(deployment.rollback_thresholds, abandoned_after_seconds=after)
        return replace(deployment, rollback_thresholds=thresholds)

    @property
    def longest_window(self) -> float:
        """Of all candidates, in seconds."""
        return self.metric_window_seconds[-1]

    def with_those_of(self, deployment: Deployment) -> Grid:
        """The same, and with a plan's own values."""
        own = _own(deployment)
        levels = {deployment.judge.alpha} if isinstance(deployment.judge, Sequential) else set()
        grown = {name: tuple(sorted({*getattr(self, name), own[name]})) for name in own}
        return Grid(alpha=tuple(sorted({*self.alpha, *levels})), **grown)

    def find(self, deployment: Deployment) -> Place | None:
        """Where a plan's values are; None where they are not all there."""
        own, judge = _own(deployment), deployment.judge
        if any(own[name] not in getattr(self, name) for name in own):
            return None
        if isinstance(judge, Sequential):
            if judge.alpha not in self.alpha:
                return None
            rule = len(self.metric_window_seconds) + self.alpha.index(judge.alpha)
        else:
            rule = self.metric_window_seconds.index(own["metric_window_seconds"])
        return (
            rule,
            self.min_samples.index(int(own["min_samples"])),
            self.max_error_rate.index(own["max_error_rate"]),
            self.max_p95_latency_ms.index(own["max_p95_latency_ms"]),
        )

    def at(self, place: Place, like: Deployment) -> Deployment:
        """The candidate at a place; what is not tried is as in `like`."""
        rule, sample, rate, limit = place
        windows = len(self.metric_window_seconds)
        thresholds = replace(
            like.rollback_thresholds,
            min_samples=self.min_samples[sample],
            max_error_rate=self.max_error_rate[rate],
            max_p95_latency_ms=self.max_p95_latency_ms[limit],
            abandoned_after_seconds=self.abandoned_after(like),
        )
        # Not stated where it is what the plan does anyway.
        usual = replace(thresholds, abandoned_after_seconds=None)
        if usual.abandoned_after == thresholds.abandoned_after:
            thresholds = usual
        if rule < windows:
            window = self.metric_window_seconds[rule]
            thresholds = replace(thresholds, metric_window_seconds=window)
            return replace(like, rollback_thresholds=thresholds, judge=FixedThresholds())
        judge = replace(sequential_of(like), alpha=self.alpha[rule - windows])
        return replace(like, rollback_thresholds=thresholds, judge=judge)

    def places(self) -> Iterator[Place]:
        """Every candidate's, the last axis turning fastest."""
        rules, samples, rates, limits = map(range, self.shape)
        return (
            (rule, sample, rate, limit)
            for rule in rules
            for sample in samples
            for rate in rates
            for limit in limits
        )

    @property
    def rates(self) -> tuple[list[int], int]:
        """The error rates as exact integer parts of one whole, and that whole: errors · whole >
        requests · part says that the rate is exceeded."""
        return _parts(self.max_error_rate)


@cache
def _parts(rates: tuple[float, ...]) -> tuple[list[int], int]:
    exact = [Fraction(str(rate)) / 100 for rate in rates]
    whole = lcm(*(rate.denominator for rate in exact))
    return [int(rate * whole) for rate in exact], whole


def sequential_of(deployment: Deployment) -> Sequential:
    """The sequential judge that a plan's candidates have, but for its level: the plan's own, or
    the documented one. Its error rate is the thresholds'."""
    judge = deployment.judge
    return replace(judge, max_error_rate=None) if isinstance(judge, Sequential) else Sequential()


def _own(deployment: Deployment) -> dict[str, float]:
    """A plan's values of the axes but its level."""
    thresholds, judge = deployment.rollback_thresholds, deployment.judge
    own = {name: getattr(thresholds, name) for name in _AXES}
    if isinstance(judge, Sequential) and judge.max_error_rate is not None:
        own["max_error_rate"] = judge.max_error_rate
    return own


def _only(name: str, value: float) -> RollbackThresholds:
    return RollbackThresholds(**{name: value})  # type: ignore[arg-type]


_AXES = ("metric_window_seconds", "min_samples", "max_error_rate", "max_p95_latency_ms")
