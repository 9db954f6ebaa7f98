"""One request over ASGI: the carrier of its key, and what its app is given to talk through."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from canario.asgi_types import Message, Receive, Scope, Send
from canario.exchange import Exchange
from canario.gate.caching import concerns_caches, say_nothing
from canario.gate.gate import Gate
from canario.routing.keys import path_below
from canario.routing.router import Arm
from canario.tracing.request import RequestSpan
from canario.wire import Headers, address_of, headers_of, readable, status_code, wire_pairs

from .ending import was_cancelled, was_closed
from .route import RouteNames

__all__ = ["Call", "HTTPCall", "Headers", "RouteName", "WebSocketCall", "kind_of"]

RouteName = Callable[[Scope], str | None]

# A server error, as a WebSocket closes with (RFC 6455, 7.4.1).
_INTERNAL_ERROR = 1011

# Where a framework's user keeps what names it: Django, SQLAlchemy and the like, then Starlette.
_USER_NAMES = ("pk", "id", "identity", "username", "display_name")


class Call(Exchange):
    """One request: the carrier of its key, and the `receive` and `send` that its app is given."""

    __slots__ = (
        "_ending",
        "_first_event",
        "_gate",
        "_named",
        "_receive",
        "_routes",
        "_send",
        "_trailers",
        "extra",
        "scope",
    )

    span: RequestSpan | None
    _route: str | None = None  # once it is named

    def __init__(
        self,
        gate: Gate,
        routes: Mapping[Arm, RouteName],
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        Exchange.__init__(self)
        self._gate = gate
        self._routes = routes
        self._receive = receive
        self._send = send
        self.scope = scope
        self.extra: Headers = ()  # added to the headers of the response
        self._named = False
        # The last message is being sent, or was: from then on a disconnect is no leaving, since
        # servers tell it while they send the last message, too.
        self._ending = False
        self._first_event = False  # the first message of an event stream is being sent
        self._trailers = False

    # -- as a carrier

    def only(self, name: bytes) -> bytes | None:
        headers = self.scope.get("headers")
        if headers.__class__ is not list:
            return None
        size, found = len(name), None  # few names are as long, and comparing lengths is cheap
        try:
            # By their numbers, for that reads nothing of a pair that can be read but once.
            for pair in headers:
                if len(pair[0]) == size and (pair[0] == name or pair[0].lower() == name):
                    if found is not None:
                        return None
                    found = pair[1]
        except (TypeError, LookupError, AttributeError):
            return None  # not as servers give them
        return found if found.__class__ is bytes else None

    def headers(self, name: bytes) -> Sequence[bytes]:
        headers = self.scope.get("headers", ())
        if type(headers) is list or type(headers) is tuple:
            size = len(name)
            try:
                found = [
                    pair[1] for pair in headers if len(pair[0]) == size and pair[0].lower() == name
                ]
                if not found or type(found[0]) is bytes:
                    return found
            except (TypeError, LookupError, AttributeError):
                pass  # not as servers give them: read again, without haste
        return [value for key, value in wire_pairs(headers_of(self.scope)) if key.lower() == name]

    def peer(self) -> str | None:
        client = address_of(self.scope, "client")
        return client[0] if client else None

    def user(self) -> str | bytes | None:
        return _name_of(self.scope.get("user"))

    def path(self) -> str:
        return path_below(self.scope.get("path", ""), self.scope.get("root_path", ""))

    def query(self) -> bytes:
        query: bytes = self.scope.get("query_string", b"")
        return query

    def request(self) -> Scope:
        return self.scope

    # -- towards the app

    async def receive(self) -> Message:
        raise NotImplementedError

    async def send(self, message: Message) -> Any:
        raise NotImplementedError

    def app_returned(self) -> None:
        self._finish()

    def app_raised(self, error: BaseException) -> None:
        """Judge what the server answers with a 500, unless nobody waits for an answer."""
        if not isinstance(error, Exception):
            if isinstance(error, GeneratorExit) and was_closed(error):
                self._thrown_away()
                return
            self.left = self.left or was_cancelled(error)
        # What an app raises because nobody is there any more is not its failure.
        self.failed = self.failed or not self.left
        self._finish()
        if self.span is not None:
            self.end_span(error)

    # -- towards the app's own reports

    def find_route(self) -> str | None:
        return self._name()

    # -- towards the tracer

    def turn_away(self) -> None:
        """See `Exchange`."""
        super().turn_away()
        self.extra = ()

    def end_span(self, error: BaseException | None = None) -> None:
        """End the request's span; a host's that is not over is told the route."""
        span = self.span
        if span is None or not span.recording:
            return
        route = self._template()
        if not span.own:
            span.note_route(route)
            return
        if error is not None and not self.left:
            span.raised(error)
        span.end(self, self._final_status(), route)

    def _thrown_away(self) -> None:
        """Have it observed, and its span ended, by a later request.

        The garbage collector may have done it, in the midst of anything: no lock that an
        observation takes may be waited for here.
        """
        gate = self._gate
        if not self.observed:
            self.left = True
            gate.drop(self, self._name_if_asked)
        span = self.span
        if span is not None and gate.tracer is not None and span.own:
            span.mark_end()
            gate.tracer.abandon(self.end_span)

    def _final_status(self) -> int | None:
        return self.status

    def _template(self) -> str | None:
        """The route as a span has it: from the root of the server's paths."""
        route = self._name()
        try:
            if route is None or not route.startswith("/"):
                return route
            root = self.scope.get("app_root_path", self.scope.get("root_path", ""))
            return f"{root.rstrip('/')}{route}" if root else route
        except BaseException as error:
            self._gate.fault("naming the route", error)
            return None

    # -- towards the gate

    def _finish(self) -> None:
        """Have the request observed, unless it was."""
        if self.observed:
            return
        self._gate.finish(self, self._name_if_asked())

    def _name_if_asked(self) -> str | None:
        return self._name() if self._gate.names_routes else None

    def _name(self) -> str | None:
        """The name of the route; asked for until there is one."""
        if not self._named:
            try:
                names = self._routes[self.arm]
                if type(names) is RouteNames:
                    self._route = names(self.scope, self.noted_route)
                else:
                    self._route = names(self.scope)
                self._named = self._route is not None
            except BaseException as error:
                self._named = True
                self._gate.fault("naming the route", error)
        return self._route

    def _mark_first(self) -> None:
        """Time the response to the message that was just sent."""
        try:
            self.first_at = self._gate.controller.clock()
        except BaseException as error:
            self._watch_failed(error)

    def _watch_failed(self, error: BaseException) -> None:
        self._gate.fault("watching a response", error)


class HTTPCall(Call):
    """An HTTP request. It is observed with the last message, not after background tasks."""

    _before_body = True
    _start_headers: Headers = ()

    async def receive(self) -> Message:
        message = await self._receive()
        if kind_of(message) == "http.disconnect" and not self._ending:
            self.left = True
        return message

    async def send(self, message: Message) -> Any:
        try:
            kind = message.get("type") if message.__class__ is dict else None
            # What nearly all apps send; all else takes a closer look.
            if (
                kind == "http.response.body"
                and self.body is None
                and not message.get("more_body", False)
            ):
                self._ending = not self._trailers
            elif kind != "http.response.start" or not self._see_plain_start(message):
                message = self._look_at(message)
        except BaseException as error:
            self._watch_failed(error)
        send = self._send  # what is called as a method is looked up as one first
        try:
            returned = await send(message)
        except OSError:  # what a server raises when its client is gone (ASGI 2.4)
            self.left = True
            raise
        if self._ending:
            self.complete = True
            if not self.observed:
                gate = self._gate
                gate.finish(self, self._name() if gate.names_routes else None)
            if self.span is not None:
                self._end_response(self.span)
        elif self._first_event:
            self._first_event = False
            self._mark_first()
        return returned

    def _look_at(self, message: Message) -> Message:
        """Learn from a message that is about to be sent; returns what is sent in its place."""
        kind = kind_of(message)
        if kind == "http.response.body":
            if not message.get("more_body", False):
                self._ending = not self._trailers
            else:
                self.pieces += 1
                if self._before_body:
                    self._before_body = False
                    self._first_event = _is_event_stream(self._start_headers)
            if self.body is not None:
                self.collect(message.get("body", b""), self._gate.max_body)
        elif kind == "http.response.start":
            return self._see_start(message)
        elif kind == "http.response.trailers":
            self._ending = not message.get("more_trailers", False)
        elif kind == "http.response.pathsend" or kind == "http.response.zerocopysend":
            # A contract is not shown a body that does not pass through here, nor a part of one.
            self.body_bytes = sys.maxsize
            self._ending = not (message.get("more_body", False) or self._trailers)
        return message

    def _see_plain_start(self, message: Message) -> bool:
        """False for what takes a closer look."""
        if self.span is not None or self.body is not None or self.set_cookie or self.extra:
            return False
        status: Any = message.get("status")
        headers: Any = message.get("headers")
        if status.__class__ is not int or not 100 <= status <= 999 or not say_nothing(headers):
            return False
        self.status = status
        self._start_headers = headers
        self._trailers = message.get("trailers", False)
        return True

    def _end_response(self, span: RequestSpan) -> None:
        span.mark_end()
        # After a server error the exception may be yet to come: a framework answers first.
        if self.status is None or self.status < 500:
            self.end_span()

    def _see_start(self, message: Message) -> Message:
        status = message.get("status")
        if status.__class__ is not int or not 100 <= status <= 999:
            status = status_code(status)
            self.failed = status is None  # the server, or the client, can make nothing of it
        self.status = status
        self._trailers = message.get("trailers", False)
        given = message.get("headers", ())
        headers = readable(given)
        if headers is not given:  # the server must still find what can be read but once
            message = {**message, "headers": headers}
        self._start_headers = headers
        if self.body is not None:
            self.see_head(self.status, wire_pairs(headers))
        if self.span is not None and not self.span.own:
            self.span.note_route(self._template())  # a host's ends with the last message, or before
        # "disabled" is a request outside of a release: there is no arm that a cache could mix up.
        if self.reason != "disabled" and (self.set_cookie or concerns_caches(headers)):
            method = self.scope.get("method", "")
            pairs = [*wire_pairs(headers), *self.extra]
            headers = self._gate.headers_for(self, self.status, pairs, method)
            return {**message, "headers": headers}
        return _with_headers(message, self.extra) if self.extra else message


class WebSocketCall(Call):
    """A WebSocket. It is observed when its app is done, and timed to the app's first message."""

    _accepted = False

    async def receive(self) -> Message:
        message = await self._receive()
        if kind_of(message) == "websocket.disconnect":
            self.left = True
        return message

    async def send(self, message: Message) -> Any:
        try:
            message = self._look_at(message)
        except BaseException as error:
            self._watch_failed(error)
        try:
            returned = await self._send(message)
        except OSError:
            self.left = True
            raise
        if self.first_at is None:
            self._mark_first()
        return returned

    def app_returned(self) -> None:
        self.complete = self.first_at is not None
        self.body = None  # contracts are about HTTP responses
        self._finish()

    def _final_status(self) -> int | None:
        if self.status is None and self._accepted:  # what the server has answered
            # RFC 6455, 4.2.2; over HTTP/2 and later RFC 8441, 5.
            return 101 if self.scope.get("http_version", "1.1")[:1] == "1" else 200
        return self.status

    def _look_at(self, message: Message) -> Message:
        """Learn from a message that is about to be sent; returns what is sent in its place."""
        kind = kind_of(message)
        if kind == "websocket.close":
            if message.get("code") == _INTERNAL_ERROR and not self.left:
                self.failed = True
            if self.first_at is None:
                self.status = 403  # what a server answers, whatever the code
        elif kind == "websocket.accept" or kind == "websocket.http.response.start":
            self._accepted = kind == "websocket.accept"
            if not self._accepted:
                self.status = status_code(message.get("status"))
                self.failed = self.status is None
            extra = self.extra
            if self.set_cookie is not None:
                extra = (*extra, (b"set-cookie", self.set_cookie.encode("latin-1")))
            return _with_headers(message, extra) if extra else message
        return message


def _with_headers(message: Message, extra: Headers) -> Message:
    """A copy of the message, for its headers may be the app's own list."""
    return {**message, "headers": [*(message.get("headers") or ()), *extra]}


def kind_of(message: Any) -> Any:
    """The message's type; None of what is no message."""
    try:
        return message["type"]
    except Exception:
        return None  # no message of ASGI's: whoever it is for shall say so


def _is_event_stream(headers: Headers) -> bool:
    return any(
        name.lower() == b"content-type" and value.lower().startswith(b"text/event-stream")
        for name, value in wire_pairs(headers)
    )


def _name_of(user: Any) -> str | bytes | None:
    """What names a user that an authentication left in the scope, if it is a known one."""
    if user is None or isinstance(user, str | bytes):
        return user or None
    if not getattr(user, "is_authenticated", True):
        return None
    for attribute in _USER_NAMES:
        with suppress(NotImplementedError):  # Starlette's BaseUser leaves that to its heirs
            name = getattr(user, attribute, None)
            if name not in (None, ""):
                return name if isinstance(name, bytes) else str(name)
    return None
