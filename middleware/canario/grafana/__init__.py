"""A Grafana dashboard that draws the metrics of canario's Prometheus exposition."""

from __future__ import annotations

from importlib.resources import files

__all__ = ["dashboard_json"]


def dashboard_json() -> str:
    """The dashboard, to import in Grafana or to provision as a file."""
    return files(__name__).joinpath("canario.json").read_text(encoding="utf-8")
