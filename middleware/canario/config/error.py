"""What is wrong with a configuration, and where."""

from __future__ import annotations

__all__ = ["ConfigError"]


class ConfigError(ValueError):
    """A configuration that is not valid.

    Attributes:
        source: The file or the environment variable.
        key: Dotted path of the value, or "" for the document itself.
        problem: What is wrong, and what would be valid.
    """

    def __init__(self, source: str, key: str, problem: str) -> None:
        self.source = source
        self.key = key
        self.problem = problem
        super().__init__(": ".join(part for part in (source, key, problem) if part))
