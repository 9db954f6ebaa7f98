"""A report as one value: what it says, its pictures and its tables. Every format is made from it.

All text in it is plain text: no format takes anything of it for markup.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal

from msgspec import Struct

__all__ = [
    "Case",
    "Cell",
    "Column",
    "Fact",
    "Moment",
    "Panel",
    "Picture",
    "Report",
    "Section",
    "Suite",
    "Table",
    "Tone",
]

Cell = str | int | float | bool | None

# What a thing means to whoever reads it; formats choose a colour for it, and never a colour alone.
Tone = Literal["good", "bad", "wait", "fault", "plain"]


class Column(Struct, frozen=True):
    """A column of a table: `name` for programs, `title` (with its unit) for people.

    Numbers are shown to people with `digits` significant digits; programs get all of them.
    """

    name: str
    title: str
    digits: int = 4


class Table(Struct, frozen=True, kw_only=True):
    """Rows, each as long as `columns`.

    Attributes:
        name: Letters, digits, `-`, `_` and `.`: names its file.
        title: What it holds.
        columns: Their headings.
        rows: All of them.
        shown: Numbers of the rows that pictures are drawn from, where there are too many to see;
            None for all.
        tones: One for each row, or empty.
        folded: It tells again, at length, what stands elsewhere: shown when it is asked for.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    shown: tuple[int, ...] | None = None
    tones: tuple[Tone, ...] = ()
    folded: bool = False

    @property
    def drawn(self) -> tuple[tuple[Cell, ...], ...]:
        """The rows that pictures are drawn from."""
        return self.rows if self.shown is None else tuple(self.rows[row] for row in self.shown)


class Panel(Struct, frozen=True, kw_only=True):
    """One chart: a Vega-Lite specification whose data are named after tables.

    Its colours are names of the palette's, as in CSS: `var(--canary)`. `title` says what is drawn,
    with its unit; `says` what it amounts to, for whoever cannot see it.
    """

    title: str
    says: str
    spec: dict[str, Any]


class Picture(Struct, frozen=True, kw_only=True):
    """Charts one below the other, and the tables that they are drawn from.

    `draw` makes the charts when a format asks for them: formats of text and numbers need no
    library of charts.
    """

    name: str
    title: str
    caption: str
    tables: tuple[Table, ...]
    draw: Callable[[], tuple[Panel, ...]]


class Fact(Struct, frozen=True, kw_only=True):
    """A figure that a reader looks for first."""

    label: str
    value: str
    tone: Tone = "plain"


class Moment(Struct, frozen=True, kw_only=True):
    """A line of a timeline, `at` seconds from the start; `weight` tells the important ones."""

    at: float
    text: str
    tone: Tone = "plain"
    weight: Literal["", "bold", "dim"] = ""


class Section(Struct, frozen=True, kw_only=True):
    """A part of a report under a heading; `code` is a file's content, shown as it is."""

    name: str
    title: str
    text: tuple[str, ...] = ()
    tone: Tone = "plain"
    facts: tuple[Fact, ...] = ()
    tables: tuple[Table, ...] = ()
    pictures: tuple[Picture, ...] = ()
    timeline: tuple[Moment, ...] = ()
    code: str = ""


class Case(Struct, frozen=True, kw_only=True):
    """Something that was expected, and what came of it.

    `by_chance` is empty, or says why what is not ok fails nothing.
    """

    name: str
    expected: str
    actual: str
    ok: bool
    by_chance: str = ""


class Suite(Struct, frozen=True, kw_only=True):
    """What was expected of one rehearsal, plan or tape, and its story as lines."""

    name: str
    about: str
    cases: tuple[Case, ...]
    story: tuple[str, ...] = ()
    properties: tuple[tuple[str, str], ...] = ()


class Report(Struct, frozen=True, kw_only=True):
    """What a command has found out.

    Attributes:
        command: `simulate`, `assess`, `tune`, `backtest` or `calibrate`.
        title: Its heading.
        summary: What it comes to, in sentences.
        ok: Whether all came to what was expected; None where nothing was.
        verdicts: What is said of it: when it is ok, and when it is not.
        facts: The figures that matter most.
        tables: What stands under the summary.
        sections: The rest.
        suites: What was expected, for CI.
        document: The whole as JSON, as the command prints it for programs.
    """

    command: str
    title: str
    summary: tuple[str, ...]
    ok: bool | None
    verdicts: tuple[str, str] = ("All as expected", "Not as expected")
    facts: tuple[Fact, ...] = ()
    tables: tuple[Table, ...] = ()
    sections: tuple[Section, ...] = ()
    suites: tuple[Suite, ...] = ()
    document: bytes = b""

    @property
    def pictures(self) -> Iterator[Picture]:
        """All of them, in order."""
        for section in self.sections:
            yield from section.pictures

    @property
    def all_tables(self) -> tuple[Table, ...]:
        """All of them, in order, each once."""
        found = {table.name: table for table in self.tables}
        for section in self.sections:
            for table in section.tables:
                found.setdefault(table.name, table)
            for picture in section.pictures:
                for table in picture.tables:
                    found.setdefault(table.name, table)
        return tuple(found.values())
