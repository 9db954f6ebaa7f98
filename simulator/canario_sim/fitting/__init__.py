"""Fitting a scenario to what was observed: traffic, latencies, errors, routes and users."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .calibration import Calibration, calibrate
    from .observed import Observed
    from .sources import observe

__all__ = ["Calibration", "Observed", "calibrate", "observe"]

_HOME = {
    "Calibration": "calibration",
    "calibrate": "calibration",
    "Observed": "observed",
    "observe": "sources",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
