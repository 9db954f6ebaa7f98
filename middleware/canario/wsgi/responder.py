"""One request over WSGI: what stands between the app and the server, and notes what passes.

What an app gives to its server reaches the server as it is: the same headers list, the same list
or file as body, each exception, `close()` once.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from opentelemetry.context import detach

from canario.exchange import Exchange, present
from canario.gate.caching import concerns_caches, say_nothing
from canario.gate.gate import Gate
from canario.routing.router import Arm
from canario.tracing.request import RequestSpan
from canario.wire import readable, status_code, wire_pairs

from .route import path_info

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

__all__ = ["Request", "Responder", "RouteName"]

_T = TypeVar("_T")

# Of the context that `current_arm` reads.
_begin, _end = present.set, present.reset

RouteName = Callable[["WSGIEnvironment"], "str | None"]


class Request(Exchange):
    """One request, and where the app may ask for its route."""

    __slots__ = ("_environ", "_routes")

    span: RequestSpan | None

    def __init__(self, environ: WSGIEnvironment, routes: Mapping[Arm, RouteName]) -> None:
        Exchange.__init__(self)
        self._environ = environ
        self._routes = routes

    def path(self) -> str:
        return path_info(self._environ)

    def find_route(self) -> str | None:
        # Checks ask, too: were this to raise, none would be made while the request is in flight,
        # and a canary that hangs would stay.
        try:
            return self._routes[self.arm](self._environ)
        except BaseException as error:
            if self.gate is not None:
                self.gate.fault("naming the route", error)
            return None


class Responder:
    """One request in its app: stands between the app and the server, and notes what passes."""

    __slots__ = (
        "_environ",
        "_event_stream",
        "_gate",
        "_is_socket",
        "_method",
        "_route",
        "_start_response",
        "_template",
        "_write",
        "exchange",
    )

    def __init__(
        self,
        gate: Gate,
        exchange: Request,
        environ: WSGIEnvironment,
        start_response: StartResponse,
    ) -> None:
        self._gate = gate
        self.exchange = exchange
        self._environ = environ
        self._start_response = start_response
        self._write: Callable[[bytes], object] | None = None
        self._route: str | None = None
        self._template: str | None = None  # the route as a span has it
        self._event_stream = False
        # Now, since an app may change the environ.
        self._method = environ.get("REQUEST_METHOD", "")
        self._is_socket = "HTTP_UPGRADE" in environ and _asks_for_socket(environ)

    def call(self, app: WSGIApplication) -> Iterable[bytes]:
        """What the app returns, or something that stands in for it and behaves alike."""
        try:
            body = self.run(app, self._environ, self.start_response)
        except BaseException as error:
            self.fail(error)
            raise
        try:
            return self._watch(body)
        except BaseException as error:
            self._gate.fault("watching a body", error)
            return body

    def run(self, function: Callable[..., _T], *args: object) -> _T:
        """Call what is the app's, with the arm and the span present for just as long."""
        span = self.exchange.span
        token = _begin(self.exchange)
        attached = None if span is None else span.attach()
        try:
            return function(*args)
        finally:
            _end(token)
            if attached is not None:
                detach(attached)

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], object]:
        """The server's own, but for what it notes; what the server raises goes to the app."""
        if self._gate.arm_header is None and not self.exchange.set_cookie and say_nothing(headers):
            own = headers  # as nearly all are
        else:
            headers = readable(headers)  # the server must still find what can be read but once
            try:
                own = self._with_own(status, headers)
            except BaseException as error:
                self._gate.fault("adding headers", error)
                own = headers
        if exc_info is None:
            self._write = self._start_response(status, own)
        else:
            try:
                self._write = self._start_response(status, own, exc_info)
            finally:
                exc_info = None  # its traceback holds this frame
        try:
            self._note(status, headers)
        except BaseException as error:
            self._gate.fault("reading the response's head", error)
        return self.write

    def write(self, data: bytes) -> object:
        """The server's own `write`, which fails with `OSError` when the client is gone."""
        assert self._write is not None  # the app has this method from `start_response`
        try:
            answer = self._write(data)
        except OSError:
            self.exchange.left = True
            raise
        self.take(data)
        return answer

    def take(self, chunk: bytes) -> None:
        """Note a piece of the body that went out."""
        exchange = self.exchange
        try:
            exchange.pieces += 1
            if self._event_stream and exchange.first_at is None and chunk:
                exchange.first_at = self._gate.controller.clock()
            if exchange.body is not None:
                exchange.collect(chunk, self._gate.max_body)
        except BaseException as error:
            self._gate.fault("reading the response's body", error)

    def complete(self) -> None:
        """Observe a request whose body has gone out: no response, unless the app started one."""
        exchange = self.exchange
        exchange.complete = exchange.status is not None and not exchange.left
        if exchange.span is None and not self._is_socket:
            self._gate.finish(exchange, self._route)
        else:
            self._finish()

    def fail(self, error: BaseException) -> None:
        """Observe a request that ended in an exception: the app's, or what a dead client does."""
        self.exchange.failed = not self.exchange.left
        self._finish(error)

    def close(self) -> None:
        """Observe a request whose body is closed before its end."""
        self._settle()
        self._finish()

    @property
    def over(self) -> bool:
        """Whether there is nothing left to be observed or ended."""
        span = self.exchange.span
        return self.exchange.observed and not (span is not None and span.own and span.recording)

    def drop(self) -> None:
        """Keep a request whose body is garbage, not observed yet, for the next one to observe.

        The collector may run anywhere, even under the controller's lock: so nothing is observed
        here.
        """
        if not self.exchange.observed:
            with suppress(Exception):
                self._settle()
                self._gate.drop(self.exchange, self._known_route)
                span, tracer = self.exchange.span, self._gate.tracer
                if span is not None and tracer is not None:
                    span.mark_end()
                    tracer.abandon(self._end_span)

    def _known_route(self) -> str | None:
        return self._route

    def _watch(self, body: Iterable[bytes]) -> Iterable[bytes]:
        if type(body) is list or type(body) is tuple:
            # Not wrapped, since servers read a Content-Length off the type and the length.
            if self._event_stream or self.exchange.body is not None:
                for chunk in body:
                    self.take(chunk)
            self.complete()
            return body
        if _is_file(body, self._environ):
            return self._watch_file(body)
        return _SizedBody(self, body) if hasattr(type(body), "__len__") else _Body(self, body)

    def _watch_file(self, body: Any) -> Iterable[bytes]:
        """The same file, so that the server recognizes it and may send it by the kernel."""
        # More than a contract is shown: what the kernel sends is not seen here.
        self.exchange.body_bytes = self._gate.max_body + 1
        closer = _FileCloser(self, getattr(body, "close", None))
        try:
            body.close = closer.close
        except (AttributeError, TypeError):
            self.complete()  # a type without attributes of its own: its end cannot be seen
        return body  # type: ignore[no-any-return]

    def _with_own(self, status: str, headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """The app's list, or a copy with what is to be added."""
        exchange, gate = self.exchange, self._gate
        if exchange.observed:
            return headers
        if gate.arm_header is not None:
            headers = [*headers, (gate.arm_header, str(exchange.arm))]
        if exchange.reason != "disabled" and (exchange.set_cookie or concerns_caches(headers)):
            made = gate.headers_for(
                exchange, status_code(status), wire_pairs(headers), self._method
            )
            return [
                (_WRITTEN.get(name) or name.decode("latin-1"), value.decode("latin-1"))
                for name, value in made
            ]
        return headers

    def _note(self, status: str, headers: list[tuple[str, str]]) -> None:
        exchange = self.exchange
        exchange.status = status_code(status)
        exchange.failed = exchange.status is None  # no client can make anything of it
        self._event_stream = _is_event_stream(headers)
        if exchange.body is not None:
            exchange.see_head(exchange.status, wire_pairs(headers))
        span = exchange.span
        traced = span is not None and span.recording
        if traced or self._gate.names_routes:
            # Now, since Flask forgets the request when its app returns.
            self._route = self._template = self.exchange.find_route()
        if traced and self._route is not None and self._route.startswith("/"):
            self._template = self._environ.get("SCRIPT_NAME", "").rstrip("/") + self._route
        if span is not None and not span.own:
            span.note_route(self._template)  # a host may end it with the last piece, or before

    def _settle(self) -> None:
        """Tell a body that had nothing to give from a client that did not wait for it."""
        exchange = self.exchange
        bodiless = self._method == "HEAD" or exchange.status in (204, 304)
        exchange.complete = exchange.status is not None and bodiless
        exchange.left = not exchange.complete

    def _finish(self, error: BaseException | None = None) -> None:
        exchange = self.exchange
        if self._is_socket:
            exchange.timed = False
            # The app took the connection over, and no server asks it for a response then.
            exchange.left = exchange.left or exchange.status is None
            exchange.failed = exchange.failed and not exchange.left
        span = exchange.span
        if span is None:
            self._gate.finish(exchange, self._route)
            return
        attached = span.attach()  # for what an observation has to tell
        try:
            self._gate.finish(exchange, self._route)
        finally:
            if attached is not None:
                detach(attached)
        if error is not None and not exchange.left:
            span.raised(error)
        self._end_span()

    def _end_span(self) -> None:
        if self.exchange.span is not None:
            self.exchange.span.end(self.exchange, self.exchange.status, self._template)


class _Body:
    """Stands in for an app's iterable, and sees each piece, its end and its `close()`.

    What it has not itself is the app's: others look for a `status_code` there. Only what Python
    itself asks for is not, such as a length, by which servers go.
    """

    __slots__ = ("_closed", "_iterable", "_iterator", "_responder")

    def __init__(self, responder: Responder, iterable: Iterable[bytes]) -> None:
        self._responder = responder
        self._iterable = iterable
        self._iterator: Iterator[bytes] | None = None
        self._closed = False

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in _Body.__slots__:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self._iterable, name)

    def __iter__(self) -> _Body:
        self._begin()  # here, so that what `iter` raises meets the server where it would without us
        return self

    def __next__(self) -> bytes:
        responder = self._responder
        iterator = self._begin() if self._iterator is None else self._iterator
        exchange = responder.exchange
        token = _begin(exchange)
        attached = None if exchange.span is None else exchange.span.attach()
        try:
            chunk = next(iterator)
        except StopIteration:
            responder.complete()
            raise
        except BaseException as error:
            responder.fail(error)
            raise
        finally:
            _end(token)
            if attached is not None:
                detach(attached)
        responder.take(chunk)
        return chunk

    def close(self) -> None:
        """Close the app's iterable if it can be closed; a second call changes nothing."""
        if self._closed:
            return
        self._closed = True
        # Before the app's own: what it does then comes after the response, as a background task.
        if not self._responder.over:
            self._responder.close()
        close = getattr(self._iterable, "close", None)
        if close is not None:
            self._responder.run(close)

    def __del__(self) -> None:
        self._responder.drop()

    def _begin(self) -> Iterator[bytes]:
        if self._iterator is None:
            try:
                self._iterator = self._responder.run(iter, self._iterable)
            except BaseException as error:
                self._responder.fail(error)
                raise
        return self._iterator


class _SizedBody(_Body):
    """A body whose app says how many pieces it has: servers conclude a Content-Length from 1."""

    __slots__ = ()

    def __len__(self) -> int:
        return len(self._iterable)  # type: ignore[arg-type]


class _FileCloser:
    """The `close` of a file that the server sends by itself."""

    __slots__ = ("_close", "_responder")

    def __init__(self, responder: Responder, close: Callable[[], object] | None) -> None:
        self._responder = responder
        self._close = close

    def close(self) -> None:
        """Close what the app gave; a second call changes nothing."""
        if sys.exception() is None:
            self._responder.complete()
        else:  # what stopped the server from sending it is on its way up
            self._responder.close()
        close, self._close = self._close, None  # it may hold the file, and that holds this
        if close is not None:
            self._responder.run(close)

    def __del__(self) -> None:
        self._responder.drop()


# Names that are added, as WSGI apps write them.
_WRITTEN = {b"cache-control": "Cache-Control", b"set-cookie": "Set-Cookie", b"vary": "Vary"}


def _asks_for_socket(environ: WSGIEnvironment) -> bool:
    return str(environ["HTTP_UPGRADE"]).lower() == "websocket"


def _is_event_stream(headers: Iterable[tuple[str, str]]) -> bool:
    try:
        for name, value in headers:
            if len(name) == 12 and name.lower() == "content-type":
                return value.lower().startswith("text/event-stream")
    except (TypeError, ValueError, AttributeError):
        pass  # no headers of WSGI's: the server shall say so
    return False


def _is_file(body: object, environ: WSGIEnvironment) -> bool:
    wrapper = environ.get("wsgi.file_wrapper")
    if isinstance(wrapper, type):
        return isinstance(body, wrapper)
    # uWSGI's is a function that returns the file, which the server then knows by its identity.
    return wrapper is not None and hasattr(type(body), "read")
