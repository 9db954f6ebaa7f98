"""Requests before they have a fate: when, from whom, what for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from canario_sim.scenario.request_kinds import Share
from canario_sim.scenario.scenario import Scenario
from canario_sim.scenario.targets import Aim, Targeted
from canario_sim.streams import Bytes, Floats, Ints, Numbers, Purpose
from canario_sim.traffic import Arrivals

__all__ = ["Calls", "Telling", "aim_of"]


@dataclass(frozen=True, slots=True)
class Calls:
    """Requests in order of arrival, as the parallel arrays of `Requests`."""

    at: Floats
    key: Ints
    route: Numbers
    payload: Bytes
    session: Ints

    def __len__(self) -> int:
        return len(self.at)

    def __getitem__(self, part: Ints) -> Calls:
        return Calls(
            self.at[part],
            self.key[part],
            self.route[part],
            self.payload[part],
            self.session[part],
        )


class Telling:
    """Gives arrivals the routes and payload classes that are not recorded."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self._route = _share([route.weight for route in scenario.routes], seed, "routes")
        self._payload = _share([one.weight for one in scenario.payloads], seed, "payloads")
        self._routes = _places(scenario.traffic.routes, scenario.route_names)
        self._payloads = _places(scenario.traffic.payloads, scenario.payload_names)

    def calls(self, arrivals: Arrivals) -> Calls:
        """The same requests, with all that is known of them."""
        n = len(arrivals.at)
        if arrivals.route is not None:
            route = self._routes[arrivals.route]
        else:
            route = np.zeros(n, np.int64) if self._route is None else self._route.draw(n)
        if arrivals.payload is not None:
            payload = self._payloads[arrivals.payload]
        else:
            payload = np.zeros(n, np.int64) if self._payload is None else self._payload.draw(n)
        session = np.full(n, -1) if arrivals.session is None else arrivals.session
        return Calls(
            arrivals.at, arrivals.key, route.astype(np.uint16), payload.astype(np.uint8), session
        )


def aim_of(targeted: Targeted, scenario: Scenario) -> Aim:
    """The numbers of those that something happens to."""
    return Aim(targeted, scenario.traffic.number, scenario.route_names, scenario.payload_names)


def _share(weights: list[float], seed: int, purpose: Purpose) -> Share | None:
    return Share(weights, seed, purpose) if weights else None


def _places(recorded: tuple[str, ...], names: tuple[str, ...]) -> Ints:
    """The scenario's numbers of the recorded names."""
    places = {name: number for number, name in enumerate(names)}
    return np.array([places[name] for name in recorded], np.int64)
