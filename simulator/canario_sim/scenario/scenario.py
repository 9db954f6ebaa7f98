"""A scenario: one release to rehearse, as a frozen value."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from math import inf
from typing import Annotated, Literal, TypeVar

from msgspec import Meta
from msgspec.structs import replace
from numpy.random import SeedSequence

from canario.arms import ARMS, Arm
from canario.plan import Deployment, Plan
from canario.spec import Positive, Seconds, Spec
from canario_sim.distributions import Model
from canario_sim.scenario.clients import Clients
from canario_sim.streams import child, seed_of
from canario_sim.traffic import Traffic

from .broken_contracts import ContractFailure
from .consistency import check
from .dependencies import Dependency, Trouble
from .expect import Expect
from .faults import Fault
from .request_kinds import Payload, Route
from .service import Service
from .timed import Timed

T = TypeVar("T", bound=Timed | Trouble)

__all__ = ["Order", "Scenario", "Settled", "default_horizon"]


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
    routes: Annotated[
        tuple[Route, ...],
        Meta(max_length=1000, description="What requests are for; none: all are alike."),
    ] = ()
    payloads: Annotated[
        tuple[Payload, ...],
        Meta(max_length=200, description="Classes of payload; none: all are alike."),
    ] = ()
    clients: Annotated[
        Clients | None, Meta(description="Their patience; none: they wait, and do not ask again.")
    ] = None
    dependencies: Annotated[
        tuple[Dependency, ...],
        Meta(max_length=100, description="What both arms call while they serve."),
    ] = ()
    faults: tuple[Fault, ...] = ()
    contract_failures: Annotated[tuple[ContractFailure, ...], Meta(max_length=200)] = ()
    orders: tuple[Order, ...] = ()
    expect: Expect | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self)

    @property
    def deployment(self) -> Deployment:
        """The rollout, named after the scenario unless the plan names it."""
        deployment = self.plan.deployment
        return replace(deployment, deployment_id=deployment.deployment_id or self.name)

    @property
    def horizon(self) -> float:
        """The instant at which the rehearsal ends if the rollout has not."""
        return self.horizon_seconds or default_horizon(self.plan.deployment)

    @property
    def most_requests(self) -> float:
        """How many requests are expected if the rollout goes on to the horizon; retries, which
        come on top, are left out."""
        return self.traffic.expected(self.horizon)

    @property
    def closed(self) -> bool:
        """Whether requests act on each other otherwise than by standing in line."""
        arms = (self.baseline, self.service("canary"))
        return bool(self.clients or self.dependencies) or any(arm.acts_back for arm in arms)

    @property
    def modelled(self) -> bool:
        """Whether a model of one's own serves requests."""
        services = [self.service(arm) for arm in ARMS]
        services += [route.answer(arm, self.service(arm)) for route in self.routes for arm in ARMS]
        return any(isinstance(service.latency, Model) for service in services)

    @property
    def route_names(self) -> tuple[str, ...]:
        """The routes by number: those that are listed, then others in recorded traffic."""
        return _joined([route.name for route in self.routes], self.traffic.routes)

    @property
    def keyless(self) -> tuple[str, ...]:
        """The routes whose requests have no key."""
        return tuple(route.name for route in self.routes if not route.keyed)

    @property
    def payload_names(self) -> tuple[str, ...]:
        """The payload classes by number: those that are listed, then others that are recorded."""
        return _joined([payload.name for payload in self.payloads], self.traffic.payloads)

    @property
    def serves_alike(self) -> bool:
        """Whether the new version serves like the present one, on every route."""
        arms = [(arm, self.service(arm)) for arm in ARMS]
        baseline, canary = ([r.answer(arm, own) for r in self.routes] for arm, own in arms)
        return arms[0][1] == arms[1][1] and baseline == canary

    def settled(self, seed: int) -> Settled:
        """The scenario with nothing left to chance about when faults, contract failures and the
        troubles of dependencies begin.

        Those that do not begin before the horizon are left out.
        """
        # Not `replace`, which would keep the class.
        fields = {name: getattr(self, name) for name in self.__struct_fields__}
        troubles = chain.from_iterable(each.troubles for each in self.dependencies)
        struck = chain(self.faults, self.contract_failures, troubles)
        if all(one.onset is None for one in struck):
            return Settled(**fields)
        faults, failures, troubled = (child(seed_of(seed, "onsets"), place) for place in range(3))
        dependencies = tuple(
            replace(each, troubles=self._begun(each.troubles, child(troubled, number)))
            for number, each in enumerate(self.dependencies)
        )
        begun = {
            "faults": self._begun(self.faults, faults),
            "contract_failures": self._begun(self.contract_failures, failures),
            "dependencies": dependencies,
        }
        return Settled(**(fields | begun))

    def service(self, arm: Arm) -> Service:
        """How an arm serves."""
        return self.baseline if arm == "baseline" or self.canary is None else self.canary

    def _begun(self, listed: tuple[T, ...], seed: SeedSequence) -> tuple[T, ...]:
        """Those that begin, each at an instant that is settled."""
        stages = self.plan.deployment.canary_stages
        begun = []
        for number, one in enumerate(listed):
            at = one.at
            if one.onset is not None:
                # By its place in the list: what another one draws, or that it draws nothing,
                # changes nothing.
                at = one.onset.begins(at, stages, child(seed, number))
            if at < self.horizon:
                begun.append(replace(one, at=at, onset=None))
        return tuple(begun)


class Settled(Scenario, frozen=True, kw_only=True):
    """A scenario of which it is known when everything begins: what can be lived through."""

    def settled(self, seed: int) -> Settled:  # noqa: ARG002 - nothing is left to be drawn
        """Itself."""
        return self

    def occurrences(self, one: Timed | Trouble) -> Iterator[tuple[float, float]]:
        """Start and end of each occurrence that starts before the horizon; inf for no end."""
        number, start = 0, one.at
        while start < self.horizon:
            yield start, start + (one.lasts or inf)
            if one.every_seconds is None:
                return
            number += 1
            # By products, as `Timed.elapsed` has it: a sum of sums would be rounded otherwise.
            start = one.at + number * one.every_seconds


def default_horizon(deployment: Deployment) -> float:
    """Seconds in which a rollout should have ended, or never will without an operator."""
    waiting = deployment.missing_evidence.deadline_seconds or 0.0
    window = deployment.rollback_thresholds.metric_window_seconds
    return 1.5 * deployment.hold_seconds + window + waiting * len(deployment.canary_stages)


def _joined(listed: Iterable[str], recorded: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*listed, *recorded)))
