"""The WSGI middleware's span: one a request, whatever its body is and whoever else traces."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import flask
import pytest
from opentelemetry import trace
from opentelemetry.instrumentation.flask import FlaskInstrumentor
from opentelemetry.instrumentation.wsgi import OpenTelemetryMiddleware as Contrib
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import StatusCode
from tests.middleware.asgi_tools import Controller
from tests.middleware.wsgi_tools import Answer, answers, ask, request, streams
from tests.tracing.request_tools import (
    PARENT_ID,
    TRACE_ID,
    TRACEPARENT,
    Provider,
    attributes,
    ids,
    is_below,
)

from canario.sinks import inline
from canario.wsgi import CanaryMiddleware


def span_of(
    app: WSGIApplication, environ: WSGIEnvironment | None = None, **how: Any
) -> ReadableSpan:
    provider = Provider()
    ask(CanaryMiddleware(app, Controller(), tracer_provider=provider), environ, **how)
    return provider.server


# -- the matrix

FLASK: Any = FlaskInstrumentor()  # untyped


def flask_app(provider: Provider) -> flask.Flask:
    app = flask.Flask("plans")
    work = provider.get_tracer("app").start_as_current_span

    @app.get("/plans/<plan>")
    def plan(plan: str) -> str:
        with work("work"):
            return "ok"

    @app.get("/boom/<plan>")
    def boom(plan: str) -> str:
        with work("work", record_exception=False):
            raise LookupError("no such plan")

    @app.get("/stream/<plan>")
    def stream(plan: str) -> flask.Response:
        def pieces() -> Iterator[bytes]:
            with work("work"):
                piece = b"one"
            yield piece
            yield b"two"

        return flask.Response(pieces())

    return app


Inner = Callable[[Provider], WSGIApplication]


def instrumented(provider: Provider) -> WSGIApplication:
    app = flask_app(provider)
    FLASK.instrument_app(app, tracer_provider=provider)
    return app


INNER: dict[str, Inner] = {
    "nothing": flask_app,
    "contrib": lambda provider: Contrib(flask_app(provider), tracer_provider=provider),
    "flask instrumentor": instrumented,
}
CASES: dict[str, tuple[str, str | None, int]] = {
    "ok": ("/plans/17", "/plans/<plan>", 200),
    "not found": ("/nowhere/17", None, 404),
    "exception": ("/boom/17", "/boom/<plan>", 500),
    "stream": ("/stream/17", "/stream/<plan>", 200),
}


@pytest.mark.parametrize("two_arms", [False, True], ids=["one app", "two arms"])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("inner", INNER)
@pytest.mark.parametrize("outer", ["nothing", "contrib"])
def test_a_request_has_one_server_span_in_every_order(
    outer: str, inner: str, case: str, two_arms: bool
) -> None:
    path, route, status = CASES[case]
    provider, controller = Provider(), Controller()
    make = INNER[inner]
    canary = make(provider) if two_arms else None
    guarded: Any = CanaryMiddleware(make(provider), controller, canary, tracer_provider=provider)
    app = Contrib(guarded, tracer_provider=provider) if outer == "contrib" else guarded
    key = controller.a_key("canary" if two_arms else "baseline")
    answer = ask(app, request(path, headers=[("x-user-id", key), TRACEPARENT]))
    assert answer.raised is None
    span = provider.server
    told = attributes(span)
    assert span.parent is not None
    assert f"{span.parent.trace_id:032x}" == TRACE_ID
    assert f"{span.parent.span_id:016x}" == PARENT_ID
    assert told.get("http.route") == route
    assert told.get("http.response.status_code", told.get("http.status_code")) == status
    assert (span.status.status_code is StatusCode.ERROR) == (status == 500)
    assert told["feature_flag.result.variant"] == ("canary" if two_arms else "baseline")
    if case != "not found":
        assert is_below(provider.named("work"), span, provider.spans)
    assert not controller.counters.get("faults")
    assert trace.get_current_span() is trace.INVALID_SPAN


def test_a_flask_app_whose_own_stack_has_the_middleware_has_one_server_span() -> None:
    provider = Provider()
    app = flask_app(provider)
    app.wsgi_app = CanaryMiddleware(  # type: ignore[method-assign]
        app.wsgi_app, Controller(), tracer_provider=provider
    )
    FLASK.instrument_app(app, tracer_provider=provider)
    ask(app, request("/plans/17"))
    assert attributes(provider.server)["http.route"] == "/plans/<plan>"


# -- what it says


def test_a_span_has_the_attributes_of_the_stable_conventions() -> None:
    environ = request(
        "/caf\u00c3\u00a9",  # as an environ holds the bytes of é
        "PUT",
        [("host", "[2001:db8::1]:8443"), ("user-agent", "curl/8")],
        SCRIPT_NAME="/api",
        QUERY_STRING="q=1&sig=secret",
        REMOTE_PORT="4711",
        SERVER_PROTOCOL="HTTP/1.1",
        **{"wsgi.url_scheme": "https"},
    )
    app = CanaryMiddleware(answers(), Controller(), route=lambda environ: "/{name}")
    provider = Provider()
    app = CanaryMiddleware(
        answers(), Controller(), route=lambda environ: "/{name}", tracer_provider=provider
    )
    ask(app, environ)
    span = provider.server
    assert span.name == "PUT /api/{name}"
    told = {k: v for k, v in attributes(span).items() if not k.startswith("feature_flag.")}
    assert told == {
        "http.request.method": "PUT",
        "http.response.status_code": 200,
        "http.route": "/api/{name}",
        "url.path": "/api/café",
        "url.query": "q=1&sig=REDACTED",
        "url.scheme": "https",
        "server.address": "2001:db8::1",
        "server.port": 8443,
        "client.address": "203.0.113.7",
        "network.peer.address": "203.0.113.7",
        "network.peer.port": 4711,
        "network.protocol.version": "1.1",
        "user_agent.original": "curl/8",
        "canario.outcome": "good",
        "canario.latency_ms": 0.0,
    }


def test_an_exception_before_the_response_or_within_it_is_recorded_once() -> None:
    def fails(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        raise LookupError("no such plan")

    for app in (fails, streams(b"one", LookupError("no such plan"))):
        span = span_of(app)
        assert len(span.events) == 1
        assert attributes(span)["error.type"] == "LookupError"
        assert span.status.status_code is StatusCode.ERROR


def test_no_response_is_an_error() -> None:
    span = span_of(lambda environ, start_response: [])
    assert attributes(span)["error.type"] == "incomplete_response"


def test_a_client_that_leaves_is_no_error() -> None:
    span = span_of(streams(b"one", b"two"), pieces=1)
    assert span.status.status_code is StatusCode.UNSET
    assert attributes(span)["canario.response.aborted"] is True


def test_the_span_of_a_stream_lasts_until_its_last_piece() -> None:
    recording: list[bool] = []

    def note() -> None:
        recording.append(trace.get_current_span().is_recording())

    span_of(streams(b"one", note, b"two", note))
    assert recording == [True, True]


def test_between_two_pieces_the_span_is_not_present() -> None:
    provider = Provider()
    app = CanaryMiddleware(streams(b"one", b"two"), Controller(), tracer_provider=provider)
    body = iter(app(request(), lambda status, headers, exc_info=None: lambda data: None))
    for _ in range(2):
        next(body)
        assert trace.get_current_span() is trace.INVALID_SPAN
    with pytest.raises(StopIteration):
        next(body)
    assert attributes(provider.server)["http.response.status_code"] == 200


def test_a_body_that_the_server_drops_loses_no_span(caplog: pytest.LogCaptureFixture) -> None:
    provider = Provider()
    app = CanaryMiddleware(streams(b"one"), Controller(), tracer_provider=provider)

    def drop() -> None:
        app(request("/dropped"), lambda status, headers, exc_info=None: lambda data: None)

    with caplog.at_level(logging.WARNING):
        drop()
        gc.collect()
        assert len(provider.spans) == 0
        ask(app, request("/next"))
    assert {attributes(each)["url.path"] for each in provider.ended()} == {"/dropped", "/next"}
    assert caplog.records == []


def test_a_fault_of_canario_s_own_is_on_the_span_and_the_baseline_serves() -> None:
    for pieces in (None, 1):
        provider, controller = Provider(), Controller()
        controller.start()
        app = CanaryMiddleware(
            streams(b"one", b"two"), controller, tracer_provider=provider, arm_header="X-Arm"
        )

        def broken() -> float:
            raise RuntimeError("no clock")

        controller.clock = broken
        answer: Answer = ask(app, request(), pieces=pieces)
        assert answer.headers == [("Content-Type", "text/plain")]
        assert attributes(provider.server)["feature_flag.result.reason"] == "error"
        assert controller.seen == []


def test_a_request_that_is_not_sampled_has_no_span_and_those_within_are_no_roots() -> None:
    provider = Provider(ALWAYS_OFF)
    seen: list[int] = []
    app = answers(then=lambda: seen.append(trace.get_current_span().get_span_context().trace_id))
    ask(CanaryMiddleware(app, Controller(), tracer_provider=provider), request())
    assert len(provider.spans) == 0
    assert seen[0] != 0


def test_a_decision_is_linked_to_the_request_at_whose_end_it_is_made() -> None:
    heard: list[tuple[str, int]] = []

    def sink(event: object) -> None:
        span = trace.get_current_span().get_span_context().span_id
        heard.append((type(event).__name__, span))

    controller = Controller(
        max_error_rate=1, max_p95_latency_ms=60_000, min_samples=1, sinks=[inline(sink)]
    )
    provider = Provider()
    app = answers(status="500 Oh", then=lambda: controller.time.advance(6))
    guarded = CanaryMiddleware(app, controller, tracer_provider=provider)
    key = controller.a_key("canary")
    for _ in range(2):
        ask(guarded, request(headers=[("x-user-id", key)]))
    decided = [span for kind, span in heard if kind == "RolledBack"]
    assert decided == [ids(provider.spans[1])[1]]
