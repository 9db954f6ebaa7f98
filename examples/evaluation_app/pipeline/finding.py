"""What a detector hands on: a quotation, where it stands and what was read from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from examples.evaluation_app.contract import Kind

    from .document_segmenter import Document

__all__ = ["Finding", "quoted", "shorten"]

_LONGEST_QUOTE = 280


class Finding(Struct, frozen=True):
    """A quotation of kind `kind` in the paragraphs of those numbers, with its reading."""

    kind: Kind
    quote: str
    paragraphs: tuple[int, ...]
    value: dict[str, str | int | list[str]]


def shorten(quote: str) -> str:
    """The quotation, cut where it gets too long to be read as one."""
    if len(quote) <= _LONGEST_QUOTE:
        return quote
    return quote[: _LONGEST_QUOTE - 1].rstrip() + "…"


def quoted(
    document: Document, kind: Kind, start: int, end: int, **value: str | int | list[str]
) -> Finding:
    """The finding that quotes `document.text[start:end]`."""
    quote = shorten(document.text[start:end].strip())
    return Finding(kind, quote, (document.paragraph_at(start),), value)
