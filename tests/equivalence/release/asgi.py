"""The ASGI middleware, driven without a server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from tests.equivalence.release.fates import Fate, Panic
from tests.equivalence.release.release import Release

__all__ = ["drive"]

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[Any]]


def drive(release: Release) -> None:
    """Send all its requests, one after the other but for those that hang."""
    asyncio.run(_drive(release))


async def _drive(release: Release) -> None:
    from canario.asgi import CanaryMiddleware

    def guarded() -> Any:
        # Two apps, or one that asks which it is to be.
        canary = _App(release) if release.two_apps else None
        return CanaryMiddleware(
            _App(release), release.controller, canary, route=_route_of, **release.options
        )

    app = guarded()
    hanging: list[tuple[Fate, asyncio.Task[None]]] = []
    for fate in release.requests("asgi"):
        if release.begins_anew:
            app = guarded()
        if fate.end == "hangs":
            task = asyncio.create_task(_serve(release, app, fate))
            hanging.append((fate, task))
            for _ in range(3):
                await asyncio.sleep(0)
        else:
            await _serve(release, app, fate)
        if hanging and fate.number % 23 == 0:
            late, task = hanging.pop(0)
            if late.number % 3 == 0:
                task.cancel()
            else:
                release.let_go.add(late.number)
            while not task.done():
                await asyncio.sleep(0)
        release.after(fate)
    for _, task in hanging:
        task.cancel()
        while not task.done():
            await asyncio.sleep(0)
    release.end()


async def _serve(release: Release, app: Any, fate: Fate) -> None:
    answer: list[str] = []
    scope: Scope = {
        "type": "websocket" if fate.end == "socket" else "http",
        "method": fate.method,
        "scheme": "ws" if fate.end == "socket" else "https" if fate.number % 2 else "http",
        "path": fate.path,
        "root_path": "",
        "query_string": fate.query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in fate.headers],
        "client": (fate.peer, 1234),
        "equivalence": fate,
    }
    heard = 0

    async def receive() -> Message:
        nonlocal heard
        heard += 1
        if fate.end == "socket":
            return {"type": "websocket.connect" if heard == 1 else "websocket.disconnect"}
        if heard == 1:
            return {"type": "http.request", "body": b"", "more_body": False}
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if fate.end == "cannot send" and message["type"] == "http.response.body":
            raise OSError("the peer is gone")
        answer.append(_written(message))

    try:
        await app(scope, receive, send)
    except (Exception, Panic, asyncio.CancelledError) as error:
        answer.append(repr(error))
    release.answered(fate, answer)


class _App:
    """Serves each request as it is said of it."""

    def __init__(self, release: Release) -> None:
        self._release = release

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        release, fate = self._release, scope["equivalence"]
        end = fate.end
        await receive()
        release.serve(fate)
        if end == "raises":
            raise RuntimeError("it does not work")
        if end == "panics":
            raise Panic("a validator panicked")
        if end == "cancels itself":
            raise asyncio.CancelledError
        if end == "silent":
            return
        if end == "socket":
            await send({"type": "websocket.accept"})
            release.clock.advance(fate.after)
            await receive()
            await send({"type": "websocket.close", "code": 1000})
            return
        if end == "hangs":
            while fate.number not in release.let_go:
                await asyncio.sleep(0)
        if end == "leaves":
            await receive()
            return
        await send(
            {
                "type": "http.response.start",
                "status": "none" if end == "no status" else fate.status,
                "headers": [
                    (b"content-type", fate.kind.encode()),
                    *((name.encode(), value.encode()) for name, value in fate.extra),
                ],
            }
        )
        if end == "raises late":
            raise RuntimeError("it worked no longer")
        if end in ("stream", "events", "breaks off"):
            for piece in fate.pieces:
                release.clock.advance(fate.after)
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            if end == "breaks off":
                raise ConnectionError("the database is gone")
            await send({"type": "http.response.body", "body": b""})
        else:
            await send({"type": "http.response.body", "body": b"".join(fate.pieces)})
        if end == "background":
            release.clock.advance(fate.after)


def _route_of(scope: Scope) -> str | None:
    route: str | None = scope["equivalence"].route
    return route


def _written(message: Message) -> str:
    kind = message["type"]
    if kind == "http.response.start":
        headers = "; ".join(f"{n.decode()}: {v.decode()}" for n, v in message["headers"])
        return f"{message['status']} {headers}"
    if kind == "http.response.body":
        return f"{len(message.get('body', b''))} bytes{'…' if message.get('more_body') else ''}"
    return str(kind)
