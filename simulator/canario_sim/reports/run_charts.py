"""The smaller charts of rehearsals."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt

from canario.control.words import seconds_in_words
from canario_sim.world.rehearsal import Run

from .charts import RIGHT, Clock, by_name, facts, named, names, specification, x_at
from .outcomes import outcome_tone, plain_outcome
from .palette import var
from .report import Panel, Table

__all__ = ["exposure", "overview"]


def overview(runs: Sequence[Run], table: Table) -> Panel:
    """A bar for each rollout, as long as it went on, coloured by its outcome."""
    clock = Clock(max(run.ended_at for run in runs))
    colours = {plain_outcome(run.outcome): var(outcome_tone(run.outcome)) for run in runs}
    bars = named(table.name).transform_calculate(t=clock.of("ended_at"))
    chart = bars.mark_bar(opacity=0.85, height=alt.RelativeBandSize(band=0.62)).encode(
        clock.axis("t"),
        y=alt.Y("scenario:N", sort=None, title=None, axis=names()),
        color=by_name(alt.Color, "outcome", dict(sorted(colours.items()))),
        tooltip=facts(
            "scenario:N",
            "outcome:N",
            ("ended_at:Q", "after (s)"),
            ("bad_requests:Q", "bad requests"),
        ),
    )
    said = "; ".join(
        f"{run.scenario}: {plain_outcome(run.outcome)} after "
        f"{seconds_in_words(round(run.ended_at))}"
        for run in runs
    )
    return Panel(
        title="Time to the end of each rollout",
        says=said,
        spec=specification(chart, height=24 * len(table.rows)),
    )


def exposure(table: Table, *, bad: str) -> Panel:
    """Bars of what the canary had of what there was; `bad` names the one that is no success."""
    bars = named(table.name)
    y = alt.Y(
        "what:N",
        sort=None,
        title=None,
        axis=None,
        scale=alt.Scale(paddingInner=0.55, paddingOuter=0.45),
    )
    x = alt.X("percent:Q", title="percent", scale=alt.Scale(domain=[0, 100]))
    worse = bars.transform_filter(f"datum.what == '{bad}'")
    words = bars.mark_text(align="left", baseline="bottom", dy=-10)
    numbers = bars.mark_text(align="right", baseline="bottom", dy=-10, fontWeight="bold")
    chart = alt.layer(
        bars.mark_bar(color=var("line"), height=14).encode(
            x=alt.XDatum(0), x2=alt.X2Datum(100), y=y
        ),
        bars.mark_bar(height=14, color=var("canary")).encode(x=x, y=y),
        worse.mark_bar(height=14, color=var("bad")).encode(x=x, y=y),
        words.encode(x=x_at(0), y=y, text=alt.Text("what:N")),
        numbers.encode(x=x_at(RIGHT), y=y, text=alt.Text("words:N")),
    )
    return Panel(
        title="Exposure (%)",
        says="; ".join(f"{row[0]}: {row[4]}" for row in table.rows),
        spec=specification(chart, height=190),
    )
