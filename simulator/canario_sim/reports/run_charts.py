"""The smaller charts of rehearsals."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt

from canario.control.words import seconds_in_words
from canario_sim.world.rehearsal import Run

from .charts import RIGHT, Clock, named, names, specification, x_at
from .palette import var
from .report import Panel, Table
from .simulation import BAD_ONES, tone_of

__all__ = ["exposure", "overview"]


def overview(runs: Sequence[Run], table: Table) -> Panel:
    """A bar for each rollout, as long as it went on, coloured by its outcome."""
    clock = Clock(max(run.ended_at for run in runs))
    tones = {run.outcome.replace("_", " "): tone_of(run) for run in runs}
    domain = sorted(tones)
    bars = named(table.name).transform_calculate(t=clock.of("ended_at"))
    chart = bars.mark_bar(opacity=0.85, height=alt.RelativeBandSize(band=0.62)).encode(
        clock.axis("t"),
        y=alt.Y("scenario:N", sort=None, title=None, axis=names()),
        color=alt.Color(
            "outcome:N",
            scale=alt.Scale(domain=domain, range=[var(tones[name]) for name in domain]),
            title=None,
        ),
        tooltip=[
            alt.Tooltip("scenario:N"),
            alt.Tooltip("outcome:N"),
            alt.Tooltip("ended_at:Q", title="after (s)"),
            alt.Tooltip("bad_requests:Q", title="bad requests"),
        ],
    )
    said = "; ".join(
        f"{run.scenario}: {run.outcome.replace('_', ' ')} after "
        f"{seconds_in_words(round(run.ended_at))}"
        for run in runs
    )
    return Panel(
        title="Time to the end of each rollout",
        says=said,
        spec=specification(chart, height=24 * len(table.rows)),
    )


def exposure(table: Table) -> Panel:
    """Bars of what the canary had of what there was."""
    bars = named(table.name)
    y = alt.Y(
        "what:N",
        sort=None,
        title=None,
        axis=None,
        scale=alt.Scale(paddingInner=0.55, paddingOuter=0.45),
    )
    x = alt.X("percent:Q", title="percent", scale=alt.Scale(domain=[0, 100]))
    bad = bars.transform_filter(f"datum.what == '{BAD_ONES}'")
    words = bars.mark_text(align="left", baseline="bottom", dy=-10)
    numbers = bars.mark_text(align="right", baseline="bottom", dy=-10, fontWeight="bold")
    chart = alt.layer(
        bars.mark_bar(color=var("line"), height=14).encode(
            x=alt.XDatum(0), x2=alt.X2Datum(100), y=y
        ),
        bars.mark_bar(height=14, color=var("canary")).encode(x=x, y=y),
        bad.mark_bar(height=14, color=var("bad")).encode(x=x, y=y),
        words.encode(x=x_at(0), y=y, text=alt.Text("what:N")),
        numbers.encode(x=x_at(RIGHT), y=y, text=alt.Text("words:N")),
    )
    return Panel(
        title="Exposure (%)",
        says="; ".join(f"{row[0]}: {row[4]}" for row in table.rows),
        spec=specification(chart, height=190),
    )
