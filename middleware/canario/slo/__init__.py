"""Objectives kept in memory: what was recorded, how it stands, and what is wrong with it."""

from .monitor import SLOMonitor

__all__ = ["SLOMonitor"]
