"""HTTP attributes of a request in OpenTelemetry's stable semantic conventions.

Read from an ASGI scope or from a WSGI environ, with nothing imported of either. Text is made
valid UTF-8 here: one lone surrogate would make an exporter drop a whole batch of spans.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping
from functools import lru_cache
from typing import Any, Protocol
from urllib.parse import unquote_plus

from opentelemetry.propagators.textmap import Getter

from canario.wire import address_of, headers_of, utf8_text, wire_pairs

__all__ = [
    "ASGI",
    "WSGI",
    "Attributes",
    "HTTPProtocol",
    "known_methods",
    "redacted",
    "server_of",
]

Attributes = dict[str, str | int | bool]
Request = MutableMapping[str, Any]

# RFC 9110, RFC 5789 (PATCH) and the draft of QUERY, as the conventions list them.
_METHODS = frozenset(
    {"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"}
)

# Keys of query strings whose values are signatures and credentials, by past and present lists of
# the conventions.
_SECRET = frozenset(
    {
        "AWSAccessKeyId",
        "Signature",
        "sig",
        "X-Goog-Signature",
        "X-Amz-Signature",
        "X-Amz-Credential",
        "X-Amz-Security-Token",
    }
)

_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


class HTTPProtocol(Protocol):
    """How one protocol tells of a request."""

    getter: Getter[Request]

    def method(self, request: Request) -> str:
        """The method, as it was sent."""

    def first(self, request: Request, attributes: Attributes) -> None:
        """Add what a sampler may decide by."""

    def rest(self, request: Request) -> Attributes:
        """All else that is known before the app runs."""


def known_methods(environ: Mapping[str, str] | None = None) -> frozenset[str]:
    """The methods that keep their names; `OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS` lists others."""
    listed = (os.environ if environ is None else environ).get(
        "OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS", ""
    )
    return frozenset(name.strip() for name in listed.split(",") if name.strip()) or _METHODS


def redacted(query: str) -> str:
    """A query string without the values of signatures and credentials."""
    pairs = query.split("&")
    for number, pair in enumerate(pairs):
        name, equals, _ = pair.partition("=")
        if equals and (unquote_plus(name) if "%" in name else name) in _SECRET:
            pairs[number] = f"{name}=REDACTED"
    return "&".join(pairs)


@lru_cache(maxsize=256)  # nearly all requests name the same few
def server_of(host: str, scheme: str) -> tuple[str, int | None]:
    """Address and port that a Host header names; without a port the scheme's."""
    address, colon, port = host.rpartition(":")
    if not colon or port.endswith("]"):  # the colons of an IPv6 address
        address, port = host, ""
    address = address.removeprefix("[").removesuffix("]")
    number = int(port) if port.isascii() and port.isdigit() and len(port) <= 5 else None
    return address, number or _PORTS.get(scheme)


def text(value: str) -> str:
    """`value` as it can be written in UTF-8."""
    return value if value.isascii() else value.encode("utf-8", "replace").decode()


def _peer(attributes: Attributes, address: str, port: object) -> None:
    attributes["client.address"] = attributes["network.peer.address"] = text(address)
    if isinstance(port, int) and port > 0:  # 0 is what a server knows of a proxy's client
        attributes["network.peer.port"] = port


def _server(attributes: Attributes, address: str, port: int | None) -> None:
    if not address:
        return
    attributes["server.address"] = text(address)
    if port is not None:
        attributes["server.port"] = port


class _ScopeGetter(Getter[Request]):
    """Headers of a scope, for propagators."""

    def get(self, carrier: Request, key: str) -> list[str] | None:
        wanted = key.encode("latin-1")
        size = len(wanted)
        values = [
            value.decode("latin-1")
            for name, value in wire_pairs(headers_of(carrier))
            if len(name) == size and name.lower() == wanted
        ]
        return values or None

    def keys(self, carrier: Request) -> list[str]:
        return [name.decode("latin-1").lower() for name, _ in wire_pairs(headers_of(carrier))]


class _ASGI:
    getter: Getter[Request] = _ScopeGetter()

    def method(self, request: Request) -> str:
        if request["type"] == "http":
            return request.get("method") or "GET"
        # A handshake, as RFC 6455 and RFC 8441 have it.
        return "GET" if request.get("http_version", "1.1")[:1] == "1" else "CONNECT"

    def first(self, request: Request, attributes: Attributes) -> None:
        attributes["url.path"] = text(request.get("path", ""))
        attributes["url.scheme"] = request.get("scheme") or (
            "http" if request["type"] == "http" else "ws"
        )

    def rest(self, request: Request) -> Attributes:
        attributes: Attributes = {}
        query = request.get("query_string")
        if query:
            told = query.decode("utf-8", "replace") if isinstance(query, bytes) else text(query)
            attributes["url.query"] = redacted(told)
        host = agent = b""
        for name, value in wire_pairs(headers_of(request)):
            size = len(name)
            if size == 4 and name.lower() == b"host":
                host = host or value
            elif size == 10 and name.lower() == b"user-agent":
                agent = agent or value
        if agent:
            attributes["user_agent.original"] = agent.decode("latin-1")
        if host:
            _server(attributes, *server_of(host.decode("latin-1"), request.get("scheme", "http")))
        elif server := address_of(request, "server"):
            _server(attributes, *server)
        if client := address_of(request, "client"):
            _peer(attributes, *client)
        if version := request.get("http_version"):
            attributes["network.protocol.version"] = version
        return attributes


class _EnvironGetter(Getter[Request]):
    """Headers of an environ, for propagators."""

    def get(self, carrier: Request, key: str) -> list[str] | None:
        value = carrier.get("HTTP_" + key.upper().replace("-", "_"))
        return None if value is None else [value]

    def keys(self, carrier: Request) -> list[str]:
        return [name[5:].lower().replace("_", "-") for name in carrier if name.startswith("HTTP_")]


class _WSGI:
    getter: Getter[Request] = _EnvironGetter()

    def method(self, request: Request) -> str:
        return request.get("REQUEST_METHOD") or "GET"

    def first(self, request: Request, attributes: Attributes) -> None:
        path = f"{request.get('SCRIPT_NAME', '')}{request.get('PATH_INFO', '')}"
        attributes["url.path"] = utf8_text(path)
        attributes["url.scheme"] = request.get("wsgi.url_scheme") or "http"

    def rest(self, request: Request) -> Attributes:
        attributes: Attributes = {}
        if query := request.get("QUERY_STRING"):
            attributes["url.query"] = redacted(utf8_text(query))
        if agent := request.get("HTTP_USER_AGENT"):
            attributes["user_agent.original"] = text(agent)
        if host := request.get("HTTP_HOST"):
            _server(attributes, *server_of(host, request.get("wsgi.url_scheme", "http")))
        elif name := request.get("SERVER_NAME"):
            _server(attributes, name, _number(request.get("SERVER_PORT")))
        if peer := request.get("REMOTE_ADDR"):
            _peer(attributes, peer, _number(request.get("REMOTE_PORT")))
        name, slash, version = request.get("SERVER_PROTOCOL", "").partition("/")
        if slash and name == "HTTP":
            attributes["network.protocol.version"] = version
        return attributes


def _number(value: object) -> int | None:
    digits = str(value)
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= 5 else None


ASGI: HTTPProtocol = _ASGI()
WSGI: HTTPProtocol = _WSGI()
