"""Rollout events, broken contracts and alerts as OpenTelemetry log events."""

from __future__ import annotations

import os
import sys
from functools import partial
from typing import TYPE_CHECKING

from canario._version import __version__
from canario.alerts.alert import Alert
from canario.control.events import Event
from canario.control.violation import Violation
from canario.plan import Deployment
from canario.printable import printable
from canario.routing.router import Arm

from .attributes import Attributes, alert_attributes, event_attributes, violation_attributes
from .message import Level, Sink, message_of

if TYPE_CHECKING:
    from opentelemetry._logs import Logger, LoggerProvider
    from opentelemetry.context import Context

__all__ = ["VIOLATION_EVENT", "OpenTelemetryEvents"]

VIOLATION_EVENT = "canario.contract.violation"

# What makes the API itself load a provider, even if nobody has imported it so far.
_PROVIDER_VARIABLE = "OTEL_PYTHON_LOGGER_PROVIDER"


class OpenTelemetryEvents:
    """Emits a log record with an event name for whatever it is told; docs/alerts.md lists them.

    A record belongs to the span that is current where it is emitted. An alert or a violation of
    another trace belongs to that one. Without a provider nothing is done.

    Args:
        logger_provider: Who gets the records; by default OpenTelemetry's global provider, as
            soon as the host has set one.
    """

    inline = True

    def __init__(self, logger_provider: LoggerProvider | None = None) -> None:
        self._provider = logger_provider
        self._logger: Logger | None = None

    def __call__(self, told: Event | Alert, deployment: Deployment | None = None) -> None:
        logger = self._enabled()
        if logger is None:
            return
        message = message_of(told, deployment)
        attributes: Attributes
        if isinstance(told, Alert):
            attributes, trace_id = alert_attributes(told), told.trace_id
        else:
            attributes, trace_id = event_attributes(told, deployment), None
        level, text = message.level, message.text
        _emit(logger, message.name, message.at, level, text, attributes, trace_id)

    def violation(
        self,
        violation: Violation,
        *,
        at: float,
        arm: Arm | None = None,
        deployment_id: str | None = None,
    ) -> None:
        """Emit a broken contract, noticed at the instant `at`."""
        logger = self._enabled()
        if logger is None:
            return
        attributes = violation_attributes(violation, arm, deployment_id)
        level = Level.CRITICAL if arm == "canary" else Level.WARNING
        text = printable(str(violation))
        _emit(logger, VIOLATION_EVENT, at, level, text, attributes, violation.trace_id)

    def for_deployment(self, deployment: Deployment) -> Sink:
        """The sink for one rollout's events."""
        return partial(self, deployment=deployment)

    def _enabled(self) -> Logger | None:
        """The logger, or None while nobody would get a record."""
        if self._logger is None:
            possible = "opentelemetry._logs" in sys.modules or _PROVIDER_VARIABLE in os.environ
            if self._provider is None and not possible:
                return None  # nobody has set one, and to import the API takes 25 ms
            from opentelemetry._logs import get_logger

            self._logger = get_logger("canario", __version__, logger_provider=self._provider)
        enabled = getattr(self._logger, "enabled", None)  # new in 1.39
        return self._logger if enabled is None or enabled() else None


def _emit(
    logger: Logger,
    name: str,
    at: float,
    level: Level,
    text: str,
    attributes: Attributes,
    trace_id: str | None,
) -> None:
    from opentelemetry._logs import LogRecord, SeverityNumber

    numbers = {
        Level.INFO: SeverityNumber.INFO,
        Level.WARNING: SeverityNumber.WARN,
        Level.CRITICAL: SeverityNumber.ERROR,  # FATAL would be a crash
    }
    logger.emit(
        LogRecord(
            timestamp=int(at * 1e9),
            context=_context(trace_id),
            severity_number=numbers[level],
            severity_text=level.value,
            body=text,
            attributes=attributes,
            event_name=name,
        )
    )


def _context(trace_id: str | None) -> Context | None:
    """The context that a record belongs to; None for the present one."""
    from opentelemetry import trace

    if not trace_id:
        return None
    number = int(trace_id, 16)
    if trace.get_current_span().get_span_context().trace_id == number:
        return None
    sampled = trace.TraceFlags(trace.TraceFlags.SAMPLED)
    # A record may name a trace without a span: which one it was is not known any more.
    known = trace.SpanContext(number, 0, is_remote=False, trace_flags=sampled)
    return trace.set_span_in_context(trace.NonRecordingSpan(known))
