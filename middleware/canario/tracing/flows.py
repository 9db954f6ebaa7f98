"""The flows and components that the first user's page names, as tables."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

__all__ = ["COMPONENTS", "FLOWS", "ComponentType", "Flow", "FlowType"]


class FlowType(StrEnum):
    """A critical flow; its value names the span."""

    DOCUMENT_INGESTION = "document_ingestion"
    DOCUMENT_SEGMENTATION = "document_segmentation"
    TEXT_NORMALIZATION = "text_normalization"
    EMBEDDING_GENERATION = "embedding_generation"
    SIMILARITY_CALCULATION = "similarity_calculation"
    CAUSAL_PATTERN_DETECTION = "causal_pattern_detection"
    MONETARY_DETECTION = "monetary_detection"
    RESPONSIBILITY_DETECTION = "responsibility_detection"
    FEASIBILITY_SCORING = "feasibility_scoring"
    CONTRADICTION_DETECTION = "contradiction_detection"
    TEORIA_CAMBIO_ANALYSIS = "teoria_cambio_analysis"
    POLICY_ALIGNMENT = "policy_alignment"
    INDICATOR_EXTRACTION = "indicator_extraction"
    DECALOGO_EVALUATION = "decalogo_evaluation"
    QUESTIONNAIRE_EVALUATION = "questionnaire_evaluation"
    RUBRIC_SCORING = "rubric_scoring"
    EVIDENCE_AGGREGATION = "evidence_aggregation"
    RESULT_SYNTHESIS = "result_synthesis"
    CONTRACT_VALIDATION = "contract_validation"
    DAG_VALIDATION = "dag_validation"
    IMMUTABILITY_VERIFICATION = "immutability_verification"
    DETERMINISM_VERIFICATION = "determinism_verification"
    REPRODUCIBILITY_VERIFICATION = "reproducibility_verification"
    CIRCUIT_BREAKER = "circuit_breaker"
    MEMORY_WATCHDOG = "memory_watchdog"
    ERROR_RECOVERY = "error_recovery"
    HEALTH_CHECK = "health_check"
    METRIC_COLLECTION = "metric_collection"


class ComponentType(StrEnum):
    """A component of the pipeline; its value names the span."""

    DOCUMENT_SEGMENTER = "document_segmenter"
    EMBEDDING_MODEL = "embedding_model"
    CAUSAL_PATTERN_DETECTOR = "causal_pattern_detector"
    MONETARY_DETECTOR = "monetary_detector"
    RESPONSIBILITY_DETECTOR = "responsibility_detector"
    FEASIBILITY_SCORER = "feasibility_scorer"
    CONTRADICTION_DETECTOR = "contradiction_detector"
    TEORIA_CAMBIO = "teoria_cambio"
    QUESTIONNAIRE_ENGINE = "questionnaire_engine"
    EVIDENCE_REGISTRY = "evidence_registry"
    PIPELINE_ORCHESTRATOR = "pipeline_orchestrator"


class Flow(NamedTuple):
    """Where a flow belongs, and how people call it."""

    group: str
    title: str


# How the page writes what its snake_case name does not tell.
_TITLES: dict[FlowType | ComponentType, str] = {
    FlowType.TEORIA_CAMBIO_ANALYSIS: "Teoria Cambio analysis",
    FlowType.DECALOGO_EVALUATION: "Decálogo evaluation",
    FlowType.DAG_VALIDATION: "DAG validation",
    ComponentType.TEORIA_CAMBIO: "Teoria Cambio",
}

# A group begins with this flow and ends before the next one's.
_GROUPS = {
    FlowType.DOCUMENT_INGESTION: "Document Processing",
    FlowType.CAUSAL_PATTERN_DETECTION: "Evidence Extraction",
    FlowType.DECALOGO_EVALUATION: "Evaluation",
    FlowType.CONTRACT_VALIDATION: "Validation",
    FlowType.CIRCUIT_BREAKER: "Infrastructure",
}


def _title(name: FlowType | ComponentType) -> str:
    return _TITLES.get(name, name.value.replace("_", " ").capitalize())


def _flows() -> dict[FlowType, Flow]:
    made = {}
    group = ""
    for flow in FlowType:
        group = _GROUPS.get(flow, group)
        made[flow] = Flow(group, _title(flow))
    return made


FLOWS: dict[FlowType, Flow] = _flows()
COMPONENTS: dict[ComponentType, str] = {each: _title(each) for each in ComponentType}
