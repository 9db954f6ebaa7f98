"""When requests arrive, and from whom: open loop, whatever the system does with them."""

from __future__ import annotations

from .base import Arrivals
from .modulated import MarkovModulated, State
from .population import LognormalActivity, ParetoActivity, Population
from .replayed import Replay
from .self_exciting import SelfExciting
from .sessions import Sessions
from .steady import Bursts, Constant, Diurnal, Poisson, Ramp
from .tables import Schedule, Weekly

__all__ = [
    "Arrivals",
    "Bursts",
    "Constant",
    "Diurnal",
    "LognormalActivity",
    "MarkovModulated",
    "ParetoActivity",
    "Poisson",
    "Population",
    "Ramp",
    "Replay",
    "Schedule",
    "SelfExciting",
    "Sessions",
    "State",
    "Traffic",
    "Weekly",
]

Traffic = (
    Constant
    | Poisson
    | Diurnal
    | Ramp
    | Bursts
    | Schedule
    | Weekly
    | MarkovModulated
    | SelfExciting
    | Replay
)
