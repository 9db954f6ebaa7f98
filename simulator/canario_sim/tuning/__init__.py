"""Tuning: every threshold from one set of trajectories, and the best plan for given goals."""

from .goals import Goals, duration
from .result import (
    Check,
    HeatMap,
    Impossible,
    Point,
    Reason,
    Scores,
    Tuning,
    json_text,
)

__all__ = [
    "Check",
    "Goals",
    "HeatMap",
    "Impossible",
    "Point",
    "Reason",
    "Scores",
    "Tuning",
    "duration",
    "json_text",
]
