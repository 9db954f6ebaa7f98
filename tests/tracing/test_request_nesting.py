"""One SERVER span a request, whatever else instruments the app, and in whatever order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import fastapi
import pytest
import starlette.applications
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.instrumentation.starlette import StarletteInstrumentor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode
from starlette.background import BackgroundTask
from starlette.responses import PlainTextResponse
from tests.middleware.asgi_tools import (
    Answer,
    App,
    Controller,
    Message,
    ask,
    http_scope,
    websocket_scope,
)
from tests.tracing.request_tools import (
    PARENT_ID,
    STACKS,
    TRACE_ID,
    TRACEPARENT,
    Provider,
    attributes,
    is_below,
    stack,
)

from canario.asgi import CanaryMiddleware

# What is asked for; the route, the status and whether it is an error.
CASES: dict[str, tuple[str, str | None, int | None, bool]] = {
    "ok": ("/plans/17", "/plans/{plan}", 200, False),
    "not found": ("/nowhere/17", None, 404, False),
    "exception": ("/boom/17", "/boom/{plan}", 500, True),
    "stream": ("/stream/17", "/stream/{plan}", 200, False),
    "websocket": ("/rooms/17", "/rooms/{room}", None, False),
}


@pytest.fixture(autouse=True)
def _untouched_background_tasks() -> Iterator[None]:
    """FastAPI's instrumentor changes a class of Starlette's for good."""
    yield
    original = getattr(BackgroundTask, "_otel_original_call", None)
    if original is not None:
        BackgroundTask.__call__ = original  # type: ignore[method-assign]
        del BackgroundTask._otel_original_call  # type: ignore[attr-defined]


def serve(app: App, controller: Controller, path: str, *, two_arms: bool = False) -> Answer:
    """One request of somebody else's trace."""
    user = controller.a_key("canary" if two_arms else "baseline")
    headers = [TRACEPARENT, ("x-user-id", user)]
    if path.startswith("/rooms"):
        scope = websocket_scope(path, headers=headers)
        incoming: list[Message] = [
            {"type": "websocket.connect"},
            {"type": "websocket.disconnect", "code": 1000},
        ]
        return ask(app, scope, *incoming)
    return ask(app, http_scope(path, headers=headers))


@pytest.mark.parametrize("two_arms", [False, True], ids=["one app", "two arms"])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("outer", "inner"), STACKS)
def test_a_request_has_one_server_span_in_every_order(
    outer: str, inner: str, case: str, two_arms: bool
) -> None:
    path, route, status, failed = CASES[case]
    provider = Provider()
    app, controller = stack(outer, inner, provider, two_arms=two_arms)
    answer = serve(app, controller, path, two_arms=two_arms)
    assert answer.sent
    span = provider.server
    told = attributes(span)
    assert span.parent is not None
    assert f"{span.parent.trace_id:032x}" == TRACE_ID
    assert f"{span.parent.span_id:016x}" == PARENT_ID
    assert told.get("http.route") == route
    # The other instrumentation speaks the old conventions unless it is told otherwise.
    code = told.get("http.response.status_code", told.get("http.status_code"))
    if case == "exception" and outer == "starlette instrumentor" and not two_arms:
        status = None  # Starlette answers outside of what its instrumentor adds
    assert code == status or case == "websocket"
    assert (span.status.status_code is StatusCode.ERROR) == failed
    assert told["feature_flag.key"] == "release-1"
    assert told["feature_flag.result.variant"] == ("canary" if two_arms else "baseline")
    assert told["feature_flag.result.reason"] == "split"
    if case != "not found":
        assert is_below(provider.named("work"), span, provider.spans)
    assert span.end_time is not None
    assert not controller.counters.get("faults")


@pytest.mark.parametrize("two_arms", [False, True], ids=["one app", "two arms"])
@pytest.mark.parametrize(("outer", "inner"), STACKS)
def test_a_request_that_is_not_sampled_has_no_span_in_any_order(
    outer: str, inner: str, two_arms: bool
) -> None:
    provider = Provider(ALWAYS_OFF)
    app, controller = stack(outer, inner, provider, two_arms=two_arms)
    assert serve(app, controller, "/plans/17", two_arms=two_arms).status == 200
    assert len(provider.spans) == 0
    assert not controller.counters.get("faults")


@pytest.mark.parametrize("kind", ["fastapi", "starlette"])
@pytest.mark.parametrize("place", ["outside", "inside"])
def test_an_app_that_a_global_instrumentor_has_changed_has_one_server_span(
    kind: str, place: str
) -> None:
    provider = Provider()
    instrumentor: Any = FastAPIInstrumentor() if kind == "fastapi" else StarletteInstrumentor()
    instrumentor.instrument(tracer_provider=provider, skip_dep_check=True)
    try:
        app: Any = (
            fastapi.FastAPI(openapi_url=None)
            if kind == "fastapi"
            else starlette.applications.Starlette()
        )

        async def plan(request: fastapi.Request) -> PlainTextResponse:
            return PlainTextResponse("ok")

        if kind == "fastapi":
            app.add_api_route("/plans/{plan}", plan, response_model=None)
        else:
            app.router.add_route("/plans/{plan}", plan)
        controller = Controller()
        controller.start()
        options = {"controller": controller, "tracer_provider": provider}
        served: App = app
        if place == "outside" and kind == "fastapi":
            app.add_middleware(CanaryMiddleware, **options)
        else:
            served = CanaryMiddleware(app, controller, tracer_provider=provider)
        assert serve(served, controller, "/plans/17").status == 200
    finally:
        instrumentor.uninstrument()
    assert attributes(provider.server)["http.route"] == "/plans/{plan}"
    assert any(span.kind is SpanKind.INTERNAL for span in provider.spans)
    assert not controller.counters.get("faults")


def test_starlette_s_own_mark_is_gone_when_the_request_is_over() -> None:
    provider = Provider()
    for inner in ("nothing", "starlette"):
        app, controller = stack("nothing", inner, provider, two_arms=False)
        scope = http_scope("/plans/17", headers=[("x-user-id", controller.a_key("baseline"))])
        ask(app, scope)
        assert "starlette.opentelemetry" not in scope
