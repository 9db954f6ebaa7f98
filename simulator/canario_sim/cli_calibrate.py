"""The command that fits a scenario to recorded traffic."""

from __future__ import annotations

import click

__all__ = ["calibrate"]


@click.command()
def calibrate() -> None:
    """Fit a scenario to recorded traffic."""
