"""Puts the middleware around an app, and counts what passes through it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
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

from .outcomes import write

__all__ = ["App", "Receive", "Scope", "Send", "Wrapper", "make_wrapper"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

# True while a wrapped app is being called: what it calls in turn is a part of it.
_inside: ContextVar[bool] = ContextVar("canario_compat.inside", default=False)


def make_wrapper(variant: str) -> Wrapper:
    """How apps are guarded in the run called `variant`.

    `one-app` has one app for both arms, which may ask `current_arm`; `two-arms` has a canary,
    which is the same app again, so that nothing but the middleware can make a difference.
    """

    def guard(app: App, controller: CanaryDeploymentController) -> App:
        canary = app if variant == "two-arms" else None
        # What caches are told of an arm is a header of ours, and these suites compare all headers.
        return CanaryMiddleware(app, controller=controller, canary=canary, caches=False)

    return Wrapper(guard)


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
    """Wraps apps with `guard(app, controller)`; its counts show that requests pass through."""

    def __init__(self, guard: Callable[[App, CanaryDeploymentController], App]) -> None:
        self._guard = guard
        self._controllers: list[CanaryDeploymentController] = []
        self._counts: Counter[str] = Counter()

    def __call__(self, app: App) -> App:
        """`app` behind the middleware."""
        counts = self._counts

        # Not a coroutine function: an app may be a class whose instances are awaited, and the
        # middleware has to get what such an app returns.
        def door(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
            counts[f"reached {_kind(scope)}"] += 1
            if _kind(scope) == "request":
                counts[current_arm()] += 1
            return app(scope, receive, send)

        controller = _controller(len(self._controllers))
        self._controllers.append(controller)
        guarded = self._guard(door, controller)

        async def entrance(scope: Scope, receive: Receive, send: Send) -> None:
            counts[f"entered {_kind(scope)}"] += 1
            token = _inside.set(True)
            try:
                await guarded(scope, receive, send)
            finally:
                _inside.reset(token)

        return entrance

    @property
    def inside(self) -> bool:
        """True in a call that a wrapped app makes."""
        return _inside.get()

    def write(self) -> None:
        """Leave the counts to the script.

        The middleware serves a request as if it were not there when it meets an error of its
        own: only its controller tells, and tests that pass would prove nothing.
        """
        faults = sum(controller.counters.get("faults", 0) for controller in self._controllers)
        write("counts.json", {**self._counts, "apps": len(self._controllers), "faults": faults})


def _kind(scope: Scope) -> str:
    return "lifespan" if scope["type"] == "lifespan" else "request"
