"""Tuning: every threshold from one set of trajectories, and the best plan for given goals."""

from .goals import Goals, duration
from .grid import Grid
from .plan_file import plan_text
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
from .sample_sizes import requests_to_tell
from .search import Search, tune

__all__ = [
    "Check",
    "Goals",
    "Grid",
    "HeatMap",
    "Impossible",
    "Point",
    "Reason",
    "Scores",
    "Search",
    "Tuning",
    "duration",
    "json_text",
    "plan_text",
    "requests_to_tell",
    "tune",
]
