"""Tapes of real traffic, judged again: by their own plan, and by others.

What is imported with numpy is imported when it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from canario.lazy import lazy

if TYPE_CHECKING:
    from .alarms import false_alarms
    from .backtest import Alarms, Backtest, Judged
    from .judging import judge_tape

__all__ = ["Alarms", "Backtest", "Judged", "false_alarms", "judge_tape"]

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy(
        __name__,
        {
            "alarms": ("false_alarms",),
            "backtest": ("Alarms", "Backtest", "Judged"),
            "judging": ("judge_tape",),
        },
    )
