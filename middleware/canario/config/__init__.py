"""A plan from a file, the environment and arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING

from canario.lazy import lazy

from .error import ConfigError

if TYPE_CHECKING:
    from .precedence import load_plan, plan_schema

__all__ = ["ConfigError", "load_plan", "plan_schema"]

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy(__name__, {"precedence": ("load_plan", "plan_schema")})
