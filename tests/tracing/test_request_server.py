"""Spans of requests to a real server: streams, clients that leave, WebSockets, two loops."""

from __future__ import annotations

import asyncio
import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import StatusCode
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket
from tests.middleware.asgi_servers import uvicorn_server
from tests.middleware.asgi_tools import Controller
from tests.tracing.request_tools import PARENT_ID, TRACEPARENT, Provider, attributes
from tests.waiting import until
from websockets.sync.client import connect

from canario.asgi import CanaryMiddleware


async def plan(request: Request) -> Response:
    return PlainTextResponse("ok")


async def boom(request: Request) -> Response:
    raise LookupError("no such plan")


async def stream(request: Request) -> Response:
    async def pieces() -> Any:
        for number in range(3):
            trace.get_current_span().add_event(f"piece {number}")
            yield b"x" * 1000

    return StreamingResponse(pieces())


async def endless(request: Request) -> Response:
    async def pieces() -> Any:
        while True:
            yield b"x" * 1000
            await asyncio.sleep(0.001)

    return StreamingResponse(pieces())


async def room(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text(await socket.receive_text())
    await socket.close()


def app() -> Starlette:
    return Starlette(
        routes=[
            Route("/plans/{plan}", plan),
            Route("/boom", boom),
            Route("/stream", stream),
            Route("/endless", endless),
            WebSocketRoute("/rooms/{room}", room),
        ]
    )


@contextmanager
def served(provider: TracerProvider, **config: Any) -> Iterator[str]:
    guarded = CanaryMiddleware(app(), Controller(), app(), tracer_provider=provider)
    with uvicorn_server(guarded, **config) as port:
        yield f"127.0.0.1:{port}"


@pytest.mark.parametrize("stack", [("asyncio", "h11"), ("uvloop", "httptools")])
def test_what_a_server_serves_is_on_one_span_each(stack: tuple[str, str]) -> None:
    provider = Provider()
    loop, http = stack
    with served(provider, loop=loop, http=http) as at:
        # A connection each, for a server closes that of a request that failed.
        for path in ("/plans/17?sig=secret", "/boom", "/stream", "/nowhere"):
            httpx.get(f"http://{at}{path}", headers=dict([TRACEPARENT]))
        httpx.head(f"http://{at}/plans/17")
        with connect(f"ws://{at}/rooms/1") as socket:
            socket.send("hello")
            assert socket.recv() == "hello"
        until(lambda: len(provider.spans) == 6)
    spans = {span.name: span for span in provider.spans}
    assert set(spans) == {
        "GET /plans/{plan}",
        "GET /boom",
        "GET /stream",
        "GET",
        "HEAD /plans/{plan}",
        "GET /rooms/{room}",
    }
    told = attributes(spans["GET /plans/{plan}"])
    assert told["url.query"] == "sig=REDACTED"
    assert f"{told['server.address']}:{told['server.port']}" == at
    assert told["client.address"] == "127.0.0.1"
    assert isinstance(told["network.peer.port"], int)
    assert str(told["user_agent.original"]).startswith("python-httpx")
    parent = spans["GET /plans/{plan}"].parent
    assert parent is not None
    assert f"{parent.span_id:016x}" == PARENT_ID
    assert attributes(spans["GET /boom"])["error.type"] == "LookupError"
    assert len(spans["GET /boom"].events) == 1
    assert [event.name for event in spans["GET /stream"].events] == [
        "piece 0",
        "piece 1",
        "piece 2",
    ]
    assert attributes(spans["GET"])["http.response.status_code"] == 404
    assert attributes(spans["GET /rooms/{room}"])["http.response.status_code"] == 101
    errors = [s.name for s in provider.spans if s.status.status_code is StatusCode.ERROR]
    assert errors == ["GET /boom"]


def test_a_client_that_leaves_in_the_midst_of_a_stream_is_no_error() -> None:
    provider = Provider()
    with served(provider) as at:
        with httpx.stream("GET", f"http://{at}/endless") as response:
            next(response.iter_raw())
        until(lambda: provider.spans)
    (span,) = provider.spans
    assert span.status.status_code is StatusCode.UNSET
    assert attributes(span)["canario.response.aborted"] is True
    assert attributes(span)["http.response.status_code"] == 200


class Collector(BaseHTTPRequestHandler):
    """Takes what OTLP over HTTP brings."""

    received: list[ExportTraceServiceRequest]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        self.received.append(ExportTraceServiceRequest.FromString(body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        """Says nothing."""


def test_the_spans_reach_a_collector() -> None:
    received: list[ExportTraceServiceRequest] = []
    handler = type("Handler", (Collector,), {"received": received})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as collector:
        thread = threading.Thread(target=collector.serve_forever)
        thread.start()
        try:
            endpoint = f"http://127.0.0.1:{collector.server_port}/v1/traces"
            provider = TracerProvider(shutdown_on_exit=False)
            provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
            with served(provider) as at:
                for number in range(20):
                    httpx.get(f"http://{at}/plans/{number}")
            provider.shutdown()
        finally:
            collector.shutdown()
            thread.join()
    spans = [
        span
        for request in received
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    assert [span.name for span in spans] == ["GET /plans/{plan}"] * 20
    assert {span.kind for span in spans} == {2}  # SPAN_KIND_SERVER
    paths = {
        pair.value.string_value for s in spans for pair in s.attributes if pair.key == "url.path"
    }
    assert paths == {f"/plans/{number}" for number in range(20)}
