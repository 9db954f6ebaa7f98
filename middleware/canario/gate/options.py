"""What both middlewares can be given, and what is refused of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from canario.config import ConfigError
from canario.contracts.by_route import Lookup
from canario.controller import CanaryDeploymentController
from canario.plan import check_token
from canario.routing.forced import ForcedArmReader
from canario.routing.template import normal_route

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

    from canario.slo import SLOMonitor
    from canario.tape import TapeRecorder

__all__ = [
    "HEALTH_PATHS",
    "GateOptions",
    "KeyFunction",
    "by_route",
    "check_apps",
    "check_options",
    "forced_arms",
    "recorder_of",
    "user_key_secret",
]

# Given the scope or the environ.
KeyFunction = Callable[[Any], "str | bytes | None"]

HEALTH_PATHS = ("/health", "/healthz", "/livez", "/readyz", "/ping")

# Response headers that a server, a client or a cache acts upon: the arm's name would break it.
_TAKEN = frozenset(
    {"cache-control", "connection", "content-encoding", "content-length", "content-type", "date"}
    | {"keep-alive", "location", "set-cookie", "trailer", "transfer-encoding", "upgrade", "vary"}
)


class GateOptions(TypedDict, total=False):
    """The options that both middlewares take; `Gate` says what they mean."""

    key: KeyFunction | None
    contract: Any
    contract_routes: Collection[str] | None
    contract_max_body: int
    errors: Mapping[str, Collection[int]] | None
    health_paths: Collection[str]
    arm_header: str | None
    monitor: SLOMonitor | None
    flows: Mapping[str, str] | None
    tape: str | os.PathLike[str] | TapeRecorder | None
    spans: bool
    tracer_provider: TracerProvider | None
    environ: Mapping[str, str] | None
    caches: bool
    preflight: Literal["key", "both"]


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
    preflight: object,
    arm_header: str | None,
) -> None:
    """Raise `ConfigError` for the first option that is not of its kind.

    A text where a set of texts is meant would pass for the set of its letters, and an app that is
    none would be found out by users.
    """
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
    if preflight not in ("key", "both"):
        raise ConfigError("middleware", "preflight", f"is {preflight!r}; valid: key, both")
    if arm_header is not None:
        _check_arm_header(arm_header)


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


def _check_arm_header(name: str) -> None:
    """Raise `ConfigError` unless the arm may be told in a header of this name."""
    try:
        check_token("arm_header", name, "header")
        if name.lower() in _TAKEN:
            raise ValueError(f"arm_header is {name!r}, which means something else already")
    except ValueError as error:
        problem = f"{error}; a name such as X-Canary-Arm is valid"
        raise ConfigError("middleware", "arm_header", problem) from error


def by_route(option: str, values: Mapping[str, Any]) -> Lookup:
    """What an option says by route, to be looked up whatever the parameters are called.

    Raises `ConfigError` where two names of one route have two values.
    """
    known: dict[str, str] = {}
    for route in values:
        other = known.setdefault(normal_route(route), route)
        if values[other] != values[route]:
            problem = f"{other!r} and {route!r} are one route, but for parameters' names"
            raise ConfigError("middleware", option, problem)
    return Lookup(values)


def recorder_of(tape: str | os.PathLike[str] | TapeRecorder) -> TapeRecorder:
    from canario.tape import TapeRecorder  # what brings SQLite is imported where it is used

    return tape if isinstance(tape, TapeRecorder) else TapeRecorder(tape)


def user_key_secret(
    controller: CanaryDeploymentController, environ: Mapping[str, str]
) -> bytes | None:
    """With what users' keys are hashed for spans; None where the plan names no secret.

    Raises `ConfigError` where it names one that `environ` does not hold.
    """
    variable = controller.plan.tracing.user_key_secret_env
    if variable is None:
        return None
    secret = environ.get(variable, "").encode()
    if not secret:
        raise ConfigError(
            variable,
            "",
            "is empty or not set; tracing.user_key_secret_env names it for the HMAC secret",
        )
    return secret


def forced_arms(
    controller: CanaryDeploymentController, environ: Mapping[str, str]
) -> ForcedArmReader | None:
    """Who reads the claims of requests that name their arm; None where the plan believes none.

    Raises `ConfigError` where `environ` lacks the secret, or a trusted peer is no address.
    """
    plan = controller.deployment.routing.forced_arms
    if plan is None:
        return None
    secret = None
    if plan.secret_env is not None:
        secret = environ.get(plan.secret_env, "").encode()
        if not secret:
            raise ConfigError(
                plan.secret_env, "", "is empty or not set; forced_arms names it for the HMAC secret"
            )
    try:
        return ForcedArmReader(plan, controller.deployment_id, secret)
    except ValueError as error:
        raise ConfigError(
            "plan", "deployment.routing.forced_arms.trusted_peers", str(error)
        ) from error
