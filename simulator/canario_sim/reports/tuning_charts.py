"""The charts of a search for the best plan."""

from __future__ import annotations

from typing import Any, Literal

import altair as alt

from .charts import by_name, facts, named, names, responsive, specification
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
            tooltip=facts(
                ("max_error_rate:Q", "max_error_rate (%)"),
                ("max_p95_latency_ms:Q", "max_p95_latency_ms"),
                ("false_rollback:Q", "false rollback (%)", ".3~r"),
                ("detect:Q", "detection (%)", ".3~r"),
            ),
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
        "color": by_name(
            alt.Color,
            "which",
            dict(zip(_WHICH, (var(SERIES[place]) for place in (2, 1, 0)), strict=True)),
            legend=legend,
        ),
        "shape": by_name(
            alt.Shape,
            "which",
            dict(zip(_WHICH, ("diamond", "square", "circle"), strict=True)),
            legend=legend,
        ),
        "tooltip": facts(
            "which:N",
            ("false_rollback:Q", "false rollback (%)", ".3~r"),
            ("detect:Q", "detection (%)", ".3~r"),
            ("exposure:Q", "bad requests", ",.3~r"),
            ("duration:Q", "to full rollout (s)", ",.6~g"),
            *(f"{name}:N" for name in ("limits", "rule", "stages")),
        ),
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
    colour = by_name(
        alt.Color, "policy", dict(zip(policies, (var(SERIES[2]), var(SERIES[1])), strict=False))
    )
    scale = alt.Scale(domain=[0, 100])
    axis = alt.Axis(grid=True)
    words = "found (% of rollouts)"
    tooltip = facts(
        ("label:N", "goal"),
        ("policy:N", "plan"),
        ("wanted:Q", "asked for (%)", ".3~r"),
        ("percent:Q", "found (%)", ".3~r"),
        ("low:Q", "from (%)", ".3~r"),
        ("high:Q", "to (%)", ".3~r"),
    )
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
            shape=by_name(
                alt.Shape, "policy", dict(zip(policies, ("diamond", "square"), strict=False))
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
