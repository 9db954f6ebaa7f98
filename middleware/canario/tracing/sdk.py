"""Providers of OpenTelemetry's SDK, made from settings. Imported when tracing is initialised."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any
from urllib.parse import urlsplit

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import Sampler

from canario.config import ConfigError

from .settings import TracingSettings

__all__ = ["check_propagators", "logger_provider", "tracer_provider"]

logger = logging.getLogger("canario")

_OTLP = {"grpc": "otlp_proto_grpc", "http/protobuf": "otlp_proto_http"}
_OTHERS_PORT = {"grpc": 4318, "http/protobuf": 4317}


def tracer_provider(
    settings: TracingSettings,
    exporters: Sequence[SpanExporter] = (),
    processors: Sequence[SpanProcessor] = (),
) -> TracerProvider:
    """A provider that samples and exports as the settings say, and flushes when Python exits.

    Raises:
        ConfigError: For a sampler or an exporter that is not there.
        ImportError: When OTLP is asked for and its exporters are not installed.
    """
    sampler = _sampler(settings)
    made = [_exporter(name, "traces", settings) for name in settings.exporters]
    provider = TracerProvider(sampler=sampler, resource=_resource(settings))
    for processor in processors:
        provider.add_span_processor(processor)
    for exporter in (*made, *exporters):
        provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


def logger_provider(settings: TracingSettings) -> Any:
    """The same for log records: a `LoggerProvider`."""
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

    made = [_exporter(name, "logs", settings) for name in settings.log_exporters]
    provider = LoggerProvider(resource=_resource(settings))
    for exporter in made:
        provider.add_log_record_processor(BatchLogRecordProcessor(exporter))
    return provider


def check_propagators() -> None:
    """Raise `ConfigError` when OTEL_PROPAGATORS names what is not installed."""
    asked = os.environ.get("OTEL_PROPAGATORS", "")
    names = {name.strip() for name in asked.split(",") if name.strip()} - {"none"}
    known = {point.name for point in entry_points(group="opentelemetry_propagator")}
    for name in sorted(names - known):
        raise ConfigError(
            "OTEL_PROPAGATORS", "", f"has {name!r}; installed are {_listed(known)} and none"
        )


def _resource(settings: TracingSettings) -> Resource:
    made = Resource.create(settings.resource)
    # Newer SDKs give each process an id, a forked one too; with an older one it is given here.
    if "service.instance.id" in made.attributes:
        return made
    from uuid import uuid4

    return made.merge(Resource({"service.instance.id": str(uuid4())}))


def _sampler(settings: TracingSettings) -> Sampler:
    name = settings.sampler or "parentbased_always_on"
    point = _found("opentelemetry_traces_sampler", name)
    if point is None:
        known = {each.name for each in entry_points(group="opentelemetry_traces_sampler")}
        raise ConfigError("OTEL_TRACES_SAMPLER", "", f"is {name!r}; valid are {_listed(known)}")
    made = point.load()(settings.sampler_arg)
    if not isinstance(made, Sampler):
        raise ConfigError("OTEL_TRACES_SAMPLER", "", f"is {name!r}, which makes no sampler")
    return made


def _exporter(name: str, signal: str, settings: TracingSettings) -> Any:
    protocol = settings.protocol if signal == "traces" else settings.log_protocol
    if name == "otlp":
        name = _OTLP[protocol]
    group = f"opentelemetry_{signal}_exporter"
    point = _found(group, name)
    if point is None:
        if name in _OTLP.values():
            raise ImportError(_missing_otlp(name))
        known = {each.name for each in entry_points(group=group)} | {"otlp", "none"}
        raise ConfigError(
            f"OTEL_{signal.upper()}_EXPORTER or argument",
            "",
            f"names {name!r}; installed are {_listed(known)}",
        )
    options = {}
    if name in _OTLP.values():
        options = _otlp_options(name, signal, settings.endpoint)
    try:
        return point.load()(**options)
    except ImportError as error:
        if name in _OTLP.values():
            raise ImportError(_missing_otlp(name)) from error
        raise


def _otlp_options(name: str, signal: str, endpoint: str | None) -> dict[str, str]:
    protocol = next(each for each, exporter in _OTLP.items() if exporter == name)
    address = endpoint or os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "")
    if urlsplit(address).port == _OTHERS_PORT[protocol]:
        logger.warning(
            "spans go to %s by %s, whose port is commonly another: "
            "OTEL_EXPORTER_OTLP_PROTOCOL chooses between grpc (4317) and http/protobuf (4318)",
            address,
            protocol,
        )
    if endpoint is None:
        return {}
    if protocol == "grpc":
        return {"endpoint": endpoint}
    return {"endpoint": f"{endpoint.rstrip('/')}/v1/{signal}"}


def _missing_otlp(name: str) -> str:
    return f"the exporter {name} is not installed; install it with: pip install 'canario[otlp]'"


def _found(group: str, name: str) -> EntryPoint | None:
    return next(iter(entry_points(group=group, name=name)), None)


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names))
