"""Puts the middleware around an app, and counts what passes through it."""

from __future__ import annotations

import functools
import inspect
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from contextvars import ContextVar
from typing import Any

from canario import (
    CanaryDeploymentController,
    Deployment,
    Plan,
    RollbackThresholds,
    Routing,
    Stage,
    current_arm,
)
from canario.asgi import CanaryMiddleware
from canario.wsgi import CanaryMiddleware as WSGIMiddleware

from .outcomes import write

__all__ = ["App", "Receive", "Scope", "Send", "WSGIApp", "Wrapper", "make_wrapper"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
WSGIApp = Callable[[Any, Any], Iterable[bytes]]

# Each is a rollout of its own name, which sends about half of the requests to the canary.
_CONTROLLERS = 16

# True while a wrapped app is being called: what it calls in turn is a part of it.
_inside: ContextVar[bool] = ContextVar("canario_compat.inside", default=False)


def make_wrapper(variant: str) -> Wrapper:
    """How apps are guarded in the run called `variant`.

    `one-app` has one app for both arms, which may ask `current_arm`; `two-arms` has a canary,
    which is the same app again, so that nothing but the middleware can make a difference.
    """
    return Wrapper(two_arms=variant == "two-arms")


def _controller(serial: int) -> CanaryDeploymentController:
    """A rollout that stands at 50 % whatever happens.

    Most test requests look the same to a router and nothing may be added to them, so the name
    of the release is what differs: it sends half of the apps' requests to the canary.
    """
    unharmed = RollbackThresholds(
        max_error_rate=100, max_p95_latency_ms=1e9, min_samples=1_000_000_000
    )
    deployment = Deployment(
        canary_stages=(Stage(50, 1_000_000),),
        rollback_thresholds=unharmed,
        routing=Routing(key_sources=("header:user-agent", "header:host", "client")),
    )
    controller = CanaryDeploymentController(
        Plan(deployment=deployment), deployment_id=f"compat-{serial}"
    )
    controller.start()
    return controller


class Wrapper:
    """Wraps apps; its counts show that requests pass through."""

    def __init__(self, two_arms: bool) -> None:
        self._two_arms = two_arms
        self._controllers = [_controller(serial) for serial in range(_CONTROLLERS)]
        self._apps = 0
        self._counts: Counter[str] = Counter()
        # By the app's identity, and with it: not every app can be hashed.
        self._called: dict[int, tuple[object, Any]] = {}

    def __call__(self, app: App) -> App:
        """`app` behind the middleware."""
        counts = self._counts

        # Not a coroutine function: an app may be a class whose instances are awaited, and the
        # middleware has to get what such an app returns.
        def door(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
            self._reached(_kind(scope))
            return app(scope, receive, send)

        # What caches are told of an arm is a header of ours, and these suites compare all headers.
        guarded = CanaryMiddleware(
            door, self._next_controller(), door if self._two_arms else None, caches=False
        )

        async def entrance(scope: Scope, receive: Receive, send: Send) -> None:
            counts[f"entered {_kind(scope)}"] += 1
            token = _inside.set(True)
            try:
                await guarded(scope, receive, send)
            finally:
                _inside.reset(token)

        return entrance

    def wrap_wsgi(self, app: WSGIApp) -> WSGIApp:
        """`app`, which is one of WSGI's, behind the middleware."""

        def door(environ: Any, start_response: Any) -> Iterable[bytes]:
            self._reached("request")
            return app(environ, start_response)

        guarded = WSGIMiddleware(
            door, self._next_controller(), door if self._two_arms else None, caches=False
        )

        def entrance(environ: Any, start_response: Any) -> Iterable[bytes]:
            self._counts["entered request"] += 1
            token = _inside.set(True)
            try:
                return guarded(environ, start_response)
            finally:
                _inside.reset(token)

        return entrance

    def patch_calls(self, cls: Any) -> None:
        """Wrap the instances of `cls`, whose `__call__` is an app's, whoever calls them.

        Only the outermost call is a server's; the ones below it are the app's own affair.
        """
        bare = cls.__call__
        wrap: Any = self if inspect.iscoroutinefunction(bare) else self.wrap_wsgi

        def wrapped(instance: object) -> Any:
            app = functools.partial(bare, instance)
            if _inside.get():
                return app
            known = self._called.get(id(instance))
            if known is None:
                known = self._called[id(instance)] = (instance, wrap(app))
            return known[1]

        if wrap is self:

            @functools.wraps(bare)
            async def call(self: Any, scope: Scope, receive: Receive, send: Send) -> None:
                await wrapped(self)(scope, receive, send)

            cls.__call__ = call
        else:

            @functools.wraps(bare)
            def call_wsgi(self: Any, environ: Any, start_response: Any) -> Iterable[bytes]:
                iterable: Iterable[bytes] = wrapped(self)(environ, start_response)
                return iterable

            cls.__call__ = call_wsgi

    def write(self) -> None:
        """Leave the counts to the script.

        The middleware serves a request as if it were not there when it meets an error of its
        own: only its controller tells, and tests that pass would prove nothing.
        """
        faults = sum(controller.counters.get("faults", 0) for controller in self._controllers)
        write("counts.json", {**self._counts, "apps": self._apps, "faults": faults})

    def _next_controller(self) -> CanaryDeploymentController:
        self._apps += 1
        return self._controllers[self._apps % _CONTROLLERS]

    def _reached(self, kind: str) -> None:
        self._counts[f"reached {kind}"] += 1
        if kind == "request":
            self._counts[current_arm()] += 1


def _kind(scope: Scope) -> str:
    return "lifespan" if scope["type"] == "lifespan" else "request"
