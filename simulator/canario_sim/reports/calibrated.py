"""What `canario calibrate` has to say, as a report with Q-Q plots and in a terminal."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from math import isfinite

from rich.console import RenderableType
from rich.text import Text

from canario.control.words import seconds_in_words
from canario.printable import printable
from canario_sim.fitting.arrivals import ArrivalFit
from canario_sim.fitting.calibration import Calibration, Fitted
from canario_sim.fitting.in_words import latency_in_words, traffic_in_words
from canario_sim.fitting.latency import LatencyFit

from .columns import Field, brief, table
from .json_text import json_text
from .report import Fact, Panel, Picture, Report, Section
from .terminal import grid, named

__all__ = ["calibrating", "told"]

# Beyond so many routes nobody looks at another plot.
_PLOTS = 8

# Kind, measured and fitted (ms).
_Q_Q: Sequence[Field[tuple[str, float, float]]] = (
    Field("kind", "latency", lambda point: point[0]),
    Field("measured", "measured (ms)", lambda point: point[1]),
    Field("fitted", "fitted (ms)", lambda point: point[2]),
)


def _arrival_fields(chosen: str) -> Sequence[Field[ArrivalFit]]:
    return (
        Field("kind", "traffic", lambda fit: fit.kind),
        brief("traffic", lambda fit: _kind(fit.kind, chosen), left=True),
        Field("log_likelihood", "log-likelihood", lambda fit: fit.log_likelihood, 7),
        Field("aic", "AIC", lambda fit: fit.aic, 7),
        brief("AIC", lambda fit: f"{fit.aic:,.1f}"),
        Field("dispersion", "dispersion", lambda fit: fit.dispersion),
        brief("dispersion", lambda fit: f"{fit.dispersion:.3g}"),
        Field("words", "fitted", lambda fit: traffic_in_words(fit.traffic), brief=""),
    )


def _latency_fields(fitted: Fitted) -> Sequence[Field[LatencyFit]]:
    return (
        Field("kind", "latency", lambda fit: fit.kind),
        brief(f"latency, {fitted.name}", lambda fit: _kind(fit.kind, fitted.chosen), left=True),
        Field("log_likelihood", "log-likelihood", lambda fit: fit.log_likelihood, 7),
        Field("aic", "AIC", lambda fit: fit.aic if isfinite(fit.aic) else None, 7),
        brief("AIC", lambda fit: f"{fit.aic:,.1f}" if isfinite(fit.aic) else ""),
        Field("held_out", "held out, each", lambda fit: fit.held_out),
        brief("held out, each", lambda fit: "" if fit.held_out is None else f"{fit.held_out:.4f}"),
        Field("ks", "KS distance", lambda fit: fit.ks),
        brief("KS", lambda fit: f"{fit.ks:.4f}"),
        Field("words", "fitted", lambda fit: latency_in_words(fit.latency), brief=""),
    )


def _kind(kind: str, chosen: str) -> Text:
    return Text(kind, style="bold green" if kind == chosen else "")


def told(made: Calibration) -> Iterator[RenderableType]:
    """A calibration in a terminal: what was fitted, beside what else was tried."""
    span = seconds_in_words(round(made.seconds))
    yield named(made.source, f": {made.requests:,} requests in {span}")
    for note in made.notes:
        yield Text(printable(note), style="wait")
    yield Text()
    yield grid(_arrival_fields(made.chosen_arrivals), made.arrivals)
    for fitted in (*made.arms, *made.routes):
        errors = fitted.errors
        yield Text()
        yield grid(_latency_fields(fitted), fitted.fits)
        yield Text(
            f"errors: {errors.errors:,} of {errors.requests:,}, {errors.percent:.3g} % "
            f"({errors.low:.3g} to {errors.high:.3g} %)"
        )
    if made.users:
        yield Text()
        skew = f"Zipf's exponent {made.skew:g}" if made.skew else "all alike"
        yield Text(f"users: {made.users:,}, {skew}")


def calibrating(made: Calibration) -> Report:
    """The report of a calibration."""
    best = next(fit for fit in made.arrivals if fit.kind == made.chosen_arrivals)
    arrivals = table(
        "traffic", "Kinds of traffic", _arrival_fields(made.chosen_arrivals), made.arrivals
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
    latencies = table(
        f"latency-{slug}",
        f"Distributions of the latency: {fitted.name}",
        _latency_fields(fitted),
        fitted.fits,
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
        tables=(latencies,),
        pictures=(_q_q(fitted, slug),) if plot else (),
    )


def _q_q(fitted: Fitted, slug: str) -> Picture:
    points = table(
        f"q-q-{slug}",
        f"Q-Q plot of the latency: {fitted.name}",
        _Q_Q,
        (
            (fit.kind, measured, quantile)
            for fit in sorted(fitted.fits, key=lambda fit: fit.kind != fitted.chosen)
            if fit.kind == fitted.chosen or isfinite(fit.aic)
            for measured, quantile in fit.q_q
        ),
        folded=True,
    )

    def draw() -> tuple[Panel, ...]:
        from .q_q_charts import q_q

        return q_q(points, points.title, fitted.chosen)

    return Picture(
        name=f"q-q-{slug}",
        title="Q-Q plot",
        caption=f"A point is a quantile, measured and fitted. Where the distribution fits, points "
        f"lie on the line. Chosen: {fitted.chosen}.",
        tables=(points,),
        draw=draw,
    )
