"""The picture of one rollout: its share and verdicts, and both arms beside the plan's limits.

Its tables are made here, its charts in `rollout_charts`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from operator import attrgetter

from canario.control.events import StageEntered
from canario.control.rollout import MetricsSnapshot
from canario_sim.world.rehearsal import Run

from .columns import Field, table
from .report import Cell, Column, Panel, Picture, Table

__all__ = ["Span", "rollout"]

# Start, end (s), arm, what happened to it.
Span = tuple[float, float, str, str]


def _arm_fields(arm: str) -> tuple[Field[MetricsSnapshot], ...]:
    return (
        Field(
            f"{arm}_requests",
            f"requests of the {arm}'s window",
            attrgetter(f"{arm}.counts.requests"),
            9,
        ),
        Field(f"{arm}_error_rate", f"error rate of the {arm} (%)", attrgetter(f"{arm}.error_rate")),
        Field(
            f"{arm}_slow_share", f"slow requests of the {arm} (%)", attrgetter(f"{arm}.slow_rate")
        ),
        Field(f"{arm}_in_flight", f"in flight on the {arm}", attrgetter(f"{arm}.in_flight"), 9),
        Field(f"{arm}_overdue", f"overdue on the {arm}", attrgetter(f"{arm}.overdue"), 9),
        Field(
            f"{arm}_abandoned",
            f"never answered in the {arm}'s window",
            attrgetter(f"{arm}.counts.abandoned"),
            9,
        ),
    )


_CHECKS: Sequence[Field[MetricsSnapshot]] = (
    Field("at", "at (s)", lambda seen: seen.at, 6),
    Field("stage", "stage", lambda seen: seen.stage),
    Field("share", "share (%)", lambda seen: seen.share),
    Field("verdict", "verdict", lambda seen: str(seen.verdict)),
    *_arm_fields("canary"),
    *_arm_fields("baseline"),
)


def rollout(run: Run, faults: Sequence[Span] = (), *, prefix: str = "", most: int = 400) -> Picture:
    """The picture.

    Args:
        run: What to draw.
        faults: Shaded; one without an end lasts to the end of the rollout.
        prefix: Of its name and its tables' names, where a report has several.
        most: About how many checks are drawn; those where something changes always are.
    """
    end = max(run.ended_at, 1.0)
    tables = (
        _spans(run, end, prefix),
        _checks(run, most, prefix),
        *([_faults(faults, end, prefix)] if faults else []),
    )

    def draw() -> tuple[Panel, ...]:
        from .rollout_charts import RolloutCharts

        return RolloutCharts(run, tables).panels

    return Picture(
        name=f"{prefix}rollout",
        title="The rollout",
        caption="Share of the keys that go to the canary, coloured by what the checks said; then "
        "what the checks saw in the window of either arm, and the plan's limits for the canary."
        + (" Shaded: faults." if faults else ""),
        tables=tables,
        draw=draw,
    )


def _spans(run: Run, end: float, prefix: str) -> Table:
    """Where neither the share nor the verdict changes; before the first check nothing is known."""
    entered = [event for event in run.events if isinstance(event, StageEntered)]
    known = {snapshot.at: str(snapshot.verdict) for snapshot in run.history}
    shares = {event.at: (event.stage, event.percentage) for event in entered}
    rows: list[tuple[Cell, ...]] = []
    stage, share, verdict = 0, 0.0, "insufficient"
    for at, until in pairwise([*sorted({*known, *shares}), end]):
        stage, share = shares.get(at, (stage, share))
        verdict = known.get(at, verdict)
        if until <= at:
            continue
        alike = (stage, share, verdict)
        if rows and rows[-1][2:] == alike:
            rows[-1] = (rows[-1][0], until, *alike)
        else:
            rows.append((at, until, *alike))
    return Table(
        name=f"{prefix}share",
        title="Share and verdicts",
        columns=(
            Column("start", "from (s)", 6),
            Column("end", "to (s)", 6),
            Column("stage", "stage"),
            Column("share", "share (%)"),
            Column("verdict", "verdict"),
        ),
        rows=tuple(rows),
    )


def _checks(run: Run, most: int, prefix: str) -> Table:
    return table(
        f"{prefix}checks",
        "What each check saw",
        _CHECKS,
        run.history,
        shown=_shown(run.history, most),
    )


def _shown(history: Sequence[MetricsSnapshot], most: int) -> tuple[int, ...] | None:
    """About `most` of the checks: every so many, where something changes, and the extremes."""
    if len(history) <= most:
        return None
    kept = {0, len(history) - 1}
    for number, (before, after) in enumerate(pairwise(history)):
        if (before.verdict, before.stage, before.share) != (
            after.verdict,
            after.stage,
            after.share,
        ):
            kept |= {number, number + 1}
    size = -(-3 * len(history) // most)
    for first in range(0, len(history), size):
        block = range(first, min(first + size, len(history)))
        kept.add(first)
        for kind in ("errors", "slow"):
            kept.add(max(block, key=lambda number: _rate(history[number], kind)))
    return tuple(sorted(kept))


def _rate(snapshot: MetricsSnapshot, kind: str) -> float:
    return (snapshot.canary.error_rate if kind == "errors" else snapshot.canary.slow_rate) or 0.0


def _faults(faults: Sequence[Span], end: float, prefix: str) -> Table:
    return Table(
        name=f"{prefix}faults",
        title="Faults",
        columns=(
            Column("start", "from (s)", 6),
            Column("end", "to (s)", 6),
            Column("arm", "arm"),
            Column("what", "what happens"),
        ),
        rows=tuple(
            (start, min(until, end), arm, what) for start, until, arm, what in faults if start < end
        ),
    )
