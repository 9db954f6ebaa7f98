"""A preflight that both versions answer, over ASGI."""

from __future__ import annotations

from canario.asgi_types import App, Message, Receive, Scope, Send
from canario.exchange import Exchange, present
from canario.gate.both_arms import aside, settled
from canario.preflight import Answer
from canario.wire import readable, status_code, wire_pairs

__all__ = ["BothArms"]


class BothArms:
    """Asks both versions, and sends the answer that `choose` prefers.

    Args:
        mine: The version that the preflight is counted for.
        other: The other one, which it says nothing of.
        exchange: The preflight.
    """

    def __init__(self, mine: App, other: App, exchange: Exchange) -> None:
        self._mine = mine
        self._other = other
        self._exchange = exchange

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = self._exchange
        # Copies, since an app may write into its scope.
        other, _ = await _ask(self._other, {**scope}, receive, aside(exchange))
        mine, error = await _ask(self._mine, scope, receive, exchange)
        status, answer = settled(exchange, mine, other, error)
        start = {"type": "http.response.start", "status": status}
        await send({**start, "headers": list(answer.headers)})
        await send({"type": "http.response.body", "body": answer.body})


async def _ask(
    app: App, scope: Scope, receive: Receive, exchange: Exchange
) -> tuple[Answer, Exception | None]:
    """A version's whole answer, or what it raised instead of one."""
    starts: list[Message] = []
    body: list[bytes] = []

    async def collect(message: Message) -> None:
        if message["type"] == "http.response.start":
            starts.append(message)
        elif message["type"] == "http.response.body":
            body.append(bytes(message.get("body", b"")))

    token = present.set(exchange)
    try:
        await app(scope, receive, collect)
    except Exception as error:  # a cancellation is the request's end, and no answer of a version
        return Answer(None), error
    finally:
        present.reset(token)
    if not starts:
        return Answer(None), None
    headers = wire_pairs(readable(starts[0].get("headers", ())))
    return Answer(status_code(starts[0].get("status")), headers, b"".join(body)), None
