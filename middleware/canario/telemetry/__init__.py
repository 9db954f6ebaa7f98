"""Metrics by pull, for Prometheus and for OpenTelemetry: a request pays nothing for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from canario.lazy import lazy

from .metrics import METRICS, Metric

if TYPE_CHECKING:
    from .instruments import Registration, register_instruments
    from .prometheus import CanarioCollector

__all__ = ["METRICS", "CanarioCollector", "Metric", "Registration", "register_instruments"]

# The exposition needs a package that not everybody has.
if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy(
        __name__,
        {
            "instruments": ("Registration", "register_instruments"),
            "prometheus": ("CanarioCollector",),
        },
    )
