"""Fitting a scenario to what was observed: traffic, latencies, errors, routes and users."""

from __future__ import annotations

from typing import TYPE_CHECKING

from canario.lazy import lazy

if TYPE_CHECKING:
    from .calibration import Calibration, calibrate
    from .observed import Observed
    from .sources import observe

__all__ = ["Calibration", "Observed", "calibrate", "observe"]

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy(
        __name__,
        {
            "calibration": ("Calibration", "calibrate"),
            "observed": ("Observed",),
            "sources": ("observe",),
        },
    )
