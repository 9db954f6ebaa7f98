"""Tapes of real traffic: reading and importing them, judging them again, fitting them.

What is imported with numpy is imported when it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .alarms import false_alarms
    from .backtest import Alarms, Backtest, Judged
    from .judging import judge_tape
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
    "alarms": ("false_alarms",),
    "backtest": ("Alarms", "Backtest", "Judged"),
    "judging": ("judge_tape",),
    "read": ("read_sessions", "read_tape"),
    "recording": ("Recording",),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
