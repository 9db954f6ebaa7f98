"""The chart of a Q-Q plot."""

from __future__ import annotations

import altair as alt

from .charts import by_name, facts, inline, named, series, specification
from .palette import var
from .report import Panel, Table

__all__ = ["q_q"]

_SHAPES = ("circle", "square", "triangle-up", "diamond")


def q_q(table: Table, title: str, chosen: str) -> tuple[Panel, ...]:
    """Fitted quantiles over measured ones, on logarithms, with the line on which both are one."""
    pairs = [
        (kind, measured, fitted)
        for kind, measured, fitted in table.rows
        if isinstance(measured, float) and isinstance(fitted, float) and min(measured, fitted) > 0
    ]
    own = [(measured, fitted) for kind, measured, fitted in pairs if kind == chosen]
    ends = [value for pair in own for value in pair] or [1.0, 10.0]
    low, high = min(ends) / 1.1, max(ends) * 1.1
    scale = alt.Scale(type="log", domain=[low, high], nice=False, clamp=True)
    kinds = list(dict.fromkeys(str(row[0]) for row in table.rows))
    axis = alt.Axis(format="~s", grid=True)
    x = alt.X("measured:Q", title="measured (ms)", scale=scale, axis=axis)
    y = alt.Y("fitted:Q", title="fitted (ms)", scale=scale, axis=axis)
    line = inline([{"measured": end, "fitted": end} for end in (low, high)])
    chart = alt.layer(
        line.mark_line(strokeWidth=1, strokeDash=[4, 3], color=var("muted")).encode(x, y),
        named(table.name)
        .mark_point(size=36, strokeWidth=1.5)
        .encode(
            x,
            y,
            color=by_name(alt.Color, "kind", series(kinds)),
            shape=by_name(alt.Shape, "kind", dict(zip(kinds, _SHAPES, strict=False))),
            opacity=alt.condition(
                alt.datum.kind == chosen,
                alt.value(1.0),
                alt.value(0.35),
            ),
            tooltip=facts(
                ("kind:N", "latency"),
                ("measured:Q", "measured (ms)", ".4~g"),
                ("fitted:Q", "fitted (ms)", ".4~g"),
            ),
        ),
    )
    worst = max(own, key=lambda pair: max(pair) / min(pair), default=None)
    said = f"{title}. Chosen: {chosen}."
    if worst is not None:
        said += f" It is furthest off where {worst[0]:.4g} ms was measured: {worst[1]:.4g} ms."
    return (Panel(title=title, says=said, spec=specification(chart, height=320)),)
