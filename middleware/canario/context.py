"""The request that is being served, for an app that holds both versions."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

from .routing.router import Arm

if TYPE_CHECKING:
    from .gate.gate import Exchange

__all__ = ["current_arm", "present"]

present: ContextVar[Exchange | None] = ContextVar("canario.request", default=None)


def current_arm() -> Arm:
    """`"baseline"` or `"canary"`: the arm of the request being served; baseline outside one."""
    exchange = present.get()
    return "baseline" if exchange is None else exchange.arm
