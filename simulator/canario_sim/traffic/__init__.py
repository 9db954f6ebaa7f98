"""When requests arrive, and from whom: open loop, whatever the system does with them."""

from __future__ import annotations

from .base import Arrivals
from .population import LognormalActivity, ParetoActivity, Population
from .sessions import Sessions
from .steady import Bursts, Constant, Diurnal, Poisson, Ramp

__all__ = [
    "Arrivals",
    "Bursts",
    "Constant",
    "Diurnal",
    "LognormalActivity",
    "ParetoActivity",
    "Poisson",
    "Population",
    "Ramp",
    "Sessions",
    "Traffic",
]

Traffic = Constant | Poisson | Diurnal | Ramp | Bursts
