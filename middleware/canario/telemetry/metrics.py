"""The metrics that canario gives: one table for Prometheus, for OpenTelemetry and for the docs.

Names follow Prometheus' conventions (base units, ratios from 0 to 1, `_total` for counts) and
OpenTelemetry's (dots, UCUM units).
"""

from __future__ import annotations

from .metric import Kind, Metric
from .rollout_metrics import EVENTS, INCIDENTS, ROLLOUT_METRICS
from .slo_metrics import SLO_METRICS

__all__ = ["EVENTS", "INCIDENTS", "METRICS", "Kind", "Metric"]

METRICS = {metric.name: metric for metric in (*ROLLOUT_METRICS, *SLO_METRICS)}
