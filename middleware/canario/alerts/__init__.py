"""Alerts: what fires, and how long it lives."""

from .model import Alert, AlertState, AlertType, Condition, Severity

__all__ = ["Alert", "AlertState", "AlertType", "Condition", "Severity"]
