"""The charts of one rollout."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import altair as alt

from canario.control.events import StageEntered
from canario.control.words import seconds_in_words
from canario.plan import Sequential
from canario_sim.world.rehearsal import Run

from .charts import Clock, by_name, facts, inline, named, specification, top, x_at, y_at
from .outcomes import VERDICTS, outcome_tone, plain_outcome
from .palette import var
from .report import Panel, Table
from .timeline import deployment_of

__all__ = ["RolloutCharts"]

_ARMS = {arm: var(arm) for arm in ("canary", "baseline")}
_SLOW_LIMIT = 5.0  # percent of the requests: the p95 rule
_FAULT_WORDS: dict[str, Any] = {
    "baseline": "bottom",
    "dy": -4,
    "color": var("fault"),
    "limit": 260,
}


class RolloutCharts:
    """The charts of one rollout, which share their time axis, from the tables of `rollout`."""

    def __init__(self, run: Run, tables: Sequence[Table]) -> None:
        self._run = run
        self._deployment = deployment_of(run.events)
        self._clock = Clock(run.ended_at)
        judge = self._deployment.judge
        self._sequential = judge if isinstance(judge, Sequential) else None
        self._spans, self._checks, *rest = tables
        self._faults = rest[0] if rest else None

    @property
    def panels(self) -> tuple[Panel, ...]:
        """Share, error rate, slow requests; what waits, where anybody does for too long."""
        if not self._peak("overdue") and not self._peak("abandoned"):
            return self.share(), self.errors(), self.slow()
        return self.share(), self.errors(), self.slow(last=False), self.waiting()

    def share(self) -> Panel:
        """Share over time, by verdict."""
        clock, run = self._clock, self._run
        spans = named(self._spans.name).transform_calculate(
            t=clock.of("start"), until=clock.of("end")
        )
        colours = {str(kind): var(f"fill-{tone}") for kind, tone in VERDICTS.items()}
        y = alt.Y("share:Q", title="share (% of keys)", scale=alt.Scale(domain=[0, 100]))
        area = spans.mark_rect().encode(
            clock.axis("t", title=False),
            x2=alt.X2("until"),
            y=y,
            y2=alt.Y2Datum(0),
            color=by_name(alt.Color, "verdict", colours),
            tooltip=facts(
                ("share:Q", "share (%)"),
                "verdict:N",
                ("start:Q", "from (s)"),
                ("end:Q", "to (s)"),
            ),
        )
        line = spans.mark_rule(strokeWidth=2).encode(
            clock.axis("t", title=False), x2=alt.X2("until"), y=y, color=alt.ColorValue(var("ink"))
        )
        layers = [*self._shades(words=True), area, line, *self._stage_names(), *self._end()]
        worst = "unhealthy" if any(row[4] == "unhealthy" for row in self._spans.rows) else ""
        said = f"It ends after {seconds_in_words(round(run.ended_at, 1))}: {run.why}."
        return Panel(
            title="Share of the canary (%)",
            says=f"Share of the canary of {run.scenario} over time{', ' if worst else ''}{worst}. "
            + said,
            spec=specification(alt.layer(*layers), height=150),
        )

    def errors(self) -> Panel:
        """Both arms' error rate, and the limit."""
        limit = self._deployment.rollback_thresholds.max_error_rate
        if self._sequential is not None and self._sequential.max_error_rate is not None:
            limit = self._sequential.max_error_rate
        title = "Error rate (% of the window's requests and those in flight)"
        return self._lines("error_rate", limit, title, "error rate (%)")

    def slow(self, *, last: bool = True) -> Panel:
        """The share of requests above the latency limit: the p95 rule."""
        most = self._deployment.rollback_thresholds.max_p95_latency_ms
        limit = _SLOW_LIMIT if self._sequential is None else self._sequential.max_slow_share
        title = f"Requests slower than {most:g} ms (% of the window's)"
        if self._peak("overdue"):
            title = f"Requests slower than {most:g} ms, those overdue among them (%)"
        if self._sequential is None:
            title = (
                f"p95 rule: {title[0].lower()}{title[1:]}; more than 5 % is a p95 above {most:g} ms"
            )
        return self._lines("slow_share", limit, title, f"over {most:g} ms (%)", last=last)

    def waiting(self) -> Panel:
        """Both arms' requests that nobody has answered in time."""
        clock = self._clock
        checks = named(self._checks.name).transform_calculate(t=clock.of("at"))
        kinds = {"overdue": "overdue", "abandoned": "given up in the window"}
        fields: list[Any] = [f"{arm}_{kind}" for arm in ("baseline", "canary") for kind in kinds]
        dashes = alt.Scale(domain=list(kinds.values()), range=[[1, 0], [3, 3]])
        said = {kind: self._peak(kind) for kind in kinds}
        lines = (
            checks.transform_fold(fields, as_=["series", "number"])
            .transform_calculate(
                arm="split(datum.series, '_')[0]",
                kind=f"split(datum.series, '_')[1] == 'overdue' ? '{kinds['overdue']}' : "
                f"'{kinds['abandoned']}'",
            )
            .mark_line(clip=True, interpolate="step-after")
            .encode(
                clock.axis("t"),
                y=alt.Y("number:Q", title="requests"),
                color=by_name(alt.Color, "arm", _ARMS),
                strokeDash=alt.StrokeDash("kind:N", scale=dashes, legend=None),
            )
        )
        hover = checks.mark_rule(strokeWidth=7, opacity=0).encode(
            clock.axis("t"),
            tooltip=facts(
                ("at:Q", "at (s)", ",.6~g"),
                *((f"{name}:Q", name.replace("_", " ")) for name in fields),
                ("canary_in_flight:Q", "canary in flight"),
                ("baseline_in_flight:Q", "baseline in flight"),
            ),
        )
        layers = [*self._shades(words=False, last=True), lines, hover]
        return Panel(
            title="Requests that nobody answers in time: overdue at the check, given up in the "
            "window (dotted)",
            says=f"Requests of {self._run.scenario} that nobody answered in time. At most "
            f"{said['overdue']:,} were overdue at a check, and {said['abandoned']:,} were given "
            "up in a window.",
            spec=specification(alt.layer(*layers), height=110),
        )

    def _peak(self, kind: str) -> int:
        """The most of either arm at any check."""
        names = [column.name for column in self._checks.columns]
        places = [names.index(f"{arm}_{kind}") for arm in ("canary", "baseline")]
        rows = self._checks.rows
        return max((int(row[place] or 0) for row in rows for place in places), default=0)

    def _lines(
        self, field: str, limit: float, title: str, axis: str, *, last: bool = False
    ) -> Panel:
        clock = self._clock
        place = {column.name: number for number, column in enumerate(self._checks.columns)}
        peaks = [
            max((float(row[place[f"{arm}_{field}"]] or 0) for row in self._checks.rows), default=0)
            for arm in ("baseline", "canary")
        ]
        highest = min(top(1.15 * limit, *peaks), 100.0)
        checks = named(self._checks.name).transform_calculate(t=clock.of("at"))
        x = clock.axis("t", title=last)
        lines = (
            checks.transform_fold(
                [f"baseline_{field}", f"canary_{field}"], as_=["series", "percent"]
            )
            .transform_calculate(arm="split(datum.series, '_')[0]")
            .mark_line(clip=True, interpolate="step-after")
            .encode(
                x,
                y=alt.Y("percent:Q", title=axis, scale=alt.Scale(domain=[0, highest])),
                color=by_name(alt.Color, "arm", _ARMS),
            )
        )
        bound = inline([{"limit": limit}])
        words = f"limit for the canary: {limit:g} %"
        if self._sequential is not None:
            # It is no line to be crossed: evidence against it adds up, or does not.
            words = f"tolerated in the long run: {limit:g} %"
        limits = [
            bound.mark_rule(strokeDash=[6, 4], strokeWidth=1.5, color=var("limit")).encode(
                y=alt.Y("limit:Q")
            ),
            bound.mark_text(
                text=words, align="left", baseline="bottom", dx=4, dy=-2, color=var("limit")
            ).encode(x=x_at(0), y=alt.Y("limit:Q")),
        ]
        names = [f"{arm}_{field}" for arm in ("canary", "baseline")]
        hover = checks.mark_rule(strokeWidth=7, opacity=0).encode(
            x,
            tooltip=facts(
                ("at:Q", "at (s)", ",.6~g"),
                *((f"{name}:Q", name.replace("_", " ") + " (%)", ".3~g") for name in names),
                "verdict:N",
            ),
        )
        said = (
            f"{title} of {self._run.scenario}. Highest: canary {peaks[1]:.3g} %, baseline "
            f"{peaks[0]:.3g} %; the limit is {limit:g} %."
        )
        layers = [*self._shades(words=False, last=last), lines, *limits, hover]
        return Panel(title=title, says=said, spec=specification(alt.layer(*layers), height=150))

    def _shades(self, *, words: bool, last: bool = False) -> list[alt.Chart]:
        """Faults, over the whole height; what they are above the first chart."""
        if self._faults is None:
            return []
        clock = self._clock
        faults = named(self._faults.name).transform_calculate(
            t=clock.of("start"), until=clock.of("end")
        )
        x = clock.axis("t", title=last)
        shades = [
            faults.mark_rect(
                color=var("fault"), fillOpacity=0.16, stroke=var("fault"), strokeOpacity=0.5
            ).encode(x, x2=alt.X2("until"), tooltip=facts("what:N", "arm:N"))
        ]
        if words and len(self._faults.rows) <= 2:
            half = clock.at(clock.seconds) / 2
            early = faults.transform_filter(f"datum.t <= {half:g}")
            late = faults.transform_filter(f"datum.t > {half:g}")
            text = alt.Text("what:N")
            shades += [
                # Beside the start where there is room for it, else before the end.
                early.mark_text(align="left", **_FAULT_WORDS).encode(x, y=y_at(0), text=text),
                late.mark_text(align="right", **_FAULT_WORDS).encode(
                    clock.axis("until", title=last), y=y_at(0), text=text
                ),
            ]
        return shades

    def _stage_names(self) -> list[alt.Chart]:
        entered = [event for event in self._run.events if isinstance(event, StageEntered)]
        rows = [
            {
                "t": self._clock.at(event.at),
                "share": event.percentage,
                "name": f"{event.percentage:g} %",
            }
            for event, after in pairwise([*entered, None])
            if event is not None
            # A stage of a moment has no room for its name.
            and (after.at if after else self._clock.seconds) - event.at > self._clock.seconds / 16
        ]
        texts = inline(rows)
        x, y = self._clock.axis("t", title=False), alt.Y("share:Q")
        name = alt.Text("name:N")
        low = texts.transform_filter("datum.share <= 80").mark_text(
            align="left", baseline="bottom", dx=5, dy=-3, fontWeight="bold"
        )
        high = texts.transform_filter("datum.share > 80").mark_text(
            align="left", baseline="top", dx=5, dy=5, fontWeight="bold"
        )
        return [part.encode(x, y=y, text=name) for part in (low, high)]

    def _end(self) -> list[alt.Chart]:
        """How it ended, where it ended."""
        run = self._run
        words = plain_outcome(run.outcome) + (f": {run.reason}" if run.reason else "")
        colour = var(outcome_tone(run.outcome))
        at = inline([{"t": self._clock.at(max(run.ended_at, 1.0))}])
        x = self._clock.axis("t", title=False)
        return [
            at.mark_rule(strokeWidth=3, color=colour).encode(x),
            at.mark_text(
                text=words,
                align="right",
                baseline="top",
                dx=-7,
                dy=6,
                fontWeight="bold",
                color=colour,
            ).encode(x, y=y_at(0 if run.outcome != "completed" else 100)),
        ]
