"""The charts of a search for the best plan."""

from __future__ import annotations

from typing import Any, Literal

import altair as alt

from .charts import named, names, responsive, specification
from .palette import SERIES, STEPS, var
from .report import Panel, Table

__all__ = ["checks", "front", "heat_map"]

# Percentages of what goes wrong, where a colour changes.
_STEPS = [0.1, 1, 5, 20, 50]

_POLICIES = ["recommended", "present"]
_WHICH = ["recommended", "present", "others on the front"]


def heat_map(table: Table, field: Literal["false_rollback", "detect"]) -> Panel:
    """A cell with its number for each pair of thresholds, coloured by how much goes wrong."""
    title = {"false_rollback": "False rollbacks (%)", "detect": "Detection (%)"}[field]
    wrong = "datum.false_rollback" if field == "false_rollback" else "100 - datum.detect"
    cells = named(table.name).transform_calculate(
        # One step finer than a percent where it matters, so that 0 is none.
        wrong=f"round(1000 * ({wrong})) / 1000",
        text=f"format(datum.{field}, '.3~r')",
    )
    x = alt.X(
        "max_p95_latency_ms:O",
        title="max_p95_latency_ms (ms)",
        axis=alt.Axis(labelAngle=0, domain=False, ticks=False),
    )
    y = alt.Y(
        "max_error_rate:O",
        title="max_error_rate (%)",
        sort="descending",
        axis=alt.Axis(domain=False, ticks=False),
    )

    def by_step(range_of: list[str]) -> alt.Color:
        scale = alt.Scale(type="threshold", domain=_STEPS, range=range_of)
        return alt.Color("wrong:Q", scale=scale, legend=None)

    frames = [
        cells.transform_filter(alt.FieldEqualPredicate(field="mark", equal=mark))
        .mark_rect(fillOpacity=0, stroke=var("ink"), strokeWidth=3, strokeDash=dash)
        .encode(x, y=y)
        for mark, dash in (("present", [4, 3]), ("recommended", [1, 0]))
    ]
    size = responsive(8, 11)
    chart = alt.layer(
        cells.mark_rect(stroke=var("card"), strokeWidth=1).encode(
            x,
            y=y,
            color=by_step([var(step) for step in STEPS]),
            tooltip=[
                alt.Tooltip("max_error_rate:Q", title="max_error_rate (%)"),
                alt.Tooltip("max_p95_latency_ms:Q", title="max_p95_latency_ms"),
                alt.Tooltip("false_rollback:Q", title="false rollback (%)", format=".3~r"),
                alt.Tooltip("detect:Q", title="detection (%)", format=".3~r"),
            ],
        ),
        cells.mark_text(fontSize=alt.ExprRef(size["expr"])).encode(
            x,
            y=y,
            text=alt.Text("text:N"),
            color=by_step([var(f"on-{step}") for step in STEPS]),
        ),
        *frames,
    ).resolve_scale(color="independent")
    place = [column.name for column in table.columns].index(field)
    said = "; ".join(
        f"{row[4]} plan, {row[0]:g} % and {row[1]:g} ms: {row[place]:.3g} %"
        for row in table.rows
        if row[4] is not None
    )
    values = [float(row[place] or 0) for row in table.rows]
    rows = len({row[0] for row in table.rows})
    return Panel(
        title=title,
        says=f"{title} for {len(table.rows)} pairs of thresholds, from {min(values):.3g} to "
        f"{max(values):.3g}. {said}.",
        spec=specification(chart, height=26 * rows),
    )


def front(table: Table) -> Panel:
    """False rollbacks against bad requests; the size is the time to full rollout."""
    points = named(table.name).transform_calculate(minutes="datum.duration / 60")
    legend = alt.Legend(columns=alt.ExprRef(responsive(1, 3)["expr"]))
    channels: dict[str, Any] = {
        "x": alt.X(
            "false_rollback:Q",
            title="good releases rolled back (%)",
            scale=alt.Scale(type="symlog", constant=1),
            axis=alt.Axis(values=[0, 1, 2, 5, 10, 20, 50, 100], grid=True),
        ),
        "y": alt.Y(
            "exposure:Q",
            title="bad requests of a bad release",
            scale=alt.Scale(zero=False, nice=True),
        ),
        "color": alt.Color(
            "which:N",
            scale=alt.Scale(domain=_WHICH, range=[var(SERIES[place]) for place in (2, 1, 0)]),
            title=None,
            legend=legend,
        ),
        "shape": alt.Shape(
            "which:N",
            scale=alt.Scale(domain=_WHICH, range=["diamond", "square", "circle"]),
            title=None,
            legend=legend,
        ),
        "tooltip": [
            alt.Tooltip("which:N"),
            alt.Tooltip("false_rollback:Q", title="false rollback (%)", format=".3~r"),
            alt.Tooltip("detect:Q", title="detection (%)", format=".3~r"),
            alt.Tooltip("exposure:Q", title="bad requests", format=",.3~r"),
            alt.Tooltip("duration:Q", title="to full rollout (s)", format=",.6~g"),
            *(alt.Tooltip(f"{name}:N") for name in ("limits", "rule", "stages")),
        ],
    }
    size = alt.Size("minutes:Q", scale=alt.Scale(range=[50, 350], zero=False), legend=None)
    chart = alt.layer(
        points.transform_filter(f"datum.which == '{_WHICH[2]}'")
        .mark_point(filled=True, opacity=0.6, stroke=var("card"))
        .encode(size=size, **channels),
        points.transform_filter(f"datum.which != '{_WHICH[2]}'")
        .mark_point(filled=True, opacity=1, size=190, stroke=var("ink"), strokeWidth=1.5)
        .encode(**channels),
    )
    own = [row for row in table.rows if row[0] != _WHICH[2]]
    said = "; ".join(
        f"{row[0]}: {row[1]:.3g} % false rollbacks, {row[3]:.3g} bad requests, {row[4]:.6g} s"
        for row in own
    )
    return Panel(
        title="The Pareto front",
        says=f"{len(table.rows)} plans. {said}.",
        spec=specification(chart, height=300),
    )


def checks(table: Table) -> Panel:
    """For each goal and condition what is asked for, and what both plans do."""
    rows = named(table.name)
    order = list(dict.fromkeys(str(row[0]) for row in table.rows))
    policies = [name for name in _POLICIES if any(row[3] == name for row in table.rows)]
    y = alt.Y("label:N", sort=order, title=None, axis=names(), scale=alt.Scale(paddingInner=0.2))
    offset = alt.YOffset("policy:N", sort=policies)
    colour = alt.Color(
        "policy:N",
        scale=alt.Scale(domain=policies, range=[var(SERIES[2]), var(SERIES[1])]),
        title=None,
    )
    scale = alt.Scale(domain=[0, 100])
    axis = alt.Axis(grid=True)
    words = "found (% of rollouts)"
    tooltip = [
        alt.Tooltip("label:N", title="goal"),
        alt.Tooltip("policy:N", title="plan"),
        alt.Tooltip("wanted:Q", title="asked for (%)", format=".3~r"),
        alt.Tooltip("percent:Q", title="found (%)", format=".3~r"),
        alt.Tooltip("low:Q", title="from (%)", format=".3~r"),
        alt.Tooltip("high:Q", title="to (%)", format=".3~r"),
    ]
    chart = alt.layer(
        rows.mark_rule(strokeWidth=2.5, opacity=0.55).encode(
            alt.X("low:Q", title=words, scale=scale, axis=axis),
            x2=alt.X2("high"),
            y=y,
            yOffset=offset,
            color=colour,
            tooltip=tooltip,
        ),
        rows.mark_tick(color=var("ink"), thickness=2, size=22).encode(
            alt.X("wanted:Q", title=words), y=y
        ),
        rows.mark_point(filled=True, size=70, opacity=1).encode(
            alt.X("percent:Q", title=words),
            y=y,
            yOffset=offset,
            color=colour,
            shape=alt.Shape(
                "policy:N",
                scale=alt.Scale(domain=policies, range=["diamond", "square"]),
                title=None,
            ),
            tooltip=tooltip,
        ),
    )
    own = [row for row in table.rows if row[3] == "recommended"]
    said = "; ".join(f"{row[0]}: {row[5]:.3g} %, asked {row[4]:.3g} %" for row in own)
    return Panel(
        title="Goals",
        says=f"What the recommended plan does on other seeds. {said}.",
        spec=specification(chart, height=36 * len(order)),
    )
