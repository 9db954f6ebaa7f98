"""What there is to watch while the example's release goes on: traces, metrics, alerts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx
import jsonschema
from examples.evaluation_app import users
from examples.evaluation_app.pipeline import COMPONENTS
from prometheus_client.parser import text_string_to_metric_families
from tests.examples.serving import fetch, served
from tests.requirements.collector import Received, collector
from tests.waiting import PATIENCE, until

from canario.slo.dashboard import dashboard_schema

TRACE_ID, CALLER_ID = "a" * 32, "b" * 16
FLOW = "decalogo_evaluation"


def post(url: str, user: int, **headers: str) -> httpx.Response:
    """One plan of one user."""
    return httpx.post(
        f"{url}/evaluate",
        content=users.plan_for(user, 0).encode(),
        headers={users.USER_HEADER: f"user-{user}", "content-type": "text/plain", **headers},
        timeout=PATIENCE,
    )


def test_one_request_is_one_tree_of_spans(tmp_path: Path) -> None:
    """The server's span, the flow's below it, then the pipeline's, with its ten components."""
    with collector() as (kept, port):
        endpoint = f"http://127.0.0.1:{port}"
        terminal = tmp_path / "terminal"
        with served(terminal=terminal, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint) as url:
            post(url, 1, traceparent=f"00-{TRACE_ID}-{CALLER_ID}-01")
        # Stopped by a signal: nothing is lost all the same.
        spans = [span for span in kept.spans if span.trace_id == TRACE_ID]
    below = children(spans)
    (server,) = below(CALLER_ID)
    assert (server.name, server.kind) == ("POST /evaluate", "SERVER")
    assert server.resource["service.name"] == "evaluation-app"
    assert server.attributes["feature_flag.result.variant"] in ("baseline", "canary")
    (flow,) = below(server.span_id)
    assert flow.name == flow.attributes["canario.flow"] == FLOW
    (pipeline,) = below(flow.span_id)
    assert pipeline.attributes["canario.component"] == "pipeline_orchestrator"
    steps = [span.attributes["canario.component"] for span in below(pipeline.span_id)]
    assert sorted([*steps, "pipeline_orchestrator"]) == sorted(COMPONENTS)
    assert len(spans) == 3 + len(steps)


def children(spans: list[Received]) -> Callable[[str], list[Received]]:
    return lambda parent: [span for span in spans if span.parent_id == parent]


def test_the_dashboard_and_the_metrics_show_the_flow(tmp_path: Path) -> None:
    with served(terminal=tmp_path / "terminal") as url:
        for user in range(12):
            assert post(url, user).status_code == 200
        dashboard = fetch(f"{url}/slo")
        metrics = httpx.get(f"{url}/metrics")
        refused = httpx.post(f"{url}/slo")
    jsonschema.validate(dashboard, dashboard_schema())
    assert dashboard["flows"][FLOW]["samples"] == 12
    assert dashboard["flows"][FLOW]["error_rate"]["value_percent"] == 0
    assert dashboard["rollout"]["deployment_id"] == "evaluation-app-v2"
    assert not [alert for alert in dashboard["alerts"] if alert["severity"] == "CRITICAL"]
    families = list(text_string_to_metric_families(metrics.text))
    counted = [
        sample.value
        for family in families
        for sample in family.samples
        if sample.labels.get("flow") == FLOW and sample.name == "canario_slo_requests_total"
    ]
    assert sum(counted) == 12
    assert refused.status_code == 405


def test_a_broken_version_is_alerted_and_rolled_back(tmp_path: Path) -> None:
    terminal = tmp_path / "terminal"
    arguments = ("--version", "3", "--fault", "contract")
    with collector() as (kept, port):
        endpoint = f"http://127.0.0.1:{port}"
        with served(*arguments, terminal=terminal, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint) as url:
            for user in range(400):
                assert post(url, user).status_code == 200
                if fetch(f"{url}{users.STATUS_PATH}")["state"] == "rolled_back":
                    break
            until(lambda: fetch(f"{url}/slo")["overall"]["active_alerts"])
            (alert,) = (
                each
                for each in fetch(f"{url}/slo")["alerts"]
                if each["type"] == "contract_violation"
            )
            status = fetch(f"{url}{users.STATUS_PATH}")
            after = {post(url, user).headers[users.ARM_HEADER] for user in range(20)}
        traces = {span.trace_id for span in kept.spans}
    assert status["reason"] == "contract_violation"
    assert "/evaluate: evaluation: " in status["why"]
    assert after == {"baseline"}
    assert alert["severity"] == "CRITICAL"
    assert alert["flow"] == FLOW
    assert "/evaluate: evaluation: " in alert["message"]
    assert alert["trace_id"] in traces
    lines = terminal.read_text().splitlines()
    assert any("rolled back, contract_violation" in line for line in lines)
    assert any(alert["message"] in line for line in lines)


def test_without_an_endpoint_nothing_is_exported(tmp_path: Path) -> None:
    """No span is sent to the port that OTLP has by default, and nothing is said of it."""
    terminal = tmp_path / "terminal"
    with served(terminal=terminal) as url:
        assert post(url, 1).status_code == 200
    assert "export" not in terminal.read_text().lower()
