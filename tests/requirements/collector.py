"""A collector that speaks OTLP over gRPC, built on OpenTelemetry's own protobufs."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NamedTuple

import grpc  # type: ignore[import-untyped]
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)
from tests.waiting import PATIENCE

__all__ = ["Collector", "Received", "collector"]


class Received(NamedTuple):
    """A span as it arrived; ids are hex digits, and `parent_id` is "" for a root."""

    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    attributes: dict[str, str]
    resource: dict[str, str]


class Collector(TraceServiceServicer):
    """Keeps what it is sent, in `spans`."""

    def __init__(self) -> None:
        self.spans: list[Received] = []

    def Export(self, request: Any, context: Any) -> Any:
        """Take one batch."""
        for group in request.resource_spans:
            resource = _texts(group.resource.attributes)
            for scope in group.scope_spans:
                self.spans += [_received(span, resource) for span in scope.spans]
        return ExportTraceServiceResponse()


def _texts(attributes: Any) -> dict[str, str]:
    return {one.key: one.value.string_value for one in attributes}


def _received(span: Any, resource: dict[str, str]) -> Received:
    return Received(
        span.name,
        span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        _texts(span.attributes),
        resource,
    )


@contextmanager
def collector() -> Iterator[tuple[Collector, int]]:
    """A collector on the loopback interface, and its port."""
    kept = Collector()
    server = grpc.server(ThreadPoolExecutor(2))
    add_TraceServiceServicer_to_server(kept, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield kept, port
    finally:
        server.stop(None).wait(PATIENCE)
