"""A preflight that both versions answer, over ASGI."""

from __future__ import annotations

from .asgi_types import App, Message, Receive, Scope, Send
from .context import present
from .gate import Exchange
from .preflight import Answer, choose
from .routing.router import Arm
from .wire import readable, status_code, wire_pairs

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
        arm, wish, gate = exchange.arm, exchange.preflight, exchange.gate
        assert wish is not None
        exchange.body = None  # a contract is about what an arm answers, not about a choice
        beside: Arm = "baseline" if arm == "canary" else "canary"
        # Copies, since an app may write into its scope.
        other, _ = await _ask(self._other, {**scope}, receive, _exchange_of(beside, exchange))
        mine, error = await _ask(self._mine, scope, receive, exchange)
        answer, exchange.settled = choose(mine, other, arm, wish)
        if answer.status is None:
            raise error or RuntimeError("neither version has answered a preflight")
        if error is not None and gate is not None:
            gate.controller.warn(f"the {arm} raised {type(error).__name__} at a preflight")
        start = {"type": "http.response.start", "status": answer.status}
        await send({**start, "headers": list(answer.headers)})
        await send({"type": "http.response.body", "body": answer.body})


def _exchange_of(arm: Arm, exchange: Exchange) -> Exchange:
    """What `current_arm` asks while the other version answers; nobody observes it."""
    beside = Exchange()
    beside.arm, beside.outer, beside.observed = arm, exchange.outer, True
    return beside


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
    except Exception as error:
        return Answer(None), error
    finally:
        present.reset(token)
    if not starts:
        return Answer(None), None
    headers = wire_pairs(readable(starts[0].get("headers", ())))
    return Answer(status_code(starts[0].get("status")), headers, b"".join(body)), None
