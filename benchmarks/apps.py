"""One Starlette app under every middleware that is compared, each as its own docs tell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from prometheus_client import CollectorRegistry
from prometheus_fastapi_instrumentator import Instrumentator
from starlette.applications import Starlette
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from canario.asgi import CanaryMiddleware
from canario.controller import CanaryDeploymentController
from canario.exchange import current_arm
from canario.plan import Deployment, Plan, Stage

from .peers import PEERS

__all__ = ["VARIANTS", "Variant", "make"]

# One stage that outlasts every measurement, with both arms in use.
PLAN = Plan(deployment=Deployment(deployment_id="decalogo-v2", canary_stages=(Stage(25, 4e6),)))


@dataclass(frozen=True)
class Variant:
    """An app to measure.

    Attributes:
        app: What the server calls.
        settle: Waits for the work that the app has left to threads, which belongs to its cost.
        check: Raises when the middleware has not done what it is measured for.
    """

    app: Any
    settle: Callable[[], object] = lambda: None
    check: Callable[[], None] = lambda: None


def make(name: str) -> Variant:
    """A new app of its own for the variant called `name`; of a peer's, the only one here."""
    if name in PEERS:
        around = PEERS[name][2]
        return Variant(around(starlette()))
    return VARIANTS[name]()


async def evaluate(request: Request) -> Response:
    """The route: cheap, so that what is added to it shows."""
    return JSONResponse({"plan": request.path_params["plan"], "score": 0.71})


async def evaluate_by_arm(request: Request) -> Response:
    """The same for an app that holds both versions."""
    score = 0.72 if current_arm() == "canary" else 0.71
    return JSONResponse({"plan": request.path_params["plan"], "score": score})


def starlette(endpoint: Callable[[Request], Any] = evaluate) -> Starlette:
    """An app with one route."""
    return Starlette(routes=[Route("/plans/{plan}", endpoint)])


def _bare() -> Variant:
    return Variant(starlette())


def _two_apps() -> Variant:
    return _guarded(starlette(), canary=starlette())


def _one_app() -> Variant:
    return _guarded(starlette(evaluate_by_arm))


def _contract() -> Variant:
    return _guarded(starlette(), canary=starlette(), contract=is_object)


def is_object(route: str, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> bool:  # noqa: ARG001
    """A contract as cheap as can be: what is measured is canario's part."""
    return body.startswith(b"{")


def _guarded(app: Starlette, **options: Any) -> Variant:
    controller = CanaryDeploymentController(PLAN)
    controller.start()
    middleware = CanaryMiddleware(app, controller, **options)

    def check() -> None:
        served = [controller.counts(arm).requests for arm in ("baseline", "canary")]
        unexpected = controller.counters.keys() - {"contract_checked"}
        if not all(served) or unexpected:
            raise RuntimeError(f"served {served}, counted {dict(controller.counters)}")

    return Variant(middleware, middleware.gate.drain, check)


def _base_http() -> Variant:
    async def pass_on(request: Request, call_next: RequestResponseEndpoint) -> Response:
        return await call_next(request)

    app = starlette()
    app.add_middleware(BaseHTTPMiddleware, dispatch=pass_on)
    return Variant(app)


def _prometheus() -> Variant:
    app, registry = starlette(), CollectorRegistry()
    Instrumentator(registry=registry).instrument(app).expose(app)

    def check() -> None:
        if not any(sample.value for metric in registry.collect() for sample in metric.samples):
            raise RuntimeError("prometheus-fastapi-instrumentator has counted nothing")

    return Variant(app, check=check)


class NullExporter(SpanExporter):
    """Sends spans nowhere: what a network would cost is not the instrumentation's."""

    def __init__(self) -> None:
        self.exported = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """See `SpanExporter`."""
        self.exported += len(spans)
        return SpanExportResult.SUCCESS


def _opentelemetry(
    *, metrics: bool = False, exclude: list[Literal["receive", "send"]] | None = None
) -> Variant:
    exporter, tracers = NullExporter(), TracerProvider()
    tracers.add_span_processor(BatchSpanProcessor(exporter))
    app = OpenTelemetryMiddleware(
        starlette(),
        tracer_provider=tracers,
        meter_provider=MeterProvider([InMemoryMetricReader()]) if metrics else None,
        exclude_spans=exclude,
    )

    def check() -> None:
        tracers.force_flush()
        if not exporter.exported:
            raise RuntimeError("OpenTelemetry has exported nothing")

    return Variant(app, tracers.force_flush, check)


VARIANTS: dict[str, Callable[[], Variant]] = {
    "bare": _bare,
    "two apps": _two_apps,
    "one app": _one_app,
    "contract": _contract,
    "base http": _base_http,
    "prometheus": _prometheus,
    "otel": _opentelemetry,
    "otel, one span": lambda: _opentelemetry(exclude=["receive", "send"]),
    "otel, metrics": lambda: _opentelemetry(metrics=True),
}
