"""Whether the garbage collector is at work in this thread.

It may run in the midst of anything, and then ends the generators and coroutines that nobody wants
any more. What ends there may wait for no lock, since the code that was interrupted may hold it,
and may touch no context variable: CPython before 3.12 crashes when the collector has interrupted
the setting of another one.
"""

from __future__ import annotations

import gc
from threading import get_ident
from typing import Any

__all__ = ["collecting", "collector", "watch"]


class _Collector:
    """In which thread it is at work; None while it rests."""

    __slots__ = ("thread",)

    def __init__(self) -> None:
        self.thread: int | None = None


collector = _Collector()


def collecting() -> bool:
    """Whether the caller is called by the collector. False as long as nobody has called `watch`."""
    thread = collector.thread
    return thread is not None and thread == get_ident()


def watch() -> None:
    """From now on, know when the collector is at work."""
    if _follow not in gc.callbacks:
        gc.callbacks.append(_follow)


def _follow(phase: str, _info: dict[str, Any]) -> None:
    collector.thread = get_ident() if phase == "start" else None
