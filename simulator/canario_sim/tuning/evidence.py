"""The sequential judge's evidence along a trajectory, for every limit at once.

`canario.judges.eprocess` adds evidence up check by check. Here the same sums are made for all
checks together:  log M(t) = S(t) + log Σ exp(log w(s) − S(s − 1))  over s ≤ t, where S adds up what
the requests say. Sums in another order differ in their last digits, so where a level is missed or
reached by less than a billionth the judge's own code decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import inf, log

import numpy as np

from canario.judges.alternatives import DELTAS
from canario.judges.change import Change
from canario.judges.eprocess import EProcess, Increment
from canario.judges.logarithms import log_of
from canario.metrics.counts import Counts
from canario.metrics.in_flight import InFlight
from canario.plan import Deployment
from canario_sim.streams import Flags, Floats, Ints

from .grid import Grid, sequential_of
from .trajectory import Look, Trajectory

__all__ = ["Evidence", "Proven"]

_CLOSE = 1e-9


@dataclass(frozen=True, slots=True)
class Proven:
    """For each error rate × latency, the look at which the level is reached (the number of all
    looks where it never is), and whether errors say so rather than latencies."""

    look: Ints
    errors: Flags


class Evidence:
    """What the sequential judge would have known at each check, for each error rate × latency."""

    def __init__(self, trajectory: Trajectory, grid: Grid, like: Deployment) -> None:
        assert trajectory.baseline is not None  # recorded where levels are asked for
        self._trajectory = trajectory
        self._grid = grid
        self._like = like
        self._settings = sequential_of(like)
        self._checks = np.flatnonzero(trajectory.kind != Look.BROKEN)
        self._counts = _Counts(trajectory, self._checks, np.array(grid.max_p95_latency_ms))
        self._priors = [self._masses(part) for part in self._counts.parts]
        shares = self._settings.weights.shares
        weights = [log_of(share / sum(shares)) for share in shares]
        errors, slow, relative_errors, relative_slow = (
            weight + path if weight > -inf else np.full(path.shape, -inf)
            for weight, path in zip(weights, self._paths(), strict=True)
        )
        # Metrics × error rates × latencies × checks, in the order of the judge's own.
        self._metrics = np.stack(
            np.broadcast_arrays(
                errors[:, None], slow[None, :], relative_errors[:, None], relative_slow[None, :]
            )
        )
        with np.errstate(invalid="ignore"):
            self._log_e = np.logaddexp.reduce(self._metrics, axis=0)
        self._highest = np.maximum.accumulate(self._log_e, axis=-1)

    def reaches(self, alpha: float) -> Proven:
        """When the evidence is 1/α or more."""
        level = -log(alpha)
        # What rises lies below a level up to the first check that reaches it: a count is a search.
        first = np.count_nonzero(self._highest < level, axis=-1)
        inside = np.minimum(first, max(len(self._checks) - 1, 0))
        close = (np.abs(self._log_e - level) < _CLOSE).any(axis=-1)
        at = np.append(self._checks, len(self._trajectory.at))[first]
        if len(self._checks):
            chosen = np.take_along_axis(self._metrics, inside[None, ..., None], axis=-1)
            # Errors and latencies stand in turn: by the limits, then relative to the baseline.
            errors = chosen[..., 0].argmax(axis=0) % 2 == 0
        else:
            errors = np.zeros(first.shape, np.bool_)
        for rate, limit in np.argwhere(close).tolist():
            at[rate, limit], errors[rate, limit] = self._slowly(rate, limit, level)
        return Proven(at, errors)

    def _slowly(self, rate: int, limit: int, level: float) -> tuple[int, bool]:
        """The same for one pair, by the judge's own code."""
        place = (len(self._grid.metric_window_seconds), 0, rate, limit)
        deployment = self._grid.at(place, self._like)
        process = EProcess(deployment, self._settings)
        counts = self._counts
        for number, look in enumerate(self._checks.tolist()):
            if counts.restarted[number]:
                process.begin()
            canary, baseline = counts.at(number, limit)
            process.step(
                Increment(
                    canary,
                    baseline,
                    int(self._trajectory.stage[look]),
                    counts.flying(number, limit),
                    *counts.came[:, number].tolist(),
                )
            )
            if process.log_e >= level:
                shares = process.shares()
                return look, shares.index(max(shares)) % 2 == 0
        return len(self._trajectory.at), False

    def _paths(self) -> tuple[Floats, Floats, Floats, Floats]:
        """log E of each metric: errors by error rate, slow by latency, and the relative ones."""
        counts, settings = self._counts, self._settings
        n, more = counts.canary[0], counts.baseline[0]
        rates = np.array(self._grid.max_error_rate) / 100
        nothing = np.zeros_like(n)
        ended, arrived = self._share(n, more), self._share(*counts.came)
        share = np.where(counts.came.any(axis=0), np.maximum(ended, arrived), ended)
        return (
            self._mixture(counts.canary[1], n, rates[:, None] + 0 * n, (nothing, counts.in_flight)),
            self._mixture(
                counts.slow,
                n,
                np.full(len(n), settings.max_slow_share / 100),
                (counts.overdue, counts.overdue),
            ),
            self._mixture(
                counts.canary[1],
                counts.canary[1] + counts.baseline[1],
                share,
                (nothing, nothing),
            ),
            self._mixture(
                counts.slow,
                counts.slow + counts.baseline_slow,
                ended,
                (nothing, nothing),
            ),
        )

    def _share(self, n: Ints, more: Ints) -> Floats:
        """Of bad ones, what share may be the canary's."""
        weighted = self._settings.tolerated_ratio * n
        with np.errstate(invalid="ignore"):
            return np.where(more > 0, weighted / (weighted + more), 1.0)

    def _mixture(self, bad: Ints, events: Ints, null: Floats, flying: tuple[Ints, Ints]) -> Floats:
        """log E of one metric at each check, for each row of what is given; bad ones and all
        that are in flight stand beside the others."""
        bad, events, null, worse, more = np.broadcast_arrays(
            np.atleast_2d(bad), events, null, *flying
        )
        path = np.empty(bad.shape)
        for part, (masses, rests) in zip(self._counts.parts, self._priors, strict=True):
            path[:, part] = _one_mixture(
                bad[:, part],
                events[:, part],
                null[:, part],
                worse[:, part],
                more[:, part],
                masses,
                rests,
            )
        return path

    def _masses(self, part: slice) -> tuple[Floats, Floats]:
        """The prior's mass at each check, and what remains of it afterwards."""
        change, rest = Change.of(self._like), 1.0
        masses, rests = [], []
        for stage in self._trajectory.stage[self._checks[part]].tolist():
            mass = min(change.mass(stage), rest)
            rest -= mass
            masses.append(mass)
            rests.append(rest)
        return np.array(masses), np.array(rests)


def _one_mixture(
    bad: Ints,
    events: Ints,
    null: Floats,
    bad_flying: Ints,
    flying: Ints,
    masses: Floats,
    rests: Floats,
) -> Floats:
    """log E at each check of one start of the rollout."""
    deltas = np.array(DELTAS)[:, None, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        costs = np.log1p(null * np.expm1(deltas))
        said = deltas * bad - events * costs
        upto = np.cumsum(said, axis=-1)
        fresh = np.log(masses) - log(len(DELTAS)) - (upto - said)
        logs = upto + np.logaddexp.accumulate(fresh, axis=-1)
        logs += deltas * bad_flying - flying * costs
        whole = np.logaddexp(np.logaddexp.reduce(logs, axis=0), np.log(rests))
    # What must not happen has happened, and cannot be undone.
    never = np.logical_or.accumulate((null == 0) & (bad > 0) & (events > 0), axis=-1)
    return np.where(never | ((null == 0) & (bad_flying > 0)), np.inf, whole)


class _Counts:
    """What either arm did between two checks.

    Attributes:
        canary: Requests and errors, × checks; `baseline` likewise.
        slow: The canary's slow requests, latencies × checks; `baseline_slow` likewise.
        in_flight: The canary's requests in flight at each check.
        overdue: Those of them that have waited for longer, latencies × checks.
        came: Arms × checks: how many have arrived since the check before.
        restarted: Whether the rollout was restarted before each check.
        parts: The checks of each start of the rollout.
    """

    def __init__(self, trajectory: Trajectory, checks: Ints, limits: Floats) -> None:
        own, other = trajectory, trajectory.baseline
        assert other is not None
        since = own.since[checks], other.since[checks]
        first = np.flatnonzero(np.diff(own.restarts[checks], prepend=-1))
        self.restarted = np.zeros(len(checks), np.bool_)
        self.restarted[first] = True
        bounds = [*first.tolist(), len(checks)]
        self.parts = [slice(*pair) for pair in pairwise(bounds)]
        ends = own.seen[checks], other.seen[checks]
        starts = []
        for end, cleared in zip(ends, since, strict=True):
            start = np.concatenate([[0], end[:-1]])[: len(end)]
            starts.append(np.where(self.restarted, cleared, start))
        self.canary, self.slow = _between(own.failed, own.latency_ms, starts[0], ends[0], limits)
        self.baseline, self.baseline_slow = _between(
            other.failed, other.latency_ms, starts[1], ends[1], limits
        )
        self.in_flight = own.in_flight[checks]
        self.overdue = np.stack([own.overdue_by(limit)[checks] for limit in limits.tolist()])
        came = np.stack([each[checks] for each in own.came_since])
        before = np.concatenate([np.zeros((2, 1), np.int64), came[:, :-1]], axis=1)
        self.came = came - np.where(self.restarted, 0, before[:, : len(checks)])

    def flying(self, number: int, limit: int) -> InFlight:
        """What the canary had in flight at a check."""
        return InFlight(
            requests=int(self.in_flight[number]), overdue=int(self.overdue[limit, number])
        )

    def at(self, number: int, limit: int) -> tuple[Counts, Counts]:
        """Both arms' counts that came with a check."""
        made = []
        for (n, errors), slow in (
            (self.canary[:, number], self.slow[limit, number]),
            (self.baseline[:, number], self.baseline_slow[limit, number]),
        ):
            made.append(Counts(requests=int(n), errors=int(errors), timed=int(n), slow=int(slow)))
        return made[0], made[1]


def _between(
    failed: Flags, latency_ms: Floats, starts: Ints, ends: Ints, limits: Floats
) -> tuple[Ints, Ints]:
    """Requests and errors, and slow ones by limit, from each start to its end."""
    errors = np.append(0, np.cumsum(failed, dtype=np.int64))
    counts = np.stack([ends - starts, errors[ends] - errors[starts]])
    slow = np.flatnonzero(latency_ms > limits[0])
    exceeds = np.searchsorted(limits, latency_ms[slow], "left")
    table = np.zeros((len(limits), len(ends)), np.int64)
    for number in range(len(limits)):
        places = slow[exceeds > number]
        table[number] = np.searchsorted(places, ends) - np.searchsorted(places, starts)
    return counts, table
