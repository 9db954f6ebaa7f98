"""Rehearsals in a terminal: a timeline and a strip for each, and a table of all of them."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from canario.control.events import Checked, Event, StageEntered, Started
from canario.control.rollout import MetricsSnapshot
from canario.control.words import describe, seconds_in_words
from canario.judges.verdict import VerdictKind

from .runner import Run
from .scenario import Scenario

__all__ = ["Show"]

# Changes of verdict that a stage shows before the rest is only counted.
_SHOWN_VERDICTS = 3
_STRIP = 60
_BLOCKS = "▁▂▃▄▅▆▇█"
_COLOURS = {
    VerdictKind.HEALTHY: "green",
    VerdictKind.INSUFFICIENT: "yellow",
    VerdictKind.UNHEALTHY: "red",
}
_OUTCOME_COLOURS = {"completed": "green", "rolled_back": "red", "aborted": "red"}


class Show:
    """Prints runs as they are made."""

    def __init__(self, *, verbose: bool, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False, soft_wrap=True)
        self._verbose = verbose

    def run(self, scenario: Scenario, run: Run) -> None:
        """One rehearsal: what it teaches, its timeline, and whom the canary reached."""
        out = self._console
        out.rule(Text(run.scenario, style="bold"), align="left")
        out.print(Text(scenario.teaches, style="italic"))
        if scenario.weakness:
            out.print(Text(f"a weakness: {scenario.weakness}", style="yellow"))
        out.print()
        for at, text, style in self._lines(run):
            out.print(Text(f"{seconds_in_words(at):>15}  "), Text(text, style=style), sep="")
        out.print()
        if run.history:
            out.print(_strip(run.history))
        out.print(Text(_reach(run), style="dim"))
        for expectation in run.expectations:
            if not expectation.ok:
                out.print(
                    Text(
                        f"not as expected: {expectation.name} is {expectation.actual}, "
                        f"expected {expectation.expected}",
                        style="bold red",
                    )
                )
        out.print()

    def closing(self, runs: Sequence[Run]) -> None:
        """The table of all rehearsals."""
        table = Table(box=None, pad_edge=False, header_style="bold")
        for heading in ("scenario", "outcome", "after"):
            table.add_column(heading, no_wrap=True)
        for heading in ("canary served", "bad", "users reached"):
            table.add_column(heading, justify="right")
        table.add_column("as expected")
        for run in runs:
            table.add_row(
                escape(run.scenario),
                Text(_outcome(run), style=_OUTCOME_COLOURS.get(run.outcome, "yellow")),
                seconds_in_words(round(run.ended_at, 0 if run.ended_at >= 60 else 1)),
                f"{run.exposure.canary_requests:,}",
                f"{run.exposure.bad_requests:,}",
                f"{run.exposure.users:,}",
                _as_expected(run),
            )
        # A narrow terminal breaks the lines; a name cut short could not be looked up.
        out = self._console
        unbounded = out.options.update(max_width=1000)
        out.width = max(out.width, out.measure(table, options=unbounded).maximum)
        out.print(table)
        failed = sum(not run.ok for run in runs)
        stated = sum(bool(run.expectations) for run in runs)
        self._console.print(f"\n{len(runs)} rehearsed, {stated - failed} as expected, {failed} not")

    def _lines(self, run: Run) -> list[tuple[float, str, str]]:
        """Instant, words and style of what happened; long runs of verdicts are cut short."""
        lines = [(note.at, note.text, "magenta") for note in run.notes if note.at <= run.ended_at]
        lines += _journal(run.events, whole=self._verbose)
        return sorted(lines, key=lambda line: line[0])


def _journal(events: Sequence[Event], *, whole: bool) -> list[tuple[float, str, str]]:
    started = events[0]
    assert isinstance(started, Started)
    lines = []
    shown = left_out = 0
    for event, following in zip(events, [*events[1:], None], strict=True):
        if isinstance(event, Checked) and not whole:
            # The verdict that decided something is always shown.
            if shown >= _SHOWN_VERDICTS and (following is None or isinstance(following, Checked)):
                left_out += 1
                continue
            shown += 1
        if left_out and not isinstance(event, Checked):
            lines.append((event.at, f"… {left_out} more changes of verdict (-v)", "dim"))
            left_out = 0
        if isinstance(event, StageEntered):
            shown = 0
        lines.append((event.at, describe(event, started.deployment), _style(event)))
    if left_out:
        lines.append((events[-1].at, f"… {left_out} more changes of verdict (-v)", "dim"))
    return lines


def _style(event: Event) -> str:
    if isinstance(event, Checked):
        return _COLOURS[event.verdict.kind]
    return "bold" if event.terminal or isinstance(event, StageEntered) else ""


def _strip(history: Sequence[MetricsSnapshot]) -> Text:
    """The share over time, its colour the verdict: the worst of those that fall in a column."""
    columns = min(_STRIP, len(history))
    strip = Text("share over time ")
    for column in range(columns):
        first = column * len(history) // columns
        part = history[first : (column + 1) * len(history) // columns]
        worst = max(part, key=lambda snapshot: list(_COLOURS).index(snapshot.verdict))
        height = min(int(part[-1].share / 100 * len(_BLOCKS)), len(_BLOCKS) - 1)
        strip.append(_BLOCKS[height], style=_COLOURS[worst.verdict])
    return strip


def _reach(run: Run) -> str:
    reached = run.exposure
    return (
        f"the canary served {reached.canary_requests:,} requests to {reached.users:,} of "
        f"{reached.population:,} users; {reached.bad_requests:,} of them were bad"
    )


def _outcome(run: Run) -> str:
    return f"{run.outcome}, {run.reason}" if run.reason else run.outcome


def _as_expected(run: Run) -> Text:
    if not run.expectations:
        return Text("nothing stated", style="dim")
    return Text("yes", style="green") if run.ok else Text("NO", style="bold red")
