"""The tables of flows and components are those of the requirements and of the documentation."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from canario.tracing import COMPONENTS, FLOWS, ComponentType, FlowType

DOCS = Path(__file__).resolve().parents[2] / "docs" / "tracing.md"

REQUIRED = {
    "Document Processing": [
        "Document ingestion",
        "Document segmentation",
        "Text normalization",
        "Embedding generation",
        "Similarity calculation",
    ],
    "Evidence Extraction": [
        "Causal pattern detection",
        "Monetary detection",
        "Responsibility detection",
        "Feasibility scoring",
        "Contradiction detection",
        "Teoria Cambio analysis",
        "Policy alignment",
        "Indicator extraction",
    ],
    "Evaluation": [
        "Decálogo evaluation",
        "Questionnaire evaluation",
        "Rubric scoring",
        "Evidence aggregation",
        "Result synthesis",
    ],
    "Validation": [
        "Contract validation",
        "DAG validation",
        "Immutability verification",
        "Determinism verification",
        "Reproducibility verification",
    ],
    "Infrastructure": [
        "Circuit breaker",
        "Memory watchdog",
        "Error recovery",
        "Health check",
        "Metric collection",
    ],
}

REQUIRED_COMPONENTS = [
    "Document segmenter",
    "Embedding model",
    "Causal pattern detector",
    "Monetary detector",
    "Responsibility detector",
    "Feasibility scorer",
    "Contradiction detector",
    "Teoria Cambio",
    "Questionnaire engine",
    "Evidence registry",
    "Pipeline orchestrator",
]


def snake(title: str) -> str:
    return title.lower().replace("á", "a").replace(" ", "_")


def test_the_28_flows_are_those_of_the_requirements() -> None:
    found = [(flow.group, flow.title) for flow in FLOWS.values()]
    assert found == [(group, title) for group, titles in REQUIRED.items() for title in titles]
    assert len(found) == len(FlowType) == 28
    for flow, (_, title) in FLOWS.items():
        assert flow.value == flow == snake(title)
        assert flow.name == flow.value.upper()


def test_the_11_components_are_those_of_the_requirements() -> None:
    assert list(COMPONENTS.values()) == REQUIRED_COMPONENTS
    assert len(ComponentType) == 11
    for component, title in COMPONENTS.items():
        assert component.value == component == snake(title)
        assert component.name == component.value.upper()


def test_the_documentation_shows_the_same_tables() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+?) \|$", DOCS.read_text("utf-8"), re.MULTILINE)
    shown = [row for row in rows if row[0] in set(FlowType)]
    assert shown == [(flow.value, title, group) for flow, (group, title) in FLOWS.items()]
    pairs = re.findall(r"^\| `(\w+)` \| ([^|]+?) \|$", DOCS.read_text("utf-8"), re.MULTILINE)
    assert [pair for pair in pairs if pair[0] in set(ComponentType)] == [
        (component.value, title) for component, title in COMPONENTS.items()
    ]


def test_importing_sets_nothing_up_and_loads_no_sdk() -> None:
    code = (
        "import logging, sys, threading\n"
        "import canario, canario.tracing, canario.asgi, canario.wsgi\n"
        "from opentelemetry import trace\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry.sdk')]\n"
        "assert not {'grpc', 'requests', 'structlog'} & set(sys.modules)\n"
        "assert type(trace.get_tracer_provider()) is trace.ProxyTracerProvider\n"
        "assert threading.active_count() == 1 and not logging.getLogger().handlers\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
