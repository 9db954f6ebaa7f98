"""Reports in a terminal: lines, timelines, and tables as wide as they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from textwrap import wrap
from typing import TypeVar

from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table
from rich.text import Text

from canario.control.rollout import MetricsSnapshot
from canario.control.words import seconds_in_words
from canario.printable import printable
from canario_sim.console import Terminal, visible

from .columns import Field
from .outcomes import VERDICTS
from .plain import shown
from .report import Cell, Column, Moment

__all__ = ["Paragraph", "block", "columns_of", "grid", "moment_line", "named", "show", "strip"]

T = TypeVar("T")

_BLOCKS = "▁▂▃▄▅▆▇█"

# Of a table whose columns may be as wide as they like.
_UNBOUNDED = 1000


def show(parts: Iterable[RenderableType], console: Console | None = None) -> None:
    """Print one after the other, as soon as it is made."""
    out = console or Terminal()
    width = out.width
    for part in parts:
        if not isinstance(part, Table):
            out.print(part)
            continue
        # A narrow terminal breaks the lines; a number or a name cut short would be another.
        room = out.measure(part, options=out.options.update(max_width=_UNBOUNDED))
        out.width = max(width, room.maximum)
        out.print(part)
        out.width = width


def grid(fields: Sequence[Field[T]], things: Iterable[T]) -> Table:
    """The columns that a terminal has room for: a row for each thing."""
    shown_here = [field for field in fields if field.brief is not None]
    rows = [[field.get(thing) for field in shown_here] for thing in things]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for place, field in enumerate(shown_here):
        words = field.left or (
            bool(field.name) and any(isinstance(row[place], str) for row in rows)
        )
        table.add_column(
            Text(printable(field.brief or "")), no_wrap=True, justify="left" if words else "right"
        )
    for row in rows:
        table.add_row(*(_cell(cell, field) for cell, field in zip(row, shown_here, strict=True)))
    return table


def _cell(cell: Cell | Text, field: Field[T]) -> Text:
    # Text, not str: names come from files, and are no markup.
    if isinstance(cell, Text):
        return visible(cell)
    return Text(printable(shown(cell, Column(field.name, field.title, field.digits))))


def named(name: str, rest: str) -> Text:
    """A line that begins with what it is about."""
    return Text.assemble((printable(name), "bold"), printable(rest))


def moment_line(moment: Moment) -> Text:
    """A line of a timeline."""
    words = Text(printable(moment.text), style=moment.tone)
    words.stylize(moment.weight)
    return Text(f"{seconds_in_words(moment.at):>15}  ").append_text(words)


def strip(history: Sequence[MetricsSnapshot], columns: int, *, title: str) -> Text:
    """The share over time, its colour the verdict: the worst of those that fall in a column."""
    drawn = Text(title)
    for part in columns_of(history, columns):
        worst = max(part, key=lambda snapshot: list(VERDICTS).index(snapshot.verdict))
        drawn.append(block(part[-1].share, 100), style=VERDICTS[worst.verdict])
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


class Paragraph:
    """Words that are broken where the terminal ends, `first` and `rest` columns set in."""

    def __init__(self, text: str, style: str = "", *, first: int = 6, rest: int = 6) -> None:
        self._text, self._style = text, style
        self._indents = first, rest

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        width = max(console.width - max(self._indents), 40)
        for number, line in enumerate(wrap(self._text, width, break_on_hyphens=False)):
            yield Text(f"{' ' * self._indents[number > 0]}{line}", style=self._style)
