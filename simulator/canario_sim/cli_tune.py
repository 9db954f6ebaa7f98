"""The command that looks for the best plan."""

from __future__ import annotations

import click

__all__ = ["tune"]


@click.command()
def tune() -> None:
    """Find the best plan."""
