"""What tracing never does to a request, and where a span's context is."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest
import uvloop
from opentelemetry import baggage, context, trace
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler, SamplingResult
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, TraceFlags
from opentelemetry.util._once import Once
from tests.middleware.asgi_tools import (
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
)
from tests.middleware.test_asgi_transparent import CASES, outcome
from tests.tracing.request_tools import (
    PARENT_ID,
    TRACE_ID,
    TRACEPARENT,
    Provider,
    attributes,
    ids,
)

from canario.asgi import CanaryMiddleware


def guard(app: App, provider: Any, **options: Any) -> CanaryMiddleware:
    return CanaryMiddleware(app, Controller(), tracer_provider=provider, **options)


def faults(guarded: CanaryMiddleware) -> int:
    return guarded.gate.controller.counters.get("faults", 0)


# -- providers


@pytest.fixture
def _no_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the process had not set one yet."""
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER_SET_ONCE", Once())


@pytest.mark.usefixtures("_no_provider")
def test_a_provider_that_is_set_later_is_used_from_the_next_request_on() -> None:
    provider = Provider()
    guarded = guard(hello, None)
    ask(guarded, http_scope("/before"))
    trace.set_tracer_provider(provider)
    ask(guarded, http_scope("/after"))
    assert attributes(provider.server)["url.path"] == "/after"


@pytest.mark.usefixtures("_no_provider")
def test_a_provider_that_stands_for_the_global_one_is_the_global_one() -> None:
    guarded = guard(hello, trace.get_tracer_provider())
    ask(guarded, http_scope())
    provider = Provider()
    trace.set_tracer_provider(provider)
    ask(guarded, http_scope())
    assert len(provider.spans) == 1


@pytest.mark.usefixtures("_no_provider")
def test_the_provider_that_the_environment_names_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_PYTHON_TRACER_PROVIDER", "sdk_tracer_provider")
    seen: list[bool] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(trace.get_current_span().is_recording())
        await respond(send)

    ask(guard(app, None), http_scope())
    assert seen == [True]


def test_without_tracing_nothing_is_attached_and_the_scope_stays_as_it_is() -> None:
    seen: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append((trace.get_current_span(), "starlette.opentelemetry" in scope))
        await respond(send)

    off: list[dict[str, Any]] = [
        {"spans": False},
        {"tracer_provider": trace.NoOpTracerProvider()},
    ]
    for options in off:
        ask(CanaryMiddleware(app, Controller(), **options), http_scope())
    assert seen == [(trace.INVALID_SPAN, False)] * 2


def test_a_host_s_span_stays_untouched_where_spans_are_not_wanted() -> None:
    provider = Provider()
    with provider.get_tracer("host").start_as_current_span("host", kind=SpanKind.SERVER):
        ask(guard(hello, provider, spans=False), http_scope())
    assert attributes(provider.server) == {}


# -- parents


def serve_within(span: trace.Span, provider: Provider, headers: Any = ()) -> None:
    token = context.attach(trace.set_span_in_context(span))
    try:
        ask(guard(hello, provider), http_scope(headers=headers))
    finally:
        context.detach(token)


@pytest.mark.parametrize("kind", [SpanKind.CLIENT, SpanKind.PRODUCER, SpanKind.CONSUMER])
def test_a_client_in_the_same_task_has_the_request_below_it(kind: SpanKind) -> None:
    provider = Provider()
    with provider.get_tracer("client").start_as_current_span("client", kind=kind) as client:
        ask(guard(hello, provider), http_scope())
    parent = provider.server.parent
    assert parent is not None
    assert parent.span_id == client.get_span_context().span_id


def test_what_a_client_in_the_same_task_sends_is_its_parent() -> None:
    provider = Provider()
    with provider.get_tracer("client").start_as_current_span("client", kind=SpanKind.CLIENT):
        ask(guard(hello, provider), http_scope(headers=[TRACEPARENT]))
    assert provider.server.parent is not None
    assert f"{provider.server.parent.span_id:016x}" == PARENT_ID


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_a_local_span_that_stands_for_the_request_is_annotated(depth: int) -> None:
    """The server's own, or one that the host has opened below it."""
    provider = Provider()
    host = provider.get_tracer("host").start_as_current_span
    with ExitStack() as spans:
        spans.enter_context(host("0", kind=SpanKind.SERVER))
        for number in range(depth):
            spans.enter_context(host(str(number + 1)))
        ask(guard(hello, provider), http_scope())
    assert provider.server.name == "0"
    assert len(provider.spans) == 1 + depth
    annotated = [each for each in provider.spans if "feature_flag.key" in attributes(each)]
    assert [span.name for span in annotated] == [str(depth)]


@pytest.mark.parametrize(
    "above", [None, SpanContext(7, 9, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))]
)
def test_a_span_without_a_server_s_above_it_has_the_request_below_it(
    above: SpanContext | None,
) -> None:
    """As one around the start of a server, which all of its requests find as their context."""
    provider = Provider()
    parent = None if above is None else trace.set_span_in_context(NonRecordingSpan(above))
    with provider.get_tracer("host").start_as_current_span("serve", parent) as around:
        ask(guard(hello, provider), http_scope())
        ask(guard(hello, provider), http_scope(headers=[TRACEPARENT]))
    first, second, _ = provider.spans
    assert (first.kind, second.kind) == (SpanKind.SERVER, SpanKind.SERVER)
    assert first.parent is not None
    assert first.parent.span_id == around.get_span_context().span_id
    assert second.parent is not None
    assert f"{second.parent.span_id:016x}" == PARENT_ID


def test_a_local_span_that_was_not_sampled_stays_the_only_one() -> None:
    provider = Provider()
    local = NonRecordingSpan(SpanContext(1, 2, is_remote=False, trace_flags=TraceFlags(0)))
    serve_within(local, provider)
    assert len(provider.spans) == 0


def test_a_span_that_ended_before_the_request_is_no_parent_of_it() -> None:
    provider = Provider()
    start_up = provider.get_tracer("host").start_span("start-up")
    start_up.end()
    serve_within(start_up, provider)
    assert provider.server.parent is None


def test_a_parent_that_somebody_else_has_extracted_is_kept() -> None:
    provider = Provider()
    remote = NonRecordingSpan(SpanContext(7, 9, is_remote=True, trace_flags=TraceFlags(1)))
    serve_within(remote, provider)
    assert provider.server.parent is not None
    assert provider.server.parent.span_id == 9


def test_baggage_of_the_request_reaches_the_app() -> None:
    seen: list[object] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(baggage.get_baggage("tenant"))
        await respond(send)

    ask(guard(app, Provider()), http_scope(headers=[("baggage", "tenant=lima")]))
    assert seen == ["lima"]


def test_a_trace_parent_that_is_none_begins_a_new_trace() -> None:
    for value in ("", "nonsense", "00-" + "0" * 32 + f"-{PARENT_ID}-01", "\xff"):
        provider = Provider()
        scope = http_scope()
        scope["headers"] = [(b"traceparent", value.encode("latin-1"))]
        ask(guard(hello, provider), scope)
        assert provider.server.parent is None


# -- sampling


class Asked(Sampler):
    """Keeps what it was asked, and what it says of the canary alone."""

    def __init__(self) -> None:
        self.attributes: list[Any] = []

    def should_sample(self, *args: Any, **kwargs: Any) -> SamplingResult:
        told = dict(args[4])
        self.attributes.append(told)
        kept = told["feature_flag.result.variant"] == "canary"
        return (ALWAYS_ON if kept else ALWAYS_OFF).should_sample(*args, **kwargs)

    def get_description(self) -> str:
        return "asked"


def test_a_sampler_can_keep_the_canary_s_requests_alone() -> None:
    sampler = Asked()
    provider = Provider(sampler)
    guarded = guard(hello, provider)
    controller: Any = guarded.gate.controller
    for arm in ("baseline", "canary"):
        ask(guarded, http_scope("/x", headers=[("x-user-id", controller.a_key(arm))]))
    assert attributes(provider.server)["feature_flag.result.variant"] == "canary"
    assert [told["url.path"] for told in sampler.attributes] == ["/x", "/x"]


def test_spans_within_a_request_that_is_not_sampled_do_not_become_roots() -> None:
    provider = Provider(ALWAYS_OFF)
    seen: list[SpanContext] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(trace.get_current_span().get_span_context())
        await respond(send)

    ask(guard(app, provider), http_scope(headers=[TRACEPARENT]))
    assert f"{seen[0].trace_id:032x}" == TRACE_ID
    assert not seen[0].trace_flags.sampled


# -- what goes wrong


class BrokenProvider(trace.TracerProvider):
    """Fails where it is told to."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._real = Provider()

    def get_tracer(self, *args: Any, **kwargs: Any) -> trace.Tracer:
        tracer = self._real.get_tracer(*args, **kwargs)
        broken = self

        class Broken(type(tracer)):  # type: ignore[misc]
            def start_span(self, *args: Any, **kwargs: Any) -> trace.Span:
                if broken._where == "start_span":
                    raise RuntimeError("broken")
                span: trace.Span = super().start_span(*args, **kwargs)

                def fail(*args: Any, **kwargs: Any) -> None:
                    raise RuntimeError("broken")

                setattr(span, broken._where, fail)
                return span

        tracer.__class__ = Broken
        return tracer


@pytest.mark.parametrize(
    "where",
    ["start_span", "set_attributes", "update_name", "end", "record_exception", "set_status"],
)
@pytest.mark.parametrize("fails", [False, True], ids=["good", "failing"])
def test_a_broken_tracer_breaks_no_request(where: str, fails: bool) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await respond(send)
        if fails:
            raise LookupError("the app's own")

    async def failing(scope: Scope, receive: Receive, send: Send) -> None:
        await respond(send, status=500)
        raise LookupError("the app's own")

    guarded = guard(failing if fails else app, BrokenProvider(where), route=lambda scope: "/x")
    answer = ask(guarded, http_scope())
    assert answer.body == b"hello"
    assert isinstance(answer.raised, LookupError) == fails
    assert len(guarded.gate.controller.seen) == 1  # type: ignore[attr-defined]
    if where not in ("record_exception", "set_status") or fails:
        assert faults(guarded)


def test_a_route_that_cannot_be_told_costs_only_the_route() -> None:
    def route(scope: Scope) -> str:
        raise RuntimeError("no")

    provider = Provider()
    guarded = guard(hello, provider, route=route)
    assert ask(guarded, http_scope()).body == b"hello"
    assert provider.server.name == "GET"
    assert faults(guarded) == 1


def test_a_fault_of_canario_s_own_is_on_the_span_and_the_baseline_serves() -> None:
    provider = Provider()
    controller = Controller()
    guarded = CanaryMiddleware(hello, controller, tracer_provider=provider, arm_header="X-Arm")
    controller.start()

    def broken() -> float:
        raise RuntimeError("no clock")

    controller.clock = broken
    answer = ask(guarded, http_scope())
    assert answer.headers == [(b"content-type", b"text/plain")]
    assert attributes(provider.server)["feature_flag.result.reason"] == "error"
    assert attributes(provider.server)["http.response.status_code"] == 200
    assert controller.seen == []


def test_text_that_is_no_utf_8_does_not_stop_a_request() -> None:
    provider = Provider()
    scope = http_scope("/\udcff", query_string=b"a=\xff&sig=1", http_version="1.1")
    scope["headers"] = [(b"host", b"\xff:x"), (b"user-agent", b"\xfe")]
    assert ask(guard(hello, provider), scope).status == 200
    for value in attributes(provider.server).values():
        str(value).encode()
    assert attributes(provider.server)["url.query"] == "a=\ufffd&sig=REDACTED"


@pytest.mark.parametrize("by", ["canario", "the host"])
@pytest.mark.parametrize("case", CASES)
def test_a_traced_response_is_byte_for_byte_what_it_is_without(case: str, by: str) -> None:
    app, scope = CASES[case]
    provider = Provider()
    served = guard(app, provider)

    async def hosted(scope: Scope, receive: Receive, send: Send) -> Any:
        with provider.get_tracer("host").start_as_current_span("host", kind=SpanKind.SERVER):
            return await served(scope, receive, send)

    assert outcome(hosted if by == "the host" else served, scope) == outcome(app, scope)
    traced = scope.get("type") in ("http", "websocket")
    assert len(provider.spans) == (traced or by == "the host")


# -- where it runs


def test_it_needs_no_event_loop() -> None:
    """A coroutine that is driven by hand: whatever trio or curio would do is no more than this."""
    provider = Provider()
    sent: list[Message] = []

    class Once:
        def __await__(self) -> Any:
            yield

    async def send(message: Message) -> None:
        await Once()
        sent.append(message)

    async def receive() -> Message:
        raise AssertionError

    running = guard(hello, provider)(http_scope(), receive, send)
    for _ in range(2):  # each message waits once
        running.send(None)
    with pytest.raises(StopIteration):
        running.send(None)
    assert len(sent) == 2
    assert attributes(provider.server)["http.response.status_code"] == 200


def test_it_works_on_uvloop() -> None:
    provider = Provider()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(0)
        await respond(send)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(talk(guard(app, provider), http_scope()))
    assert attributes(provider.server)["http.response.status_code"] == 200


class Locked(SpanProcessor):
    """Says whether a span ended while it was not allowed to."""

    closed = False
    ended_while_closed = 0

    def on_end(self, span: Any) -> None:
        self.ended_while_closed += self.closed


def _close_elsewhere(close: Callable[[], object]) -> None:
    contextvars.copy_context().run(close)


def _close_empty(close: Callable[[], object]) -> None:
    contextvars.Context().run(close)


@pytest.mark.parametrize("closing", [_close_elsewhere, _close_empty, lambda close: close()])
def test_a_request_that_is_thrown_away_takes_no_lock_and_loses_no_span(
    closing: Callable[[Callable[[], object]], None], caplog: pytest.LogCaptureFixture
) -> None:
    provider, lock = Provider(), Locked()
    provider.add_span_processor(lock)

    class Once:
        def __await__(self) -> Any:
            yield

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await Once()

    async def nothing(*message: Any) -> Any:
        raise AssertionError

    guarded = guard(app, provider)

    def begin_and_throw_away() -> None:
        running = guarded(http_scope("/thrown"), nothing, nothing)
        running.send(None)
        lock.closed = True
        closing(running.close)
        lock.closed = False

    with caplog.at_level(logging.WARNING):
        contextvars.copy_context().run(begin_and_throw_away)
        assert len(provider.spans) == 0
        guarded.app = hello
        ask(guarded, http_scope("/next"))
    assert lock.ended_while_closed == 0
    assert caplog.records == []
    spans = {attributes(each)["url.path"]: each for each in provider.ended()}
    assert set(spans) == {"/thrown", "/next"}
    assert attributes(spans["/thrown"])["canario.response.aborted"] is True
    assert ids(spans["/thrown"])[0] != ids(spans["/next"])[0]
