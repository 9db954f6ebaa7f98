"""Apps with spans of their own, and the instrumentations that may stand around them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import fastapi
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware as Contrib
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.instrumentation.starlette import StarletteInstrumentor
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Sampler
from opentelemetry.trace import SpanKind
from starlette.applications import Starlette
from starlette.middleware.opentelemetry import OpenTelemetryMiddleware as StarlettesOwn
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket
from tests.middleware.asgi_tools import App, Controller

from canario.asgi import CanaryMiddleware

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
PARENT_ID = "b7ad6b7169203331"
TRACEPARENT = ("traceparent", f"00-{TRACE_ID}-{PARENT_ID}-01")


class Provider(TracerProvider):
    """A real provider; `spans` are those that were exported."""

    def __init__(self, sampler: Sampler | None = None) -> None:
        super().__init__(sampler, shutdown_on_exit=False)
        self._kept = InMemorySpanExporter()
        self.add_span_processor(SimpleSpanProcessor(self._kept))

    def ended(self) -> tuple[ReadableSpan, ...]:
        """The spans that have ended by now."""
        return self._kept.get_finished_spans()

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        return self.ended()

    @property
    def server(self) -> ReadableSpan:
        """The one SERVER span there is."""
        servers = [span for span in self.spans if span.kind is SpanKind.SERVER]
        assert len(servers) == 1, [(span.name, span.kind) for span in self.spans]
        return servers[0]

    def named(self, name: str) -> ReadableSpan:
        (span,) = [span for span in self.spans if span.name == name]
        return span


def attributes(span: ReadableSpan) -> Mapping[str, Any]:
    assert span.attributes is not None
    return span.attributes


def ids(span: ReadableSpan) -> tuple[int, int]:
    context = span.get_span_context()
    assert context is not None
    return context.trace_id, context.span_id


def is_below(span: ReadableSpan, above: ReadableSpan, spans: tuple[ReadableSpan, ...]) -> bool:
    """Whether a chain of parents leads from `span` up to `above`."""
    known = {ids(each): each for each in spans}
    at: ReadableSpan | None = span
    while at is not None:
        if ids(at) == ids(above):
            return True
        at = None if at.parent is None else known.get((at.parent.trace_id, at.parent.span_id))
    return False


# -- apps


def _endpoints(provider: TracerProvider) -> dict[str, Callable[..., Any]]:
    work = provider.get_tracer("app").start_as_current_span

    async def plan(request: Request) -> Response:
        with work("work"):
            return PlainTextResponse("ok")

    async def boom(request: Request) -> Response:
        with work("work", record_exception=False):
            raise LookupError("no such plan")

    async def stream(request: Request) -> Response:
        async def pieces() -> Any:
            with work("work"):
                yield b"one"
            yield b"two"

        return StreamingResponse(pieces())

    async def room(socket: WebSocket) -> None:
        await socket.accept()
        with work("work"):
            await socket.send_text("hello")
        await socket.close()

    return {"plan": plan, "boom": boom, "stream": stream, "room": room}


def starlette_app(provider: TracerProvider) -> Starlette:
    ends = _endpoints(provider)
    return Starlette(
        routes=[
            Route("/plans/{plan}", ends["plan"]),
            Route("/boom/{plan}", ends["boom"]),
            Route("/stream/{plan}", ends["stream"]),
            WebSocketRoute("/rooms/{room}", ends["room"]),
        ]
    )


def fastapi_app(provider: TracerProvider) -> fastapi.FastAPI:
    app = fastapi.FastAPI(openapi_url=None)
    ends = _endpoints(provider)
    app.add_api_route("/plans/{plan}", ends["plan"], response_model=None)
    app.add_api_route("/boom/{plan}", ends["boom"], response_model=None)
    app.add_api_route("/stream/{plan}", ends["stream"], response_model=None)
    app.add_api_websocket_route("/rooms/{room}", ends["room"])
    return app


# -- instrumentations


def contrib(app: App, provider: TracerProvider) -> App:
    wrapped: App = Contrib(app, tracer_provider=provider)
    return wrapped


def starlettes_own(app: App, provider: TracerProvider) -> App:
    return StarlettesOwn(app, tracer_provider=provider)


INNER: dict[str, Callable[[TracerProvider], App]] = {
    "nothing": starlette_app,
    "contrib": lambda provider: contrib(starlette_app(provider), provider),
    "starlette": lambda provider: starlettes_own(starlette_app(provider), provider),
    "fastapi instrumentor": lambda provider: _instrumented_fastapi(fastapi_app(provider), provider),
    "starlette instrumentor": lambda provider: _instrumented(starlette_app(provider), provider),
}


def _instrumented_fastapi(app: fastapi.FastAPI, provider: TracerProvider) -> fastapi.FastAPI:
    FastAPIInstrumentor.instrument_app(app, tracer_provider=provider)
    return app


def _instrumented(app: Starlette, provider: TracerProvider) -> Starlette:
    StarletteInstrumentor.instrument_app(app, tracer_provider=provider)
    return app


def stack(
    outer: str, inner: str, provider: TracerProvider, *, two_arms: bool
) -> tuple[App, Controller]:
    """The middleware between two instrumentations, and its controller, which has begun."""
    controller = Controller()
    controller.start()
    make = INNER[inner]
    options: dict[str, Any] = {"tracer_provider": provider}
    if two_arms:
        options["canary"] = make(provider)
    if outer.endswith("instrumentor"):
        return _within(outer, inner, provider, controller, options), controller
    guarded: App = CanaryMiddleware(make(provider), controller, **options)
    if outer == "contrib":
        guarded = contrib(guarded, provider)
    elif outer == "starlette":
        guarded = starlettes_own(guarded, provider)
    return guarded, controller


def _within(
    outer: str,
    inner: str,
    provider: TracerProvider,
    controller: Controller,
    options: dict[str, Any],
) -> App:
    """An instrumented app that has the middleware in its own stack, below what instruments it."""
    app = fastapi_app(provider) if outer.startswith("fastapi") else starlette_app(provider)
    if inner != "nothing":
        kind: Any = Contrib if inner == "contrib" else StarlettesOwn
        app.add_middleware(kind, tracer_provider=provider)
    app.add_middleware(CanaryMiddleware, controller=controller, **options)
    if isinstance(app, fastapi.FastAPI):
        return _instrumented_fastapi(app, provider)
    return _instrumented(app, provider)


STACKS = [
    *((outer, inner) for outer in ("nothing", "contrib", "starlette") for inner in INNER),
    *(
        (f"{outer} instrumentor", inner)
        for outer in ("fastapi", "starlette")
        for inner in ("nothing", "contrib", "starlette")
    ),
]
