"""questionnaire_engine: thirty scores, each the mean of three criteria read off the evidence.

A question first finds the passages that speak of it, by cosine; only what was found in those
passages can earn it points, and that is also what it cites.
"""

from __future__ import annotations

from heapq import nlargest
from typing import TYPE_CHECKING

from examples.evaluation_app.contract import Question
from msgspec import Struct

from .decalogo import QUESTIONS
from .embedding_model import cosine
from .evidence_registry import evidence_id
from .teoria_cambio import STAGES, longest_run

if TYPE_CHECKING:
    from collections.abc import Callable

    from examples.evaluation_app.contract import Aspect, Kind

    from .decalogo import AskedQuestion
    from .embedding_model import Vector
    from .feasibility_scorer import Feasibility
    from .finding import Finding
    from .teoria_cambio import Chain

__all__ = ["Findings", "answer"]

_MOST_PASSAGES = 4
_LEAST_SIMILARITY = 0.12


class Findings(Struct, frozen=True):
    """All that the detectors found; `feasibility` and `chains` have an entry per paragraph."""

    causal_links: list[Finding]
    amounts: list[Finding]
    responsible: list[Finding]
    feasibility: list[Feasibility]
    contradictions: list[Finding]
    chains: list[Chain]

    def quotations(self) -> list[Finding]:
        """Every quotation, whichever detector it came from."""
        return [
            *self.causal_links,
            *self.amounts,
            *self.responsible,
            *self.contradictions,
            *(found for paragraph in self.feasibility for found in paragraph.findings),
            *(chain.finding for chain in self.chains if chain.finding is not None),
        ]


class _Passages(Struct, frozen=True):
    """What stands in the passages of one question."""

    numbers: list[int]
    quotations: dict[Kind, list[Finding]]
    feasibility: int
    stages: frozenset[str]

    def share(self, kind: Kind, enough: int) -> int:
        """100 from `enough` quotations of `kind` on, less in proportion below that."""
        return min(100, 100 * len(self.quotations.get(kind, ())) // enough)


def answer(vectors: list[Vector], findings: Findings) -> list[Question]:
    """Answer all questions, in order."""
    by_paragraph: dict[int, list[Finding]] = {}
    for finding in findings.quotations():
        for number in finding.paragraphs:
            by_paragraph.setdefault(number, []).append(finding)
    return [
        _score(question, _read(_nearest(question.vector, vectors), findings, by_paragraph))
        for question in QUESTIONS
    ]


def _nearest(question: Vector, vectors: list[Vector]) -> list[int]:
    """The paragraphs most like the question, in the order of the plan."""
    likeness = ((cosine(question, vector), -number) for number, vector in enumerate(vectors))
    best = nlargest(_MOST_PASSAGES, (pair for pair in likeness if pair[0] >= _LEAST_SIMILARITY))
    return sorted(-number for _, number in best)


def _read(
    numbers: list[int], findings: Findings, by_paragraph: dict[int, list[Finding]]
) -> _Passages:
    quotations: dict[Kind, list[Finding]] = {}
    for number in numbers:
        for finding in by_paragraph.get(number, ()):
            quotations.setdefault(finding.kind, []).append(finding)
    return _Passages(
        numbers=numbers,
        quotations=quotations,
        feasibility=max((findings.feasibility[number].score for number in numbers), default=0),
        stages=frozenset().union(*(findings.chains[number].stages for number in numbers)),
    )


def _score(question: AskedQuestion, passages: _Passages) -> Question:
    judge, cited_kinds = _ASPECTS[question.aspect]
    criteria = judge(passages)
    cited = (evidence_id(f) for kind in cited_kinds for f in passages.quotations.get(kind, ()))
    return Question(
        id=question.id,
        right=question.right,
        aspect=question.aspect,
        text=question.text,
        score=round(sum(criteria.values()) / len(criteria)),
        criteria=criteria,
        passages=passages.numbers,
        evidence=list(dict.fromkeys(cited)),
    )


def _diagnosis(passages: _Passages) -> dict[str, int]:
    return {
        "baseline": passages.share("baseline", enough=1),
        "causes": passages.share("causal_link", enough=2),
        "coverage": 100 * len(passages.numbers) // _MOST_PASSAGES,
    }


def _resources(passages: _Passages) -> dict[str, int]:
    return {
        "money": passages.share("amount", enough=2),
        "responsible": passages.share("responsible", enough=1),
        "deadline": passages.share("deadline", enough=1),
    }


def _change(passages: _Passages) -> dict[str, int]:
    # Promising nothing is no way of being consistent.
    promises, contradicts = (kind in passages.quotations for kind in ("target", "contradiction"))
    return {
        "feasibility": passages.feasibility,
        "chain": 100 * len(longest_run(passages.stages)) // len(STAGES),
        "consistency": 100 if promises and not contradicts else 0,
    }


_ASPECTS: dict[Aspect, tuple[Callable[[_Passages], dict[str, int]], tuple[Kind, ...]]] = {
    "diagnosis": (_diagnosis, ("baseline", "causal_link")),
    "resources": (_resources, ("amount", "responsible", "deadline")),
    "change": (_change, ("target", "chain", "contradiction")),
}
