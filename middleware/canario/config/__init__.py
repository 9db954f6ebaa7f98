"""A plan from a file, the environment and arguments."""

from .decode import ConfigError, decode, read_document
from .precedence import load_plan, plan_schema

__all__ = ["ConfigError", "decode", "load_plan", "plan_schema", "read_document"]
