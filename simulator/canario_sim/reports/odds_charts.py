"""The charts of an assessment. A row is a condition, a colour and a shape are a policy."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from typing import Any

import altair as alt

from .charts import by_name, facts, inline, named, names, responsive, series, specification, top
from .palette import SERIES, var
from .report import Panel, Table

__all__ = ["curves", "differences", "odds", "policies", "ranges"]

_DASHES = ([1, 0], [7, 3], [2, 2], [9, 3, 2, 3], [4, 4], [12, 3])
_SHAPES = ("circle", "square", "diamond", "triangle-up", "cross", "triangle-down")


def odds(
    table: Table, policies: Sequence[str], title: str, axis: str, *, row: str = "condition"
) -> tuple[Panel]:
    """A dot and its interval for each condition and policy, in percent; `row` names the rows."""
    rows = named(table.name)
    x = alt.X("low:Q", title=axis, scale=alt.Scale(domain=[0, 100]), axis=alt.Axis(grid=True))
    tooltip = facts(
        *(f"{name}:N" for name in dict.fromkeys((row, "policy"))),
        ("percent:Q", "rolled back (%)", ".4~g"),
        ("low:Q", "from (%)", ".4~g"),
        ("high:Q", "to (%)", ".4~g"),
    )
    place = _Rows(table, policies, row=row)
    chart = alt.layer(
        rows.mark_rule(strokeWidth=2.5, opacity=0.55).encode(
            x, x2=alt.X2("high"), tooltip=tooltip, **place.channels(shape=False)
        ),
        rows.mark_point(filled=True, size=70, opacity=1).encode(
            x=alt.X("percent:Q", title=axis), tooltip=tooltip, **place.channels()
        ),
    )
    said = "; ".join(
        f"{row[0]}{_by(row[1], policies)} {row[3]:.3g} % [{row[4]:.3g} to {row[5]:.3g}]"
        for row in table.rows
    )
    return (
        Panel(
            title=title, says=f"{title}: {said}.", spec=specification(chart, height=place.height)
        ),
    )


def ranges(
    table: Table, policies: Sequence[str], title: str, axis: str, *, log: bool
) -> tuple[Panel]:
    """Median, 90 % and 99 % of each row; on a scale on which seconds and hours are seen."""
    rows = named(table.name)
    scale = alt.Scale(type="symlog", constant=1, nice=False) if log else alt.Scale()
    most = max((row[-1] for row in table.rows if isinstance(row[-1], int | float)), default=1)
    ticks = [0, *(10**power for power in range(8) if 10**power <= 1.5 * most)]
    x = alt.X("p50:Q", title=axis, scale=scale, axis=alt.Axis(values=ticks, format="~s", grid=True))
    tooltip = facts(
        "condition:N",
        "policy:N",
        *((f"p{q}:Q", f"{q} % up to", ",.4~g") for q in (50, 90, 99)),
    )
    place = _Rows(table, policies)
    plain = place.channels(shape=False)
    chart = alt.layer(
        rows.mark_rule(strokeWidth=1.5, opacity=0.6).encode(
            x, x2=alt.X2("p99"), tooltip=tooltip, **plain
        ),
        rows.mark_rule(strokeWidth=4, opacity=0.6).encode(
            x, x2=alt.X2("p90"), tooltip=tooltip, **plain
        ),
        rows.mark_point(filled=True, size=70, opacity=1).encode(
            x, tooltip=tooltip, **place.channels()
        ),
    )
    said = "; ".join(
        f"{row[0]}{_by(row[1], policies)} median {row[2]:.4g}, 99 % {row[4]:.4g}"
        for row in table.rows
    )
    return (
        Panel(
            title=title, says=f"{title}: {said}.", spec=specification(chart, height=place.height)
        ),
    )


def curves(table: Table, conditions: Sequence[str], policies: Sequence[str]) -> tuple[Panel, ...]:
    """Percent of the rollouts that were rolled back by then: one chart for a policy alone, else
    one for each condition."""
    if len(policies) == 1:
        return (_curve(table, None, "condition", list(conditions), height=240),)
    return tuple(
        _curve(table, condition, "policy", list(policies), height=130) for condition in conditions
    )


def _curve(
    table: Table, condition: str | None, field: str, lines: list[str], *, height: int
) -> Panel:
    rows = named(table.name)
    if condition is not None:
        # A name is data: it is compared with, and never part of an expression.
        rows = rows.transform_filter(alt.FieldEqualPredicate(field="condition", equal=condition))
    longest = max(row[2] for row in table.rows if isinstance(row[2], int | float))
    chart = (
        rows.transform_calculate(minutes="datum.seconds / 60")
        .mark_line(interpolate="step-after", clip=True)
        .encode(
            alt.X(
                "minutes:Q",
                title="minutes from the start of the rollout",
                scale=alt.Scale(domain=[0, max(longest, 1.0) / 60], nice=False),
            ),
            y=alt.Y("percent:Q", title="rolled back (%)", scale=alt.Scale(domain=[0, 100])),
            color=_colour(field, lines),
            strokeDash=by_name(
                alt.StrokeDash,
                field,
                dict(zip(lines, cycle(_DASHES), strict=False)),
                legend=_legend(lines),
            ),
            tooltip=facts(
                f"{field}:N",
                ("seconds:Q", "by (s)", ",.4~g"),
                ("percent:Q", "rolled back (%)", ".3~g"),
            ),
        )
    )
    place = 1 if condition else 0
    ends = [
        max(
            float(row[3] or 0)
            for row in table.rows
            if row[place] == name and condition in (None, row[0])
        )
        for name in lines
    ]
    said = "; ".join(f"{name} {end:.3g} %" for name, end in zip(lines, ends, strict=True))
    where = f" under {condition}" if condition else ""
    return Panel(
        title=condition or "All",
        says=f"Rolled back in the end{where}: {said}.",
        spec=specification(chart, height=height),
    )


def policies(table: Table) -> tuple[Panel]:
    """Detection against false rollback: a named dot for each policy."""
    rows = named(table.name)
    domain = [str(row[0]) for row in table.rows]
    most = [max(float(row[place] or 0) for row in table.rows) for place in (1, 2)]
    x, y = (
        channel(
            f"{field}:Q",
            title=f"{words} releases rolled back (%)",
            scale=alt.Scale(domain=[0, min(100.0, top(1.1 * end))]),
            axis=alt.Axis(grid=True),
        )
        for channel, field, words, end in (
            (alt.X, "false_rollback", "good", most[0]),
            (alt.Y, "detection", "bad", most[1]),
        )
    )
    tooltip = facts(
        "policy:N",
        ("false_rollback:Q", "false rollback (%)", ".3~g"),
        ("detection:Q", "detection (%)", ".3~g"),
    )
    chart = rows.mark_point(filled=True, size=130, opacity=0.9).encode(
        x, y=y, color=_colour("policy", domain), shape=_shape("policy", domain), tooltip=tooltip
    )
    said = "; ".join(
        f"{row[0]}: {row[1]:.3g} % of the good and {row[2]:.3g} % of the bad releases"
        for row in table.rows
    )
    return (
        Panel(
            title="Rolled back",
            says=f"Rolled back, on average over the conditions: {said}.",
            spec=specification(chart, height=280),
        ),
    )


def differences(table: Table, policies: Sequence[str], title: str) -> tuple[Panel]:
    """A dot and its interval on either side of nothing, for each policy but the first."""
    rows = named(table.name)
    axis = "percentage points"
    place = _Rows(table, policies, without_first=True)
    scale = alt.Scale(domain=[-100, 100])
    grid = alt.Axis(grid=True)
    tooltip = facts(
        "condition:N",
        "policy:N",
        ("percent:Q", "difference", "+.4~g"),
        ("low:Q", "from", "+.4~g"),
        ("high:Q", "to", "+.4~g"),
    )
    chart = alt.layer(
        inline([{"zero": 0}])
        .mark_rule(color=var("axis"), strokeDash=[4, 3])
        .encode(x=alt.X("zero:Q", title=axis)),
        rows.mark_rule(strokeWidth=2.5, opacity=0.55).encode(
            x=alt.X("low:Q", title=axis, scale=scale, axis=grid),
            x2=alt.X2("high"),
            tooltip=tooltip,
            **place.channels(shape=False),
        ),
        rows.mark_point(filled=True, size=70, opacity=1).encode(
            x=alt.X("percent:Q", title=axis, scale=scale), tooltip=tooltip, **place.channels()
        ),
    )
    said = "; ".join(f"{row[0]}, {row[1]} {row[4]:+.3g}" for row in table.rows)
    return (
        Panel(
            title=title, says=f"{title}: {said}.", spec=specification(chart, height=place.height)
        ),
    )


class _Rows:
    """A row for each condition, within it a place for each policy."""

    def __init__(
        self,
        table: Table,
        policies: Sequence[str],
        *,
        row: str = "condition",
        without_first: bool = False,
    ) -> None:
        self._row = row
        self._all = list(policies)
        self._policies = self._all[1:] if without_first else self._all
        self._conditions = list(dict.fromkeys(str(row[0]) for row in table.rows))

    @property
    def height(self) -> int:
        """In pixels."""
        return len(self._conditions) * (12 + 12 * max(1, len(self._policies)))

    def channels(self, *, shape: bool = True) -> dict[str, Any]:
        """Place, colour and shape; a policy has the same ones in every chart."""
        several = len(self._policies) > 1
        made: dict[str, Any] = {
            "y": alt.Y(
                f"{self._row}:N",
                sort=self._conditions,
                title=None,
                axis=names(),
                scale=alt.Scale(paddingInner=0.2, paddingOuter=0.1),
            ),
        }
        if self._all:
            made["color"] = _colour("policy", self._all, legend=several)
        else:
            made["color"] = alt.ColorValue(var(SERIES[0]))
        if several:
            made["yOffset"] = alt.YOffset("policy:N", sort=self._policies)
        if several and shape:
            made["shape"] = _shape("policy", self._all)
        return made


def _colour(field: str, names: list[str], *, legend: bool = True) -> alt.Color:
    return by_name(alt.Color, field, series(names), legend=_legend(names) if legend else None)


def _shape(field: str, names: list[str]) -> alt.Shape:
    shapes = dict(zip(names, cycle(_SHAPES), strict=False))
    return by_name(alt.Shape, field, shapes, legend=_legend(names))


def _legend(names: list[str]) -> alt.Legend:
    """In so many columns as have room for the names."""
    longest = max(map(len, names), default=0)
    columns = responsive(2, 5) if longest <= 12 else responsive(1, 3)
    return alt.Legend(columns=alt.ExprRef(columns["expr"]))


def _by(policy: object, policies: Sequence[str]) -> str:
    return f", {policy}" if len(policies) > 1 else ""
