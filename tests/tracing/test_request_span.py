"""What the middleware's own span says of a request, and when it ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.semconv.attributes import (
    client_attributes,
    error_attributes,
    http_attributes,
    network_attributes,
    server_attributes,
    url_attributes,
    user_agent_attributes,
)
from opentelemetry.trace import SpanKind, StatusCode
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route
from tests.middleware.asgi_tools import (
    DISCONNECT,
    REQUEST,
    Answer,
    App,
    Controller,
    Message,
    Receive,
    Scope,
    Send,
    ask,
    hello,
    http_scope,
    respond,
    talk,
    websocket_scope,
)
from tests.tracing.request_tools import Provider, attributes, ids
from tests.waiting import Stuck

from canario.asgi import CanaryMiddleware
from canario.exchange import present

BODY: Message = {"type": "http.response.body", "body": b"x"}


def start(status: int = 200, **more: Any) -> Message:
    return {"type": "http.response.start", "status": status, "headers": [], **more}


def guard(app: App, provider: Provider, **options: Any) -> App:
    return CanaryMiddleware(app, Controller(), tracer_provider=provider, **options)


def span_of(app: App, scope: Scope | None = None, *incoming: Message, **how: Any) -> ReadableSpan:
    """The span of one request."""
    provider = Provider()
    ask(guard(app, provider), scope or http_scope(), *incoming, **how)
    return provider.server


def says(*messages: Message, then: Callable[[], object] = lambda: None) -> App:
    """An app that sends these messages."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)
        then()

    return app


def fails() -> None:
    raise LookupError("no such plan")


def test_a_span_has_the_attributes_of_the_stable_conventions() -> None:
    scope = http_scope(
        "/plans/17",
        "POST",
        [("host", "decalogo.example:8443"), ("user-agent", "curl/8"), ("accept", "*/*")],
        scheme="https",
        query_string=b"a=1&b=%C3%A9",
        http_version="2",
    )

    async def plan(request: Request) -> Response:
        return PlainTextResponse("ok", 201)

    app = Starlette(routes=[Route("/plans/{plan}", plan, methods=["POST"])])
    span = span_of(app, scope)
    assert span.name == "POST /plans/{plan}"
    assert span.kind is SpanKind.SERVER
    assert span.parent is None
    assert span.status.status_code is StatusCode.UNSET
    told = {k: v for k, v in attributes(span).items() if not k.startswith("feature_flag.")}
    assert told == {
        http_attributes.HTTP_REQUEST_METHOD: "POST",
        http_attributes.HTTP_RESPONSE_STATUS_CODE: 201,
        http_attributes.HTTP_ROUTE: "/plans/{plan}",
        url_attributes.URL_PATH: "/plans/17",
        url_attributes.URL_QUERY: "a=1&b=%C3%A9",
        url_attributes.URL_SCHEME: "https",
        server_attributes.SERVER_ADDRESS: "decalogo.example",
        server_attributes.SERVER_PORT: 8443,
        client_attributes.CLIENT_ADDRESS: "203.0.113.7",
        network_attributes.NETWORK_PEER_ADDRESS: "203.0.113.7",
        network_attributes.NETWORK_PEER_PORT: 4711,
        network_attributes.NETWORK_PROTOCOL_VERSION: "2",
        user_agent_attributes.USER_AGENT_ORIGINAL: "curl/8",
        "canario.outcome": "good",
        "canario.latency_ms": 0.0,
    }
    assert span.instrumentation_scope is not None
    assert span.instrumentation_scope.name == "canario"


def test_a_method_that_is_not_known_does_not_name_the_span() -> None:
    span = span_of(hello, http_scope(method="BREW"))
    assert span.name == "HTTP"
    assert attributes(span)["http.request.method"] == "_OTHER"
    assert attributes(span)["http.request.method_original"] == "BREW"


def test_without_a_route_the_method_alone_names_the_span() -> None:
    assert span_of(hello, http_scope("/secret/4711")).name == "GET"


def test_a_route_begins_at_the_root_of_the_server_s_paths_and_includes_mounts() -> None:
    async def plan(request: Request) -> Response:
        return PlainTextResponse("ok")

    inner = Route("/plans/{plan}", plan)
    app = Starlette(routes=[Mount("/cities/{city}", routes=[inner])])
    scope = http_scope("/api/cities/7/plans/17", root_path="/api")
    assert attributes(span_of(app, scope))["http.route"] == "/api/cities/{city}/plans/{plan}"


@pytest.mark.parametrize(
    ("status", "error"), [(200, None), (302, None), (404, None), (499, None), (500, "500")]
)
def test_only_a_server_s_error_is_an_error(status: int, error: str | None) -> None:
    span = span_of(says(start(status), BODY))
    assert attributes(span)["http.response.status_code"] == status
    assert attributes(span).get(error_attributes.ERROR_TYPE) == error
    assert (span.status.status_code is StatusCode.ERROR) == (error is not None)


def test_an_exception_is_recorded_once_with_its_qualified_name() -> None:
    for messages in ((), (start(),), (start(), {**BODY, "more_body": True})):
        span = span_of(says(*messages, then=fails))
        assert [event.name for event in span.events] == ["exception"]
        assert attributes(span)["error.type"] == "LookupError"
        assert span.status.status_code is StatusCode.ERROR
        told = attributes(span).get("http.response.status_code")
        assert told == (200 if messages else None)


def test_an_exception_that_follows_the_server_error_it_caused_is_recorded() -> None:
    class TroubleError(Exception):
        pass

    async def boom(request: Request) -> Response:
        raise TroubleError("it broke")

    span = span_of(Starlette(routes=[Route("/", boom)]))
    (event,) = span.events
    assert event.attributes is not None
    assert event.attributes["exception.type"] == attributes(span)["error.type"]
    assert str(attributes(span)["error.type"]).endswith("TroubleError")
    assert attributes(span)["http.response.status_code"] == 500


def test_an_exception_that_the_app_has_recorded_itself_is_not_recorded_again() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        error = LookupError("no such plan")
        trace.get_current_span().record_exception(error)
        raise error

    assert len(span_of(app).events) == 1


def test_a_span_ends_with_the_last_message_and_not_with_background_tasks() -> None:
    sent: list[int] = []
    ended: list[ReadableSpan] = []
    provider = Provider()

    async def work() -> None:
        ended.extend(provider.spans)

    async def plan(request: Request) -> Response:
        return PlainTextResponse("ok", background=BackgroundTask(work))

    async def note(message: Message) -> None:
        sent.append(time.time_ns())

    ask(guard(Starlette(routes=[Route("/", plan)]), provider), http_scope(), send=note)
    assert ended == [provider.server]
    assert provider.server.end_time is not None
    assert provider.server.end_time >= sent[-1]


def test_a_failed_response_s_span_ends_at_its_last_message_too() -> None:
    after: list[int] = []

    def later() -> None:
        after.append(time.time_ns())
        raise LookupError

    span = span_of(says(start(500), BODY, then=later))
    assert span.end_time is not None
    assert span.end_time <= after[0]
    assert len(span.events) == 1


def test_attributes_that_the_app_sets_before_the_last_message_are_kept() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        await send({**BODY, "more_body": True})
        trace.get_current_span().set_attribute("app.late", "yes")
        await send(BODY)

    assert attributes(span_of(app))["app.late"] == "yes"


def test_trailers_are_part_of_the_response() -> None:
    open_spans: list[bool] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start(trailers=True))
        await send(BODY)
        open_spans.append(trace.get_current_span().is_recording())
        await send({"type": "http.response.trailers", "headers": [], "more_trailers": False})
        open_spans.append(trace.get_current_span().is_recording())

    span = span_of(app)
    assert open_spans == [True, False]
    assert span.status.status_code is StatusCode.UNSET


def test_a_file_that_the_server_sends_is_a_whole_response() -> None:
    span = span_of(says(start(), {"type": "http.response.pathsend", "path": "/dev/null"}))
    assert span.status.status_code is StatusCode.UNSET
    assert "error.type" not in attributes(span)


def test_a_head_request_has_a_span() -> None:
    span = span_of(says(start(), {**BODY, "body": b""}), http_scope(method="HEAD"))
    assert span.name == "HEAD"
    assert attributes(span)["http.response.status_code"] == 200


def test_a_client_that_leaves_is_no_error_and_is_said() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        while (await receive())["type"] != "http.disconnect":
            pass

    span = span_of(app, None, REQUEST, DISCONNECT)
    assert span.status.status_code is StatusCode.UNSET
    assert "error.type" not in attributes(span)
    assert attributes(span)["canario.response.aborted"] is True


def test_what_an_app_raises_because_the_client_left_is_no_error() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await receive()
        raise ConnectionError("nobody there")

    span = span_of(app, None, REQUEST, DISCONNECT)
    assert span.status.status_code is StatusCode.UNSET
    assert span.events == ()


def test_a_cancelled_request_is_no_error_and_no_success() -> None:
    provider, stuck = Provider(), Stuck()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        await stuck()

    async def main() -> None:
        task = asyncio.create_task(talk(guard(app, provider), http_scope()))
        await stuck.reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert provider.server.status.status_code is StatusCode.UNSET
    assert attributes(provider.server)["canario.response.aborted"] is True


def test_an_app_that_does_not_answer_is_an_error() -> None:
    for messages in ((), (start(),)):
        span = span_of(says(*messages))
        assert attributes(span)["error.type"] == "incomplete_response"
        assert span.status.status_code is StatusCode.ERROR


# -- WebSockets


def socket_of(app: App, *incoming: Message, **more: Any) -> ReadableSpan:
    messages = incoming or ({"type": "websocket.connect"},)
    return span_of(app, websocket_scope("/rooms/1", **more), *messages)


ACCEPT: Message = {"type": "websocket.accept"}


def test_a_websocket_s_span_covers_the_connection() -> None:
    recording: list[bool] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in (ACCEPT, {"type": "websocket.send", "text": "a"}):
            await send(message)
            recording.append(trace.get_current_span().is_recording())
        await send({"type": "websocket.close"})
        recording.append(trace.get_current_span().is_recording())

    span = socket_of(app)
    assert recording == [True, True, True]
    assert span.name == "GET"
    assert attributes(span)["http.response.status_code"] == 101
    assert attributes(span)["url.scheme"] == "ws"
    assert span.status.status_code is StatusCode.UNSET


def test_a_websocket_over_http_2_is_a_connect() -> None:
    span = socket_of(says(ACCEPT, {"type": "websocket.close"}), http_version="2")
    assert attributes(span)["http.request.method"] == "CONNECT"
    assert attributes(span)["http.response.status_code"] == 200


def test_a_websocket_that_is_refused_says_with_what() -> None:
    refused = socket_of(says({"type": "websocket.close", "code": 1000}))
    assert attributes(refused)["http.response.status_code"] == 403
    denied = {"type": "websocket.http.response.start", "status": 401, "headers": []}
    assert attributes(socket_of(says(denied)))["http.response.status_code"] == 401


def test_a_websocket_that_fails_is_an_error() -> None:
    span = socket_of(says(ACCEPT, {"type": "websocket.close", "code": 1011}))
    assert attributes(span)["error.type"] == "1011"
    assert span.status.status_code is StatusCode.ERROR
    raised = socket_of(says(ACCEPT, then=fails))
    assert attributes(raised)["error.type"] == "LookupError"


def test_a_websocket_whose_client_leaves_is_no_error() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(ACCEPT)
        while (await receive())["type"] != "websocket.disconnect":
            pass
        raise RuntimeError("nobody there")

    span = socket_of(
        app, {"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": 1006}
    )
    assert span.status.status_code is StatusCode.UNSET
    assert span.events == ()


# -- the context


def test_spans_within_are_children_and_tasks_of_the_app_inherit_them() -> None:
    provider = Provider()
    tracer = provider.get_tracer("app")

    async def piece(number: int) -> None:
        with tracer.start_as_current_span(f"piece {number}"):
            await asyncio.sleep(0)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.gather(*map(piece, range(3)))
        await respond(send)

    ask(guard(app, provider), http_scope())
    pieces = [span for span in provider.spans if span.name.startswith("piece")]
    assert len(pieces) == 3
    assert all(
        span.parent is not None and span.parent.span_id == ids(provider.server)[1]
        for span in pieces
    )


def test_a_thousand_concurrent_requests_have_a_thousand_correct_trees() -> None:
    provider = Provider()
    tracer = provider.get_tracer("app")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(0)
        with tracer.start_as_current_span("work") as span:
            span.set_attribute("path", scope["path"])
            await asyncio.sleep(0)
        await respond(send)

    async def main() -> None:
        served = guard(app, provider)
        await asyncio.gather(*(talk(served, http_scope(f"/{n}")) for n in range(1000)))

    asyncio.run(main())
    servers = {ids(s): s for s in provider.spans if s.kind is SpanKind.SERVER}
    works = [span for span in provider.spans if span.name == "work"]
    assert len(servers) == len(works) == len({trace_id for trace_id, _ in servers}) == 1000
    for work in works:
        assert work.parent is not None
        above = servers[work.parent.trace_id, work.parent.span_id]
        assert attributes(above)["url.path"] == attributes(work)["path"]


def test_the_span_is_not_present_any_more_after_the_request() -> None:
    provider = Provider()

    async def main() -> None:
        for app in (hello, says(then=fails)):
            await talk(guard(app, provider), http_scope())
            assert trace.get_current_span() is trace.INVALID_SPAN

    asyncio.run(main())


def test_a_middleware_around_that_runs_the_app_in_another_task_changes_nothing() -> None:
    provider = Provider()

    async def pass_on(request: Request, call_next: Callable[[Request], Any]) -> Any:
        return await call_next(request)

    async def plan(request: Request) -> Response:
        return PlainTextResponse("ok")

    app = Starlette(
        routes=[Route("/plans/{plan}", plan)],
        middleware=[
            Middleware(BaseHTTPMiddleware, dispatch=pass_on),
            Middleware(CanaryMiddleware, controller=Controller(), tracer_provider=provider),
        ],
    )
    answer: Answer = ask(app, http_scope("/plans/17"))
    assert answer.status == 200
    assert provider.server.name == "GET /plans/{plan}"


def test_an_exchange_knows_its_trace() -> None:
    provider = Provider()
    seen: list[str | None] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        exchange = present.get()
        assert exchange is not None
        seen.append(exchange.trace_id)
        await respond(send)

    ask(guard(app, provider), http_scope())
    ask(guard(app, provider, spans=False), http_scope())
    assert seen == [f"{ids(provider.server)[0]:032x}", None]
