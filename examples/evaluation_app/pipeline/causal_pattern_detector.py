"""causal_pattern_detector: the links the plan makes in so many words between a cause and an effect.

A connector either comes after the cause (`..., lo que permitirá ...`) or before it
(`... porque ...`). At the head of a sentence the main clause follows a comma: `Debido a X, Y`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .finding import Finding, quoted

if TYPE_CHECKING:
    from .document_segmenter import Document, Span

__all__ = ["find_causal_links"]

_EFFECT_FOLLOWS = (
    "lo que permitira|lo cual permitira|lo que reducira|lo cual reducira|lo que evitara|"
    "lo que generara|contribuye a|contribuira a|contribuyen a|permitira|permitiran|con el fin de|"
    "con el objetivo de|con el proposito de|para lograr|por lo que|por lo tanto|por tanto|"
    "de modo que|de manera que|en consecuencia|conduce a|conducira a|ocasiona|provoca|"
    "se traduce en|se traducira en|genera|generara"
)
_CAUSE_FOLLOWS = (
    "porque|debido a|a causa de|por causa de|gracias a|como consecuencia de|como resultado de|"
    "ya que|dado que|puesto que|se debe a|se deben a|se explica por|se explican por"
)
_CONNECTOR = re.compile(
    rf"\b(?:(?P<effect>{_EFFECT_FOLLOWS})|(?:{_CAUSE_FOLLOWS}))(?:(?<= a)l|(?<= de)l)?\b"
)
_FEWEST_LETTERS = 10
_LONGEST_CLAUSE = 200


def find_causal_links(document: Document) -> list[Finding]:
    """Every connector with a clause on both sides, quoted with the two clauses."""
    links = []
    for connector in _CONNECTOR.finditer(document.folded):
        link = _link(document, connector)
        if link is not None:
            links.append(link)
    return links


def _link(document: Document, connector: re.Match[str]) -> Finding | None:
    sentence = document.sentence_at(connector.start())
    clauses = _around(document, connector, sentence)
    if clauses is None:
        return None
    (before_start, before_end), (after_start, after_end) = clauses
    before = _tidy(document.text[before_start:before_end])
    after = _tidy(document.text[after_start:after_end])
    if min(len(before), len(after)) < _FEWEST_LETTERS:
        return None
    cause_first = connector["effect"] is not None
    return quoted(
        document,
        "causal_link",
        min(before_start, connector.start()),
        max(after_end, before_end),
        connector=document.text[connector.start() : connector.end()].lower(),
        cause=before if cause_first else after,
        effect=after if cause_first else before,
    )


def _around(
    document: Document, connector: re.Match[str], sentence: Span
) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """The main clause and the one the connector opens, whichever of them comes first."""
    start = max(sentence.start, connector.start() - _LONGEST_CLAUSE)
    start = max(start, document.text.rfind(";", start, connector.start()) + 1)
    end = min(sentence.end, connector.end() + _LONGEST_CLAUSE)
    semicolon = document.text.find(";", connector.end(), end)
    end = semicolon if semicolon >= 0 else end
    if connector.start() > sentence.start:
        return (start, connector.start()), (connector.end(), end)
    comma = document.text.find(",", connector.end(), end)
    if comma < 0:
        return None
    return (comma + 1, end), (connector.end(), comma)


def _tidy(clause: str) -> str:
    return clause.strip(" ,;:.()")
