"""Objectives kept in memory: what was recorded, how it stands, and what is wrong with it."""

from .baseline import Baseline, Comparison
from .burn import BURN_WINDOWS, BurnRate, BurnWindows, ErrorBudget, scaled_windows
from .create import create_slo_monitor
from .dashboard import DashboardDataGenerator
from .monitor import SLOMonitor
from .status import FlowTotals, SLOStatus

__all__ = [
    "BURN_WINDOWS",
    "Baseline",
    "BurnRate",
    "BurnWindows",
    "Comparison",
    "DashboardDataGenerator",
    "ErrorBudget",
    "FlowTotals",
    "SLOMonitor",
    "SLOStatus",
    "create_slo_monitor",
    "scaled_windows",
]
