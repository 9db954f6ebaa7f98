"""A preflight that both versions answer: what is the same over ASGI and over WSGI."""

from __future__ import annotations

from canario.exchange import Exchange
from canario.preflight import Answer, choose

__all__ = ["aside", "settled"]


def aside(exchange: Exchange) -> Exchange:
    """What `current_arm` asks while the other version answers; nobody observes it."""
    beside = Exchange()
    beside.arm = "baseline" if exchange.arm == "canary" else "canary"
    beside.outer, beside.observed = exchange.outer, True
    return beside


def settled(
    exchange: Exchange, mine: Answer, other: Answer, error: Exception | None
) -> tuple[int, Answer]:
    """The answer that the browser gets, with its status; the exchange is told what it is worth.

    Args:
        exchange: The preflight.
        mine: What the version has answered that it is counted for.
        other: What the other one has.
        error: What the first one raised instead. It is raised again where there is no answer.
    """
    wish, gate = exchange.preflight, exchange.gate
    assert wish is not None
    exchange.body = None  # a contract is about what an arm answers, not about a choice
    answer, exchange.settled = choose(mine, other, exchange.arm, wish)
    if answer.status is None:
        raise error or RuntimeError("neither version has answered a preflight")
    if error is not None and gate is not None:
        said = f"the {exchange.arm} raised {type(error).__name__} at a preflight"
        gate.controller.notices.warn(said)
    return answer.status, answer
