"""The commands about recorded traffic that the simulator adds to `canario`."""

from __future__ import annotations

import click

__all__ = ["backtest", "calibrate", "tape"]


@click.command()
def backtest() -> None:
    """Judge a tape by other policies."""


@click.command()
def calibrate() -> None:
    """Fit a scenario to recorded traffic."""


@click.group()
def tape() -> None:
    """Import and describe tapes."""
