"""feasibility_scorer: whether a goal says where it starts, where it goes, by when, at what cost."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from .finding import Finding, quoted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .document_segmenter import Document

__all__ = ["Feasibility", "score_feasibility"]

# Plans of the terms 2024-2027 and later: an earlier year is diagnosis, not a deadline.
_YEAR_OF_A_TERM = r"20(?:2[4-9]|3\d)\b"
_PAST_YEAR = r"20(?:1\d|2[0-3])\b"
# A year by itself is no figure of an indicator.
_QUANTITY = (
    r"(?<![\d.,])(?!20[123]\d\b)\d++(?:\.\d{3})*+(?:,\d++)?+"
    r"(?: ?%| por ciento| por cada \d++(?:\.\d{3})*+)?+"
)
_GAP = r"[^\n.;]{0,60}?"
_VERBS = (
    "reducir|reducira|disminuir|disminuira|bajar|bajara|aumentar|aumentara|incrementar|"
    "incrementara|elevar|elevara|ampliar|ampliara|pasar|pasara|subir|subira|llegar|llegara|"
    "alcanzar|alcanzara|mantener|mantendra"
)

_BASELINE = re.compile(
    rf"\b(?:lineas? (?:de )?base{_GAP}{_QUANTITY}"
    rf"|(?:hoy|actualmente|en la actualidad|en {_PAST_YEAR}){_GAP}{_QUANTITY}"
    # `from 38 % to 62 %` says where it starts as well as where it goes.
    rf"|del? {_QUANTITY}(?= al? \d))"
)
_TARGET = re.compile(
    rf"\b(?:metas?(?::| es| son| de)* {_QUANTITY}"
    rf"|(?:{_VERBS})\b[^\n.;]{{0,90}}? (?:al?|hasta|en)(?: el| un| una| menos)* {_QUANTITY})"
)
_DEADLINE = re.compile(
    r"\b(?:al?|hasta|para|antes de|en|durante|finalizar|cierre de|entre 20\d\d y)"
    r"(?: (?:el|la|los|las|ano|fin|final|finales|cierre|mes|primer|segundo|tercer|cuarto|semestre|"
    r"trimestre|de|del|enero|febrero|marzo|abril|mayo|junio|julio|agosto|septiembre|octubre|"
    rf"noviembre|diciembre)){{0,5}} {_YEAR_OF_A_TERM}"
)


class Feasibility(Struct, frozen=True):
    """What one paragraph offers towards a feasible goal."""

    baseline: Finding | None
    target: Finding | None
    deadline: Finding | None
    has_money: bool

    @property
    def score(self) -> int:
        """25 for each of the four, and nothing at all without a target to be feasible."""
        if self.target is None:
            return 0
        aids = (self.baseline is not None, self.deadline is not None, self.has_money)
        return 25 * (1 + sum(aids))

    @property
    def findings(self) -> list[Finding]:
        """The quotations behind the score, money apart."""
        return [f for f in (self.baseline, self.target, self.deadline) if f is not None]


def score_feasibility(document: Document, amounts: Iterable[Finding]) -> list[Feasibility]:
    """One `Feasibility` per paragraph, in order."""
    priced = {number for amount in amounts for number in amount.paragraphs}
    return [
        Feasibility(
            _first(document, "baseline", _BASELINE, number),
            _first(document, "target", _TARGET, number),
            _first(document, "deadline", _DEADLINE, number),
            number in priced,
        )
        for number in range(len(document.paragraphs))
    ]


def _first(
    document: Document,
    kind: Literal["baseline", "target", "deadline"],
    pattern: re.Pattern[str],
    number: int,
) -> Finding | None:
    paragraph = document.paragraphs[number]
    match = pattern.search(document.folded, paragraph.start, paragraph.end)
    return quoted(document, kind, match.start(), match.end()) if match else None
