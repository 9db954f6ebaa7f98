"""A tuning in a terminal: the plan, what else there is, how it does, and what cannot be had."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from textwrap import wrap

from rich.console import Console
from rich.table import Table
from rich.text import Text

from canario.control.words import seconds_in_words
from canario.plan import Deployment, Sequential
from canario_sim.lab.summary import Estimate
from canario_sim.terminal import Terminal
from canario_sim.tuning.result import Check, Point, Tuning

__all__ = ["in_words", "show", "values_of"]

# Points of the front that are printed; all of them are in the JSON.
_POINTS = 12

_GOALS = {
    "false_rollback": "false rollback",
    "detect": "detected",
    "within": "in time",
    "at_most": "few hurt",
}


def show(tuning: Tuning, *, console: Console | None = None) -> None:
    """Print it."""
    out = console or Terminal()
    out.print(Text("The Pareto front: nothing is better in all three", style="bold"))
    _wide(out, _front(tuning))
    out.print()
    out.print(Text("The recommended plan", style="bold"))
    for text in _plan(tuning, out.width):
        out.print(text)
    out.print()
    if tuning.checks:
        out.print(
            Text(
                f"On {tuning.held_out:,} replications of each condition that the search never saw",
                style="bold",
            )
        )
        _wide(out, _checks(tuning))
        out.print()
    if tuning.impossible:
        out.print(Text("What cannot be had", style="bold"))
        for each in tuning.impossible:
            for number, line in enumerate(wrap(each.why, max(out.width - 6, 40))):
                out.print(Text(f"{'      ' if number else '  '}{line}"))
        out.print()
    for line in in_words(tuning):
        out.print(Text(line))
    out.print(
        Text(
            f"In brackets: {100 * tuning.confidence:g} % confidence. Bad requests failed, broke a "
            f"contract or took longer than {tuning.slow_above_ms:g} ms. "
            f"{tuning.candidates:,} candidates from {tuning.rehearsals:,} rehearsals"
            + (
                f", {tuning.repeated:,} of them because some had to wait for more requests."
                if tuning.repeated
                else "."
            ),
            style="dim",
        )
    )


def _front(tuning: Tuning) -> Table:
    table = _table("", "false rollback", "bad requests", "duration")
    for name in ("limits", "window or alpha", "stages", "checks every"):
        table.add_column(name, no_wrap=True)
    points = _some(tuning.front)
    known = [(point, "") for point in points]
    for point, mark in ((tuning.recommended, "recommended"), (tuning.present, "present")):
        known = [each for each in known if each[0] != point]
        known.append((point, mark))
    known.sort(key=lambda each: (each[0].scores.false_rollback.value, each[0].scores.exposure))
    for point, mark in known:
        scores = point.scores
        table.add_row(
            Text(mark, style="bold"),
            Text(_interval(scores.false_rollback)),
            f"{scores.exposure:,.1f}",
            seconds_in_words(round(scores.duration_seconds)),
            *values_of(point.deployment),
        )
    return table


def _some(front: Sequence[Point]) -> list[Point]:
    """Some of the front, evenly from one end to the other."""
    if len(front) <= _POINTS:
        return list(front)
    step = (len(front) - 1) / (_POINTS - 1)
    return [front[round(number * step)] for number in range(_POINTS)]


def values_of(deployment: Deployment) -> Iterator[str]:
    limits = deployment.rollback_thresholds
    yield (
        f"{limits.max_error_rate:g} %, {limits.max_p95_latency_ms:g} ms, "
        f"{limits.min_samples} samples"
    )
    judge = deployment.judge
    yield (
        f"alpha {judge.alpha:g}"
        if isinstance(judge, Sequential)
        else f"{limits.metric_window_seconds:g} s"
    )
    yield ", ".join(
        f"{stage.percentage:g} % {stage.hold_seconds:g} s" for stage in deployment.canary_stages
    )
    yield f"{limits.check_interval_seconds:g} s"


def _plan(tuning: Tuning, width: int) -> Iterator[Text]:
    for each in tuning.reasons:
        yield Text.assemble(f"  {each.key.rpartition('.')[2]} = ", (each.value, "bold"))
        for line in wrap(each.why, max(width - 6, 40), break_on_hyphens=False):
            yield Text(f"      {line}", style="dim")


def _checks(tuning: Tuning) -> Table:
    table = _table("condition", "goal", "asked", "recommended", "", "present", "")
    for check in tuning.checks:
        if check.policy == "recommended":
            least = "≤" if check.goal == "false_rollback" else "≥"
            before = next(
                (
                    other
                    for other in tuning.checks
                    if other.policy == "present"
                    and (other.goal, other.condition) == (check.goal, check.condition)
                ),
                None,
            )
            table.add_row(
                Text(check.condition),
                Text(_GOALS[check.goal]),
                f"{least} {_percent(check.wanted)}",
                *_met(check),
                *(_met(before) if before else (Text(""), Text(""))),
            )
    return table


def _met(check: Check) -> tuple[Text, Text]:
    said = "met" if check.met else "missed"
    style = "green" if check.shown else "yellow" if check.met else "red"
    return Text(_interval(check.share)), Text(said, style=style)


def in_words(tuning: Tuning) -> Iterator[str]:
    own = [check for check in tuning.checks if check.policy == "recommended"]
    missed = [check for check in own if not check.met]
    if not tuning.recommended.meets_goals:
        yield "No plan that was tried meets every goal; the recommended one comes closest."
    for check in missed:
        yield (
            f"{_GOALS[check.goal]} is missed under {check.condition}: "
            f"{_percent(check.share.value)} instead of {_percent(check.wanted)}, "
            f"{100 * check.short_by:.3g} points short."
        )
    if own and not missed:
        open_ = sum(not check.shown for check in own)
        yield "The recommended plan meets every goal on seeds that the search never saw" + (
            f"; of {open_} of {len(own)} shares the interval goes beyond what is asked, which "
            "more --held-out replications would narrow."
            if open_
            else ", with all of every interval."
        )
    before, now = tuning.present.scores, tuning.recommended.scores
    yield (
        f"Against the present plan: false rollbacks {_percent(now.false_rollback.value)} instead "
        f"of {_percent(before.false_rollback.value)}, {now.exposure:,.1f} bad requests of a bad "
        f"release instead of {before.exposure:,.1f}, "
        f"{seconds_in_words(round(now.duration_seconds))} to full rollout instead of "
        f"{seconds_in_words(round(before.duration_seconds))}."
    )
    if not tuning.complete:
        yield "Stopped early: the search is not complete."


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        left = heading in ("", "condition", "goal")
        table.add_column(heading, no_wrap=True, justify="left" if left else "right")
    return table


def _wide(out: Console, table: Table) -> None:
    """A narrow terminal breaks the lines; a number cut short would be another number."""
    unbounded = out.options.update(max_width=1000)
    before = out.width
    out.width = max(before, out.measure(table, options=unbounded).maximum)
    out.print(table)
    out.width = before


def _interval(estimate: Estimate) -> str:
    low, high = _percent(estimate.low, ""), _percent(estimate.high, "")
    return f"{_percent(estimate.value)} [{low}–{high}]"


def _percent(share: float, unit: str = " %") -> str:
    """One decimal; two for what would look like none or all."""
    percent = 100 * share
    digits = 2 if 0 < percent < 1 or 99 < percent < 100 else 1
    return f"{percent:.{digits}f}{unit}"
