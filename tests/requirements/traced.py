"""Runs the page's tracing example in a process of its own, which tells what became of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.requirements.running import python_block, run_python

__all__ = ["AFTER", "BEFORE", "WATCH", "tell"]

# Where the example's own open names come from, and where its spans and records go.
BEFORE = """
import json, logging
from types import SimpleNamespace
from opentelemetry import trace
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

records = []

class Keep(logging.Handler):
    def emit(self, record):
        records.append(record)

logging.basicConfig(level=logging.INFO, handlers=[Keep()])
model = SimpleNamespace(encode=lambda text: [float(len(text))])
"""

WATCH = """
exporter = InMemorySpanExporter()
trace.get_tracer_provider().add_span_processor(SimpleSpanProcessor(exporter))
"""

# What the process tells the test.
AFTER = """
def told(span):
    return {
        "name": span.name,
        "attributes": dict(span.attributes),
        "trace": format(span.context.trace_id, "032x"),
        "span": format(span.context.span_id, "016x"),
        "parent": format(span.parent.span_id, "016x") if span.parent else None,
        "resource": dict(span.resource.attributes),
        "error": span.status.status_code.name == "ERROR",
    }

print(json.dumps({
    "spans": [told(span) for span in exporter.get_finished_spans()],
    "records": [
        {key: str(value) for key, value in vars(record).items()}
        | {"said": record.getMessage()} for record in records
    ],
    **shown,
}))
"""


def tell(code: str, folder: Path, block: str = "tracing.usage", **variables: str) -> dict[str, Any]:
    """What a process tells after the example, and after `code` that uses its names."""
    script = BEFORE + python_block(block) + WATCH + "shown = {}\n" + code + AFTER
    told: dict[str, Any] = json.loads(run_python(script, folder, **variables))
    return told
