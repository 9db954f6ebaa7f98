"""A contract for each route."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from canario.routing.template import normal_route

from .body_schema import json_schema_contract, model_contract
from .response import NOT_ABOUT, Answer, Contract, Headers, Response, ResponseContract, answer_of
from .shape import is_type

__all__ = ["RouteContracts", "contract_of", "contracts_by_route"]

# Routes of one app that are looked up once; an app that names more is looked up each time.
_REMEMBERED = 10_000


def contract_of(valid: Any) -> Contract:
    """The contract that a value stands for: itself, a JSON Schema, a type, or one for each route.

    A mapping whose keys are routes (they have a slash) is one for each route, every other one a
    schema. Raises `TypeError` for what is none of these, and as the makers do.
    """
    if isinstance(valid, ResponseContract):
        return valid
    if isinstance(valid, Mapping):
        if any(isinstance(key, str) and "/" in key for key in valid):  # no keyword has one
            return contracts_by_route(valid)
        return json_schema_contract(valid)
    if is_type(valid):
        return model_contract(valid)
    if callable(valid):
        return valid  # type: ignore[no-any-return]
    raise TypeError(
        f"contract is {valid!r}; valid are a callable, a JSON Schema (a dict), a pydantic or "
        "msgspec type, what canario.contracts makes, and a mapping of routes to these"
    )


def contracts_by_route(contracts: Mapping[str, Any]) -> RouteContracts:
    """One contract out of one for each route, such as `{"/plans/{id}": Plan}`.

    A response of another route is nothing that it is about. What parameters are called, and how,
    makes no difference: `/plans/{id}` is `/plans/<int:plan>`.

    Raises `ValueError` for a route that is given twice or is none, and as `contract_of` does.
    """
    found: dict[str, Contract] = {}
    for route, valid in contracts.items():
        if "/" not in str(route):
            raise ValueError(
                f"contract has the route {route!r}; a route has a slash, such as /plans/{{id}}"
            )
        normal = normal_route(route)
        if normal in found:
            raise ValueError(f"contract has the route {route!r} twice, but for parameters' names")
        try:
            found[normal] = contract_of(valid)
        except (ValueError, TypeError) as error:
            raise type(error)(f"contract of {route}: {error}") from error
    return RouteContracts(found, tuple(contracts))


class RouteContracts(ResponseContract):
    """Asks the contract of the response's route; `routes` are those that it was given for."""

    name = "contract"
    by_route = True

    def __init__(self, contracts: Mapping[str, Contract], routes: tuple[str, ...]) -> None:
        self.routes = routes
        self._contracts = dict(contracts)
        self._find: Callable[[str], Contract | None] = Lookup(self._contracts)

    def __repr__(self) -> str:
        return f"<contracts of {', '.join(self._contracts)}>"

    def may_be_about(self, status: int, headers: Headers) -> bool:
        """See `ResponseContract`."""
        return any(may_be_about(contract, status, headers) for contract in self._contracts.values())

    def check(self, response: Response) -> Answer:
        """See `ResponseContract`."""
        contract = self._find(response.route)
        return NOT_ABOUT if contract is None else answer_of(contract, response)


def may_be_about(contract: Contract, status: int, headers: Headers) -> bool:
    """`ResponseContract.may_be_about`; True for a callable, which does not say."""
    return not isinstance(contract, ResponseContract) or contract.may_be_about(status, headers)


class Lookup:
    """Finds what belongs to a route, as frameworks name it; None where nothing does."""

    def __init__(self, by_route: Mapping[str, Any]) -> None:
        self._by_route = {normal_route(route): value for route, value in by_route.items()}
        self._known: dict[str | None, Any] = {}

    def __bool__(self) -> bool:
        return bool(self._by_route)

    def __call__(self, route: str | None) -> Any:
        try:
            return self._known[route]
        except KeyError:
            found = self._by_route.get(normal_route(route)) if route else None
            if len(self._known) < _REMEMBERED:
                self._known[route] = found
            return found
