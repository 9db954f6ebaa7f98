"""contradiction_detector: promises of the plan that cannot both be kept.

Two kinds are found. The same indicator moved to two figures for the same year, or up in one place
and down in another; and the same act both announced and ruled out (`se construirá`, `no se
construirá`). Figures for different years are a path, not a contradiction.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec import Struct

from .finding import Finding, shorten
from .text import content_stems

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .document_segmenter import Document, Span

__all__ = ["find_contradictions"]

_DOWN = "reducir|reducira|reduciremos|disminuir|disminuira|bajar|bajara"
_UP = "aumentar|aumentara|incrementar|incrementara|elevar|elevara|ampliar|ampliara|subir|subira"
_YEAR = re.compile(r"\b20[23]\d\b")
_TARGET = re.compile(
    rf"\b(?:(?P<down>{_DOWN})|(?:{_UP})) (?P<indicator>[^\n.;:,\d%]{{4,80}}?)"
    r"(?: (?:de|del|desde)(?: el| un)? \d[\d.]*+(?:,\d++)?+(?: ?%)?+)?"
    r" (?:al?|hasta)(?: el| un)? (?P<figure>\d[\d.]*+(?:,\d++)?+(?: ?%)?+)"
)
_ACT = re.compile(r"\b(?P<no>no )?se (?P<verb>[a-zñ]{3,}ra)n? (?P<object>[a-zñ]+(?: [a-zñ]+){1,6})")
# The first stems of an act name it (`hospital nuevo`); the rest says where and what for.
_STEMS_OF_AN_ACT = 2


class _Promise(Struct, frozen=True):
    """What is promised (`topic`), how (`claim`), and the sentence that does it."""

    topic: tuple[str, ...]
    claim: str
    sentence: Span


def find_contradictions(document: Document) -> list[Finding]:
    """Each later sentence that contradicts the first promise made on its topic."""
    first: dict[tuple[str, ...], dict[str, Span]] = {}
    found = []
    for promise in _promises(document):
        claims = first.setdefault(promise.topic, {})
        if claims and promise.claim not in claims:
            found.append(_contradiction(document, next(iter(claims.values())), promise.sentence))
        claims.setdefault(promise.claim, promise.sentence)
    return found


def _promises(document: Document) -> Iterator[_Promise]:
    for match in _TARGET.finditer(document.folded):
        sentence = document.sentence_at(match.start())
        indicator = tuple(sorted(set(content_stems(match["indicator"]))))
        if indicator:
            direction = "down" if match["down"] else "up"
            year = _YEAR.search(document.folded, match.end(), sentence.end)
            figure = match["figure"].replace(" ", "")
            yield _Promise(("direction", *indicator), direction, sentence)
            yield _Promise(("figure", year[0] if year else "", *indicator), figure, sentence)
    for match in _ACT.finditer(document.folded):
        stems = content_stems(match["object"])[:_STEMS_OF_AN_ACT]
        if stems:
            claim = "no" if match["no"] else "yes"
            topic = ("act", match["verb"], *sorted(stems))
            yield _Promise(topic, claim, document.sentence_at(match.start()))


def _contradiction(document: Document, one: Span, other: Span) -> Finding:
    first, second = (document.text[span.start : span.end] for span in (one, other))
    paragraphs = sorted({document.paragraph_at(span.start) for span in (one, other)})
    return Finding(
        "contradiction",
        f"{shorten(first)} / {shorten(second)}",
        tuple(paragraphs),
        {"first": shorten(first), "second": shorten(second)},
    )
