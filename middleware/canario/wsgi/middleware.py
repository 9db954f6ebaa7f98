"""The WSGI middleware: native, one object per request, and none of its own around a plain list.

What an app gives to its server reaches the server as it is: the same headers list, the same list
or file as body, each exception, `close()` once. Beside it stands what canario noted, and whatever
goes wrong there is a fault of canario's own that no client sees.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Unpack

from canario.controller import CanaryDeploymentController
from canario.gate.gate import Gate
from canario.gate.options import GateOptions, check_apps
from canario.routing.router import Arm
from canario.tracing.http_attributes import WSGI
from canario.wire import on_the_wire, utf8_text

from .preflight import BothArms
from .responder import Request, Responder, RouteName
from .route import RouteNames, path_info

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

__all__ = ["CanaryMiddleware"]


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
        options: What `Gate` takes: `contract`, `errors`, `arm_header`, `monitor`, …
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
        check_apps(app, canary, route)
        self.gate = Gate(controller, **options)
        self.app = app
        self.canary = app if canary is None else canary
        names: RouteName = route or RouteNames(app)
        self._routes: dict[Arm, RouteName] = {"baseline": names, "canary": names}
        if route is None and self.canary is not app:
            self._routes["canary"] = RouteNames(self.canary)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        exchange = Request(environ, self._routes)
        admitted = self.gate.admit(
            exchange,
            _EnvironCarrier(environ),
            environ.get("REQUEST_METHOD", ""),
            _path(environ),
            environ.get("wsgi.url_scheme") == "https",
        )
        if not admitted:  # it is served as if canario were not here
            exchange.turn_away()
        tracer = self.gate.tracer
        span = exchange.span = None if tracer is None else tracer.open(exchange, WSGI, environ)
        if span is None and not admitted:
            return self.app(environ, start_response)
        app = self.app if exchange.arm == "baseline" else self.canary
        if exchange.asks_both:
            app = BothArms(app, self.canary if exchange.arm == "baseline" else self.app, exchange)
        return Responder(self.gate, exchange, environ, start_response).call(app)


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

    def only(self, name: bytes) -> bytes | None:
        value = self._environ.get(_variable(name))
        return on_the_wire(value) if value else None

    def peer(self) -> str | None:
        return self._environ.get("REMOTE_ADDR") or None  # empty behind a Unix socket

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
    return utf8_text(f"{environ.get('SCRIPT_NAME', '')}{environ.get('PATH_INFO', '')}")
