"""What is tried out: conditions, policies, and how often."""

from __future__ import annotations

from hashlib import blake2b
from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import asdict, replace

from canario import __version__
from canario.judges.verdict import Judge
from canario.plan import Deployment, Plan
from canario_sim.peers import Peer
from canario_sim.scenario.expect import Outcome
from canario_sim.scenario.scenario import Scenario, Settled, default_horizon
from canario_sim.streams import child
from canario_sim.world.rehearsal import Run, run

__all__ = [
    "Condition",
    "Ended",
    "Experiment",
    "Kind",
    "Policy",
    "Row",
    "met",
    "rehearse",
    "seed_number",
]

ScenarioT = TypeVar("ScenarioT", bound=Scenario)

# What a condition is there to show; a promotion of a regression is a miss, a rollback of a
# healthy release a false alarm.
Kind = Literal["healthy", "regression"]

_encoder = msgspec.json.Encoder(order="deterministic")


class Condition(Struct, frozen=True, kw_only=True):
    """A world that a release may meet.

    Attributes:
        scenario: Traffic, services and faults. A policy may replace its plan's deployment.
        kind: Whether the release should be promoted there (healthy) or rolled back.
    """

    scenario: Scenario
    kind: Kind

    @property
    def name(self) -> str:
        """The scenario's."""
        return self.scenario.name

    @classmethod
    def of(cls, scenario: Scenario) -> Condition:
        """The condition that a scenario file declares.

        What the file expects says it: a rollback is right and so is a promotion, unless the file
        states a weakness, which is to say that its outcome is the wrong one. Where it expects
        neither, a release is a regression when its canary alone has a fault or breaks a contract,
        or serves otherwise than the baseline.
        """
        expected = scenario.expect.outcome if scenario.expect else None
        if expected in ("completed", "rolled_back"):
            bad = (expected == "rolled_back") != (scenario.weakness is not None)
        else:
            struck = [*scenario.faults, *scenario.contract_failures]
            harmed = any(each.strikes("canary") and not each.strikes("baseline") for each in struck)
            bad = harmed or not scenario.serves_alike
        return cls(scenario=scenario, kind="regression" if bad else "healthy")


class Policy(Struct, frozen=True, kw_only=True):
    """What judges, under a name: a rollout's stages and thresholds, or another system's rule.

    With neither a `deployment` nor a `peer` it is each condition's own plan. Raises `ValueError`
    for both.
    """

    name: Annotated[str, Meta(min_length=1)]
    deployment: Deployment | None = None
    peer: Peer | None = None

    def __post_init__(self) -> None:
        if self.deployment is not None and self.peer is not None:
            raise ValueError(f"{self.name} has a deployment and a peer; give one of them")

    def plan_in(self, scenario: Scenario) -> Plan:
        """The plan by which this policy judges a scenario.

        The release's name and its routing are the scenario's: the same users reach the canary
        under every policy.
        """
        deployment = self.deployment if self.peer is None else self.peer.deployment()
        if deployment is None:
            return scenario.plan
        own = replace(
            deployment,
            deployment_id=scenario.deployment.deployment_id,
            routing=scenario.deployment.routing,
        )
        return replace(scenario.plan, deployment=own)

    def scenario_of(self, scenario: ScenarioT) -> ScenarioT:
        """The scenario as this policy meets it, to its own end."""
        plan = self.plan_in(scenario)
        needed = (
            default_horizon(plan.deployment) if self.peer is None else self.peer.horizon_seconds
        )
        # A policy that is quicker than the scenario's plan must still fit the scenario's instants.
        horizon = scenario.horizon_seconds or max(scenario.horizon, needed)
        # What a file expects it expects of its own plan.
        return replace(scenario, plan=plan, horizon_seconds=horizon, expect=None)

    def judge(self) -> Judge | None:
        """A new judge for one rollout; None where the plan's own judges."""
        return None if self.peer is None else self.peer.judge()


class Experiment(Struct, frozen=True, kw_only=True):
    """Conditions × policies × replications.

    Every policy meets the same requests: replication k draws from the k-th child of `seed`,
    whoever judges, and under every condition. Raises `ValueError` for two of one name and for
    none.
    """

    conditions: tuple[Condition, ...]
    policies: tuple[Policy, ...]
    seed: int = 1

    def __post_init__(self) -> None:
        for what, values in (("conditions", self.conditions), ("policies", self.policies)):
            names = [value.name for value in values]
            if not names:
                raise ValueError(f"{what} is empty; give at least one")
            twice = {name for name in names if names.count(name) > 1}
            if twice:
                raise ValueError(f"{what} has {min(twice)!r} twice; give each a name of its own")
        if self.seed < 0:
            raise ValueError(f"seed is {self.seed!r}; it must be at least 0")

    @property
    def digest(self) -> str:
        """16 hex digits that tell this experiment, in this version of canario, from any other."""
        content = _encoder.encode([__version__, self])
        return blake2b(content, digest_size=8).hexdigest()


class Ended(Struct, frozen=True, kw_only=True):
    """How one rollout ended, and what the canary had served by then.

    Attributes:
        at: When the rollout ended, or the horizon, in seconds from its start.
        stage: Number of the last stage that was entered, from 0 on.
        requests: What the canary answered.
        errors: Those of them that failed.
        slow: That took longer than a limit: the policy's `max_p95_latency_ms`, or one for all.
        violations: That broke a contract.
        bad: That did any of the three, each counted once.
        users: Keys that reached the canary at least once.
    """

    outcome: Outcome
    reason: str | None
    at: float
    stage: int
    requests: int
    errors: int
    slow: int
    violations: int
    bad: int
    users: int

    @classmethod
    def of(cls, made: Run, deployment: Deployment) -> Ended:
        """That of a rehearsal of a deployment."""
        names = [stage.name for stage in deployment.canary_stages]
        return cls(
            outcome=made.outcome,
            reason=made.reason,
            at=made.ended_at,
            stage=names.index(made.final_stage),
            requests=made.canary.requests,
            errors=made.canary.errors,
            slow=made.canary.slow,
            violations=made.canary.violations,
            bad=made.exposure.bad_requests,
            users=made.exposure.users,
        )


class Row(Struct, frozen=True, kw_only=True, array_like=True):
    """What came of one replication of a condition under a policy: whose, how it `Ended`, and its
    cost. Flat, since millions of them are kept and written.

    Attributes:
        condition: Its number in the experiment, from 0 on, as of `policy` and `replication`.
        budget_burnt: Percent of a 30-day error budget that the canary used up, see `_burnt`;
            None where the objective leaves no budget.
    """

    condition: int
    policy: int
    replication: int
    outcome: Outcome
    reason: str | None
    at: float
    stage: int
    requests: int
    errors: int
    slow: int
    violations: int
    bad: int
    users: int
    budget_burnt: float | None

    @classmethod
    def of(
        cls,
        ended: Ended,
        *,
        condition: int,
        policy: int,
        replication: int,
        budget_burnt: float | None = None,
    ) -> Row:
        """The row of a rollout that ended so."""
        return cls(
            condition=condition,
            policy=policy,
            replication=replication,
            budget_burnt=budget_burnt,
            **asdict(ended),
        )


def seed_number(seed: int, replication: int) -> int:
    """The seed of a replication: 64 bits of the child of `SeedSequence(seed)` at its number."""
    from numpy.random import SeedSequence

    low, high = child(SeedSequence(seed), replication).generate_state(2)
    return int(high) << 32 | int(low)


def met(
    experiment: Experiment, condition: int, policy: int, replication: int
) -> tuple[Settled, int]:
    """The scenario of one cell, and its seed.

    What begins by chance begins at the same instant under every policy: it is settled by the
    condition's own plan, whose stages another policy may not have.
    """
    seed = seed_number(experiment.seed, replication)
    settled = experiment.conditions[condition].scenario.settled(seed)
    return experiment.policies[policy].scenario_of(settled), seed


def rehearse(experiment: Experiment, condition: int, policy: int, replication: int) -> Row:
    """One cell of the experiment."""
    judging = experiment.policies[policy]
    judged, seed = met(experiment, condition, policy, replication)
    plan = judged.plan
    made = run(judged, seed, judge=judging.judge())
    return Row.of(
        Ended.of(made, plan.deployment),
        condition=condition,
        policy=policy,
        replication=replication,
        budget_burnt=_burnt(plan, made),
    )


_MONTH = 30 * 86_400.0


def _burnt(plan: Plan, made: Run) -> float | None:
    """What the canary took of the error budget, in percent.

    The budget is what the availability objective lets fail or break its contract in 30 days, at
    the rate of traffic that both arms had in the rehearsal. Latency is not in it.
    """
    allowed = 1 - plan.slo.availability_percent / 100
    served = made.baseline.requests + made.canary.requests
    if allowed <= 0:
        return None
    if not (served and made.ended_at):
        return 0.0
    canary = made.canary
    # One that failed and broke its contract is in both. How many did is not known; the bad ones,
    # each counted once, are a bound.
    failed = min(canary.errors + canary.violations, made.exposure.bad_requests)
    return 100 * failed / (allowed * served / made.ended_at * _MONTH)
