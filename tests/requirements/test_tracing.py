"""The page's tracing example, in processes of their own: a tracer provider is set only once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.requirements.proofs import proves
from tests.requirements.running import run_python
from tests.requirements.traced import AFTER, BEFORE, WATCH, tell


@proves("block.tracing.usage", "checklist.before.tracing", "diagram.tracing")
def test_the_example_traces_flows_and_components(tmp_path: Path) -> None:
    told = tell(
        """
@trace_flow(FlowType.DOCUMENT_INGESTION)
def ingest(text):
    assert evaluate_plan(text) == {}
    return encode_text(text)

shown["returned"] = ingest("agua")
""",
        tmp_path,
    )
    assert told["returned"] == [4.0]
    spans = {span["name"]: span for span in told["spans"]}
    assert len(told["spans"]) == 3
    (outer,) = (span for span in told["spans"] if span["parent"] is None)
    inner = [span for span in told["spans"] if span is not outer]
    assert {span["parent"] for span in inner} == {outer["span"]}
    assert {span["trace"] for span in inner} == {outer["trace"]}
    for word in ("document_ingestion", "decalogo_evaluation", "embedding_model"):
        assert any(word in name for name in spans), spans
    for span in told["spans"]:
        assert span["resource"]["service.name"] == "decalogo-evaluation-system"
        assert span["resource"]["service.version"] == "1.0.0"
        assert span["resource"]["deployment.environment.name"] == "production"


@proves("overview.tracing", "checklist.during.traces")
def test_all_flows_and_components_give_spans_of_their_own(tmp_path: Path) -> None:
    told = tell(
        """
for kind, decorate in ((FlowType, trace_flow), (ComponentType, trace_component)):
    for member in kind:
        decorate(member)(lambda: None)()
""",
        tmp_path,
    )
    names = {span["name"] for span in told["spans"]}
    assert len(told["spans"]) == 39
    assert len(names) == 39


def test_a_failure_marks_its_span(tmp_path: Path) -> None:
    told = tell(
        """
@trace_flow(FlowType.RUBRIC_SCORING)
def fail():
    raise KeyError("no such rubric")

try:
    fail()
except KeyError:
    pass
""",
        tmp_path,
    )
    (span,) = told["spans"]
    assert span["error"]
    assert span["attributes"]["error.type"] == "KeyError"


@proves("phase.0.correlated", "phase.0.every_entry")
def test_the_example_s_logger_puts_the_trace_on_every_entry(tmp_path: Path) -> None:
    """At every level, with keyword fields kept apart; without a span the entry is made too."""
    told = tell(
        """
import sys
logging.getLogger().setLevel(logging.DEBUG)
records.clear()

@trace_flow(FlowType.DECALOGO_EVALUATION)
def log_all():
    logger.debug("one", plan_id="1")
    logger.info("Processing plan", plan_id="12345")
    logger.warning("three", plan_id="3")
    logger.error("four", plan_id="4")
    logger.critical("five", plan_id="5")
    try:
        raise ValueError("six")
    except ValueError:
        logger.exception("six", plan_id="6")

log_all()
logger.info("outside", plan_id="7")
""",
        tmp_path,
    )
    (span,) = told["spans"]
    assert len(told["records"]) == 7
    *inside, outside = told["records"]
    for record in inside:
        assert record["trace_id"] == span["trace"]
        assert record["span_id"] == span["span"]
    assert [record["plan_id"] for record in told["records"]] == ["1", "12345", *"34567"]
    assert inside[1]["said"].startswith("Processing plan")
    assert outside["said"].startswith("outside")
    assert span["trace"] not in outside.values()


@proves("advice.sampling")
@pytest.mark.parametrize("rate", ["0.1", "0.5", "1.0"])
def test_a_share_of_the_traces_is_kept(rate: str, tmp_path: Path) -> None:
    told = tell(
        """
@trace_flow(FlowType.HEALTH_CHECK)
def check():
    return 1

for _ in range(2000):
    assert check() == 1
""",
        tmp_path,
        block="tracing.usage",
        OTEL_TRACES_SAMPLER="parentbased_traceidratio",
        OTEL_TRACES_SAMPLER_ARG=rate,
    )
    # Five standard deviations of a binomial with the widest of these rates.
    assert len(told["spans"]) == pytest.approx(2000 * float(rate), abs=5 * (2000 * 0.25) ** 0.5)


def test_the_sampling_rate_is_an_argument_too(tmp_path: Path) -> None:
    script = f"""{BEFORE}
from canario.tracing import initialize_tracing, trace_flow, FlowType
initialize_tracing(service_name="s", sampling_rate=0.1)
{WATCH}
shown = {{}}
for _ in range(2000):
    trace_flow(FlowType.HEALTH_CHECK)(lambda: 1)()
{AFTER}"""
    told = json.loads(run_python(script, tmp_path))
    assert len(told["spans"]) == pytest.approx(200, abs=5 * (2000 * 0.09) ** 0.5)
