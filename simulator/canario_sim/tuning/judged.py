"""One replication under every candidate: the same as rehearsing each of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from msgspec.structs import replace

from canario.plan import Deployment
from canario_sim.lab.experiment import Ended
from canario_sim.scenario.scenario import Scenario
from canario_sim.streams import Floats, Ints

from .crossings import REASONS, Crossings, Why, crossings
from .grid import Grid, Place
from .trajectory import End, Trajectory, record

__all__ = ["Judged", "judge_all"]


@dataclass(frozen=True, slots=True)
class Judged:
    """A trajectory, and the candidates whose rollout it is.

    Attributes:
        samples: Places of their minimums of samples in the grid.
        limits: Places of their latency limits.
        trajectory: What they saw.
        crossings: When they step in; the second axis is that of `samples`, the last that of
            `limits`.
    """

    samples: tuple[int, ...]
    limits: tuple[int, ...]
    trajectory: Trajectory
    crossings: Crossings

    @property
    def end(self) -> End:
        """How it ended for those that do not step in."""
        end = self.trajectory.end
        if end is None:
            raise ValueError("every candidate has stepped in; the trajectory has no end")
        return end

    def instants(self) -> Floats:
        """When a rollout ends that is rolled back at each look; at last, when at none."""
        end = self.trajectory.end
        return np.append(self.trajectory.at, np.nan if end is None else end.at)

    def served(self) -> Ints:
        """How many requests the canary had done by then."""
        end = self.trajectory.end
        return np.append(self.trajectory.seen, 0 if end is None else end.done)

    def bad(self, slow_above_ms: float) -> Ints:
        """How many of them failed, broke a contract or took longer."""
        seen = self.trajectory
        bad = seen.failed | (seen.broken > 0) | (seen.latency_ms > slow_above_ms)
        return np.append(0, np.cumsum(bad, dtype=np.int64))[self.served()]

    def ended(self, place: Place, slow_above_ms: float) -> Ended:
        """How the rollout of one candidate ended."""
        rule, sample, rate, limit = place
        where = (rule, self.samples.index(sample), rate, self.limits.index(limit))
        look, why = int(self.crossings.look[where]), Why(int(self.crossings.why[where]))
        seen = self.trajectory
        crossed = look < len(seen.at)
        done = int(self.served()[look])
        broken, slow = seen.broken[:done] > 0, seen.latency_ms[:done] > slow_above_ms
        return Ended(
            outcome="rolled_back" if crossed else self.end.outcome,
            reason=str(REASONS[why]) if crossed else self.end.reason,
            at=float(self.instants()[look]),
            stage=int(seen.stage[look]) if crossed else self.end.stage,
            requests=done,
            errors=int(np.count_nonzero(seen.failed[:done])),
            slow=int(np.count_nonzero(slow)),
            violations=int(np.count_nonzero(broken)),
            bad=int(np.count_nonzero(seen.failed[:done] | broken | slow)),
            users=self._users(look),
        )

    def _users(self, look: int) -> int:
        arrived = self.trajectory.arrived
        reached = arrived[look] if look < len(arrived) else self.end.arrived
        return int(np.searchsorted(self.trajectory.first, reached, "left"))


def judge_all(
    scenario: Scenario, seed: int, grid: Grid, *, hurry: bool = False
) -> tuple[Judged, ...]:
    """The outcome of every candidate, on as few trajectories as that takes: mostly one.

    Args:
        scenario: What is rehearsed; see `record`. Give it a horizon, since the default one
            depends on the window.
        seed: Of all that is random.
        grid: The candidates.
        hurry: Look now and then whether all candidates have stepped in, and stop. It changes no
            outcome; it is quicker where they are likely to, and slower where they are not.
    """
    limits = range(len(grid.max_p95_latency_ms))
    settled = grid.settled(scenario.plan.deployment)
    scenario = replace(scenario, plan=replace(scenario.plan, deployment=settled))
    if scenario.clients is None:
        return tuple(_judge(scenario, seed, grid, tuple(limits), hurry=hurry))
    # Who gives up within the limit says nothing, who waited longer was served slowly: so what
    # there is to be seen depends on the limit, and each is rehearsed by itself.
    return tuple(
        judged
        for limit in limits
        for judged in _judge(
            _limited(scenario, grid.max_p95_latency_ms[limit]),
            seed,
            replace(grid, max_p95_latency_ms=(grid.max_p95_latency_ms[limit],)),
            (limit,),
            hurry=hurry,
        )
    )


def _limited(scenario: Scenario, limit_ms: float) -> Scenario:
    deployment = scenario.plan.deployment
    thresholds = replace(deployment.rollback_thresholds, max_p95_latency_ms=limit_ms)
    deployment = replace(deployment, rollback_thresholds=thresholds)
    return replace(scenario, plan=replace(scenario.plan, deployment=deployment))


def _judge(
    scenario: Scenario, seed: int, grid: Grid, limits: tuple[int, ...], *, hurry: bool
) -> Iterator[Judged]:
    """The same for a grid of which the latencies are at these places of the whole one."""
    like = scenario.plan.deployment
    pending = list(range(len(grid.min_samples)))
    while pending:
        least = [grid.min_samples[sample] for sample in pending]
        part = _Part(grid, like, tuple(least))
        trajectory = record(
            scenario,
            seed,
            least[0],
            baseline=bool(grid.alpha),
            enough=part.decided if hurry else None,
        )
        found = crossings(trajectory, grid, like, tuple(least))
        holds = part.holds(trajectory, found)
        yield Judged(
            tuple(sample for sample, own in zip(pending, holds, strict=True) if own),
            limits,
            trajectory,
            Crossings(found.look[:, holds], found.why[:, holds]),
        )
        pending = [sample for sample, own in zip(pending, holds, strict=True) if not own]


@dataclass(frozen=True, slots=True)
class _Part:
    """The candidates with some minimums of samples."""

    grid: Grid
    like: Deployment
    least: tuple[int, ...]

    def holds(self, trajectory: Trajectory, found: Crossings) -> list[bool]:
        """For each minimum, whether every candidate's rollout is this trajectory to its end."""
        last = found.look.max(axis=(0, 2, 3)).tolist()
        return [
            look <= trajectory.departs(least) for look, least in zip(last, self.least, strict=True)
        ]

    def decided(self, trajectory: Trajectory) -> bool:
        """Whether they all have stepped in by now."""
        found = crossings(trajectory, self.grid, self.like, self.least)
        return bool(found.look.max() < len(trajectory.at)) and all(self.holds(trajectory, found))
