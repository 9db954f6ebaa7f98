"""Tables, each declared once: what stands in which column, for pages, files and terminals."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from rich.text import Text

from .report import Cell, Column, Table, Tone

__all__ = ["Field", "brief", "table"]

T = TypeVar("T")


@dataclass(frozen=True)
class Field(Generic[T]):
    """A column, and what of a thing stands in it.

    Attributes:
        name: For programs; empty for a column that only a terminal has.
        title: For people, with its unit.
        get: What stands in it.
        digits: Of numbers that people are shown.
        brief: Its heading in a terminal, which is narrow: only columns that have one are there.
        left: In a terminal numbers and columns of its own stand on the right, unless this is True.
    """

    name: str
    title: str
    get: Callable[[T], Cell | Text]
    digits: int = 4
    brief: str | None = None
    left: bool = False


def brief(title: str, words: Callable[[T], str | Text], *, left: bool = False) -> Field[T]:
    """A column of a terminal alone: in words, or one for what files have in several."""
    return Field("", title, words, brief=title, left=left)


def table(
    name: str,
    title: str,
    fields: Sequence[Field[T]],
    things: Iterable[T],
    *,
    tone: Callable[[T], Tone] | None = None,
    **settings: Any,
) -> Table:
    """The table of pages and files: a row for each thing. `settings` are those of `Table`."""
    rows = tuple(things)
    own = [field for field in fields if field.name]
    return Table(
        name=name,
        title=title,
        columns=tuple(Column(field.name, field.title, field.digits) for field in own),
        # What is no cell is in a terminal's columns alone.
        rows=tuple(tuple(field.get(thing) for field in own) for thing in rows),  # type: ignore[misc]
        tones=tuple(map(tone, rows)) if tone else (),
        **settings,
    )
