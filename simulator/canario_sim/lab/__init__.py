"""The laboratory: many rehearsals of a plan, and the odds that come of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .cluster import cluster
from .conditions import Conditions, Contracts, Errors, Latency, Profile, load_conditions
from .executor import Jobs, Progress, Results, run_all, work
from .experiment import Condition, Experiment, Policy, Row
from .replicate import Replications, replicate
from .summary import (
    Characteristics,
    Difference,
    Estimate,
    Quantile,
    characteristics,
    differences,
)
from .workers import Interruption, Workers, interruptible, processes

if TYPE_CHECKING:
    from .progress import ProgressBar

__all__ = [
    "Characteristics",
    "Condition",
    "Conditions",
    "Contracts",
    "Difference",
    "Errors",
    "Estimate",
    "Experiment",
    "Interruption",
    "Jobs",
    "Latency",
    "Policy",
    "Profile",
    "Progress",
    "ProgressBar",
    "Quantile",
    "Replications",
    "Results",
    "Row",
    "Workers",
    "characteristics",
    "cluster",
    "differences",
    "interruptible",
    "load_conditions",
    "processes",
    "replicate",
    "run_all",
    "work",
]


def __getattr__(name: str) -> Any:
    """A worker imports this package too, and draws nothing: it needs no rich."""
    if name == "ProgressBar":
        from .progress import ProgressBar

        return ProgressBar
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
