"""The laboratory: many rehearsals of a plan, and the odds that come of them."""

from .cluster import cluster
from .conditions import Conditions, Contracts, Errors, Latency, Profile, load_conditions
from .crowd import Jobs, Progress, Results, run_all, work
from .experiment import Condition, Experiment, Policy, Row
from .progress import ProgressBar
from .replicate import Replications, replicate
from .summary import Characteristics, Estimate, Quantile, characteristics
from .workers import Interruption, Workers, interruptible, processes

__all__ = [
    "Characteristics",
    "Condition",
    "Conditions",
    "Contracts",
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
    "interruptible",
    "load_conditions",
    "processes",
    "replicate",
    "run_all",
    "work",
]
