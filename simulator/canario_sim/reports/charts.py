"""What all charts share: how they look, how time is drawn, how they become specifications.

Altair builds and checks them; colours stay names until a format knows light from dark.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import cycle
from math import ceil, log10
from typing import Any, TypeVar

import altair as alt

from .palette import SERIES, var

__all__ = [
    "CONFIG",
    "FONT",
    "INK",
    "RIGHT",
    "Clock",
    "by_name",
    "facts",
    "fixed",
    "inline",
    "named",
    "names",
    "responsive",
    "series",
    "specification",
    "top",
    "x_at",
    "y_at",
]

FONT = "system-ui, 'Liberation Sans', 'DejaVu Sans', sans-serif"
INK = var("ink")

# Where there is less room than this for a chart, in pixels, it is on a phone.
_NARROW = 480
_RESPONSIVE = re.compile(rf"containerSize\(\)\[0\] < {_NARROW} \? ([0-9.]+) : ([0-9.]+)")

_MINUTE = 60.0
_HOUR = 3600.0


class Clock:
    """The axis of a rollout that takes `seconds`: in seconds, minutes or hours."""

    def __init__(self, seconds: float) -> None:
        self.seconds = max(seconds, 1.0)
        self.unit, self.per = next(
            (unit, per)
            for unit, per, least in (
                ("hours", _HOUR, 6 * _HOUR),
                ("minutes", _MINUTE, 3 * _MINUTE),
                ("seconds", 1.0, 0.0),
            )
            if self.seconds >= least
        )

    def axis(
        self, field: str, *, title: bool = True, words: str = "from the start of the rollout"
    ) -> alt.X:
        """The channel of an instant that `of` has put in the field `field`."""
        return alt.X(
            field,
            type="quantitative",
            title=f"{self.unit} {words}" if title else None,
            scale=alt.Scale(domain=[0, self.seconds / self.per], nice=False),
        )

    def of(self, column: str) -> str:
        """The expression that turns a column of seconds into the axis' unit."""
        return f"datum.{column} / {self.per:g}"

    def at(self, seconds: float) -> float:
        """An instant in the axis' unit."""
        return seconds / self.per


def responsive(narrow: float, wide: float) -> dict[str, str]:
    """A number that is another one on a phone.

    It looks at the room that there is for the whole chart: the width of the plot depends on the
    labels beside it, and so on such numbers.
    """
    return {"expr": f"containerSize()[0] < {_NARROW} ? {narrow:g} : {wide:g}"}


# The right edge of a chart.
RIGHT = {"expr": "width"}


def fixed(spec: Any, width: int) -> Any:
    """A specification for one width, where nothing is responsive any more."""
    if isinstance(spec, list):
        return [fixed(value, width) for value in spec]
    if not isinstance(spec, dict):
        return spec
    if spec == RIGHT:
        return width
    if set(spec) == {"expr"} and (found := _RESPONSIVE.fullmatch(spec["expr"])):
        return float(found[1 if width < _NARROW else 2])
    return {key: fixed(value, width) for key, value in spec.items()}


def x_at(value: Any) -> alt.XValue:
    """A place on the x axis in pixels: 0 the left edge, `RIGHT` the right one."""
    return alt.XValue(value)  # type: ignore[no-untyped-call]


def y_at(value: Any) -> alt.YValue:
    """A place on the y axis in pixels from the top."""
    return alt.YValue(value)  # type: ignore[no-untyped-call]


def names() -> alt.Axis:
    """Names on the left: cut where a phone has no room for them; the tables have them whole."""
    limit = responsive(120, 280)
    return alt.Axis(labelLimit=alt.ExprRef(limit["expr"]), labelColor=INK, domain=False)


def named(table: str) -> alt.Chart:
    """A chart of a table's rows."""
    return alt.Chart(alt.NamedData(name=table))


def inline(rows: list[dict[str, Any]]) -> alt.Chart:
    """A chart of a few rows of its own: labels, limits."""
    return alt.Chart(alt.InlineData(values=rows))


_Channel = TypeVar("_Channel", alt.Color, alt.Shape, alt.StrokeDash)


def by_name(
    channel: type[_Channel], field: str, known: Mapping[str, Any], **settings: Any
) -> _Channel:
    """A channel that gives each name in a field what is `known` of it: a colour, a shape."""
    scale = alt.Scale(domain=list(known), range=list(known.values()))
    return channel(f"{field}:N", scale=scale, title=None, **settings)


def series(names: Sequence[str]) -> dict[str, str]:
    """A colour for each of those that have none of their own; after the last the first again."""
    return dict(zip(names, cycle(map(var, SERIES)), strict=False))


def facts(*fields: str | tuple[str, ...]) -> list[alt.Tooltip]:
    """The table of facts about what is pointed at: fields, with their titles, and their formats."""
    made = []
    for field in fields:
        name, *words = (field,) if isinstance(field, str) else field
        told: dict[str, Any] = dict(zip(("title", "format"), words, strict=False))
        made.append(alt.Tooltip(name, **told))
    return made


def top(*values: float) -> float:
    """The upper end of an axis that starts at 0 and holds all values: 1, 1.2, 1.5, 2, … × 10ⁿ."""
    most = max(*values, 1e-9)
    unit = 10.0 ** (ceil(log10(most)) - 1)  # the last step makes up for rounding
    steps = (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10, 12)
    return next(step * unit for step in steps if step * unit >= most)


def specification(
    chart: alt.LayerChart | alt.Chart | alt.FacetChart, *, height: int
) -> dict[str, Any]:
    """The chart as Vega-Lite, as wide as where it stands; `CONFIG` belongs to it.

    Altair's own check of what it has built costs more than all the rest; the tests make it.
    """
    made: dict[str, Any] = chart.properties(
        width="container",
        height=height,
        autosize=alt.AutoSizeParams(type="fit-x", contains="padding"),
    ).to_dict(validate=False)
    del made["config"]
    return made


CONFIG: dict[str, Any] = {
    "background": "transparent",
    "font": FONT,
    # One label for the chart and a table beside it: a label for each of a thousand marks would
    # hide both.
    "mark": {"aria": False},
    "view": {"stroke": None},
    "axis": {
        "labelColor": var("muted"),
        "titleColor": var("muted"),
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "gridColor": var("line"),
        "domainColor": var("axis"),
        "tickColor": var("axis"),
        "labelOverlap": True,
        "titlePadding": 8,
    },
    "axisX": {"grid": False, "tickCount": responsive(4, 10)},
    "axisY": {"domain": False, "ticks": False, "tickCount": 4, "labelPadding": 6, "minExtent": 28},
    "legend": {
        "orient": "top",
        "labelColor": INK,
        "titleColor": var("muted"),
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "symbolSize": 110,
        "symbolStrokeWidth": 2.5,
        "offset": 6,
        "columns": responsive(3, 6),
        "labelLimit": 260,
    },
    "text": {"color": INK, "fontSize": 12},
    "line": {"strokeWidth": 2},
    "bar": {"cornerRadiusEnd": 2},
}
