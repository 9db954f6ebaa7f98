"""Where a plan's values come from: argument > environment > file > default."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from canario.plan import DEFAULT_STAGES, Plan

from .decode import decode, nearest, read_document
from .error import ConfigError

__all__ = ["load_plan", "plan_schema"]

_HOLD = re.compile(r"CANARY_(?P<share>FULL|\d+(?:_\d+)?)_HOLD_SECONDS")

# Who sets a variable such as these means a value of the plan; other CANARY_… and SLO_… may be
# anybody's.
_MEANT = re.compile(
    r"CANARY_(.*_)?(HOLD|ERROR_RATE|P95|LATENCY|WINDOW|MIN_SAMPLES|CHECK_INTERVAL)(_.*)?"
    r"|SLO_(AVAILABILITY|P95_LATENCY|ERROR_RATE)(_.*)?"
)

# Variable -> where its value goes, and whether it is a number.
_VARIABLES = {
    "SLO_AVAILABILITY_THRESHOLD": ("slo", "availability_percent", True),
    "SLO_P95_LATENCY_MS": ("slo", "p95_latency_ms", True),
    "SLO_ERROR_RATE_PERCENT": ("slo", "error_rate_percent", True),
    "CANARIO_STORE": ("store", "url", False),
    "OTEL_SERVICE_NAME": ("tracing", "service_name", False),
    "OTEL_SERVICE_VERSION": ("tracing", "service_version", False),
    "OTEL_EXPORTER_OTLP_ENDPOINT": ("tracing", "otlp_endpoint", False),
}


def load_plan(
    path: str | os.PathLike[str] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    deployment_id: str | None = None,
    hold_seconds: Mapping[float, float] | None = None,
    thresholds: Mapping[str, float] | None = None,
    objectives: Mapping[str, float] | None = None,
    document: Mapping[str, Any] | None = None,
) -> Plan:
    """A checked plan.

    Args:
        path: A TOML or JSON file; None for the defaults.
        environ: Environment variables; None reads none.
        deployment_id: Overrides the file's.
        hold_seconds: Overrides the hold of the stage with that percentage.
        thresholds: Overrides single `rollback_thresholds`.
        objectives: Overrides single values of `slo`.
        document: A plan that was read already, instead of `path`.

    Raises:
        ConfigError: For the first thing that is wrong; it names the file or the variable, the
            key, the value and what would be valid.
    """
    source = "plan" if path is None else os.fspath(path)
    raw: dict[str, Any] = dict(document or {}) if path is None else read_document(Path(path))
    # The file is checked on its own first: a mistake in it is the file's, whatever overrides it.
    decode(raw, Plan, source)
    origins: dict[str, str] = {}
    for variable, value in (environ or {}).items():
        # An empty variable is how a shell unsets one.
        if value.strip():
            _apply_variable(raw, variable, value, origins, source)
    for share, hold in (hold_seconds or {}).items():
        stage = "full_rollout" if share == 100 else f"canary_{share:g}"
        _set_hold(raw, share, hold, f"{stage}_hold_seconds", origins, source)
    for key, number in (thresholds or {}).items():
        _set(raw, ("deployment", "rollback_thresholds", key), number, "argument", origins)
    for key, number in (objectives or {}).items():
        _set(raw, ("slo", key), number, "argument", origins)
    if deployment_id is not None:
        _set(raw, ("deployment", "deployment_id"), deployment_id, "argument", origins)
    try:
        return decode(raw, Plan, source)
    except ConfigError as error:
        raise ConfigError(origins.get(error.key, source), error.key, error.problem) from error


def plan_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a plan file."""
    schema = msgspec.json.schema(Plan)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "canario plan",
    } | schema


def _apply_variable(
    raw: dict[str, Any], variable: str, value: str, origins: dict[str, str], source: str
) -> None:
    hold = _HOLD.fullmatch(variable)
    if hold:
        share = hold["share"]
        percentage = 100.0 if share == "FULL" else float(share.replace("_", "."))
        _set_hold(raw, percentage, _number(variable, value), variable, origins, source)
    elif variable in _VARIABLES:
        section, key, numeric = _VARIABLES[variable]
        made = _number(variable, value) if numeric else value
        _set(raw, (section, key), made, variable, origins)
    elif _MEANT.fullmatch(variable):
        raise ConfigError(variable, "", f"unknown variable{_nearest_variable(variable)}")


def _nearest_variable(variable: str) -> str:
    holds = [f"CANARY_{share}_HOLD_SECONDS" for share in ("5", "25", "FULL")]
    ours = [name for name in _VARIABLES if name.startswith("SLO_")]
    return f"{nearest(variable, holds + ours)}; all else is set in a plan file or by an argument"


def _number(variable: str, value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise ConfigError(variable, "", f"has the value {value!r}; it must be a number") from None


def _set(
    raw: dict[str, Any], path: tuple[str, ...], value: object, origin: str, origins: dict[str, str]
) -> None:
    """Put a value in the document, copying the tables on its way: they may be the caller's."""
    table = raw
    for name in path[:-1]:
        table[name] = dict(table.get(name, {}))
        table = table[name]
    table[path[-1]] = value
    origins[".".join(path)] = origin


def _set_hold(
    raw: dict[str, Any],
    percentage: float,
    hold: float,
    origin: str,
    origins: dict[str, str],
    source: str,
) -> None:
    deployment = raw.get("deployment", {})
    stages = [
        dict(stage)
        for stage in deployment.get(
            "canary_stages", [msgspec.to_builtins(s) for s in DEFAULT_STAGES]
        )
    ]
    for index, stage in enumerate(stages):
        if stage["percentage"] == percentage:
            stage["hold_seconds"] = hold
            _set(raw, ("deployment", "canary_stages"), stages, source, origins)
            origins[f"deployment.canary_stages[{index}].hold_seconds"] = origin
            return
    shares = ", ".join(f"{stage['percentage']:g}" for stage in stages)
    raise ConfigError(
        origin, "", f"there is no stage of {percentage:g} % in {source}; its stages are {shares}"
    )
