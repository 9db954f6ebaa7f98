"""Metrics by pull, for Prometheus and for OpenTelemetry: a request pays nothing for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .metrics import METRICS, Metric

if TYPE_CHECKING:
    from .instruments import Registration, register_instruments
    from .prometheus import CanarioCollector

__all__ = ["METRICS", "CanarioCollector", "Metric", "Registration", "register_instruments"]

# The exposition needs a package that not everybody has.
_HOMES = {
    "CanarioCollector": "prometheus",
    "Registration": "instruments",
    "register_instruments": "instruments",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
