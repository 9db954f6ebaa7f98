"""Alerts: what fires, and how long it lives."""

from .alert import Alert, AlertState, AlertType, Condition, Resolution, Severity
from .book import AlertBook, Silence, UnknownAlertError

__all__ = [
    "Alert",
    "AlertBook",
    "AlertState",
    "AlertType",
    "Condition",
    "Resolution",
    "Severity",
    "Silence",
    "UnknownAlertError",
]
