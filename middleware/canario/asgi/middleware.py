"""The ASGI middleware: a plain callable that sends each request to one of two apps."""

from __future__ import annotations

from typing import Any, Unpack

from opentelemetry.context import detach

from canario.asgi_types import App, Message, Receive, Scope, Send
from canario.controller import CanaryDeploymentController
from canario.exchange import present
from canario.gate.gate import Gate
from canario.gate.options import GateOptions, check_apps
from canario.routing.router import Arm
from canario.tracing.http_attributes import ASGI
from canario.tracing.manager import flush_own_spans

from .calls import Call, Headers, HTTPCall, RouteName, WebSocketCall, kind_of
from .lifespan import PairedLifespan, State, flush_sinks, give_state
from .preflight import BothArms
from .route import RouteNames

__all__ = ["CanaryMiddleware"]

# Of the context that `current_arm` reads.
_begin, _end = present.set, present.reset

_LAST_MESSAGES = ("lifespan.shutdown.complete", "lifespan.shutdown.failed")


class CanaryMiddleware:
    """Guards a release: serves each request by the baseline or by the canary, and watches both.

    Args:
        app: The baseline.
        controller: Decides who is served by the canary, and is told how it went.
        canary: The new version. Without one, `app` serves both arms and asks `current_arm()`.
        route: Called with the scope after the app has run, gives the name of its route; by
            default the template that the framework matched, such as `/items/{id}`: Starlette's,
            FastAPI's, Litestar's, Quart's, Sanic's, Django's or Falcon's.
        options: What `Gate` takes: `contract`, `errors`, `arm_header`, `monitor`, …

    An exception in here never breaks a request: the baseline serves it, unchanged, and the
    controller counts a fault.

    Raises:
        ConfigError: When the plan cannot be carried out; see `Gate`.
        ValueError: When an option is not valid.
    """

    def __init__(
        self,
        app: App,
        controller: CanaryDeploymentController,
        canary: App | None = None,
        *,
        route: RouteName | None = None,
        **options: Unpack[GateOptions],
    ) -> None:
        check_apps(app, canary, route)
        self.app = app
        self.canary = app if canary is None else canary
        self.gate = Gate(controller, **options)
        names: RouteName = RouteNames(app) if route is None else route
        self.routes: dict[Arm, RouteName] = {"baseline": names, "canary": names}
        if route is None and self.canary is not app:
            self.routes["canary"] = RouteNames(self.canary)
        self._arm_headers: dict[Arm, Headers] = {"baseline": (), "canary": ()}
        if self.gate.arm_header is not None:
            name = self.gate.arm_header.lower().encode()
            self._arm_headers = {"baseline": ((name, b"baseline"),), "canary": ((name, b"canary"),)}
        self._names_arm = self.gate.arm_header is not None
        self._states: tuple[State, State] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> Any:
        kind = scope.get("type")
        call: Call
        if kind == "http":
            call = HTTPCall(self.gate, self.routes, scope, receive, send)
        elif kind == "websocket":
            call = WebSocketCall(self.gate, self.routes, scope, receive, send)
        elif kind == "lifespan":
            return await self._lifespan(scope, receive, send)
        else:
            return await self.app(scope, receive, send)
        gate = self.gate
        try:
            admitted = gate.admit(
                call,
                call,
                scope.get("method", "GET"),
                scope.get("path", ""),
                scope.get("scheme") in ("https", "wss"),
            )
            if self._names_arm and admitted:
                call.extra = self._arm_headers[call.arm]
            if self._states is not None and admitted and call.arm == "canary":
                give_state(scope, *self._states)
        except BaseException as error:
            gate.fault("routing", error)
            admitted = False
        if not admitted:
            call.turn_away()
        tracer = gate.tracer
        span = None if tracer is None else tracer.open(call, ASGI, scope)
        if span is None and not admitted:
            return await self.app(scope, receive, send)
        app = self.canary if call.arm == "canary" else self.app
        if call.asks_both:
            app = BothArms(app, self.app if call.arm == "canary" else self.canary, call)
        token = _begin(call)
        attached = None
        if span is not None:
            call.span = span
            attached = span.attach()
        try:
            returned = await app(scope, call.receive, call.send)
        except BaseException as error:
            call.app_raised(error)
            raise
        else:
            # While the span is still the present one, for what an observation has to tell.
            if not call.observed:
                call.app_returned()
            if span is not None:
                call.end_span()
            return returned
        finally:
            try:
                _end(token)
            except ValueError:
                pass  # closed in another context than it ran in, where there is nothing to reset
            else:
                if attached is not None:
                    detach(attached)
            if span is not None:
                span.release()

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> Any:
        async def tell(message: Message) -> Any:
            kind = kind_of(message)
            if kind in _LAST_MESSAGES:
                # Hereafter a server may end its process by a signal: nothing else would do it.
                await flush_sinks(self.gate)
                flush_own_spans()
            returned = await send(message)
            # Not before: a model that takes minutes to load is not to use up the first stage.
            if kind == "lifespan.startup.complete":
                self.gate.start()
            return returned

        try:
            if self.canary is self.app:
                return await self.app(scope, receive, tell)
            pair = PairedLifespan(self.app, self.canary, scope, receive, tell)
            self._states = pair.states
            return await pair.run()
        finally:
            # What the collector has ended since the last request waits for one that never comes.
            self.gate.sweep()
            if self.gate.tracer is not None:
                self.gate.tracer.sweep()
