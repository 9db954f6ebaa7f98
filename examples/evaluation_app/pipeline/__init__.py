"""The eleven components, one module each, under the names the evaluation reports."""

from .pipeline_orchestrator import COMPONENTS, IMPROVED, Pipeline

__all__ = ["COMPONENTS", "IMPROVED", "Pipeline"]
