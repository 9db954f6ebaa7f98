"""What a middleware is given, looked at before it serves.

A text where a set of texts is meant would pass for the set of its letters, and an app that is none
would be found out by users.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from canario.config import ConfigError

__all__ = ["check_apps", "check_options"]


def check_apps(app: object, canary: object, route: object) -> None:
    """Raise `ConfigError` unless both apps, and what names routes, can be called."""
    _require("app", app, callable(app), "the app of the old version, and comes first")
    _require("canary", canary, canary is None or callable(canary), "the app of the new version")
    _require("route", route, route is None or callable(route), "a function that names a route")


def check_options(
    controller: object,
    *,
    contract_routes: object,
    errors: object,
    flows: object,
    health_paths: object,
    monitor: object,
) -> None:
    """Raise `ConfigError` for the first option that is not of its kind."""
    is_one = hasattr(controller, "admit") and hasattr(controller, "deployment")
    _require("controller", controller, is_one, "what create_canary_controller makes")
    _require("health_paths", health_paths, _texts(health_paths), "a set such as {'/health'}")
    if contract_routes is not None:
        what = "a set such as {'/items/{id}'}"
        _require("contract_routes", contract_routes, _texts(contract_routes), what)
    if errors is not None:
        what = "a mapping such as {'/items/{id}': {404}}"
        _require("errors", errors, _mapping(errors, _statuses), what)
    if flows is not None:
        what = "a mapping such as {'/evaluate': 'decalogo_evaluation'}"
        _require("flows", flows, isinstance(flows, Mapping), what)
    if monitor is not None:
        _require("monitor", monitor, hasattr(monitor, "follow"), "what create_slo_monitor makes")


def _require(option: str, value: object, holds: bool, what: str) -> None:
    if not holds:
        raise ConfigError("middleware", option, f"is {value!r}; it must be {what}")


def _texts(value: object) -> bool:
    return (
        isinstance(value, Collection)
        and not isinstance(value, str | bytes)
        and all(isinstance(each, str) for each in value)
    )


def _statuses(value: Any) -> bool:
    return isinstance(value, Collection) and all(
        isinstance(each, int) and 100 <= each <= 599 for each in value
    )


def _mapping(value: object, holds: Callable[[Any], bool]) -> bool:
    return isinstance(value, Mapping) and all(holds(each) for each in value.values())
