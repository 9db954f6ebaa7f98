"""Drives an ASGI app without a server, and notes what the controller was told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from canario import (
    CanaryDeploymentController,
    Deployment,
    Outcome,
    Plan,
    RollbackThresholds,
    Routing,
    Stage,
)
from canario.control.open_requests import Request
from canario.plan import ForcedArms, MissingEvidence
from canario.routing import Arm
from canario.tape import Mark
from canario.testing import ManualClock

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[Any]]
App = Callable[[Scope, Receive, Send], Awaitable[Any]]

GOOD, BAD, NEUTRAL = Outcome.GOOD, Outcome.BAD, Outcome.NEUTRAL

REQUEST: Message = {"type": "http.request", "body": b"", "more_body": False}
DISCONNECT: Message = {"type": "http.disconnect"}


@dataclass
class Seen:
    """One observation that a controller was given."""

    arm: Arm
    outcome: Outcome
    latency_ms: float | None


class Controller(CanaryDeploymentController):
    """A real controller with a clock that stands still; `seen` keeps what it was told."""

    def __init__(
        self,
        share: float = 50,
        *,
        hold: float = 1000,
        stages: tuple[Stage, ...] | None = None,
        routing: Routing | None = None,
        missing: MissingEvidence | None = None,
        max_error_rate: float = 100,
        max_p95_latency_ms: float = 500,
        min_samples: int = 10,
        check_interval: float = 5,
        abandoned_after_by_route: dict[str, float] | None = None,
        **options: Any,
    ) -> None:
        deployment = Deployment(
            canary_stages=stages or (Stage(share, hold),),
            rollback_thresholds=RollbackThresholds(
                max_error_rate=max_error_rate,
                max_p95_latency_ms=max_p95_latency_ms,
                min_samples=min_samples,
                check_interval_seconds=check_interval,
                abandoned_after_by_route=abandoned_after_by_route or {},
            ),
            routing=routing or Routing(),
            missing_evidence=missing or MissingEvidence(),
        )
        self.seen: list[Seen] = []
        self.time = ManualClock(1_700_000_000)
        options.setdefault("clock", self.time)
        super().__init__(Plan(deployment=deployment), deployment_id="release-1", **options)

    def observe(
        self,
        arm: Arm,
        outcome: Outcome,
        latency_ms: float | None = None,
        *,
        now: float | None = None,
        mark: Mark | None = None,
        request: Request | None = None,
    ) -> None:
        self.seen.append(Seen(arm, outcome, latency_ms))
        super().observe(arm, outcome, latency_ms, now=now, mark=mark, request=request)

    @property
    def only(self) -> Seen:
        """The one observation there was."""
        assert len(self.seen) == 1, self.seen
        return self.seen[0]

    def a_key(self, arm: Arm) -> str:
        """A key of `arm` at the present share."""
        self.start()
        return next(
            key for key in map(str, range(100_000)) if self.router.route_request(key) == arm
        )


class BrokenController(Controller):
    """A controller that raises, once `broken`, whatever is asked of it (or only for `names`)."""

    broken = False
    names: frozenset[str] = frozenset()

    def __getattribute__(self, name: str) -> Any:
        get = super().__getattribute__
        if get("broken") and (not get("names") or name in get("names")):
            raise RuntimeError(f"{name} is broken")
        return get(name)


def forced(**plan: Any) -> Routing:
    """A routing by `x-user-id`, with forced arms."""
    return Routing(key_sources=("header:x-user-id",), forced_arms=ForcedArms(**plan))


def http_scope(
    path: str = "/",
    method: str = "GET",
    headers: Iterable[tuple[str, str]] = (),
    **more: Any,
) -> Scope:
    """What a server would give for a request."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode("utf-8", "surrogateescape"),
        "query_string": b"",
        "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in headers],
        "client": ("203.0.113.7", 4711),
        "server": ("127.0.0.1", 8000),
        **more,
    }


def user(key: str, path: str = "/", **more: Any) -> Scope:
    """A GET of the user called `key`."""
    return http_scope(path, headers=[("x-user-id", key)], **more)


def websocket_scope(path: str = "/", **more: Any) -> Scope:
    """What a server would give for a WebSocket."""
    scope = http_scope(path, **more)
    del scope["method"]
    return {**scope, "type": "websocket", "scheme": "ws", "subprotocols": []}


@dataclass
class Answer:
    """What an app did: the messages it sent, what it returned or raised."""

    sent: list[Message] = field(default_factory=list)
    returned: Any = None
    raised: BaseException | None = None

    @property
    def status(self) -> int:
        """Of an HTTP response."""
        status = self.start["status"]
        assert isinstance(status, int)
        return status

    @property
    def start(self) -> Message:
        """The message that the response began with."""
        return next(m for m in self.sent if m["type"].endswith("response.start"))

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """Of an HTTP response."""
        return list(self.start["headers"])

    @property
    def body(self) -> bytes:
        """Of an HTTP response."""
        return b"".join(m.get("body", b"") for m in self.sent if m["type"].endswith("body"))


async def talk(
    app: App,
    scope: Scope,
    *incoming: Message,
    send: Callable[[Message], Awaitable[Any]] | None = None,
) -> Answer:
    """Call `app` with these messages; after the last one `receive` waits for ever.

    Exceptions come back in the answer; only a cancellation of the caller is passed on.
    """
    answer = Answer()
    waiting = list(incoming or (REQUEST,))

    async def receive() -> Message:
        if waiting:
            return waiting.pop(0)
        await asyncio.Event().wait()
        raise AssertionError

    async def note(message: Message) -> Any:
        if send is not None:
            await send(message)
        answer.sent.append(message)

    try:
        answer.returned = await app(scope, receive, note)
    except Exception as error:
        answer.raised = error
    return answer


def ask(app: App, scope: Scope, *incoming: Message, **options: Any) -> Answer:
    """`talk` on an event loop of its own."""
    return asyncio.run(talk(app, scope, *incoming, **options))


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    """The least that an app may do."""
    await respond(send)


async def respond(
    send: Send,
    body: bytes = b"hello",
    status: int = 200,
    headers: Iterable[tuple[bytes, bytes]] = ((b"content-type", b"text/plain"),),
) -> None:
    """Send a whole response."""
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})
    await send({"type": "http.response.body", "body": body})


def named(body: bytes) -> App:
    """An app that answers with its name."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await respond(send, body)

    return app
