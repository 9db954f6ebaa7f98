"""Reading a request's HTTP attributes, whatever a client has sent."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.util.http import PARAMS_TO_REDACT
from tests.middleware.asgi_tools import http_scope
from tests.middleware.wsgi_tools import request

from canario.tracing.http_attributes import (
    ASGI,
    WSGI,
    Attributes,
    HTTPProtocol,
    known_methods,
    redacted,
    server_of,
)


@pytest.mark.parametrize("name", [*PARAMS_TO_REDACT, "X-Amz-Signature", "X-Amz-Security-Token"])
def test_signatures_and_credentials_are_redacted_and_nothing_else(name: str) -> None:
    assert redacted(f"a=1&{name}=secret&b=2") == f"a=1&{name}=REDACTED&b=2"
    assert redacted(f"{name}=x&{name}=y") == f"{name}=REDACTED&{name}=REDACTED"
    assert redacted(f"{name.lower()}x=1") == f"{name.lower()}x=1"


def test_a_name_that_is_escaped_hides_no_secret() -> None:
    assert redacted("%73ig=secret") == "%73ig=REDACTED"


@given(st.lists(st.tuples(st.text("abc%&", max_size=4), st.text("xyz%", max_size=4))))
def test_a_query_without_secrets_stays_as_it_is(pairs: list[tuple[str, str]]) -> None:
    query = "&".join(f"{name}={value}" for name, value in pairs)
    assert redacted(query) == query


@pytest.mark.parametrize(
    ("host", "scheme", "server"),
    [
        ("example.com", "http", ("example.com", 80)),
        ("example.com", "https", ("example.com", 443)),
        ("example.com", "wss", ("example.com", 443)),
        ("example.com:8080", "http", ("example.com", 8080)),
        ("[::1]", "http", ("::1", 80)),
        ("[::1]:8080", "http", ("::1", 8080)),
        ("example.com:", "http", ("example.com", 80)),
        ("example.com:abc", "http", ("example.com", 80)),
        ("example.com:²", "http", ("example.com", 80)),
        ("example.com", "gopher", ("example.com", None)),
        ("", "http", ("", 80)),
    ],
)
def test_a_host_header_names_the_server(
    host: str, scheme: str, server: tuple[str, int | None]
) -> None:
    assert server_of(host, scheme) == server


def test_the_known_methods_can_be_listed_by_the_environment() -> None:
    assert "GET" in known_methods({})
    variable = "OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS"
    assert known_methods({variable: "GET, PROPFIND"}) == {"GET", "PROPFIND"}
    assert known_methods({variable: ""}) == known_methods({})


def read(protocol: HTTPProtocol, sent: Any) -> Attributes:
    attributes: Attributes = {}
    protocol.first(sent, attributes)
    attributes.update(protocol.rest(sent))
    return attributes


ANY = st.text(st.characters(), max_size=8)  # with lone surrogates


@given(path=ANY, query=st.binary(max_size=8), host=st.binary(max_size=8), agent=st.binary())
def test_whatever_a_scope_holds_can_be_exported(
    path: str, query: bytes, host: bytes, agent: bytes
) -> None:
    scope = http_scope(path, query_string=query, raw_path=b"")
    scope["headers"] = [(b"Host", host), (b"user-agent", agent)]
    for value in read(ASGI, scope).values():
        assert str(value).encode().decode() == str(value)


@given(path=st.text(st.characters(max_codepoint=255)), query=ANY, host=ANY, port=ANY)
def test_whatever_an_environ_holds_can_be_exported(
    path: str, query: str, host: str, port: str
) -> None:
    environ = request(path, QUERY_STRING=query, HTTP_HOST=host, REMOTE_PORT=port)
    for value in read(WSGI, environ).values():
        assert str(value).encode().decode() == str(value)


def test_what_is_missing_is_left_out() -> None:
    bare = {"type": "http", "method": "GET", "path": "/"}
    assert read(ASGI, dict(bare)) == {"url.path": "/", "url.scheme": "http"}
    unix: Any = {**bare, "server": ("/run/app.sock", None), "client": None, "headers": []}
    assert read(ASGI, unix)["server.address"] == "/run/app.sock"
    assert "server.port" not in read(ASGI, unix)
    assert read(WSGI, {"PATH_INFO": "/x"}) == {"url.path": "/x", "url.scheme": "http"}


def test_headers_that_can_be_read_once_are_left_for_the_app() -> None:
    scope = http_scope()
    scope["headers"] = iter([(b"host", b"example.com")])
    assert ASGI.getter.get(scope, "host") == ["example.com"]
    assert ASGI.getter.keys(scope) == ["host"]
    assert scope["headers"] == [(b"host", b"example.com")]


def test_a_propagator_finds_headers_in_both_protocols() -> None:
    headers = [("TraceParent", "a"), ("x-b3-traceid", "b")]
    for getter, sent in (
        (ASGI.getter, http_scope(headers=headers)),
        (WSGI.getter, request(headers=headers)),
    ):
        assert getter.get(sent, "traceparent") == ["a"]
        assert getter.get(sent, "baggage") is None
        assert {"traceparent", "x-b3-traceid"} <= set(getter.keys(sent))
