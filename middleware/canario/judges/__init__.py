"""Judges: from evidence to a verdict."""

from .make import make_judge

__all__ = ["make_judge"]
