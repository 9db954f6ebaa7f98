"""The laboratory: many rehearsals of a plan, and the odds that come of them."""

from .cluster import cluster
from .conditions import Conditions, Contracts, Errors, Latency, Profile, load_conditions
from .experiment import Condition, Experiment, Policy, Row
from .progress import ProgressBar
from .replicate import Progress, Replications, replicate
from .summary import Characteristics, Estimate, Quantile, characteristics
from .workers import Workers, processes

__all__ = [
    "Characteristics",
    "Condition",
    "Conditions",
    "Contracts",
    "Errors",
    "Estimate",
    "Experiment",
    "Latency",
    "Policy",
    "Profile",
    "Progress",
    "ProgressBar",
    "Quantile",
    "Replications",
    "Row",
    "Workers",
    "characteristics",
    "cluster",
    "load_conditions",
    "processes",
    "replicate",
]
