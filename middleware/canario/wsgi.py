"""The WSGI middleware: native, one object per request, and none of its own around a plain list.

What an app gives to its server reaches the server as it is: the same headers list, the same list
or file as body, each exception, `close()` once. Beside it stands what canario noted, and whatever
goes wrong there is a fault of canario's own that no client sees.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, Unpack

from opentelemetry.context import detach

from .caching import concerns_caches
from .context import present
from .controller import CanaryDeploymentController
from .gate import Exchange, Gate, GateOptions
from .options import check_apps
from .routing.router import Arm
from .tracing.http_attributes import WSGI
from .wire import on_the_wire, readable, status_code, wire_pairs
from .wsgi_preflight import BothArms
from .wsgi_route import RouteNames, decoded, path_info

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

__all__ = ["CanaryMiddleware"]

_T = TypeVar("_T")

_RouteName = Callable[["WSGIEnvironment"], "str | None"]


class CanaryMiddleware:
    """Sends each request to one of two apps, and tells the controller what became of it.

    A body that is a list or a tuple is judged when the app returns it, since the app's work is
    done and the server gets that very object. Any other is judged when its last piece has been
    handed out; a file for the server to send, when the server closes it.

    Args:
        app: The baseline; both arms when there is no `canary`, and then it asks `current_arm()`.
        controller: Guards the release; it starts at the first request, so after any fork.
        canary: The app of the other arm.
        route: The template of the route that serves a request, or None where there is none; asked
            with the environ when the app starts its response. By default the template of Flask,
            Django, Falcon or Bottle.
        options: What `canario.gate.Gate` takes: `contract`, `errors`, `arm_header`, `monitor`, …
            A body sent by `wsgi.file_wrapper` is not seen by a contract, and counted so.

    Raises:
        ConfigError: As `Gate` does.
        ValueError: When an option is not valid.
    """

    def __init__(
        self,
        app: WSGIApplication,
        controller: CanaryDeploymentController,
        canary: WSGIApplication | None = None,
        *,
        route: Callable[[WSGIEnvironment], str | None] | None = None,
        **options: Unpack[GateOptions],
    ) -> None:
        self.gate = Gate(controller, **options)
        check_apps(app, canary, route)
        self.app = app
        self.canary = app if canary is None else canary
        names: _RouteName = route or RouteNames(app)
        self._routes: dict[Arm, _RouteName] = {"baseline": names, "canary": names}
        if route is None and self.canary is not app:
            self._routes["canary"] = RouteNames(self.canary)
        self._options = _Options(self.gate)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        exchange = _Request(environ, self._routes)
        admitted = self.gate.admit(
            exchange,
            _EnvironCarrier(environ),
            environ.get("REQUEST_METHOD", ""),
            _path(environ),
            environ.get("wsgi.url_scheme") == "https",
        )
        if not admitted:  # it is served as if canario were not here
            exchange.arm, exchange.reason = "baseline", "error"
            exchange.observed = True
            exchange.body = None
            exchange.asks_both = False
        tracer = self.gate.tracer
        span = exchange.span = None if tracer is None else tracer.open(exchange, WSGI, environ)
        if span is None and not admitted:
            return self.app(environ, start_response)
        app = self.app if exchange.arm == "baseline" else self.canary
        if exchange.asks_both:
            app = BothArms(app, self.canary if exchange.arm == "baseline" else self.app, exchange)
        return _Responder(self._options, exchange, environ, start_response).call(app)


class _Request(Exchange):
    """One request, and where the app may ask for its route."""

    def __init__(self, environ: WSGIEnvironment, routes: Mapping[Arm, _RouteName]) -> None:
        self._environ = environ
        self._routes = routes

    def path(self) -> str:
        return path_info(self._environ)

    def find_route(self) -> str | None:
        return self._routes[self.arm](self._environ)


class _Options(NamedTuple):
    """What all requests of one middleware share."""

    gate: Gate


class _Responder:
    """One request in its app: stands between the app and the server, and notes what passes."""

    __slots__ = (
        "_environ",
        "_event_stream",
        "_is_socket",
        "_method",
        "_options",
        "_route",
        "_start_response",
        "_template",
        "_write",
        "exchange",
    )

    def __init__(
        self,
        options: _Options,
        exchange: Exchange,
        environ: WSGIEnvironment,
        start_response: StartResponse,
    ) -> None:
        self._options = options
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
            self._options.gate.fault("watching a body", error)
            return body

    def run(self, function: Callable[..., _T], *args: object) -> _T:
        """Call what is the app's, with the arm and the span present for just as long."""
        span = self.exchange.span
        token = present.set(self.exchange)
        attached = None if span is None else span.attach()
        try:
            return function(*args)
        finally:
            present.reset(token)
            if attached is not None:
                detach(attached)

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], object]:
        """The server's own, but for what it notes; what the server raises goes to the app."""
        headers = readable(headers)  # the server must still find what can be read but once
        try:
            own = self._with_own(status, headers)
        except BaseException as error:
            self._options.gate.fault("adding headers", error)
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
            self._options.gate.fault("reading the response's head", error)
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
                exchange.first_at = self._options.gate.controller.clock()
            if exchange.body is not None:
                exchange.collect(chunk, self._options.gate.max_body)
        except BaseException as error:
            self._options.gate.fault("reading the response's body", error)

    def complete(self) -> None:
        """Observe a request whose body has gone out: no response, unless the app started one."""
        exchange = self.exchange
        exchange.complete = exchange.status is not None and not exchange.left
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
                self._options.gate.drop(self.exchange, self._known_route)
                span, tracer = self.exchange.span, self._options.gate.tracer
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
        self.exchange.body_bytes = self._options.gate.max_body + 1
        closer = _FileCloser(self, getattr(body, "close", None))
        try:
            body.close = closer.close
        except (AttributeError, TypeError):
            self.complete()  # a type without attributes of its own: its end cannot be seen
        return body  # type: ignore[no-any-return]

    def _with_own(self, status: str, headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """The app's list, or a copy with what is to be added."""
        exchange, gate = self.exchange, self._options.gate
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
        if traced or self._options.gate.names_routes:
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
            self._options.gate.finish(exchange, self._route)
            return
        attached = span.attach()  # for what an observation has to tell
        try:
            self._options.gate.finish(exchange, self._route)
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

    def __init__(self, responder: _Responder, iterable: Iterable[bytes]) -> None:
        self._responder = responder
        self._iterable = iterable
        self._iterator: Iterator[bytes] | None = None
        self._closed = False

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in _Body.__slots__:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self._iterable, name)

    def __iter__(self) -> _Body:
        self._begin()
        return self

    def __next__(self) -> bytes:
        responder = self._responder
        iterator = self._begin() if self._iterator is None else self._iterator
        exchange = responder.exchange
        token = present.set(exchange)
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
            present.reset(token)
            if attached is not None:
                detach(attached)
        responder.take(chunk)
        return chunk

    def close(self) -> None:
        """Close the app's iterable if it can be closed; a second call changes nothing."""
        if self._closed:
            return
        self._closed = True
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

    def __init__(self, responder: _Responder, close: Callable[[], object] | None) -> None:
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


class _EnvironCarrier:
    """Gives keys and claims as the bytes that were on the wire."""

    __slots__ = ("_environ",)

    def __init__(self, environ: WSGIEnvironment) -> None:
        self._environ = environ

    def headers(self, name: bytes) -> Sequence[bytes]:
        variable = _variable(name)
        value = self._environ.get(variable)
        # Of these two, an empty one is none.
        if value is None or (not value and variable in _UNPREFIXED):
            return ()
        return (on_the_wire(value),)

    def peer(self) -> str | None:
        return self._environ.get("REMOTE_ADDR") or None

    def user(self) -> bytes | None:
        user = self._environ.get("REMOTE_USER")
        return on_the_wire(user) if user else None

    def path(self) -> str:
        return path_info(self._environ)

    def query(self) -> bytes:
        return on_the_wire(self._environ.get("QUERY_STRING", ""))

    def request(self) -> WSGIEnvironment:
        return self._environ


_UNPREFIXED = frozenset({"CONTENT_TYPE", "CONTENT_LENGTH"})


@cache  # the names come from the plan, so there are few
def _variable(name: bytes) -> str:
    """The environ's name for a header."""
    variable = name.decode("latin-1").upper().replace("-", "_")
    return variable if variable in _UNPREFIXED else f"HTTP_{variable}"


def _path(environ: WSGIEnvironment) -> str:
    """The whole path as text."""
    return decoded(f"{environ.get('SCRIPT_NAME', '')}{environ.get('PATH_INFO', '')}")


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
