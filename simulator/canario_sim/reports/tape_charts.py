"""The charts of a backtest."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import altair as alt

from .charts import Clock, by_name, facts, named, names, specification
from .odds_charts import odds
from .outcomes import outcome_tone
from .palette import var
from .report import Panel, Table

__all__ = ["alarms", "decisions", "windows"]

_SHAPES = {
    "completed": "circle",
    "rolled back": "square",
    "aborted": "cross",
    "held": "diamond",
    "paused": "triangle-up",
    "unfinished": "triangle-right",
}


def decisions(shares: Table, ends: Table, seconds: float) -> Panel:
    """A row for each policy: its share over time, and how it ends."""
    clock = Clock(seconds)
    order = [str(row[0]) for row in ends.rows]
    outcomes = _outcomes(row[2] for row in ends.rows)
    y = alt.Y("policy:N", sort=order, title=None, axis=names(), scale=alt.Scale(padding=0.3))
    spans = named(shares.name).transform_calculate(
        t=clock.of("start"), until=clock.of("end"), label="format(datum.share, '~g') + ' %'"
    )
    marks = named(ends.name).transform_calculate(t=clock.of("at"))
    x = clock.axis("t")
    wide = spans.transform_filter(f"datum.until - datum.t > {clock.at(clock.seconds) / 12:g}")
    half = clock.at(clock.seconds) / 2
    words = alt.Text("words:N")
    tooltip = facts(
        "policy:N",
        ("share:Q", "share (%)"),
        ("start:Q", "from (s)", ",.6~g"),
        ("end:Q", "to (s)", ",.6~g"),
    )
    chart = alt.layer(
        spans.mark_bar(color=var("canary"), height=alt.RelativeBandSize(band=0.5)).encode(
            x,
            x2=alt.X2("until"),
            y=y,
            opacity=alt.Opacity(
                "share:Q", scale=alt.Scale(domain=[0, 100], range=[0.15, 0.45]), legend=None
            ),
            tooltip=tooltip,
        ),
        wide.mark_text(align="left", dx=4).encode(x, y=y, text=alt.Text("label:N")),
        marks.mark_point(filled=True, size=120, opacity=1).encode(
            x,
            y=y,
            color=_coloured(outcomes),
            shape=by_name(alt.Shape, "outcome", {name: _SHAPES[name] for name in outcomes}),
        ),
        marks.transform_filter(f"datum.t <= {half:g}")
        .mark_text(align="left", dx=10, dy=-14)
        .encode(x, y=y, text=words),
        marks.transform_filter(f"datum.t > {half:g}")
        .mark_text(align="right", dx=4, dy=-14)
        .encode(x, y=y, text=words),
    )
    said = "; ".join(f"{row[0]}: {row[3]} after {row[1]:.6g} s" for row in ends.rows)
    return Panel(
        title="How each rollout goes",
        says=f"Share and end of each rollout. {said}.",
        spec=specification(chart, height=54 * len(order)),
    )


def alarms(table: Table) -> Panel:
    """How often each policy rolls back what changes nothing, with intervals."""
    places = [0, 0, 1, 5, 6, 7]
    like = Table(
        name=table.name,
        title=table.title,
        columns=tuple(table.columns[place] for place in places),
        rows=tuple(tuple(row[place] for place in places) for row in table.rows),
    )
    (panel,) = odds(like, (), "Rolled back", "rolled back (% of rollouts)", row="policy")
    return panel


def windows(table: Table, policies: Sequence[str], seconds: float) -> Panel:
    """Each rollout as a line in its policy's row, coloured by its outcome."""
    clock = Clock(seconds)
    outcomes = _outcomes(row[3] for row in table.rows)
    lines = named(table.name).transform_calculate(t=clock.of("start"), until=clock.of("end"))
    chart = lines.mark_bar(height=alt.RelativeBandSize(band=0.6), stroke=var("card")).encode(
        clock.axis("t", words="from the start of the tape"),
        x2=alt.X2("until"),
        y=alt.Y("policy:N", sort=list(policies), title=None, axis=names()),
        color=_coloured(outcomes),
        tooltip=facts(
            "policy:N",
            "outcome:N",
            "why:N",
            ("start:Q", "from (s)", ",.7~g"),
            ("bad_requests:Q", "bad requests"),
        ),
    )
    counts = "; ".join(
        f"{policy}: "
        + ", ".join(
            f"{sum(row[0] == policy and row[3] == name for row in table.rows)} {name}"
            for name in outcomes
        )
        for policy in policies
    )
    return Panel(
        title="Rollouts that might have been",
        says=f"Outcome of each rollout that might have been, over time. {counts}.",
        spec=specification(chart, height=44 * len(policies)),
    )


def _outcomes(found: Iterable[object]) -> list[str]:
    """Those that there are, in an order that is the same in every chart."""
    known = set(found)
    return [name for name in _SHAPES if name in known]


def _coloured(outcomes: Sequence[str]) -> alt.Color:
    return by_name(alt.Color, "outcome", {name: var(outcome_tone(name)) for name in outcomes})
