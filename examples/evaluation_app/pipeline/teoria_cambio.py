"""teoria_cambio: the chain from inputs to impacts, as far as a paragraph spells it out."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec import Struct

from .finding import quoted

if TYPE_CHECKING:
    from collections.abc import Collection

    from .document_segmenter import Document
    from .finding import Finding

__all__ = ["STAGES", "Chain", "find_chains", "longest_run"]

STAGES = ("insumos", "actividades", "productos", "resultados", "impactos")

_SHORTEST_CHAIN = 2
_WORDS = {
    "insumos": (
        r"insumos?|presupuesto|recursos|inversion|cofinanciacion|talento humano|financiacion|"
        r"profesionales|equipo tecnico|regalias|transferencias"
    ),
    "actividades": (
        r"actividad(?:es)?|se (?:construira|capacitara|contratara|dotara|realizara|formulara|"
        r"adelantara|instalara|rehabilitara|vinculara|ampliara|adecuara|creara)n?|capacitacion|"
        r"construccion de|dotacion de|formacion de|contratacion de|instalacion de|talleres|jornadas"
    ),
    "productos": (
        r"productos?|entregaran?|quedaran?|construid[oa]s?|entregad[oa]s?|capacitad[oa]s|"
        r"atendid[oa]s|instalad[oa]s?|beneficiad[oa]s|formad[oa]s|en funcionamiento|"
        r"tituladas|rehabilitad[oa]s|dotad[oa]s"
    ),
    "resultados": (
        r"resultados?|cobertura|tasa|reducir|reducira|reduccion|disminuir|disminuira|aumentar|"
        r"aumentara|incrementar|elevar|elevara|porcentaje|acceso efectivo"
    ),
    "impactos": (
        r"impactos?|calidad de vida|bienestar|pobreza|goce efectivo|igualdad|convivencia|"
        r"reconciliacion|paz|desarrollo humano|brechas?|vida digna|seguridad alimentaria|"
        r"libre de violencias|resiliencia|arraigo"
    ),
}
_STAGE = re.compile(
    r"\b(?:" + "|".join(f"(?P<{stage}>{words})" for stage, words in _WORDS.items()) + r")\b"
)


class Chain(Struct, frozen=True):
    """The stages a paragraph names; `finding` quotes them when at least two are neighbours."""

    stages: frozenset[str]
    finding: Finding | None


def find_chains(document: Document) -> list[Chain]:
    """One `Chain` per paragraph, in order."""
    return [_chain(document, number) for number in range(len(document.paragraphs))]


def longest_run(stages: Collection[str]) -> list[str]:
    """The longest stretch of neighbouring stages without a gap; the earlier of two as long."""
    best: list[str] = []
    run: list[str] = []
    for stage in STAGES:
        run = [*run, stage] if stage in stages else []
        if len(run) > len(best):
            best = run
    return best


def _chain(document: Document, number: int) -> Chain:
    paragraph = document.paragraphs[number]
    first: dict[str, tuple[int, int]] = {}
    for match in _STAGE.finditer(document.folded, paragraph.start, paragraph.end):
        first.setdefault(match.lastgroup or "", match.span())
    run = longest_run(first)
    if len(run) < _SHORTEST_CHAIN:
        return Chain(frozenset(first), None)
    start = min(first[stage][0] for stage in run)
    end = max(first[stage][1] for stage in run)
    return Chain(frozenset(first), quoted(document, "chain", start, end, stages=run))
