"""Conditions made around a plan or a scenario: healthy profiles, and regressions of graded size."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from msgspec import Meta
from msgspec.structs import replace

from canario.config.decode import decode, read_document
from canario.plan import Plan
from canario.spec import Positive, Seconds, Spec
from canario_sim.distributions import Lognormal
from canario_sim.scenario import faults
from canario_sim.scenario.broken_contracts import ByRate
from canario_sim.scenario.load import filled
from canario_sim.scenario.request_kinds import Answer
from canario_sim.scenario.scenario import Scenario
from canario_sim.scenario.service import Service
from canario_sim.traffic import Poisson

from .experiment import Condition

__all__ = [
    "Conditions",
    "Contracts",
    "Errors",
    "Latency",
    "Profile",
    "Regression",
    "load_conditions",
]

Factor = Annotated[float, Meta(gt=1)]


class _Regression(Spec, frozen=True, kw_only=True, tag_field="kind"):
    at: Annotated[
        Seconds, Meta(description="When it begins, in seconds from the rollout's start.")
    ] = 0.0

    @property
    def name(self) -> str:
        """What it is called in the conditions' names."""
        raise NotImplementedError

    def in_words(self, service: Service) -> str:
        """What it does to a canary that serves like `service` otherwise."""
        raise NotImplementedError

    def strikes(self, service: Service) -> bool:  # noqa: ARG002
        """False when it would change nothing."""
        return True

    def struck(self, scenario: Scenario) -> Scenario:
        """The scenario with this regression of its canary."""
        raise NotImplementedError


class Errors(_Regression, frozen=True, kw_only=True, tag="errors"):
    """The canary fails more often: `factor` times as often, or by so many `points` of percent."""

    factor: Annotated[Factor | None, Meta(description="Times the baseline's error rate.")] = None
    points: Annotated[
        Annotated[float, Meta(gt=0, le=100)] | None,
        Meta(description="Percentage points above the baseline's error rate."),
    ] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.factor is None) == (self.points is None):
            raise ValueError(
                f"factor is {self.factor!r} and points is {self.points!r}; give one of them"
            )

    @property
    def name(self) -> str:
        """See `_Regression`."""
        return f"errors_plus_{self.points:g}" if self.factor is None else f"errors_x{self.factor:g}"

    def rate(self, service: Service) -> float:
        """The error rate that it brings about, in percent, at most 100."""
        own = service.error_rate
        return min(own + (self.points or 0) if self.factor is None else own * self.factor, 100.0)

    def in_words(self, service: Service) -> str:
        """See `_Regression`."""
        return f"{self.rate(service):g} % of its requests fail instead of {service.error_rate:g} %"

    def strikes(self, service: Service) -> bool:
        """See `_Regression`: no multiple of nothing is more."""
        return self.rate(service) > service.error_rate

    def struck(self, scenario: Scenario) -> Scenario:
        """See `_Regression`."""
        own = scenario.baseline.error_rate
        # Causes are independent: so many of the requests that do not fail already must fail.
        more = 100 * (self.rate(scenario.baseline) - own) / (100 - own)
        fault = faults.Errors(rate=more, at=self.at)
        return replace(scenario, faults=(*scenario.faults, fault))


class Latency(_Regression, frozen=True, kw_only=True, tag="latency"):
    """The canary is slower: `factor` times as slow, or by so many `ms`."""

    factor: Annotated[Factor | None, Meta(description="Times the baseline's latency.")] = None
    ms: Annotated[Positive | None, Meta(description="Milliseconds more.")] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.factor is None) == (self.ms is None):
            raise ValueError(f"factor is {self.factor!r} and ms is {self.ms!r}; give one of them")

    @property
    def name(self) -> str:
        """See `_Regression`."""
        return f"latency_plus_{self.ms:g}ms" if self.factor is None else f"latency_x{self.factor:g}"

    def in_words(self, service: Service) -> str:  # noqa: ARG002
        """See `_Regression`."""
        much = f"{self.ms:g} ms longer" if self.factor is None else f"{self.factor:g} times as long"
        return f"its requests take {much}"

    def struck(self, scenario: Scenario) -> Scenario:
        """See `_Regression`."""
        fault: faults.Fault = (
            faults.AddedLatency(ms=self.ms or 0.0, at=self.at)
            if self.factor is None
            else faults.MultipliedLatency(factor=self.factor, at=self.at)
        )
        return replace(scenario, faults=(*scenario.faults, fault))


class Contracts(_Regression, frozen=True, kw_only=True, tag="contract"):
    """A share of the canary's responses breaks a contract."""

    rate: Annotated[float, Meta(gt=0, le=100, description="Responses that break it, in percent.")]
    contract: Annotated[
        str, Meta(min_length=1, description="Its name, for the plan's budgets.")
    ] = "contract"

    @property
    def name(self) -> str:
        """See `_Regression`."""
        return f"{_plain(self.contract)}_{self.rate:g}"

    def in_words(self, service: Service) -> str:  # noqa: ARG002
        """See `_Regression`."""
        return f"{self.rate:g} % of its responses break the contract {self.contract}"

    def struck(self, scenario: Scenario) -> Scenario:
        """See `_Regression`."""
        failure = ByRate(rate=self.rate, contract=self.contract, at=self.at)
        return replace(scenario, contract_failures=(*scenario.contract_failures, failure))


Regression = Errors | Latency | Contracts


class Profile(Spec, frozen=True, kw_only=True):
    """A service whose release is as good as what it replaces."""

    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    service: Service


PROFILES = (
    Profile(
        name="steady", service=Service(latency=Lognormal(p50_ms=80, p95_ms=160), error_rate=0.5)
    ),
    Profile(name="noisy", service=Service(latency=Lognormal(p50_ms=80, p95_ms=160), error_rate=5)),
    Profile(
        name="slow_tail", service=Service(latency=Lognormal(p50_ms=100, p95_ms=400), error_rate=0.5)
    ),
)

REGRESSIONS: tuple[Regression, ...] = (
    Errors(factor=2),
    Errors(factor=5),
    Errors(points=1),
    Errors(points=5),
    Errors(points=20),
    Latency(factor=1.2),
    Latency(factor=1.5),
    Latency(factor=2),
    Latency(factor=5),
    Contracts(rate=0.1),
    Contracts(rate=1),
)


class Conditions(Spec, frozen=True, kw_only=True):
    """A table of conditions: what a release may meet, whatever its plan.

    Around a plan: at each rate every profile, healthy; and the first profile with each
    regression. Around a scenario: its own traffic and baseline, healthy, and with each regression.
    """

    rates: Annotated[
        tuple[Annotated[float, Meta(gt=0, le=100_000)], ...],
        Meta(min_length=1, description="Requests per second of the whole app, Poisson."),
    ] = (1.0, 10.0, 100.0)
    profiles: Annotated[
        tuple[Profile, ...],
        Meta(min_length=1, description="Healthy releases; regressions are those of the first."),
    ] = PROFILES
    regressions: tuple[Regression, ...] = REGRESSIONS

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, values in (("rates", self.rates), ("profiles", self.profiles)):
            if not values:
                raise ValueError(f"{name} is empty; give at least one")
        for what, names in (
            ("rates", [f"{rate:g}" for rate in self.rates]),
            ("profiles", [profile.name for profile in self.profiles]),
            ("regressions", [regression.name for regression in self.regressions]),
        ):
            twice = {name for name in names if names.count(name) > 1}
            if twice:
                raise ValueError(f"{what} has {min(twice)} twice")

    def of_plan(self, plan: Plan) -> tuple[Condition, ...]:
        """Conditions that `plan` may meet, at each of the rates."""
        named = replace(plan.deployment, deployment_id=plan.deployment.deployment_id or "release")
        return tuple(
            condition
            for rate in self.rates
            for profile in self.profiles
            for condition in self._graded(
                Scenario(
                    name=profile.name,
                    teaches=f"{profile.name}, at {rate:g} requests/s",
                    plan=replace(plan, deployment=named),
                    traffic=Poisson(rate=rate),
                    baseline=profile.service,
                ),
                f"-{rate:g}rps",
                self.regressions if profile is self.profiles[0] else (),
            )
        )

    def around(self, scenario: Scenario) -> tuple[Condition, ...]:
        """Conditions like `scenario`, whose canary is as good as its baseline but for each
        regression. What happens to both arms, or to the baseline alone, still happens.
        """
        released = scenario.deployment
        healthy = replace(
            scenario,
            name="healthy",
            plan=replace(scenario.plan, deployment=released),
            canary=None,
            routes=tuple(replace(route, canary=Answer()) for route in scenario.routes),
            faults=tuple(each for each in scenario.faults if each.strikes("baseline")),
            contract_failures=tuple(
                each for each in scenario.contract_failures if each.strikes("baseline")
            ),
            expect=None,
            weakness=None,
        )
        return tuple(self._graded(healthy, f"-{scenario.name}", self.regressions))

    def without_effect(self, service: Service) -> tuple[str, ...]:
        """Names of the regressions that change nothing in `service`, and so are left out."""
        return tuple(each.name for each in self.regressions if not each.strikes(service))

    def _graded(
        self, healthy: Scenario, suffix: str, regressions: tuple[Regression, ...]
    ) -> Iterator[Condition]:
        """One healthy condition, and one for each regression that has an effect."""
        yield Condition(scenario=replace(healthy, name=healthy.name + suffix), kind="healthy")
        for regression in regressions:
            if regression.strikes(healthy.baseline):
                words = f"{healthy.teaches}; {regression.in_words(healthy.baseline)}"
                named = replace(healthy, name=regression.name + suffix, teaches=words)
                yield Condition(scenario=regression.struck(named), kind="regression")


def load_conditions(path: str | os.PathLike[str]) -> Conditions:
    """The table in a TOML or JSON file; paths in it are relative to it.

    Raises `ConfigError` for the first thing that is wrong, in the file or in one it names.
    """
    path = Path(path)
    made = decode(read_document(path), Conditions, str(path))
    profiles = tuple(
        replace(profile, service=filled(profile.service, path.parent)) for profile in made.profiles
    )
    return replace(made, profiles=profiles)


def _plain(name: str) -> str:
    """A contract's name as a part of a condition's."""
    return "".join(sign if sign.isalnum() and sign.isascii() else "_" for sign in name)
