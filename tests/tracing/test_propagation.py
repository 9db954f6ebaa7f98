"""Contexts travel in headers of any kind, and nobody's claim to an arm is believed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from django.http.request import HttpHeaders  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import baggage, trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.propagate import extract
from requests.structures import CaseInsensitiveDict
from starlette.datastructures import Headers, MutableHeaders
from tests.tracing.traces import Spans, traced
from werkzeug.datastructures import Headers as WerkzeugHeaders

from canario.exchange import Exchange, present
from canario.tracing import TracingManager, get_tracing_manager, trace_flow

# The example of the W3C recommendation.
PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
TRACE, SPAN = 0x4BF92F3577B34DA6A3CE929D0E0E4736, 0x00F067AA0BA902B7


@pytest.fixture
def spans() -> Iterator[Spans]:
    with traced() as made:
        yield made


INBOUND: dict[str, Callable[[dict[str, str]], Any]] = {
    "dict": dict,
    "titled": lambda headers: {name.title(): value for name, value in headers.items()},
    "requests": CaseInsensitiveDict,
    "httpx": httpx.Headers,
    "starlette": Headers,
    "django": lambda headers: HttpHeaders(
        {f"HTTP_{name.upper()}": value for name, value in headers.items()}
    ),
    "werkzeug": WerkzeugHeaders,
    "environ": lambda headers: {
        "REQUEST_METHOD": "GET",
        "wsgi.input": object(),
        **{f"HTTP_{name.upper()}": value for name, value in headers.items()},
    },
    "scope": lambda headers: [(name.encode(), value.encode()) for name, value in headers.items()],
    "lists": lambda headers: {name: [value] for name, value in headers.items()},
}


@pytest.mark.parametrize("kind", INBOUND)
def test_a_context_is_read_from_headers_of_any_kind(kind: str) -> None:
    headers = INBOUND[kind](
        {"traceparent": PARENT, "tracestate": "vendor=1", "baggage": "tenant=t"}
    )
    context = get_tracing_manager().extract_context(headers)
    span = trace.get_current_span(context).get_span_context()
    assert (span.trace_id, span.span_id) == (TRACE, SPAN)
    assert span.is_remote
    assert span.trace_state.get("vendor") == "1"
    assert baggage.get_baggage("tenant", context) == "t"


OUTBOUND: dict[str, Callable[[], Any]] = {
    "dict": dict,
    "requests": CaseInsensitiveDict,
    "httpx": httpx.Headers,
    "starlette": MutableHeaders,
    "werkzeug": WerkzeugHeaders,
    "scope": list,
}


@pytest.mark.parametrize("kind", OUTBOUND)
def test_what_is_put_into_headers_is_read_again(kind: str, spans: Spans) -> None:
    manager = get_tracing_manager()
    headers = OUTBOUND[kind]()

    @trace_flow("calls")
    def calls() -> None:
        assert manager.inject_context(headers) is headers
        manager.inject_context(headers)

    calls()
    context = manager.extract_context(headers)
    sent = spans.one("calls").context
    assert sent is not None
    assert trace.get_current_span(context).get_span_context().span_id == sent.span_id
    assert len(headers) == 1


def test_a_header_is_replaced_however_it_was_written(spans: Spans) -> None:
    manager = get_tracing_manager()
    headers = {"Traceparent": PARENT, "Accept": "*/*"}
    pairs = [(b"TraceParent", PARENT.encode()), (b"accept", b"*/*")]
    with spans.tracer.start_as_current_span("span"):
        manager.inject_context(headers)
        manager.inject_context(pairs)
    assert sorted(headers) == ["Accept", "traceparent"]
    assert [name for name, _ in pairs] == [b"accept", b"traceparent"]
    assert headers["traceparent"] != PARENT


def test_an_inbound_context_is_the_parent_of_what_follows(spans: Spans) -> None:
    token = attach(get_tracing_manager().extract_context({"traceparent": PARENT}))
    try:
        trace_flow("flow")(lambda: None)()
    finally:
        detach(token)
    parent = spans.one("flow").parent
    assert parent is not None
    assert (parent.trace_id, parent.span_id, parent.is_remote) == (TRACE, SPAN, True)


def test_without_a_provider_nothing_is_sent_and_a_context_goes_through() -> None:
    manager = get_tracing_manager()
    assert manager.inject_context({}) == {}
    token = attach(manager.extract_context({"traceparent": PARENT}))
    try:
        assert manager.inject_context({}) == {"traceparent": PARENT}
    finally:
        detach(token)


@given(st.dictionaries(st.sampled_from(["traceparent", "tracestate", "baggage", "x"]), st.text()))
def test_headers_with_nonsense_give_an_empty_context(headers: dict[str, str]) -> None:
    context = get_tracing_manager().extract_context(headers)
    assert not trace.get_current_span(context).get_span_context().is_valid


@pytest.mark.parametrize("headers", [None, {}, [], 3, object(), [1], [(b"a",)], {1: None}])
def test_what_is_no_headers_breaks_nothing(headers: Any) -> None:
    assert get_tracing_manager().extract_context(headers) == Context()


@pytest.mark.parametrize(
    "claim",
    [
        "canario.arm=canary",
        "canario%2Earm=canary",
        "Canario.Arm=canary",
        " canario.arm =canary;p=1",
    ],
)
@pytest.mark.parametrize("propagate_arm", [False, True])
def test_an_inbound_claim_to_an_arm_is_not_believed(claim: str, propagate_arm: bool) -> None:
    manager = TracingManager(propagate_arm=propagate_arm)
    headers = {"traceparent": PARENT, "baggage": f"{claim},tenant=t"}
    context = manager.extract_context(headers)
    assert dict(baggage.get_all(context)) == {"tenant": "t"}
    # Even where something else has read the headers, the claim is not passed on.
    assert manager.inject_context({}, extract(headers)) == {
        "traceparent": PARENT,
        "baggage": "tenant=t",
    }


@pytest.mark.parametrize("arm", ["baseline", "canary"])
def test_the_arm_travels_when_asked_and_while_a_request_is_served(arm: Any) -> None:
    exchange = Exchange()
    exchange.arm = arm
    claimed = baggage.set_baggage("canario.arm", "forged")
    asked, by_default = TracingManager(propagate_arm=True), TracingManager()
    assert asked.inject_context({}, claimed) == {}
    token = present.set(exchange)
    try:
        assert asked.inject_context({}, claimed) == {"baggage": f"canario.arm={arm}"}
        assert by_default.inject_context({}, claimed) == {}
    finally:
        present.reset(token)
