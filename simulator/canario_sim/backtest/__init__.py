"""Tapes of real traffic, judged again: by their own plan, and by others.

What is imported with numpy is imported when it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from canario_sim.lazy import lazy

if TYPE_CHECKING:
    from .alarms import false_alarms
    from .backtest import Alarms, Backtest, Judged
    from .judging import judge_tape

__all__ = ["Alarms", "Backtest", "Judged", "false_alarms", "judge_tape"]

_MODULES = {
    "alarms": ("false_alarms",),
    "backtest": ("Alarms", "Backtest", "Judged"),
    "judging": ("judge_tape",),
}
__getattr__ = lazy(__name__, _MODULES)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
