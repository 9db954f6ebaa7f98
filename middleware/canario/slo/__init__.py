"""Objectives kept in memory: what was recorded, how it stands, and what is wrong with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from canario.lazy import lazy

if TYPE_CHECKING:
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

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy(
        __name__,
        {
            "baseline": ("Baseline", "Comparison"),
            "burn": ("BURN_WINDOWS", "BurnRate", "BurnWindows", "ErrorBudget", "scaled_windows"),
            "create": ("create_slo_monitor",),
            "dashboard": ("DashboardDataGenerator",),
            "monitor": ("SLOMonitor",),
            "status": ("FlowTotals", "SLOStatus"),
        },
    )
