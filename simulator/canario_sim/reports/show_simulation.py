"""Rehearsals in a terminal: a timeline and a strip for each, and a table of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from rich.console import Console
from rich.table import Table
from rich.text import Text

from canario.control.events import Checked, Event, StageEntered, Started
from canario.control.rollout import MetricsSnapshot
from canario.control.words import describe, seconds_in_words
from canario.judges.verdict import VerdictKind
from canario.printable import printable
from canario_sim.scenario.expect import under
from canario_sim.scenario.scenario import Scenario
from canario_sim.terminal import Terminal
from canario_sim.world.feedback import in_words
from canario_sim.world.rehearsal import FIGURES, Run

__all__ = ["COLOURS", "Show", "block", "columns_of", "line_of", "strip", "style_of"]

# Changes of verdict that a stage shows before the rest is only counted.
_SHOWN_VERDICTS = 3
_STRIP = 60
_BLOCKS = "▁▂▃▄▅▆▇█"
COLOURS = {
    VerdictKind.HEALTHY: "green",
    VerdictKind.INSUFFICIENT: "yellow",
    VerdictKind.UNHEALTHY: "red",
}
_OUTCOME_COLOURS = {"completed": "green", "rolled_back": "red", "aborted": "red"}


class Show:
    """Prints runs as they are made."""

    def __init__(self, *, verbose: bool, console: Console | None = None) -> None:
        self._console = console or Terminal()
        self._verbose = verbose

    @property
    def in_terminal(self) -> bool:
        """False when what is printed goes to a file or a program."""
        return self._console.is_terminal

    def run(self, scenario: Scenario, run: Run, *, told: bool = False) -> None:
        """One rehearsal: what it teaches, its timeline unless it is told, and whom the canary
        reached."""
        out = self._console
        if not told:
            self.heading(scenario)
            for at, text, style in self._lines(run):
                out.print(line_of(at, text, style))
        out.print()
        if run.history:
            out.print(strip(run.history, _STRIP, title="share over time "))
        out.print(Text(f"the canary {run.exposure.words}", style="dim"))
        for line in in_words(run.feedback) if run.feedback else ():
            out.print(Text(line, style="dim"))
        chance = f", {under(run.chance)}" if run.by_chance else ""
        for expectation in run.expectations:
            if not expectation.ok:
                out.print(
                    Text(
                        f"{'by chance ' if run.by_chance else ''}not as expected: "
                        f"{expectation.name} is {expectation.actual}, "
                        f"expected {expectation.expected}{chance}",
                        style="yellow" if run.by_chance else "bold red",
                    )
                )
        out.print()

    def heading(self, scenario: Scenario) -> None:
        """Its name, and what it teaches."""
        out = self._console
        out.rule(Text(printable(scenario.name), style="bold"), align="left")
        out.print(Text(_prose(scenario.teaches), style="italic"))
        if scenario.weakness:
            out.print(Text(f"a weakness: {_prose(scenario.weakness)}", style="yellow"))
        out.print()

    def closing(self, runs: Sequence[Run]) -> None:
        """The table of all rehearsals."""
        table = Table(box=None, pad_edge=False, header_style="bold")
        for heading in ("scenario", "outcome", "after"):
            table.add_column(heading, no_wrap=True)
        for heading in FIGURES.values():
            table.add_column(heading, justify="right")
        table.add_column("as expected")
        for run in runs:
            table.add_row(
                run.scenario,
                Text(_outcome(run), style=_OUTCOME_COLOURS.get(run.outcome, "yellow")),
                seconds_in_words(round(run.ended_at, 0 if run.ended_at >= 60 else 1)),
                *(f"{figure:,}" for figure in run.exposure.figures),
                _as_expected(run),
            )
        # A narrow terminal breaks the lines; a name cut short could not be looked up.
        out = self._console
        unbounded = out.options.update(max_width=1000)
        out.width = max(out.width, out.measure(table, options=unbounded).maximum)
        out.print(table)
        failed = sum(not run.ok for run in runs)
        chance = sum(run.by_chance for run in runs)
        good = sum(bool(run.expectations) and run.as_expected for run in runs)
        by_chance = f"{chance} by chance not, " if chance else ""
        out.print()
        out.print(f"{len(runs)} rehearsed, {good} as expected, {by_chance}{failed} not")

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
        lines.append((event.at, describe(event, started.deployment), style_of(event)))
    if left_out:
        lines.append((events[-1].at, f"… {left_out} more changes of verdict (-v)", "dim"))
    return lines


def line_of(at: float, text: str, style: str) -> Text:
    """A line of a timeline."""
    return Text.assemble(f"{seconds_in_words(at):>15}  ", (printable(text), style))


def style_of(event: Event) -> str:
    """How an event is printed."""
    if isinstance(event, Checked):
        return COLOURS[event.verdict.kind]
    return "bold" if event.terminal or isinstance(event, StageEntered) else ""


def strip(history: Sequence[MetricsSnapshot], columns: int, *, title: str) -> Text:
    """The share over time, its colour the verdict: the worst of those that fall in a column."""
    drawn = Text(title)
    for part in columns_of(history, columns):
        worst = max(part, key=lambda snapshot: list(COLOURS).index(snapshot.verdict))
        drawn.append(block(part[-1].share, 100), style=COLOURS[worst.verdict])
    return drawn


def columns_of(history: Sequence[MetricsSnapshot], columns: int) -> list[Sequence[MetricsSnapshot]]:
    """The history in so many parts, none of them empty."""
    columns = min(columns, len(history))
    cuts = [column * len(history) // columns for column in range(columns + 1)]
    return [history[first:last] for first, last in pairwise(cuts)]


def block(value: float, full: float) -> str:
    """A block as high as the part that `value` is of `full`."""
    height = int(value / full * len(_BLOCKS)) if full else len(_BLOCKS)
    return _BLOCKS[max(0, min(height, len(_BLOCKS) - 1))]


def _prose(text: str) -> str:
    """Sentences on one line, as files may have them on several."""
    return printable(" ".join(text.split()))


def _outcome(run: Run) -> str:
    return f"{run.outcome}, {run.reason}" if run.reason else run.outcome


def _as_expected(run: Run) -> Text:
    if not run.expectations:
        return Text("nothing stated", style="dim")
    if run.by_chance:
        return Text("by chance not", style="yellow")
    return Text("yes", style="green") if run.ok else Text("NO", style="bold red")
