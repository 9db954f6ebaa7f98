"""OpenTelemetry's SDK for all releases: spans and log records are kept, their ids counted."""

from __future__ import annotations

import itertools

from opentelemetry import _logs
from opentelemetry.sdk import _logs as sdk_logs
from opentelemetry.sdk._logs import export as log_export
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator

from canario.tracing import FlowType, initialize_tracing, trace_flow

__all__ = ["LOGS", "PROVIDER", "SPANS", "evaluate", "log_events", "spans"]


class _Counted(IdGenerator):
    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Count from one again."""
        self._traces, self._spans = itertools.count(1), itertools.count(1)

    def generate_trace_id(self) -> int:
        return next(self._traces)

    def generate_span_id(self) -> int:
        return next(self._spans)


SPANS = InMemorySpanExporter()
PROVIDER = TracerProvider(id_generator=_Counted(), shutdown_on_exit=False)
PROVIDER.add_span_processor(SimpleSpanProcessor(SPANS))
initialize_tracing(tracer_provider=PROVIDER)

LOGS = log_export.InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]
_provider = sdk_logs.LoggerProvider(shutdown_on_exit=False)
_provider.add_log_record_processor(log_export.SimpleLogRecordProcessor(LOGS))
_logs.set_logger_provider(_provider)


@trace_flow(FlowType.DECALOGO_EVALUATION)
def evaluate(text: str) -> dict[str, int]:
    """A flow of the app, below the span of its request."""
    return {"score": len(text)}


def spans() -> str:
    """Every span that has ended; not when, which the system's clock says."""
    return "\n".join(_told(span) for span in SPANS.get_finished_spans())


def log_events() -> str:
    """Every log record; the instant is that of what it tells."""
    return "\n".join(
        f"{record.timestamp} {record.event_name} {record.severity_text} {record.trace_id:x} "
        f"{record.span_id:x} {record.body!r} {_sorted(record.attributes)}"
        for record in (log.log_record for log in LOGS.get_finished_logs())
    )


def _told(span: ReadableSpan) -> str:
    parent = f"{span.parent.span_id:x}" if span.parent else "none"
    own = span.get_span_context()
    ids = f"{own.trace_id:x}/{own.span_id:x}" if own else "?"
    events = [
        (
            event.name,
            _sorted({k: v for k, v in (event.attributes or {}).items() if "stack" not in k}),
        )
        for event in span.events
    ]
    status = f"{span.status.status_code.name} {span.status.description}"
    links = [f"{link.context.trace_id:x}" for link in span.links]
    return (
        f"{ids} in {parent} {span.kind.name} {span.name!r} {status} {_sorted(span.attributes)} "
        f"{events} {links}"
    )


def _sorted(attributes: object) -> dict[str, object]:
    return dict(sorted(dict(attributes or {}).items()))  # type: ignore[call-overload]
