"""Fitting a scenario to what was observed: traffic, latencies, errors, routes and users."""

from __future__ import annotations

from typing import TYPE_CHECKING

from canario_sim.lazy import lazy

if TYPE_CHECKING:
    from .calibration import Calibration, calibrate
    from .observed import Observed
    from .sources import observe

__all__ = ["Calibration", "Observed", "calibrate", "observe"]

__getattr__ = lazy(
    __name__,
    {
        "calibration": ("Calibration", "calibrate"),
        "observed": ("Observed",),
        "sources": ("observe",),
    },
)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
