"""The user's requirements as data: every block, name, default and claim of that page, by id.

The page itself is not part of this repository. Its code, documents and variables stand in
`blocks.txt` as they are there; its facts stand here, in words of our own. An item that no test
here can prove says where else it is proven, or why it is not ours.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

__all__ = [
    "BLOCKS",
    "COMPONENTS",
    "FLOWS",
    "ITEMS",
    "MODULES",
    "VARIABLES",
    "Block",
    "Item",
    "items",
]


class Block(NamedTuple):
    """A fenced block and its language."""

    language: str
    text: str


class Item(NamedTuple):
    """One thing that the page says. `elsewhere` tells why no test here has to prove it."""

    id: str
    says: str
    elsewhere: str | None = None

    @property
    def kind(self) -> str:
        """The part of the id before the first dot."""
        return self.id.partition(".")[0]


_TEXT = (Path(__file__).parent / "blocks.txt").read_text(encoding="utf-8")
_BLOCK = re.compile(r"^## (\S+)\n\n```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)

BLOCKS = {match[1]: Block(match[2], match[3]) for match in _BLOCK.finditer(_TEXT)}

# The modules that the page imports from, and where their names are: all that may change.
MODULES = {
    "canary_deployment": "canario",
    "opentelemetry_instrumentation": "canario.tracing",
    "slo_monitoring": "canario.slo",
}

FLOWS = {
    "Document Processing": (
        "Document ingestion",
        "Document segmentation",
        "Text normalization",
        "Embedding generation",
        "Similarity calculation",
    ),
    "Evidence Extraction": (
        "Causal pattern detection",
        "Monetary detection",
        "Responsibility detection",
        "Feasibility scoring",
        "Contradiction detection",
        "Teoria Cambio analysis",
        "Policy alignment",
        "Indicator extraction",
    ),
    "Evaluation": (
        "Decálogo evaluation",
        "Questionnaire evaluation",
        "Rubric scoring",
        "Evidence aggregation",
        "Result synthesis",
    ),
    "Validation": (
        "Contract validation",
        "DAG validation",
        "Immutability verification",
        "Determinism verification",
        "Reproducibility verification",
    ),
    "Infrastructure": (
        "Circuit breaker",
        "Memory watchdog",
        "Error recovery",
        "Health check",
        "Metric collection",
    ),
}

COMPONENTS = (
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
)

# Variable -> the value that the page gives it.
VARIABLES = {
    "OTEL_SERVICE_NAME": "decalogo-evaluation-system",
    "OTEL_SERVICE_VERSION": "1.0.0",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4317",
    "SLO_AVAILABILITY_THRESHOLD": "99.5",
    "SLO_P95_LATENCY_MS": "200.0",
    "SLO_ERROR_RATE_PERCENT": "0.1",
    "CANARY_5_HOLD_SECONDS": "300",
    "CANARY_25_HOLD_SECONDS": "600",
    "CANARY_FULL_HOLD_SECONDS": "1800",
}

_NOT_OURS = "a command for the user's own files; this repository's own tests take their place"
_SPEED = "a time or a share of a processor: measured in benchmarks/, where it can be repeated"
_PEOPLE = "what people do with what they see; the data that it takes are items of their own"

_PLAIN = {
    # --- blocks
    "block.canary.usage": "a controller, its router, execute_deployment and export_metrics",
    "block.tracing.usage": "initialize_tracing, both decorators and the span logger",
    "block.tracing.propagation": "a context goes out in headers and comes in from headers",
    "block.slo.usage": "a monitor, its status, alerts and dashboard",
    "block.dashboard.structure": "the dashboard as JSON",
    "block.configuration.environment": "nine variables, exported by a shell",
    "block.configuration.file": "the plan file",
    "diagram.canary": "the router sends to two versions; three triggers roll back",
    "diagram.tracing": "decorators make spans, contexts go in and out, logs are correlated",
    "diagram.slo": "metrics of five minutes give measures and alerts, and these the dashboard",
    # --- the calls of the reference
    "call.create_canary_controller": "(deployment_id, ...) gives a CanaryDeploymentController",
    "call.execute_deployment": "takes a callable that gives four values, gives DeploymentResult",
    "call.route_request": "(request_id) gives 'baseline' or 'canary'",
    # --- limits and what passes them
    "limit.stages": "5 % for 300 s, 25 % for 600 s, 100 % for 1800 s",
    "limit.holds": "the hold of each stage can be set",
    "limit.rollback_contract": "one broken contract rolls back at once",
    "limit.rollback_error_rate": "more than 10 % errors roll back",
    "limit.rollback_p95_latency": "a p95 above 500 ms rolls back",
    "limit.metrics": "requests, latencies and error rates are there while the rollout goes on",
    "limit.availability": "99.5 %",
    "limit.p95_latency": "200 ms",
    "limit.error_rate": "0.1 %",
    "limit.performance_regression": "10 % over the baseline",
    "limit.fault_recovery": "a p99 of 1.5 s",
    "limit.contract_violation": "an alert at once",
    # --- alerts
    "alert.contract_violation": "CRITICAL; any failure; the canary is rolled back",
    "alert.performance_regression": "WARNING; p95 more than 10 % above the baseline's",
    "alert.fault_recovery": "CRITICAL; p99 of recoveries above 1.5 s",
    "alert.availability_degraded": "availability below 99.5 %",
    "alert.latency_exceeded": "p95 above 200 ms",
    "alert.error_rate_exceeded": "error rate above 0.1 %",
    # --- how it fits the user's other phases
    "phase.0.correlated": "trace ids are in log messages by themselves",
    "phase.0.every_entry": "SpanLogger puts the trace context on all log entries",
    "phase.0.across_services": "the trace goes on in the next service",
    "phase.3.tracked": "regressions are tracked against baselines",
    "phase.3.alert": "an alert when performance is worse by more than 10 %",
    "phase.3.history": "past metrics are kept for trends",
    "phase.4.recorded": "times of recovery are monitored",
    "phase.4.alert": "an alert at a p99 above 1.5 s",
    "phase.4.breaker": "works with circuit breakers",
    "phase.6.rollback": "a broken contract rolls back at once",
    "phase.6.tracked": "what contracts say is in the metrics",
    "phase.6.alert": "any failure is a CRITICAL alert",
    # --- the checklist
    "checklist.before.tracing": "initialize tracing",
    "checklist.before.baseline": "set the baseline for regressions",
    "checklist.before.thresholds": "configure the thresholds",
    "checklist.before.contracts": "see that contracts are checked",
    "checklist.during.metrics": "watch the canary's metrics",
    "checklist.during.triggers": "watch for rollbacks",
    "checklist.during.dashboard": "look at the dashboard",
    "checklist.during.traces": "look at the traces",
    "checklist.after.stages": "all stages are completed",
    "checklist.after.alerts": "review the alerts there were",
    "checklist.after.baseline": "update the baseline",
    "checklist.after.metrics": "export the metrics and keep them",
    # --- troubleshooting
    "trouble.latency.symptom": "a p95 above 500 ms on the canary",
    "trouble.latency.investigate": "traces, affected flows, comparison with the baseline",
    "trouble.latency.rollback": "it is rolled back by itself",
    "trouble.contract.symptom": "a rollback at once",
    "trouble.contract.investigate": "the violation's details, its trace, the contract's log",
    "trouble.contract.rollback": "the baseline serves again",
    "trouble.contract.again": "the fixed version is deployed again",
    "trouble.slo.symptom": "alerts for objectives that are not met",
    "trouble.slo.investigate": "affected flows, history, what was deployed meanwhile",
    # --- what it may cost
    "cost.canary.memory": "about 10 MB for 10,000 requests",
    "cost.tracing.memory": "about 5 MB for 10,000 spans, with batching",
    "cost.slo.memory": "about 20 MB for five minutes of all flows",
    # --- advice
    "advice.sampling": "a sampling rate of 0.1 to 1.0",
    "advice.retention": "30 days of metrics",
    "advice.fatigue": "thresholds can be set so that there is no noise",
    "advice.refresh": "the dashboard is made anew every 30 to 60 seconds",
    "advice.holds": "holds of 15 to 30 minutes",
    "advice.baselines": "baselines are renewed every week",
    # --- the overview says these once more
    "overview.canary": "progressive routing with rollback",
    "overview.tracing": "28 flows and 11 components",
    "overview.slo": "three objectives, watched as it happens",
    "overview.alerts": "broken contracts, regressions, slow recoveries",
}

_ELSEWHERE = {
    "block.tests.unit": ("run the tests", _NOT_OURS),
    "block.tests.integration": ("run the integration test", _NOT_OURS),
    "block.tests.example": ("run an example", _NOT_OURS),
    "trouble.latency.people": ("look at spans by hand, make it faster", _PEOPLE),
    "trouble.contract.people": ("repair the cause", _PEOPLE),
    "trouble.slo.people": ("find the cause, repair it, deploy again", _PEOPLE),
    "cost.canary.time": ("1 to 2 ms for a routing decision", _SPEED),
    "cost.canary.cpu": ("below 1 %", _SPEED),
    "cost.tracing.time": ("0.5 to 1 ms for a traced operation", _SPEED),
    "cost.tracing.cpu": ("2 to 3 % with every trace sampled", _SPEED),
    "cost.slo.time": ("0.5 ms for a recording", _SPEED),
    "cost.slo.cpu": ("1 %", _SPEED),
    "reference.opentelemetry": ("a link", "reading matter"),
    "reference.canary": ("a link", "reading matter"),
    "reference.slo": ("a link", "reading matter"),
}

ITEMS: dict[str, Item] = {
    **{name: Item(name, says) for name, says in _PLAIN.items()},
    **{name: Item(name, says, why) for name, (says, why) in _ELSEWHERE.items()},
    **{f"flow.{name}": Item(f"flow.{name}", group) for group in FLOWS for name in FLOWS[group]},
    **{f"component.{name}": Item(f"component.{name}", name) for name in COMPONENTS},
    **{f"variable.{name}": Item(f"variable.{name}", value) for name, value in VARIABLES.items()},
}


def items(kind: str) -> list[str]:
    """The ids of one kind."""
    found = [item.id for item in ITEMS.values() if item.kind == kind]
    if not found:
        raise KeyError(kind)
    return found
