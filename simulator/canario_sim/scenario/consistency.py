"""What the parts of a scenario ask of each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Protocol

from canario.arms import ARMS, Arm
from canario.limits import MOST
from canario.plan import Plan
from canario_sim.traffic import Traffic

from .broken_contracts import ByRate, ContractFailure
from .clustering import Clustering
from .dependencies import Dependency
from .expect import Expect
from .faults import Errors, Fault, LostCapacity
from .request_kinds import Payload, Route
from .service import Service
from .targets import Targeted

__all__ = ["Declared", "check"]


class _Begins(Protocol):
    @property
    def at(self) -> float: ...


class Declared(Protocol):
    """What a scenario declares, part by part: see `Scenario`.

    It is not imported here, since it imports this file for its check.
    """

    @property
    def plan(self) -> Plan: ...
    @property
    def horizon(self) -> float: ...
    @property
    def traffic(self) -> Traffic: ...
    @property
    def routes(self) -> Sequence[Route]: ...
    @property
    def route_names(self) -> Sequence[str]: ...
    @property
    def payloads(self) -> Sequence[Payload]: ...
    @property
    def payload_names(self) -> Sequence[str]: ...
    @property
    def dependencies(self) -> Sequence[Dependency]: ...
    @property
    def faults(self) -> Sequence[Fault]: ...
    @property
    def contract_failures(self) -> Sequence[ContractFailure]: ...
    @property
    def orders(self) -> Sequence[_Begins]: ...
    @property
    def expect(self) -> Expect | None: ...
    def service(self, arm: Arm) -> Service:
        """How an arm serves."""


def check(scenario: Declared) -> None:
    """Raises `ValueError` for the first part that contradicts another."""
    for fault in scenario.faults:
        if isinstance(fault, LostCapacity):
            _check_capacity(scenario, fault)
    stages = [stage.name for stage in scenario.plan.deployment.canary_stages]
    expect = scenario.expect
    if expect and expect.stage is not None and expect.stage not in stages:
        raise ValueError(
            f"expect.stage is {expect.stage!r}; the plan's stages are {', '.join(stages)}"
        )
    _check_mix(scenario)
    for targeted in chain(scenario.faults, scenario.contract_failures):
        _check_targets(scenario, targeted)
    _check_clustering(scenario)
    _check_dependencies(scenario)
    _check_instants(scenario)
    _check_requests(scenario)


def _check_requests(scenario: Declared) -> None:
    """Refuse what would take hours: a billion requests take some minutes."""
    peak = scenario.traffic.peak
    requests = peak * scenario.horizon
    if requests > MOST:
        raise ValueError(
            f"traffic has up to {peak:g} requests per second, so the rehearsal, of "
            f"{scenario.horizon:g} s, up to {requests:g}; it must have at most {MOST:g}: give a "
            "lower rate or an earlier horizon_seconds"
        )


def _check_capacity(scenario: Declared, fault: LostCapacity) -> None:
    for arm in ARMS:
        servers = scenario.service(arm).servers
        if not fault.strikes(arm):
            continue
        if servers is None:
            raise ValueError(f"faults has lost_capacity on the {arm}, which has no servers")
        if fault.servers > servers:
            raise ValueError(
                f"faults has lost_capacity of {fault.servers} servers on the {arm}, which has "
                f"{servers}"
            )


def _check_mix(scenario: Declared) -> None:
    for what, listed in (("routes", scenario.routes), ("payloads", scenario.payloads)):
        for name, times in Counter(one.name for one in listed).items():
            if times > 1:
                raise ValueError(f"{what} has {name!r} {times} times; give each once")
    # Their numbers are held as `streams.Numbers` and `streams.Bytes`.
    for what, all_names, most in (
        ("routes", scenario.route_names, 65_536),
        ("payloads", scenario.payload_names, 256),
    ):
        if len(all_names) > most:
            raise ValueError(f"{what} are {len(all_names)} with those recorded; at most {most}")


def _check_targets(scenario: Declared, targeted: Targeted) -> None:
    for key in targeted.keys or ():
        if scenario.traffic.number(key) is None:
            raise ValueError(f"keys has {key!r}; {scenario.traffic.valid_keys}")
    for what, named, valid in (
        ("routes", targeted.routes, scenario.route_names),
        ("payloads", targeted.payloads, scenario.payload_names),
    ):
        for name in named or ():
            if name not in valid:
                known = ", ".join(valid) or f"none; list them as [[{what}]]"
                raise ValueError(f"{what} has {name!r}; the scenario's {what} are {known}")


def _check_clustering(scenario: Declared) -> None:
    for what, clustering in _clusterings(scenario):
        if clustering.by == "session" and not scenario.traffic.has_sessions:
            raise ValueError(
                f"{what}.clustering is by session, but the traffic has no sessions; give it "
                "some, or cluster by user"
            )
    for arm in ARMS:
        service = scenario.service(arm)
        if service.clustering is not None:
            for route in scenario.routes:
                # The arm's clusters are those of each route too, whatever its rate.
                rate = route.answer(arm, service).error_rate
                service.clustering.check(rate, f"error_rate of the route {route.name} ({arm})")


def _check_dependencies(scenario: Declared) -> None:
    names = [each.name for each in scenario.dependencies]
    for each in scenario.dependencies:
        if names.count(each.name) > 1:
            raise ValueError(f"dependencies has {each.name!r} twice; give each a name of its own")
        for route in each.routes or ():
            if route not in scenario.route_names:
                known = ", ".join(scenario.route_names) or "none; list them as [[routes]]"
                raise ValueError(
                    f"the dependency {each.name!r} has the route {route!r}; the scenario's routes "
                    f"are {known}"
                )


def _clusterings(scenario: Declared) -> Iterator[tuple[str, Clustering]]:
    for arm in ARMS:
        own = scenario.service(arm).clustering
        if own is not None:
            yield arm, own
    for fault in scenario.faults:
        if isinstance(fault, Errors) and fault.clustering is not None:
            yield "faults", fault.clustering
    for failure in scenario.contract_failures:
        if isinstance(failure, ByRate) and failure.clustering is not None:
            yield "contract_failures", failure.clustering


def _check_instants(scenario: Declared) -> None:
    parts: dict[str, Sequence[_Begins]] = {
        "faults": scenario.faults,
        "contract_failures": scenario.contract_failures,
        "orders": scenario.orders,
        "troubles": [trouble for each in scenario.dependencies for trouble in each.troubles],
    }
    for name, values in parts.items():
        for value in values:
            if value.at >= scenario.horizon:
                raise ValueError(
                    f"{name} has at = {value.at:g}, but the rehearsal ends at "
                    f"{scenario.horizon:g}; give an earlier instant or a later horizon_seconds"
                )
