"""What tracing is set up with: argument > environment > plan > default, all of it checked."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from msgspec import Struct

from canario.config import ConfigError
from canario.plan import Tracing

__all__ = ["TracingSettings", "read_settings"]

PROTOCOLS = ("grpc", "http/protobuf")
RATIO_SAMPLERS = ("traceidratio", "parentbased_traceidratio")

_BATCH_VARIABLES = tuple(
    f"OTEL_{queue}_{what}"
    for queue in ("BSP", "BLRP")
    for what in (
        "SCHEDULE_DELAY", "EXPORT_TIMEOUT", "MAX_QUEUE_SIZE", "MAX_EXPORT_BATCH_SIZE"
    )
)  # fmt: skip


class TracingSettings(Struct, frozen=True, kw_only=True):
    """What was decided. None: nothing was said about it.

    `sampler` is a name of OpenTelemetry's entry points and `sampler_arg` its argument;
    `exporters` and `log_exporters` are names of exporters (`none` is an empty list);
    `endpoint` is OTLP's base address where an argument or the plan gives it, and None where
    OpenTelemetry's own variables do.
    """

    disabled: bool = False
    resource: dict[str, str] = {}
    sampler: str | None = None
    sampler_arg: str | float | None = None
    exporters: tuple[str, ...] = ()
    log_exporters: tuple[str, ...] = ()
    endpoint: str | None = None
    protocol: str = "grpc"
    log_protocol: str = "grpc"


def read_settings(
    environ: Mapping[str, str],
    plan: Tracing,
    *,
    service_name: str | None = None,
    service_version: str | None = None,
    environment: str | None = None,
    sampling_rate: float | None = None,
    exporters: Iterable[str] | str | None = None,
    log_exporters: Iterable[str] | str | None = None,
    endpoint: str | None = None,
    protocol: str | None = None,
) -> TracingSettings:
    """The settings. Raises `ConfigError` for the first value that is not valid."""
    # An empty variable is how a shell unsets one, and what OpenTelemetry takes for unset.
    given = {name: value.strip() for name, value in environ.items() if value.strip()}
    _check_batches(given)
    sampler, argument = _sampler(given, plan, sampling_rate)
    asked, log_asked = (
        _names(exporters, given, "OTEL_TRACES_EXPORTER", "exporters"),
        _names(log_exporters, given, "OTEL_LOGS_EXPORTER", "logs_exporters"),
    )
    where = _endpoint(given, plan, endpoint)
    told = (
        where or given.get("OTEL_EXPORTER_OTLP_ENDPOINT") or _of_signal(given, "TRACES", "ENDPOINT")
    )
    if asked is None:
        asked = ("otlp",) if told else ()
    return TracingSettings(
        disabled=_disabled(given),
        resource=_resource(given, plan, service_name, service_version, environment),
        sampler=sampler,
        sampler_arg=argument,
        exporters=asked,
        log_exporters=log_asked or (),
        endpoint=where,
        protocol=_protocol(given, "TRACES", protocol),
        log_protocol=_protocol(given, "LOGS", protocol),
    )


def _of_signal(given: Mapping[str, str], signal: str, what: str) -> str | None:
    return given.get(f"OTEL_EXPORTER_OTLP_{signal}_{what}")


def _disabled(given: Mapping[str, str]) -> bool:
    value = given.get("OTEL_SDK_DISABLED", "false")
    if value.lower() not in ("true", "false"):
        raise ConfigError(
            "OTEL_SDK_DISABLED", "", f"has the value {value!r}; valid are true and false"
        )
    return value.lower() == "true"


def _resource(
    given: Mapping[str, str],
    plan: Tracing,
    service_name: str | None,
    service_version: str | None,
    environment: str | None,
) -> dict[str, str]:
    listed = _attributes(given.get("OTEL_RESOURCE_ATTRIBUTES", ""))
    older = listed.get("deployment.environment")
    decided = {
        "service.name": _first(
            _text(service_name, "service_name"),
            given.get("OTEL_SERVICE_NAME"),
            listed.get("service.name"),
            plan.service_name,
        ),
        "service.version": _first(
            _text(service_version, "service_version"),
            given.get("OTEL_SERVICE_VERSION"),
            listed.get("service.version"),
            plan.service_version,
        ),
        "deployment.environment.name": _first(
            _text(environment, "environment"),
            listed.get("deployment.environment.name"),
            older,
            plan.environment,
        ),
    }
    return listed | {name: value for name, value in decided.items() if value is not None}


def _first(*values: str | None) -> str | None:
    return next((value for value in values if value), None)


def _text(value: object, name: str) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise ConfigError("initialize_tracing", name, f"is {value!r}; it must be text")
    if not value.strip():
        raise ConfigError("initialize_tracing", name, f"is {value!r}; it must not be empty")
    return value


def _attributes(text: str) -> dict[str, str]:
    """`key=value,key=value`, percent-encoded, as OpenTelemetry writes resource attributes."""
    made = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        key, sign, value = item.partition("=")
        if not sign or not key.strip():
            raise ConfigError(
                "OTEL_RESOURCE_ATTRIBUTES", "", f"has {item!r}; valid are pairs key=value"
            )
        made[unquote(key.strip())] = unquote(value.strip())
    return made


def _sampler(
    given: Mapping[str, str], plan: Tracing, rate: float | None
) -> tuple[str | None, str | float | None]:
    if rate is not None:
        return _by_rate(_ratio(rate, "initialize_tracing", "sampling_rate"))
    name = given.get("OTEL_TRACES_SAMPLER")
    if name is not None:
        # The specification has the names of samplers in any case.
        name = name.lower()
        argument = given.get("OTEL_TRACES_SAMPLER_ARG")
        if name in RATIO_SAMPLERS:
            # Without an argument the specification samples everything.
            return name, _ratio(argument or "1.0", "OTEL_TRACES_SAMPLER_ARG", "")
        return name, argument
    return _by_rate(plan.sampling_rate)


def _by_rate(rate: float) -> tuple[str, float | None]:
    return ("parentbased_traceidratio", rate) if rate < 1 else ("parentbased_always_on", None)


def _ratio(value: Any, source: str, key: str) -> float:
    problem = ConfigError(source, key, f"is {value!r}; it must be a number from 0 to 1")
    try:
        if isinstance(value, bool):
            raise problem
        made = float(value)
    except (TypeError, ValueError):
        raise problem from None
    if not (math.isfinite(made) and 0 <= made <= 1):
        raise problem
    return made


def _names(
    given: Iterable[str] | str | None, environ: Mapping[str, str], variable: str, argument: str
) -> tuple[str, ...] | None:
    """Names of exporters, each once. None when nobody has said anything."""
    source, key = ("initialize_tracing", argument) if given is not None else (variable, "")
    if given is None:
        given = environ.get(variable)
        if given is None:
            return None
    parts = given.split(",") if isinstance(given, str) else given
    names = tuple(dict.fromkeys(part.strip() for part in parts))
    if "" in names:
        raise ConfigError(source, key, f"is {given!r}; a name in it is empty")
    if "none" in names and len(names) > 1:
        raise ConfigError(source, key, f"is {given!r}; none cannot stand beside another name")
    return () if names == ("none",) else names


def _endpoint(given: Mapping[str, str], plan: Tracing, endpoint: str | None) -> str | None:
    """The address to hand over, checked wherever it comes from."""
    if endpoint is not None:
        return _checked(_text(endpoint, "endpoint") or "", "initialize_tracing", "endpoint", given)
    of_environment = False
    for variable in (
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT",
    ):
        if variable in given:
            _checked(given[variable], variable, "", given)
            of_environment = of_environment or "LOGS" not in variable
    if of_environment or not plan.otlp_endpoint:
        return None
    return _checked(plan.otlp_endpoint, "plan", "tracing.otlp_endpoint", given)


def _checked(address: str, source: str, key: str, given: Mapping[str, str]) -> str:
    try:
        parts = urlsplit(address)
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fits = False
    # gRPC takes an address without a scheme, if it is told whether to encrypt.
    bare = "://" not in address and any(
        f"OTEL_EXPORTER_OTLP_{signal}INSECURE" in given for signal in ("", "TRACES_", "LOGS_")
    )
    if not (fits or bare):
        raise ConfigError(
            source,
            key,
            f"is {address!r}; valid is an address such as http://localhost:4317 "
            "(https:// for an encrypted one)",
        )
    return address


def _protocol(given: Mapping[str, str], signal: str, argument: str | None) -> str:
    variable = f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL"
    source, value = "initialize_tracing: protocol", argument
    if value is None:
        source = variable if variable in given else "OTEL_EXPORTER_OTLP_PROTOCOL"
        value = given.get(source, "grpc")
    if value not in PROTOCOLS:
        raise ConfigError(source, "", f"is {value!r}; valid are {' and '.join(PROTOCOLS)}")
    return value


def _check_batches(given: Mapping[str, str]) -> None:
    """OpenTelemetry would fall back to its defaults; here a wrong number is an error."""
    for variable in _BATCH_VARIABLES:
        value = given.get(variable)
        if value is not None and (not value.isascii() or not value.isdigit() or int(value) == 0):
            raise ConfigError(
                variable, "", f"has the value {value!r}; it must be a whole number above 0"
            )
    for queue in ("BSP", "BLRP"):
        # Where they are not set, the specification's own: 2048 may wait, 512 go at once.
        size = int(given.get(f"OTEL_{queue}_MAX_QUEUE_SIZE", 2048))
        batch = int(given.get(f"OTEL_{queue}_MAX_EXPORT_BATCH_SIZE", min(512, size)))
        if batch > size:
            raise ConfigError(
                f"OTEL_{queue}_MAX_EXPORT_BATCH_SIZE",
                "",
                f"has the value {batch}; it must not exceed OTEL_{queue}_MAX_QUEUE_SIZE, {size}",
            )
