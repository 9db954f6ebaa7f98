"""document_segmenter: from the text of a plan to sections, paragraphs and sentences."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from functools import partial
from itertools import takewhile
from typing import TYPE_CHECKING

from msgspec import Struct

from .text import fold

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Document", "Paragraph", "Span", "segment"]

_BLANK_LINES = re.compile(r"\n(?:[ \t]*\n)+")
_BULLET = re.compile(r"(?:[-*•–] |[a-z]\) )")
_NUMBERED_HEADING = re.compile(
    r"(?i:capítulo|título|parte|eje) (?:\d|[IVX])|\d{1,2}(?:\.\d{1,2})*[.)]? [¿«A-ZÁÉÍÓÚÑ]"
)
_LONGEST_HEADING = 100

_STOP = re.compile(r"[.!?…]+[\"»”)\]]* (?=[\"«“(¿¡]*[A-ZÁÉÍÓÚÑ\d])")
_LAST_TOKEN = re.compile(r"[\wº°]+$")
_TITLES_AND_UNITS = """
    sr sra srta dr dra ing arq lic art arts inc par cap fig pag pags av cra cll dpto mpio ee uu
    ej vs aprox hab mm
"""
_ABBREVIATIONS = frozenset(_TITLES_AND_UNITS.split())
# These end a sentence like any word, except before the number they announce.
_BEFORE_NUMBER = frozenset(("no", "nro", "num"))


class Span(Struct, frozen=True):
    """A stretch of `Document.text`."""

    start: int
    end: int


class Paragraph(Struct, frozen=True):
    """A paragraph, or one item of a list, and the title of the section it stands in."""

    start: int
    end: int
    section: str


class Document(Struct, frozen=True):
    """The normalised text, one paragraph to a line, and the spans it divides into.

    `folded` is `fold(text)`: an offset into one is an offset into the other. Headings are not
    part of the text; they are the `section` of the paragraphs under them.
    """

    text: str
    folded: str
    paragraphs: tuple[Paragraph, ...]
    sentences: tuple[Span, ...]
    sections: tuple[str, ...]

    def paragraph_at(self, offset: int) -> int:
        """The number of the paragraph that holds `offset`."""
        return bisect_right(self.paragraphs, offset, key=lambda paragraph: paragraph.start) - 1

    def sentence_at(self, offset: int) -> Span:
        """The sentence that holds `offset`."""
        return self.sentences[bisect_right(self.sentences, offset, key=lambda s: s.start) - 1]


def segment(text: str) -> Document:
    """Divide `text`; hard line ends inside a paragraph are undone, lists give an item each."""
    paragraphs: list[Paragraph] = []
    lines: list[str] = []
    sections: list[str] = []
    offset = 0
    section = ""
    for unit, is_heading in _units(unicodedata.normalize("NFC", text)):
        if is_heading:
            section = unit.lstrip("# ")
            sections.append(section)
            continue
        paragraphs.append(Paragraph(offset, offset + len(unit), section))
        lines.append(unit)
        offset += len(unit) + 1
    whole = "\n".join(lines)
    sentences = tuple(span for paragraph in paragraphs for span in _sentences(whole, paragraph))
    return Document(whole, fold(whole), tuple(paragraphs), sentences, tuple(sections))


def _units(text: str) -> Iterator[tuple[str, bool]]:
    """The headings and paragraphs in order; True marks a heading."""
    for block in _BLANK_LINES.split("\n".join(text.splitlines())):
        lines = [" ".join(line.split()) for line in block.split("\n") if line.strip()]
        headings = list(takewhile(partial(_is_heading, alone=len(lines) == 1), lines))
        for heading in headings:
            yield heading, True
        for item in _items(lines[len(headings) :]):
            yield " ".join(item), False


def _items(lines: list[str]) -> list[list[str]]:
    """The lines of a paragraph together, and those of each item of a list."""
    items: list[list[str]] = []
    for line in lines:
        if not items or _BULLET.match(line):
            items.append([])
        items[-1].append(line)
    return items


def _is_heading(line: str, *, alone: bool) -> bool:
    if len(line) > _LONGEST_HEADING or line[-1] in ".;:,":
        return False
    # `1. Se hará` may be the first line of many; only by itself is it a title.
    numbered = alone and _NUMBERED_HEADING.match(line) is not None
    return numbered or line.isupper() or line.startswith("#")


def _sentences(text: str, paragraph: Paragraph) -> Iterator[Span]:
    start = paragraph.start
    for stop in _STOP.finditer(text, paragraph.start, paragraph.end):
        if not _is_abbreviation(text, start, stop):
            yield Span(start, stop.end() - 1)
            start = stop.end()
    yield Span(start, paragraph.end)


def _is_abbreviation(text: str, start: int, stop: re.Match[str]) -> bool:
    if text[stop.start()] != ".":
        return False
    # No abbreviation is long: a few characters back are enough to see the whole token.
    token = _LAST_TOKEN.search(text[max(start, stop.start() - 12) : stop.start()])
    if token is None:
        return False
    word = fold(token[0])
    if word in _BEFORE_NUMBER:
        return text[stop.end()].isdigit()
    is_initial = len(word) == 1 and token[0].isupper()
    return is_initial or word in _ABBREVIATIONS
