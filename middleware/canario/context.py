"""The arm that the present request was sent to, for an app that holds both versions."""

from __future__ import annotations

from contextvars import ContextVar

from .routing.router import Arm

__all__ = ["current_arm", "present_arm"]

present_arm: ContextVar[Arm] = ContextVar("canario.arm", default="baseline")


def current_arm() -> Arm:
    """`"baseline"` or `"canary"`: the arm of the request being served; baseline outside one."""
    return present_arm.get()
