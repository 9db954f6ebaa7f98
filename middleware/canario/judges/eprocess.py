"""The evidence of a rollout: four metrics, one number, one bound.

Absolute metrics compare the canary with a limit; relative ones with the baseline, whatever the
limit. Given a failed request of either arm, it is the canary's with probability
q₀ = ρ n_c / (ρ n_c + n_b) when the canary fails ρ times as often, n_c and n_b being the requests
of the arms since the last check: a metric of its own, after Lindon and Malek (2022), whose events
are the failed requests. Since 1 + y ≤ e^y, its factor has a mean of at most 1 for every failure
rate of the baseline, also for a fixed n_c and n_b. Without traffic of the baseline it stands still.

The whole is the weighted average of the four, so it is an e-process whatever they have to do with
each other.

With `bin_seconds` the events of so many seconds are taken together, and their share is bet on.

What has not ended counts as well, where it would make a difference in which order things end.
Failures are quicker than successes, so at each check the requests in flight are taken for
successes: E · Π e^−c over those in flight is dominated by the expectation of what it will be, and
that is a supermartingale. What is overdue is slow whatever becomes of it. Neither is added for
good: at the next check those that are then in flight are looked at. And of the failed requests
the canary's share may be that of the requests that *arrived*, where failures are quick, or of those
that *ended*, where they are not. The two differ when a stage begins, above all at the full share,
where the baseline's last requests go on succeeding and none comes that could fail; so the larger
one is tolerated.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import ceil, inf, log

from msgspec import Struct

from canario.metrics.counts import NOTHING, Counts
from canario.metrics.in_flight import NONE_IN_FLIGHT, InFlight
from canario.plan import Deployment, Sequential

from .alternatives import Bets, Odds
from .change import Change
from .logarithms import log_of, log_sum
from .mixture import Mixture, MixtureMemory

__all__ = [
    "METRICS",
    "EProcess",
    "EProcessMemory",
    "Increment",
    "first_crossing",
    "log_e_values",
    "metric_paths",
]

METRICS = ("errors", "slow", "relative_errors", "relative_slow")


class Increment(Struct, frozen=True):
    """What came between two checks: both arms' counts, and the stage of the second check.

    `in_flight` are the canary's requests that had not ended then; `arrived` and
    `baseline_arrived` came between the two checks, whether they have ended or not.
    """

    canary: Counts
    baseline: Counts = NOTHING
    stage: int = 0
    in_flight: InFlight = NONE_IN_FLIGHT
    arrived: int = 0
    baseline_arrived: int = 0

    @property
    def exposed(self) -> int:
        """Of how many of the canary's requests its failures are: those that arrived, or those
        that ended where they are more, since the failures are among both."""
        return max(self.canary.requests, self.canary.errors, self.arrived)

    @property
    def exposures(self) -> list[tuple[int, int]]:
        """Both arms' requests, as they ended and as they arrived.

        A failure is of a request that arrived just now where failures are quick, and of one that
        arrived when those did that succeed now where they are not. The share may have changed in
        between; that of the failures lies between the two.
        """
        ended, arrived = (
            (self.canary.requests, self.baseline.requests),
            (self.arrived, self.baseline_arrived),
        )
        return [ended, arrived] if any(arrived) else [ended]


class _Bin(Struct, frozen=True):
    """What came at some checks of one stage that follow each other."""

    came: Increment
    mass: float
    checks: int

    @classmethod
    def of(cls, came: Increment, mass: float, before: _Bin | None) -> _Bin:
        """One check, and those before it in the same bin."""
        if before is None:
            return cls(came, mass, 1)
        first = before.came
        both = Increment(
            first.canary + came.canary,
            first.baseline + came.baseline,
            came.stage,
            came.in_flight,
            first.arrived + came.arrived,
            first.baseline_arrived + came.baseline_arrived,
        )
        return cls(both, before.mass + mass, before.checks + 1)


class EProcessMemory(Struct, frozen=True, array_like=True):
    """All that the evidence of a rollout rests on, to the bit."""

    change: tuple[int, int | None]
    mixtures: list[MixtureMemory]
    bin: _Bin | None
    metrics: list[float]
    log_e: float


class EProcess:
    """The evidence that a canary is not within its limits, check by check.

    Attributes:
        metrics: log E of each metric, in the order of `METRICS`, with what is in flight.
        log_e: log E of all together.
    """

    __slots__ = (
        "_bin",
        "_change",
        "_checks",
        "_log_weights",
        "_mixtures",
        "_nulls",
        "_ratio",
        "log_e",
        "metrics",
    )

    def __init__(self, deployment: Deployment, settings: Sequential) -> None:
        limit = settings.max_error_rate
        if limit is None:
            limit = deployment.rollback_thresholds.max_error_rate
        self._nulls = (limit / 100, settings.max_slow_share / 100)
        self._ratio = settings.tolerated_ratio
        shares = settings.weights.shares
        self._log_weights = [log_of(share / sum(shares)) for share in shares]
        self._change = Change.of(deployment)
        interval = deployment.rollback_thresholds.check_interval_seconds
        seconds = settings.bin_seconds
        self._checks = None if seconds is None else ceil(seconds / interval)
        self.begin()

    def begin(self) -> None:
        """Forget everything: the rollout starts."""
        self._change.begin()
        kind = Odds if self._checks is None else Bets
        self._mixtures = [Mixture(kind()) for _ in METRICS]
        self._bin: _Bin | None = None
        self.metrics = [0.0] * len(METRICS)
        self.log_e = 0.0

    def memory(self) -> EProcessMemory:
        """What `recall` takes up again."""
        return EProcessMemory(
            self._change.memory(),
            [mixture.memory() for mixture in self._mixtures],
            self._bin,
            self.metrics,
            self.log_e,
        )

    def recall(self, memory: EProcessMemory) -> None:
        """Go on where another one stood."""
        self._change.recall(memory.change)
        for mixture, its in zip(self._mixtures, memory.mixtures, strict=True):
            mixture.recall(its)
        self._bin = memory.bin
        self.metrics, self.log_e = list(memory.metrics), memory.log_e

    def step(self, came: Increment) -> float:
        """Add what came since the last check. Returns log E.

        Where there are bins, what came counts when its bin is full, or another stage begins.
        """
        mass = self._change.mass(came.stage)
        if self._checks is None:
            return self._add(came, mass)
        now = self._bin
        if now is not None and now.came.stage != came.stage:
            self._add(now.came, now.mass)
            now = None
        now = _Bin.of(came, mass, now)
        full = now.checks == self._checks
        self._bin = None if full else now
        return self._add(now.came, now.mass) if full else self.log_e

    @property
    def waiting(self) -> tuple[Counts, Counts]:
        """What both arms did that is not in the evidence yet, since its bin is not full."""
        now = self._bin
        return (NOTHING, NOTHING) if now is None else (now.came.canary, now.came.baseline)

    def _add(self, came: Increment, mass: float) -> float:
        canary, baseline = came.canary, came.baseline
        errors, slow = self._nulls
        # A bet is on a share of all requests, of which those that ended first are no sample. A
        # likelihood ratio is of those that ended, and those in flight stand beside them.
        events = canary.requests if self._checks is None else came.exposed
        trials = (
            (canary.errors, events, errors),
            (canary.slow, canary.timed, slow),
            (
                canary.errors,
                canary.errors + baseline.errors,
                max(self._share(*each) for each in came.exposures),
            ),
            (
                canary.slow,
                canary.slow + baseline.slow,
                self._share(canary.timed, baseline.timed),
            ),
        )
        self.metrics = [
            mixture.step(bad, events, null, mass)
            for mixture, (bad, events, null) in zip(self._mixtures, trials, strict=True)
        ]
        waiting = came.in_flight
        if self._checks is None:
            self.metrics[0] = self._mixtures[0].with_open(0, waiting.all, errors)
        self.metrics[1] = self._mixtures[1].with_open(waiting.slow, waiting.timed, slow)
        self.log_e = log_sum(self.shares())
        return self.log_e

    def shares(self) -> list[float]:
        """log of what each metric contributes to the evidence, in the order of `METRICS`."""
        return [
            weight + own if weight > -inf else -inf
            for weight, own in zip(self._log_weights, self.metrics, strict=True)
        ]

    def _share(self, canary: int, baseline: int) -> float:
        """The largest share of bad events that may be the canary's, of so many requests each.

        Without traffic of the baseline every bad event is the canary's, and says nothing.
        """
        weighted = self._ratio * canary
        return weighted / (weighted + baseline) if baseline else 1.0


def log_e_values(
    deployment: Deployment, settings: Sequential, increments: Iterable[Increment]
) -> list[float]:
    """log E at each check of a rollout, by the code of the judge.

    It does not depend on `settings.alpha`: `first_crossing` tells for any level at which check
    the judge would have rolled back. Contracts are not in it.
    """
    process = EProcess(deployment, settings)
    return [process.step(each) for each in increments]


def metric_paths(
    deployment: Deployment, settings: Sequential, increments: Iterable[Increment]
) -> dict[str, list[float]]:
    """log E of each metric of `METRICS` at each check.

    A metric depends on its own limit alone (`errors` on `max_error_rate`, `slow` on
    `max_slow_share`, the others on `tolerated_ratio`), so whoever tries many combinations of
    limits needs one call for each value of each, and averages by the weights.
    """
    process = EProcess(deployment, settings)
    paths: dict[str, list[float]] = {name: [] for name in METRICS}
    for each in increments:
        process.step(each)
        for name, value in zip(METRICS, process.metrics, strict=True):
            paths[name].append(value)
    return paths


def first_crossing(log_es: Iterable[float], alpha: float) -> int | None:
    """The first check at which the evidence has reached 1/α; None when none has."""
    level = -log(alpha)
    return next((number for number, value in enumerate(log_es) if value >= level), None)
