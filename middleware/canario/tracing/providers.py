"""Providers of this process: those that the host has set, and ours where it has not."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry._logs import get_logger_provider, set_logger_provider
from opentelemetry.trace import ProxyTracerProvider

from canario.host.logger import information

from .settings import TracingSettings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.sdk.trace.export import SpanExporter

__all__ = ["set_up"]

logger = information(logging.getLogger("canario"))


def set_up(
    settings: TracingSettings,
    exporters: tuple[SpanExporter, ...],
    processors: tuple[SpanProcessor, ...],
) -> list[Any]:
    """Make what the host has not set, and set it. Gives what was made, to be shut down later.

    Raises what `canario.tracing.sdk` does, and `ImportError` without the SDK; then nothing is set.
    """
    if settings.disabled:
        logger.info("OTEL_SDK_DISABLED is true: nothing is traced")
        return []
    # Both are made before either is set: what is wrong with one leaves nothing half done.
    provider = _own_provider(settings, exporters, processors)
    try:
        logs = _own_logger_provider(settings)
    except Exception:
        if provider is not None:
            provider.shutdown()
        raise
    made = []
    if provider is not None:
        trace.set_tracer_provider(provider)
        made += _kept(provider, trace.get_tracer_provider())
    if logs is not None:
        set_logger_provider(logs)
        made += _kept(logs, get_logger_provider())
    return made


def _own_provider(
    settings: TracingSettings,
    exporters: tuple[SpanExporter, ...],
    processors: tuple[SpanProcessor, ...],
) -> Any:
    """A provider to set; None where the host has set one."""
    host = trace.get_tracer_provider()
    if not isinstance(host, ProxyTracerProvider):
        logger.info(
            "a tracer provider (%s) is set already and is used as it is: "
            "names, sampling and exporters given to canario do not apply",
            type(host).__qualname__,
        )
        return None
    if not (settings.exporters or exporters or processors):
        logger.info(
            "spans are made and exported nowhere: set OTEL_EXPORTER_OTLP_ENDPOINT, or name an "
            "exporter in OTEL_TRACES_EXPORTER or exporters="
        )
    sdk = _sdk()
    sdk.check_propagators()
    return sdk.tracer_provider(settings, exporters, processors)


def _own_logger_provider(settings: TracingSettings) -> Any:
    """The same for log records; None as well where none are to be exported."""
    if not settings.log_exporters:
        return None
    # The API's own stand-in has no public name.
    if type(get_logger_provider()).__name__ != "ProxyLoggerProvider":
        logger.info("a logger provider is set already and is used as it is")
        return None
    return _sdk().logger_provider(settings)


def _kept(made: Any, in_force: object) -> list[Any]:
    """What is ours to shut down at the end: nothing, if another thread was quicker."""
    if in_force is made:
        return [made]
    made.shutdown()
    return []


def _sdk() -> Any:
    try:
        from . import sdk
    except ImportError as error:
        if error.name is None or not error.name.startswith("opentelemetry"):
            raise
        raise ImportError(
            "tracing needs OpenTelemetry's SDK; install it with: pip install 'canario[otel]'",
            name=error.name,
        ) from error
    return sdk
