"""What `canario calibrate` has to say, as a report with Q-Q plots."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from math import isfinite

from msgspec import to_builtins

from canario.control.words import seconds_in_words
from canario_sim.fitting.calibration import Calibration, Fitted
from canario_sim.fitting.in_words import latency_in_words, traffic_in_words
from canario_sim.reports.json_text import finite
from canario_sim.reports.report import Column, Fact, Panel, Picture, Report, Section, Table

__all__ = ["calibrating", "json_text"]

# Beyond so many routes nobody looks at another plot.
_PLOTS = 8


def json_text(made: Calibration) -> str:
    """The whole for a program; it ends in a line feed."""
    return json.dumps(finite(to_builtins(made)), indent=2, ensure_ascii=False) + "\n"


def calibrating(made: Calibration) -> Report:
    """The report of a calibration."""
    best = next(fit for fit in made.arrivals if fit.kind == made.chosen_arrivals)
    arrivals = Table(
        name="traffic",
        title="Kinds of traffic",
        columns=(
            Column("kind", "traffic"),
            Column("log_likelihood", "log-likelihood", 7),
            Column("aic", "AIC", 7),
            Column("dispersion", "dispersion"),
            Column("words", "fitted"),
        ),
        rows=tuple(
            (fit.kind, fit.log_likelihood, fit.aic, fit.dispersion, traffic_in_words(fit.traffic))
            for fit in made.arrivals
        ),
    )
    fitted = [*made.arms, *made.routes]
    return Report(
        command="calibrate",
        title=f"A scenario fitted to {made.source}",
        summary=(
            f"Traffic is {best.kind}: {traffic_in_words(best.traffic)}.",
            *(
                f"Latency of the {each.name} is {each.fit.kind}: "
                f"{latency_in_words(each.fit.latency)}; KS distance {each.fit.ks:.3g}. "
                f"{each.errors.percent:.3g} % of its requests fail."
                for each in made.arms
            ),
            *made.notes,
        ),
        ok=None,
        facts=tuple(_facts(made)),
        sections=(
            Section(
                name="traffic",
                title="How requests arrive",
                text=(
                    "The lowest AIC fits best; of fits less than 10 apart the simplest is taken. "
                    "A dispersion of 1 says that nothing is left to explain.",
                ),
                tables=(arrivals,),
            ),
            *(_section(each, plot=number < _PLOTS) for number, each in enumerate(fitted)),
        ),
        document=json_text(made).encode(),
    )


def _facts(made: Calibration) -> Iterator[Fact]:
    yield Fact(label="requests", value=f"{made.requests:,}")
    yield Fact(label="observed", value=seconds_in_words(round(made.seconds)))
    yield Fact(label="requests/s", value=f"{made.requests / made.seconds:.4g}")
    if made.users:
        yield Fact(label="users", value=f"{made.users:,}")
    for arm in made.arms:
        yield Fact(label=f"errors, {arm.name}", value=f"{arm.errors.percent:.3g} %")


def _section(fitted: Fitted, *, plot: bool) -> Section:
    slug = re.sub(r"[^a-z0-9]+", "-", fitted.name.lower()).strip("-") or "route"
    table = Table(
        name=f"latency-{slug}",
        title=f"Distributions of the latency: {fitted.name}",
        columns=(
            Column("kind", "latency"),
            Column("log_likelihood", "log-likelihood", 7),
            Column("aic", "AIC", 7),
            Column("held_out", "held out, each"),
            Column("ks", "KS distance"),
            Column("words", "fitted"),
        ),
        rows=tuple(
            (
                fit.kind,
                fit.log_likelihood,
                fit.aic if isfinite(fit.aic) else None,
                fit.held_out,
                fit.ks,
                latency_in_words(fit.latency),
            )
            for fit in fitted.fits
        ),
    )
    errors = fitted.errors
    return Section(
        name=f"latency-{slug}",
        title=f"Latency and errors: {fitted.name}",
        text=(
            f"{fitted.latencies:,} latencies; {errors.errors:,} of {errors.requests:,} requests "
            f"failed: {errors.percent:.3g} %, with 95 % confidence {errors.low:.3g} to "
            f"{errors.high:.3g} %.",
        ),
        tables=(table,),
        pictures=(_q_q(fitted, slug),) if plot else (),
    )


def _q_q(fitted: Fitted, slug: str) -> Picture:
    title = "Q-Q plot"
    table = Table(
        name=f"q-q-{slug}",
        title=f"Q-Q plot of the latency: {fitted.name}",
        columns=(
            Column("kind", "latency"),
            Column("measured", "measured (ms)"),
            Column("fitted", "fitted (ms)"),
        ),
        rows=tuple(
            (fit.kind, measured, quantile)
            for fit in sorted(fitted.fits, key=lambda fit: fit.kind != fitted.chosen)
            if fit.kind == fitted.chosen or isfinite(fit.aic)
            for measured, quantile in fit.q_q
        ),
        folded=True,
    )
    return Picture(
        name=f"q-q-{slug}",
        title=title,
        caption=f"A point is a quantile, measured and fitted. Where the distribution fits, points "
        f"lie on the line. Chosen: {fitted.chosen}.",
        tables=(table,),
        draw=lambda: _draw(table, table.title, fitted.chosen),
    )


def _draw(table: Table, title: str, chosen: str) -> tuple[Panel, ...]:
    from .q_q_charts import q_q

    return q_q(table, title, chosen)
