"""Tapes of real traffic: reading and importing them, judging them again, fitting them.

What is imported with numpy is imported when it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from canario_sim.lazy import lazy

if TYPE_CHECKING:
    from canario_sim.backtest.alarms import false_alarms
    from canario_sim.backtest.backtest import Alarms, Backtest, Judged
    from canario_sim.backtest.judging import judge_tape

    from .read import read_sessions, read_tape
    from .recording import Recording

__all__ = [
    "Alarms",
    "Backtest",
    "Judged",
    "Recording",
    "false_alarms",
    "judge_tape",
    "read_sessions",
    "read_tape",
]

_MODULES = {
    ".backtest.alarms": ("false_alarms",),
    ".backtest.backtest": ("Alarms", "Backtest", "Judged"),
    ".backtest.judging": ("judge_tape",),
    "read": ("read_sessions", "read_tape"),
    "recording": ("Recording",),
}
__getattr__ = lazy(__name__, _MODULES)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
