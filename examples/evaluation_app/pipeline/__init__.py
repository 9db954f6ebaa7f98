"""The eleven components, one module each, under the names the evaluation reports."""

from .pipeline_orchestrator import COMPONENTS, IMPROVED, Pipeline, traced

__all__ = ["COMPONENTS", "IMPROVED", "Pipeline", "traced"]
