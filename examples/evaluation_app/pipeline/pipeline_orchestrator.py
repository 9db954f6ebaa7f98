"""pipeline_orchestrator: runs the other ten components in order and adds up the scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

from examples.evaluation_app.contract import DocumentSummary, Evaluation, Right, Total
from msgspec import Struct
from msgspec.structs import asdict

from canario.tracing import ComponentType, trace_component

from .causal_pattern_detector import find_causal_links
from .contradiction_detector import find_contradictions
from .decalogo import RIGHTS
from .document_segmenter import segment
from .embedding_model import embed_document
from .evidence_registry import register
from .feasibility_scorer import score_feasibility
from .monetary_detector import find_amounts, find_figures
from .questionnaire_engine import Findings, answer
from .responsibility_detector import find_responsible
from .teoria_cambio import find_chains

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from examples.evaluation_app.contract import Evidence, Question

    from .document_segmenter import Document
    from .embedding_model import Vector
    from .feasibility_scorer import Feasibility
    from .finding import Finding
    from .teoria_cambio import Chain

__all__ = ["COMPONENTS", "IMPROVED", "Pipeline", "traced"]

_POINTS_PER_QUESTION = 100


class Pipeline(Struct, frozen=True):
    """Ten components by name; the defaults are those of version one."""

    document_segmenter: Callable[[str], Document] = segment
    embedding_model: Callable[[Document], list[Vector]] = embed_document
    causal_pattern_detector: Callable[[Document], list[Finding]] = find_causal_links
    monetary_detector: Callable[[Document], list[Finding]] = find_figures
    responsibility_detector: Callable[[Document], list[Finding]] = find_responsible
    feasibility_scorer: Callable[[Document, Iterable[Finding]], list[Feasibility]] = (
        score_feasibility
    )
    contradiction_detector: Callable[[Document], list[Finding]] = find_contradictions
    teoria_cambio: Callable[[Document], list[Chain]] = find_chains
    questionnaire_engine: Callable[[list[Vector], Findings], list[Question]] = answer
    evidence_registry: Callable[[Document, Iterable[Finding]], list[Evidence]] = register

    @trace_component(ComponentType.PIPELINE_ORCHESTRATOR)
    def evaluate(self, text: str, version: int) -> Evaluation:
        """Evaluate `text`, a pure function of it; the answer says that `version` gave it."""
        document = self.document_segmenter(text)
        vectors = self.embedding_model(document)
        causal_links = self.causal_pattern_detector(document)
        amounts = self.monetary_detector(document)
        findings = Findings(
            causal_links=causal_links,
            amounts=amounts,
            responsible=self.responsibility_detector(document),
            feasibility=self.feasibility_scorer(document, amounts),
            contradictions=self.contradiction_detector(document),
            chains=self.teoria_cambio(document),
        )
        questions = self.questionnaire_engine(vectors, findings)
        evidence = self.evidence_registry(document, findings.quotations())
        return Evaluation(
            version=version,
            components=list(COMPONENTS),
            document=_summary(document),
            total=_total(questions),
            rights=_rights(questions),
            questions=questions,
            evidence=evidence,
        )


COMPONENTS = (*Pipeline.__struct_fields__, "pipeline_orchestrator")
IMPROVED = Pipeline(monetary_detector=find_amounts)


def traced(pipeline: Pipeline) -> Pipeline:
    """`pipeline` with a span for each of its components."""
    steps = asdict(pipeline).items()
    return Pipeline(**{name: trace_component(ComponentType(name))(step) for name, step in steps})


def _summary(document: Document) -> DocumentSummary:
    return DocumentSummary(
        sections=len(document.sections),
        paragraphs=len(document.paragraphs),
        sentences=len(document.sentences),
        words=len(document.text.split()),
    )


def _total(questions: list[Question]) -> Total:
    points = sum(question.score for question in questions)
    maximum = _POINTS_PER_QUESTION * len(questions)
    return Total(points=points, maximum=maximum, percent=round(100 * points / maximum, 1))


def _rights(questions: list[Question]) -> list[Right]:
    points = dict.fromkeys((right.number for right in RIGHTS), 0)
    for question in questions:
        points[question.right] += question.score
    return [Right(right.number, right.name, points[right.number]) for right in RIGHTS]
