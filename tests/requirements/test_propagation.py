"""The page's context propagation: out to a real server, and in from any framework's headers."""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from opentelemetry import trace
from starlette.requests import Request
from tests.requirements.proofs import proves
from tests.requirements.running import python_block
from tests.requirements.traced import tell

from canario.tracing import get_tracing_manager


class Receiver(BaseHTTPRequestHandler):
    """Takes a POST, and keeps its headers and the context that the example reads from them."""

    headers_seen: ClassVar[list[Message]] = []

    def do_POST(self) -> None:
        self.headers_seen.append(self.headers)
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def another_service() -> Iterator[str]:
    """A server on the loopback interface; gives its address."""
    Receiver.headers_seen.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/evaluate"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


# The page posts with `requests`; httpx has the same `post`.
CLIENT = (
    ""
    if importlib.util.find_spec("requests")
    else 'import httpx, sys; sys.modules["requests"] = httpx\n'
)


@proves("block.tracing.propagation", "phase.0.across_services")
def test_the_context_arrives_at_another_service(tmp_path: Path) -> None:
    code = (
        CLIENT
        + """
import requests
request = SimpleNamespace(headers={"traceparent": "00-" + 32 * "a" + "-" + 16 * "b" + "-01"})

@trace_flow(FlowType.RESULT_SYNTHESIS)
def call():
"""
        + "".join(
            f"    {line}\n" if line else "\n"
            for line in python_block("tracing.propagation").splitlines()
        )
        + """
    return response.status_code, context

shown["status"], context = call()
shown["trace"] = format(trace.get_current_span(context).get_span_context().trace_id, "032x")
"""
    )
    with another_service() as url:
        told = tell(f"url = {url!r}\n{code}", tmp_path)
    assert told["status"] == 204
    assert told["trace"] == 32 * "a"
    (span,) = told["spans"]
    (headers,) = Receiver.headers_seen
    version, trace_id, span_id, flags = headers["traceparent"].split("-")
    assert (version, trace_id, span_id) == ("00", span["trace"], span["span"])
    assert int(flags, 16) & 1  # sampled
    there = get_tracing_manager().extract_context(headers)
    assert trace.get_current_span(there).get_span_context().is_remote
    context = trace.get_current_span(there).get_span_context()
    assert format(context.trace_id, "032x") == span["trace"]


TRACEPARENT = f"00-{'a' * 32}-{'b' * 16}-01"


def incoming() -> dict[str, Any]:
    """A request's headers as the frameworks hand them out."""
    from django.http.request import HttpHeaders  # type: ignore[import-untyped]
    from werkzeug.datastructures import EnvironHeaders

    environ = {"HTTP_TRACEPARENT": TRACEPARENT}
    raw = [(b"traceparent", TRACEPARENT.encode())]
    return {
        "dict": {"traceparent": TRACEPARENT},
        "dict, capitalized": {"Traceparent": TRACEPARENT},
        "Starlette": Request({"type": "http", "headers": raw}).headers,
        "Django": HttpHeaders(environ),
        "Flask": EnvironHeaders(environ),
    }


@pytest.mark.parametrize("framework", incoming())
def test_a_context_is_read_from_the_headers_of_any_framework(framework: str) -> None:
    context = get_tracing_manager().extract_context(incoming()[framework])
    span = trace.get_current_span(context).get_span_context()
    assert format(span.trace_id, "032x") == "a" * 32


def test_headers_without_a_context_give_none() -> None:
    context = get_tracing_manager().extract_context({"traceparent": "nonsense"})
    assert not trace.get_current_span(context).get_span_context().is_valid
