"""When things may turn bad: a prior distribution over the instants of a rollout.

A release that is bad is so from the start more often than not; else it shows when a stage brings
new users; else some time. The masses add up to 1 over all time, and never to more, which is what
a bound on the probability of a false alarm over the whole rollout rests on.
"""

from __future__ import annotations

from math import ceil

from canario.plan import Deployment

__all__ = ["AT_CHECKS", "AT_STAGES", "AT_START", "LATER", "Change"]

# Of the whole mass, which is 1.
AT_START = 0.5
AT_STAGES = 0.1  # at the start of each later stage, of two at most; more of them share it
AT_CHECKS = 0.27  # evenly over the checks that the plan foresees, with what the stages leave
LATER = 0.03  # over the checks of a rollout that is held or paused


class Change:
    """Hands out the mass, check by check.

    Args:
        checks: How many checks the plan foresees.
        stages: How many stages it has.
    """

    __slots__ = ("_checks", "_done", "_stage", "per_check", "per_stage")

    def __init__(self, checks: int, stages: int) -> None:
        later = stages - 1
        self.per_stage = min(AT_STAGES, 2 * AT_STAGES / later) if later else 0.0
        spread = AT_CHECKS + 2 * AT_STAGES - later * self.per_stage
        self._checks = max(checks, 1)
        self.per_check = spread / self._checks
        self.begin()

    @classmethod
    def of(cls, deployment: Deployment) -> Change:
        """The prior of a plan's rollout."""
        interval = deployment.rollback_thresholds.check_interval_seconds
        stages = deployment.canary_stages
        return cls(sum(ceil(stage.hold_seconds / interval) for stage in stages), len(stages))

    def begin(self) -> None:
        """The rollout starts."""
        self._done = 0
        self._stage: int | None = None

    def memory(self) -> tuple[int, int | None]:
        """What `recall` takes up again: how many checks there were, and the stage of the last."""
        return self._done, self._stage

    def recall(self, memory: tuple[int, int | None]) -> None:
        """Go on where another one stood."""
        self._done, self._stage = memory

    def mass(self, stage: int) -> float:
        """The probability that it is since the last check that things are bad.

        `stage` is the stage of the check at hand. One that was entered before brings nothing new,
        nor does the first that is met: that is the start.
        """
        first = self._stage is None
        mass = AT_START if first else 0.0
        if self._stage is not None and stage > self._stage:
            mass += self.per_stage * (stage - self._stage)
        self._stage = stage if self._stage is None else max(stage, self._stage)
        self._done += 1
        done, planned = self._done, self._checks
        if done <= planned:
            return mass + self.per_check
        # A mass for each check that the plan does not foresee, however many come: after N of them
        # m · N / ((n − 1) n) for n = N + 1, N + 2, … adds up to m, and is like m / N at first.
        return mass + LATER * planned / ((done - 1) * done)
