"""A scenario: one release to rehearse, as a frozen value."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Annotated, Literal

from msgspec import Meta
from msgspec.structs import replace

from canario.plan import Deployment, Plan
from canario.routing.router import Arm

from .contracts import ByKey, ContractFailure
from .expect import Expect
from .faults import Fault, LostCapacity
from .service import Service
from .spec import ARMS, Positive, Seconds, Spec
from .traffic import Traffic

__all__ = ["Order", "Scenario", "default_horizon"]


class Order(Spec, frozen=True, kw_only=True):
    """What the operator does during the rehearsal. An order that is refused is noted."""

    at: Annotated[Seconds, Meta(description="When, in seconds from the rollout's start.")]
    order: Annotated[
        Literal["promote", "pause", "resume", "skip", "abort", "restart"],
        Meta(description="The command."),
    ]


class Scenario(Spec, frozen=True, kw_only=True):
    """A release, the traffic that it meets, what goes wrong, and what should come of it.

    The rollout starts at the instant 0. Raises `ValueError` for parts that contradict each
    other.
    """

    name: Annotated[
        str,
        Meta(
            pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
            description="Names the rehearsal and its report; by default the file's name.",
        ),
    ]
    teaches: Annotated[str, Meta(min_length=1, description="What a team learns from it.")]
    weakness: Annotated[
        str | None, Meta(description="Where the plan's judge does badly here, and why.")
    ] = None
    seed: Annotated[int, Meta(ge=0, description="Seed of all that is random.")] = 1
    plan: Annotated[Plan, Meta(description="The plan, as in a plan file, or the path of one.")] = (
        Plan()
    )
    horizon_seconds: Annotated[
        Positive | None,
        Meta(
            description="When the rehearsal ends if the rollout has not; by default 1.5 times "
            "the holds, a window, and each stage's deadline for missing evidence."
        ),
    ] = None
    traffic: Traffic
    baseline: Annotated[Service, Meta(description="How the present version serves.")]
    canary: Annotated[
        Service | None, Meta(description="How the new version serves; by default as the present.")
    ] = None
    faults: tuple[Fault, ...] = ()
    contract_failures: Annotated[tuple[ContractFailure, ...], Meta(max_length=200)] = ()
    orders: tuple[Order, ...] = ()
    expect: Expect | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for fault in self.faults:
            if isinstance(fault, LostCapacity):
                self._check_capacity(fault)
        stages = [stage.name for stage in self.plan.deployment.canary_stages]
        if self.expect and self.expect.stage is not None and self.expect.stage not in stages:
            raise ValueError(
                f"expect.stage is {self.expect.stage!r}; the plan's stages are {', '.join(stages)}"
            )
        _check_keys(chain(_faults_keys(self.faults), _failures_keys(self.contract_failures)), self)
        self._check_instants()

    @property
    def deployment(self) -> Deployment:
        """The rollout, named after the scenario unless the plan names it."""
        deployment = self.plan.deployment
        return replace(deployment, deployment_id=deployment.deployment_id or self.name)

    @property
    def horizon(self) -> float:
        """The instant at which the rehearsal ends if the rollout has not."""
        return self.horizon_seconds or default_horizon(self.plan.deployment)

    def service(self, arm: Arm) -> Service:
        """How an arm serves."""
        return self.baseline if arm == "baseline" or self.canary is None else self.canary

    def _check_capacity(self, fault: LostCapacity) -> None:
        for arm in ARMS:
            servers = self.service(arm).servers
            if not fault.strikes(arm):
                continue
            if servers is None:
                raise ValueError(f"faults has lost_capacity on the {arm}, which has no servers")
            if fault.servers > servers:
                raise ValueError(
                    f"faults has lost_capacity of {fault.servers} servers on the {arm}, which has "
                    f"{servers}"
                )

    def _check_instants(self) -> None:
        parts = {
            "faults": self.faults,
            "contract_failures": self.contract_failures,
            "orders": self.orders,
        }
        for name, values in parts.items():
            for value in values:
                if value.at >= self.horizon:
                    raise ValueError(
                        f"{name} has at = {value.at:g}, but the rehearsal ends at "
                        f"{self.horizon:g}; give an earlier instant or a later horizon_seconds"
                    )


def default_horizon(deployment: Deployment) -> float:
    """Seconds in which a rollout should have ended, or never will without an operator."""
    waiting = deployment.missing_evidence.deadline_seconds or 0.0
    window = deployment.rollback_thresholds.metric_window_seconds
    return 1.5 * deployment.hold_seconds + window + waiting * len(deployment.canary_stages)


def _faults_keys(faults: Iterable[Fault]) -> Iterator[str]:
    return chain.from_iterable(fault.keys or () for fault in faults)


def _failures_keys(failures: Iterable[ContractFailure]) -> Iterator[str]:
    return chain.from_iterable(failure.keys for failure in failures if isinstance(failure, ByKey))


def _check_keys(keys: Iterable[str], scenario: Scenario) -> None:
    population = scenario.traffic.keys
    for key in keys:
        if population.number(key) is None:
            raise ValueError(
                f"keys has {key!r}; the traffic's keys are {population.prefix}0 to "
                f"{population.prefix}{population.size - 1}"
            )
