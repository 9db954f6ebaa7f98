"""Receivers of OTLP, by gRPC and by HTTP, built on OpenTelemetry's own protocol buffers."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import grpc  # type: ignore[import-untyped]
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.logs.v1.logs_service_pb2_grpc import (
    LogsServiceServicer,
    add_LogsServiceServicer_to_server,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)
from tests.waiting import PATIENCE


class Received(NamedTuple):
    """A span as it came over the wire; ids in hex, an empty parent for a root."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    attributes: dict[str, Any]
    resource: dict[str, Any]
    scope: str
    error: bool
    events: list[str]


class Collector:
    """What has arrived."""

    def __init__(self) -> None:
        self.spans: list[Received] = []
        self.logs: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.url = ""
        self._lock = threading.Lock()

    def add(self, request: Any, headers: dict[str, str]) -> None:
        with self._lock:
            self.headers.append(headers)
            if isinstance(request, ExportLogsServiceRequest):
                self._add_logs(request)
            else:
                self._add_spans(request)

    def _add_logs(self, request: Any) -> None:
        for resource in request.resource_logs:
            for scope in resource.scope_logs:
                self.logs += [record.body.string_value for record in scope.log_records]

    def _add_spans(self, request: Any) -> None:
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                self.spans += [
                    Received(
                        span.name,
                        span.trace_id.hex(),
                        span.span_id.hex(),
                        span.parent_span_id.hex(),
                        _values(span.attributes),
                        _values(resource.resource.attributes),
                        scope.scope.name,
                        span.status.code == 2,
                        [event.name for event in span.events],
                    )
                    for span in scope.spans
                ]


def _values(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}


@contextmanager
def grpc_collector() -> Iterator[Collector]:
    """Listens on the loopback interface, on a port that the system chooses."""
    collector = Collector()

    class Traces(TraceServiceServicer):
        def Export(self, request: Any, context: Any) -> Any:
            collector.add(request, dict(context.invocation_metadata()))
            return ExportTraceServiceResponse()

    class Logs(LogsServiceServicer):
        def Export(self, request: Any, context: Any) -> Any:
            collector.add(request, dict(context.invocation_metadata()))
            return ExportLogsServiceResponse()

    with ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool)
        serve: tuple[Any, Any] = (
            add_TraceServiceServicer_to_server,
            add_LogsServiceServicer_to_server,
        )
        for add, service in zip(serve, (Traces(), Logs()), strict=True):
            add(service, server)
        collector.url = f"http://localhost:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        try:
            yield collector
        finally:
            server.stop(grace=None).wait(PATIENCE)


@contextmanager
def http_collector() -> Iterator[Collector]:
    """The same, by HTTP with protocol buffers."""
    collector = Collector()
    kinds: dict[str, Any] = {
        "/v1/traces": ExportTraceServiceRequest,
        "/v1/logs": ExportLogsServiceRequest,
    }

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            kind = kinds.get(self.path)
            if kind is not None:
                headers = {name.lower(): value for name, value in self.headers.items()}
                collector.add(kind.FromString(body), headers)
            self.send_response(404 if kind is None else 200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    collector.url = f"http://localhost:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), name="collector")
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        thread.join(PATIENCE)
        server.server_close()
