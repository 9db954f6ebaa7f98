"""A calibration in a terminal."""

from __future__ import annotations

from math import isfinite

from rich.console import Console
from rich.table import Table
from rich.text import Text

from canario.control.words import seconds_in_words
from canario.printable import printable
from canario_sim.fitting.calibration import Calibration, Fitted
from canario_sim.fitting.in_words import latency_in_words, traffic_in_words
from canario_sim.fitting.latency import LatencyFit
from canario_sim.terminal import Terminal

__all__ = ["show_calibration"]


def show_calibration(made: Calibration, *, console: Console | None = None) -> None:
    """What was fitted, beside what else was tried."""
    out = console or Terminal()
    span = seconds_in_words(round(made.seconds))
    out.print(
        Text(printable(made.source), style="bold"),
        Text(f": {made.requests:,} requests in {span}"),
        sep="",
    )
    for note in made.notes:
        out.print(Text(printable(note), style="yellow"))
    out.print()
    _print(out, _arrivals(made))
    for fitted in (*made.arms, *made.routes):
        out.print()
        _print(out, _latencies(fitted))
        errors = fitted.errors
        out.print(
            Text(
                f"errors: {errors.errors:,} of {errors.requests:,}, {errors.percent:.3g} % "
                f"({errors.low:.3g} to {errors.high:.3g} %)"
            )
        )
    if made.users:
        out.print()
        skew = f"Zipf's exponent {made.skew:g}" if made.skew else "all alike"
        out.print(Text(f"users: {made.users:,}, {skew}"))


def _arrivals(made: Calibration) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("traffic", no_wrap=True)
    for heading in ("AIC", "dispersion"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for fit in made.arrivals:
        chosen = fit.kind == made.chosen_arrivals
        table.add_row(
            Text(fit.kind, style="bold green" if chosen else ""),
            f"{fit.aic:,.1f}",
            f"{fit.dispersion:.3g}",
            Text(traffic_in_words(fit.traffic)),
        )
    return table


def _latencies(fitted: Fitted) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(Text(f"latency, {printable(fitted.name)}"), no_wrap=True)
    for heading in ("AIC", "held out, each", "KS"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for fit in fitted.fits:
        table.add_row(
            Text(fit.kind, style="bold green" if fit.kind == fitted.chosen else ""),
            *_cells(fit),
            Text(latency_in_words(fit.latency)),
        )
    return table


def _cells(fit: LatencyFit) -> tuple[str, str, str]:
    return (
        f"{fit.aic:,.1f}" if isfinite(fit.aic) else "",
        "" if fit.held_out is None else f"{fit.held_out:.4f}",
        f"{fit.ks:.4f}",
    )


def _print(out: Console, table: Table) -> None:
    # A narrow terminal breaks the lines; a number cut short would be another one.
    unbounded = out.options.update(max_width=1000)
    out.width = max(out.width, out.measure(table, options=unbounded).maximum)
    out.print(table)
