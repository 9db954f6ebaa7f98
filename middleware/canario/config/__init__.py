"""A plan from a file, the environment and arguments."""

from .decode import ConfigError
from .precedence import load_plan, plan_schema

__all__ = ["ConfigError", "load_plan", "plan_schema"]
