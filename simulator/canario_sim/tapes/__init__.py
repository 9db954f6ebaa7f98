"""Tapes of real traffic, and what is read as one: access logs, records, spans.

What is imported with numpy is imported when it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from canario.lazy import lazy

if TYPE_CHECKING:
    from .read import read_sessions, read_tape
    from .recording import Recording

__all__ = ["Recording", "read_sessions", "read_tape"]

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy(
        __name__,
        {
            "read": ("read_sessions", "read_tape"),
            "recording": ("Recording",),
            # Where they were before judging had a room of its own.
            ".backtest.alarms": ("false_alarms",),
            ".backtest.backtest": ("Alarms", "Backtest", "Judged"),
            ".backtest.judging": ("judge_tape",),
        },
    )
