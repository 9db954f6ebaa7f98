"""Alerts: what fires, and how long it lives."""

from .book import AlertBook, Silence, UnknownAlertError
from .model import Alert, AlertState, AlertType, Condition, Resolution, Severity
from .steps import look_at

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
    "look_at",
]
