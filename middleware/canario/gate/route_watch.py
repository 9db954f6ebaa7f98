"""Whether the routes that the options name are the app's: told once, after the first requests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from canario.contracts.by_route import RouteContracts
from canario.contracts.response import ResponseContract
from canario.controller import CanaryDeploymentController
from canario.exchange import Exchange, Finished
from canario.routing.template import normal_route

__all__ = ["RouteWatch", "watch_of"]

# So many requests are looked at.
_FIRST = 100

# So many routes are listed in a warning.
_LISTED = 8


class RouteWatch:
    """Looks at the first requests' routes, and says which names nobody has had.

    A mapping whose route is misspelt, or written otherwise than the framework writes it, is never
    asked, and a contract that is never asked looks like one that is never broken.

    Args:
        wanted: The routes that each option names: `{"contract": ["/items/{id}"]}`.
        needed_by: The options that are of no use for a request without a name.
        warn: Called with each warning, a line.
        count: Called with the name of a counter and how much is added.
    """

    def __init__(
        self,
        wanted: Mapping[str, Iterable[str]],
        needed_by: Iterable[str],
        warn: Callable[[str], object],
        count: Callable[[str, int], object],
    ) -> None:
        self._wanted = {option: list(routes) for option, routes in wanted.items()}
        self._needed_by = tuple(needed_by)
        self._warn = warn
        self._count = count
        self._seen: Counter[str | None] = Counter()
        self._watching = True

    def observe(self, exchange: Exchange, finished: Finished) -> None:
        """A request has ended. What nobody serves has no route, and is no sign of anything."""
        if exchange.status == 404:
            return
        route = finished.route
        if route is None:
            self._count("no_route", 1)
        if self._watching and exchange.timed:
            self._watching = self.see(route)

    def see(self, route: str | None) -> bool:
        """Look at the route of one more request. False when there is nothing more to look for."""
        self._seen[route] += 1
        if self._seen.total() < _FIRST:
            return True
        self._look()
        return False

    def _look(self) -> None:
        total, nameless = self._seen.total(), self._seen[None]
        seen = sorted(route for route in self._seen if route is not None)
        known = {normal_route(route): route for route in seen}
        listed = ", ".join(map(repr, seen[:_LISTED])) or "none"
        more = f" and {len(seen) - _LISTED} more" if len(seen) > _LISTED else ""
        for option, routes in self._wanted.items():
            missed = [route for route in routes if normal_route(route) not in known]
            if not missed:
                continue
            self._count("route_not_seen", len(missed))
            told = ", ".join(repr(route) + _nearest(route, known) for route in missed[:_LISTED])
            others = f" and {len(missed) - _LISTED} more" if len(missed) > _LISTED else ""
            self._warn(
                f"none of the first {total} requests had the route {told}{others} that {option}= "
                f"names, so it has had no effect; the routes seen are: {listed}{more}. Name a "
                "route as the framework writes it, or give the middleware route="
            )
        if nameless > total / 2:
            self._warn(
                f"{nameless} of the first {total} requests had no route name, without which "
                f"{', '.join(f'{option}=' for option in self._needed_by)} cannot tell them apart; "
                "give the middleware route=, a function that names a request's route"
            )


def _nearest(route: str, known: Mapping[str, str]) -> str:
    import difflib  # for warnings alone

    close = difflib.get_close_matches(normal_route(route), known, n=1)
    return f" (did you mean {known[close[0]]!r}?)" if close else ""


def watch_of(
    controller: CanaryDeploymentController,
    *,
    contract: Any,
    contract_routes: Collection[str] | None,
    errors: Mapping[str, Collection[int]] | None,
    flows: Mapping[str, str] | None,
    monitored: bool,
    taped: bool,
) -> RouteWatch | None:
    """The watch over the routes that a gate's options name; None where no option needs any."""
    thresholds = controller.deployment.rollback_thresholds
    named = {
        "contract": contract.routes if isinstance(contract, RouteContracts) else (),
        "contract_routes": contract_routes or (),
        "abandoned_after_by_route": thresholds.abandoned_after_by_route,
        "errors": errors or (),
        "flows": (flows or ()) if monitored else (),
    }
    needed_by = {option for option, routes in named.items() if routes}
    if isinstance(contract, ResponseContract) and contract.by_route:
        needed_by.add("contract")
    if monitored:
        needed_by.add("monitor")
    if taped:
        needed_by.add("tape")
    if not needed_by:
        return None
    return RouteWatch(named, sorted(needed_by), controller.notices.warn, controller.notices.count)
