"""Setting tracing up, beside whatever the host has set up already."""

from __future__ import annotations

import atexit
import logging
import os
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Tracer, TracerProvider

from canario.config import load_plan
from canario.host.fork import ForkSafeLock
from canario.host.interrupts import pass_on
from canario.plan import Plan

from . import propagation
from .current import FlowMonitor, current, tracer_of
from .providers import set_up
from .run import end_collected
from .settings import TracingSettings, read_settings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.sdk.trace.export import SpanExporter

__all__ = ["TracingManager", "get_tracing_manager", "initialize_tracing"]

logger = logging.getLogger("canario")

Carrier = TypeVar("Carrier")


class TracingManager:
    """The tracing of this process: its tracer, contexts in headers, and an orderly end.

    As a context manager it shuts down at its end, as in a lifespan: a server may end its process
    by a signal, and then nothing that is to run when Python exits does.

    Args:
        provider: Where spans are made; None for the global provider, whenever it is set.
        owned: Providers that were made here and are shut down here. The host's are its own.
        propagate_arm: Whether `inject_context` tells the arm of the present request.
        settings: What tracing was set up with; None when it was not set up by canario.
    """

    def __init__(
        self,
        provider: TracerProvider | None = None,
        *,
        owned: Iterable[Any] = (),
        propagate_arm: bool = False,
        settings: TracingSettings | None = None,
    ) -> None:
        self._provider = provider
        self.owned = tuple(owned)
        self.propagate_arm = propagate_arm
        self.settings = settings
        self.ended = False

    @property
    def provider(self) -> TracerProvider:
        """Where spans are made."""
        return self._provider or trace.get_tracer_provider()

    @property
    def tracer(self) -> Tracer:
        """A tracer for spans of your own."""
        return tracer_of(self._provider)

    def inject_context(self, headers: Carrier, context: Context | None = None) -> Carrier:
        """Put a context (the current one) into the headers of a request, and give them back."""
        return propagation.inject_context(headers, context, propagate_arm=self.propagate_arm)

    def extract_context(self, headers: Any, context: Context | None = None) -> Context:
        """The context that the headers of a request carry; see `opentelemetry.context.attach`."""
        return propagation.extract_context(headers, context)

    def force_flush(self, timeout_seconds: float = 30.0) -> bool:
        """Export all spans that have ended. False when that took too long."""
        end_collected()
        milliseconds = int(timeout_seconds * 1000)
        flushed = True
        for provider in {id(each): each for each in (self.provider, *self.owned)}.values():
            flush = getattr(provider, "force_flush", None)
            if flush is not None:
                flushed = flush(milliseconds) is not False and flushed
        return flushed

    def shutdown(self) -> None:
        """Export all spans that have ended, and stop exporting. The host's provider goes on."""
        end_collected()
        owned, self.owned = self.owned, ()
        self.ended = self.ended or bool(owned)
        # Our own export what waits when they are shut down; the host's provider goes on.
        if not owned or self.provider not in owned:
            self.force_flush()
        for provider in owned:
            provider.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.shutdown()


class _Process:
    """What was initialised in this process, and with what."""

    def __init__(self) -> None:
        self.lock = ForkSafeLock()
        self.manager: TracingManager | None = None
        self.asked: dict[str, object] = {}


_process = _Process()
_uninitialised = TracingManager()


def get_tracing_manager() -> TracingManager:
    """The manager that `initialize_tracing` made; without it one of the global provider."""
    return _process.manager or _uninitialised


def flush_own_spans() -> None:
    """Export what waits in the providers that were made here, if there are any. Never raises."""
    manager = _process.manager
    if manager is None or not manager.owned:
        return
    try:
        manager.force_flush()
    except BaseException as error:
        pass_on(error)
        logger.exception("spans could not be exported at the end")


def initialize_tracing(
    service_name: str | None = None,
    service_version: str | None = None,
    environment: str | None = None,
    sampling_rate: float | None = None,
    *,
    exporters: Iterable[str | SpanExporter] | str | None = None,
    logs_exporters: Iterable[str] | str | None = None,
    endpoint: str | None = None,
    protocol: str | None = None,
    config: str | os.PathLike[str] | None = None,
    plan: Plan | None = None,
    span_processors: Iterable[SpanProcessor] = (),
    monitor: FlowMonitor | None = None,
    propagate_arm: bool = False,
    tracer_provider: TracerProvider | None = None,
) -> TracingManager:
    """Set tracing up for this process, and give its manager.

    A value that is not given comes from OpenTelemetry's own `OTEL_*` variables, then from the
    plan, then from a default. Without a named exporter spans go to the OTLP endpoint, if one is
    configured, and else nowhere. A provider that the host has set is used as it is. A second call
    changes nothing, and logs what it would have changed.

    Args:
        service_name: `service.name`.
        service_version: `service.version`.
        environment: `deployment.environment.name`.
        sampling_rate: Share of the traces to keep, 0 to 1, unless the caller has decided.
        exporters: Names of span exporters (`otlp`, `console`, …, or `none`), or exporters.
        logs_exporters: Names of exporters of log records, which canario's events are.
        endpoint: OTLP's base address; http:// sends unencrypted.
        protocol: OTLP's protocol: `grpc` (the default) or `http/protobuf`.
        config: A plan file to read.
        plan: A plan, instead of a file.
        span_processors: Processors to add before the exporters' own.
        monitor: Records each run of a decorated flow.
        propagate_arm: Tell services downstream the arm, as the baggage `canario.arm`.
        tracer_provider: Use this provider, which need not be the global one.

    Raises:
        ConfigError: For a value that is not valid; it names the variable or the argument.
        ImportError: When the SDK or OTLP's exporters are needed and not installed.
        TypeError: When both `config` and `plan` are given.
    """
    if config is not None and plan is not None:
        raise TypeError("give config or plan, not both")
    if plan is None:
        plan = Plan() if config is None else load_plan(config)
    names, objects = _apart(exporters)
    settings = read_settings(
        os.environ,
        plan.tracing,
        service_name=service_name,
        service_version=service_version,
        environment=environment,
        sampling_rate=sampling_rate,
        exporters=names,
        log_exporters=logs_exporters,
        endpoint=endpoint,
        protocol=protocol,
    )
    processors = tuple(span_processors)
    asked = {
        "settings": settings,
        "exporters": objects,
        "span_processors": processors,
        "monitor": monitor,
        "propagate_arm": propagate_arm,
        "tracer_provider": tracer_provider,
    }
    with _process.lock:
        # OpenTelemetry lets a provider be set once in a process.
        if _process.manager is not None:
            if _process.manager.ended:
                logger.warning("tracing was shut down, and cannot begin again in this process")
            _tell_ignored(_process.asked, asked)
            return _process.manager
        owned = set_up(settings, objects, processors) if tracer_provider is None else []
        made = TracingManager(
            tracer_provider, owned=owned, propagate_arm=propagate_arm, settings=settings
        )
        atexit.register(end_collected)  # before what the SDK does then
        current.monitor = monitor
        current.tracer = made.tracer
        _process.manager, _process.asked = made, asked
        return made


def _apart(
    exporters: Iterable[str | SpanExporter] | str | None,
) -> tuple[tuple[str, ...] | str | None, tuple[SpanExporter, ...]]:
    """Names and exporters, each on their own. No names: none are asked of the environment."""
    if exporters is None or isinstance(exporters, str):
        return exporters, ()
    each = tuple(exporters)
    names = tuple(name for name in each if isinstance(name, str))
    objects = tuple(exporter for exporter in each if not isinstance(exporter, str))
    for exporter in objects:
        if not hasattr(exporter, "export"):
            raise TypeError(f"exporters has {exporter!r}; valid are names and span exporters")
    return names, objects


def _tell_ignored(before: dict[str, object], asked: dict[str, object]) -> None:
    changes = []
    for name, value in asked.items():
        if name == "settings":
            changes += _differences(before[name], value)
        elif before[name] != value and value:
            changes.append(f"{name}={value!r}")
    if changes:
        logger.warning("tracing is set up already; ignored: %s", ", ".join(changes))


def _differences(before: Any, asked: Any) -> list[str]:
    names = TracingSettings.__struct_fields__
    return [
        f"{name}={getattr(asked, name)!r} (it stays {getattr(before, name)!r})"
        for name in names
        if getattr(asked, name) != getattr(before, name)
    ]
