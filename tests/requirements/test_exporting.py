"""The page's endpoint: spans of its example arrive at a collector that speaks OTLP over gRPC."""

from __future__ import annotations

from pathlib import Path

from tests.requirements.collector import collector
from tests.requirements.page import BLOCKS
from tests.requirements.proofs import proves
from tests.requirements.running import python_block, run_bash


@proves("variable.OTEL_EXPORTER_OTLP_ENDPOINT", "block.configuration.environment")
def test_the_example_s_spans_arrive_at_the_endpoint_of_the_variables(tmp_path: Path) -> None:
    """The page's block as it stands, but for the port; nothing is flushed by hand."""
    script = tmp_path / "example.py"
    script.write_text(f"{python_block('tracing.usage')}\nevaluate_plan('agua')\n")
    with collector() as (kept, port):
        exports = BLOCKS["configuration.environment"].text.replace(":4317", f":{port}")
        run_bash(f"{exports}python -W error example.py", tmp_path)
    (span,) = kept.spans
    assert "decalogo_evaluation" in span.name
    assert span.resource["service.name"] == "decalogo-evaluation-system"
    assert span.resource["service.version"] == "1.0.0"
