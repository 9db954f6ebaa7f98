"""The Prometheus exposition: Prometheus takes it, and every number is what was counted."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import (
    CollectorRegistry,
    generate_latest,
    make_asgi_app,
    make_wsgi_app,
    parser,
)
from prometheus_client.openmetrics import exposition as openmetrics_exposition
from prometheus_client.openmetrics import parser as openmetrics_parser
from tests.middleware.asgi_servers import uvicorn_server
from tests.telemetry.filled import BASELINE_MS, CANARY_MS, filled_controller, filled_monitor
from tests.telemetry.promtool import promtool

import canario
from canario import CanaryDeploymentController, Outcome
from canario.asgi import CanaryMiddleware
from canario.asgi_types import Receive, Scope, Send
from canario.control.events import Event
from canario.printable import printable
from canario.slo import SLOMonitor
from canario.telemetry import METRICS, CanarioCollector
from canario.telemetry.metrics import EVENTS, INCIDENTS
from canario.testing import ManualClock

# OpenTelemetry's advice for http.server.request.duration, in seconds.
BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)

# Untyped where they come from.
parse_text: Any = parser.text_string_to_metric_families
generate_openmetrics: Any = openmetrics_exposition.generate_latest
parse_openmetrics: Any = openmetrics_parser.text_string_to_metric_families

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


class Sink:
    """Something that drops, and takes no time."""

    dropped = 3
    inline = True

    def __call__(self, told: object) -> None:
        """Nothing comes of it."""


def told(what: object) -> None:
    """A sink that is called on a thread of its own, whose queue may drop."""


def page(collector: CanarioCollector) -> str:
    registry = CollectorRegistry()
    registry.register(collector)
    return generate_latest(registry).decode()


def series(text: str) -> Series:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in parse_text(text)
        for sample in family.samples
    }


def value(found: Series, name: str, **labels: str) -> float:
    return found[name, frozenset(labels.items())]


@pytest.fixture
def collector() -> CanarioCollector:
    sink = Sink()
    controller = filled_controller(sinks=[sink, Sink(), told])
    return CanarioCollector(controller, filled_monitor(sinks=[sink]))


def test_promtool_has_no_complaint(collector: CanarioCollector) -> None:
    assert promtool("check", "metrics", stdin=page(collector)) == ""


def test_openmetrics_reads_back_the_same(collector: CanarioCollector) -> None:
    registry = CollectorRegistry()
    registry.register(collector)
    families = list(parse_openmetrics(generate_openmetrics(registry).decode()))
    read = {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }
    assert read == series(page(collector))
    kinds = {family.name: family.type for family in families}
    assert kinds["canario_rollout_phase"] == "stateset"
    assert kinds["canario_requests"] == "counter"
    assert kinds["canario_request_duration_seconds"] == "histogram"


def test_every_metric_of_the_table_is_exposed_and_no_other(collector: CanarioCollector) -> None:
    found: dict[str, set[frozenset[str]]] = {}
    for name, labels in series(page(collector)):
        base = re.sub(r"(_seconds)_(bucket|count|sum)$", r"\1", name)
        found.setdefault(base, set()).add(frozenset(dict(labels)) - {"le"})
    assert set(found) == set(METRICS)
    for name, labels_of in found.items():
        metric = METRICS[name]
        state = {name} if metric.kind == "states" else set()
        assert labels_of == {frozenset({*metric.labels, *state})}, name


def test_requests_are_those_that_were_observed(collector: CanarioCollector) -> None:
    found = series(page(collector))

    def requests(arm: str, outcome: str) -> float:
        return value(
            found,
            "canario_requests_total",
            deployment_id="decalogo-v2",
            arm=arm,
            outcome=outcome,
        )

    assert [requests("baseline", outcome) for outcome in ("good", "error", "neutral")] == [5, 1, 1]
    assert [requests("canary", outcome) for outcome in ("good", "error", "neutral")] == [12, 0, 0]
    mine = {"deployment_id": "decalogo-v2"}
    assert value(found, "canario_slow_requests_total", arm="baseline", **mine) == 2
    assert value(found, "canario_contract_violations_total", arm="baseline", **mine) == 1
    assert value(found, "canario_contract_violations_total", arm="canary", **mine) == 0
    assert value(found, "canario_incidents_total", kind="no_key", **mine) == 1
    assert value(found, "canario_incidents_total", kind="faults", **mine) == 0
    # Two of them; one is the controller's and the monitor's, and counts once.
    assert value(found, "canario_sink_dropped_total", sink="Sink") == 6
    assert value(found, "canario_sink_dropped_total", sink="told") == 0
    assert value(found, "canario_build_info", version=canario.__version__) == 1


def test_the_rollout_is_where_it_stands(collector: CanarioCollector) -> None:
    found = series(page(collector))
    mine = {"deployment_id": "decalogo-v2"}
    assert value(found, "canario_rollout_stage", **mine) == 1
    assert value(found, "canario_rollout_share_ratio", **mine) == 0.05
    phases = {
        dict(labels)["canario_rollout_phase"]: is_it
        for (name, labels), is_it in found.items()
        if name == "canario_rollout_phase"
    }
    assert phases == {phase: phase == "running" for phase in canario.Phase}
    assert value(found, "canario_rollout_verdict", canario_rollout_verdict="healthy", **mine) == 1
    assert value(found, "canario_rollout_verdict_samples", **mine) == 12
    assert value(found, "canario_rollout_events_total", event="stage_entered", **mine) == 1
    assert value(found, "canario_request_p95_seconds", arm="canary", **mine) == pytest.approx(
        0.04, rel=0.01
    )


def test_before_the_start_there_is_no_stage_and_no_verdict() -> None:
    found = series(page(CanarioCollector(CanaryDeploymentController(deployment_id="x"))))
    assert value(found, "canario_rollout_stage", deployment_id="x") == 0
    assert "canario_rollout_verdict" not in {name for name, _ in found}


def test_every_event_and_every_counter_is_shown_from_zero() -> None:
    found = series(page(CanarioCollector(CanaryDeploymentController(deployment_id="x"))))
    events = {str(kind.__struct_config__.tag) for kind in Event.__args__}
    assert set(EVENTS) == events
    for event in EVENTS:
        assert value(found, "canario_rollout_events_total", deployment_id="x", event=event) == 0
    for kind in INCIDENTS:
        assert value(found, "canario_incidents_total", deployment_id="x", kind=kind) == 0


def test_durations_are_in_the_stable_buckets(collector: CanarioCollector) -> None:
    found = series(page(collector))
    for arm, latencies in (("baseline", [*BASELINE_MS, 5.0]), ("canary", [*CANARY_MS] * 4)):
        labels = {"deployment_id": "decalogo-v2", "arm": arm}
        name = "canario_request_duration_seconds"
        for bound in (*BOUNDS, float("inf")):
            le = "+Inf" if bound == float("inf") else repr(float(bound))
            below = sum(latency / 1000 <= bound for latency in latencies)
            assert value(found, f"{name}_bucket", le=le, **labels) == below, (arm, bound)
        assert value(found, f"{name}_count", **labels) == len(latencies)
        assert value(found, f"{name}_sum", **labels) == pytest.approx(sum(latencies) / 1000)
    bounds = {dict(labels)["le"] for name, labels in found if name.endswith("_bucket")}
    assert bounds == {*(repr(float(bound)) for bound in BOUNDS), "+Inf"}


@given(st.lists(st.floats(0.01, 50_000), max_size=60), st.lists(st.booleans(), max_size=30))
def test_a_histogram_counts_what_was_timed(latencies: list[float], others: list[bool]) -> None:
    """Its buckets never fall from one to the next, and the last one is the count."""
    controller = CanaryDeploymentController(deployment_id="x", clock=ManualClock())
    controller.start()
    for latency_ms in latencies:
        controller.observe("baseline", Outcome.GOOD, latency_ms)
    for bad in others:
        controller.observe("baseline", Outcome.BAD if bad else Outcome.NEUTRAL)
    found = series(page(CanarioCollector(controller)))
    labels = {"deployment_id": "x", "arm": "baseline"}
    name = "canario_request_duration_seconds"
    buckets = [
        value(found, f"{name}_bucket", le=le, **labels)
        for le in (*(repr(float(bound)) for bound in BOUNDS), "+Inf")
    ]
    assert list(accumulate(buckets, max)) == buckets
    assert buckets[-1] == value(found, f"{name}_count", **labels) == len(latencies)
    # Each is added up in whole microseconds.
    assert value(found, f"{name}_sum", **labels) == pytest.approx(
        sum(latencies) / 1000, abs=0.51e-6 * len(latencies) + 1e-9
    )
    outcomes = [
        value(found, "canario_requests_total", outcome=outcome, **labels)
        for outcome in ("good", "error", "neutral")
    ]
    assert outcomes == [len(latencies), sum(others), len(others) - sum(others)]


def test_flows_are_as_the_monitor_has_them(collector: CanarioCollector) -> None:
    found = series(page(collector))
    good, bad = {"flow": "decalogo_evaluation"}, {"flow": "/plans/{id}"}
    assert value(found, "canario_slo_requests_total", **bad) == 4000
    assert value(found, "canario_slo_errors_total", **bad) == 200
    assert value(found, "canario_slo_bad_requests_total", **bad) == 400
    assert value(found, "canario_slo_contract_violations_total", **bad) == 400
    assert value(found, "canario_slo_timed_requests_total", **bad) == 4000
    assert value(found, "canario_slo_slow_requests_total", **bad) == 2000
    assert value(found, "canario_slo_request_duration_seconds_count", **bad) == 4000
    assert value(found, "canario_slo_recoveries_total", flow="document_processing") == 20
    assert value(found, "canario_slo_availability_ratio", **bad) == pytest.approx(0.8)
    assert value(found, "canario_slo_availability_ratio", **good) == 1
    assert value(found, "canario_slo_error_ratio", **bad) == pytest.approx(0.1)
    assert value(found, "canario_slo_p95_latency_seconds", **bad) == pytest.approx(0.3, rel=0.01)
    recovery = value(found, "canario_slo_p99_recovery_seconds", flow="document_processing")
    assert recovery == pytest.approx(2, rel=0.01)
    # From 100 ms to 300 ms, each within 1 %.
    regression = value(found, "canario_slo_performance_regression_ratio", **bad)
    assert regression == pytest.approx(2, rel=0.04)
    for objective in ("availability", "latency", "error_rate", "overall"):
        assert value(found, "canario_slo_met", objective=objective, **bad) == 0
        assert value(found, "canario_slo_met", objective=objective, **good) == 1
    # 400 of 4,000 are bad, and 0.5 % may be: 20 budgets are spent.
    assert value(found, "canario_slo_error_budget_remaining_ratio", **bad) == pytest.approx(-19)
    hour = {"rule": "14.4x", "window": "long"}
    assert value(found, "canario_slo_burn_rate", **hour, **bad) == pytest.approx(20)
    assert value(found, "canario_slo_burn_rate", **hour, **good) == 0
    assert value(found, "canario_slo_objective_p95_latency_seconds") == 0.2
    assert value(found, "canario_slo_objective_availability_ratio") == pytest.approx(0.995)
    assert (
        value(found, "canario_alerts_active", type="contract_violation", severity="critical", **bad)
        == 1
    )


def test_a_flow_without_data_has_no_value_instead_of_a_wrong_one() -> None:
    clock = ManualClock(1e6)
    monitor = SLOMonitor(clock=clock)
    monitor.record_request("a", True, 10.0)
    clock.advance(3600)
    names = {name for name, labels in series(page(CanarioCollector(monitor=monitor))) if labels}
    assert "canario_slo_availability_ratio" not in names
    assert "canario_slo_p95_latency_seconds" not in names
    assert "canario_slo_met" not in names
    assert "canario_slo_requests_total" in names


@given(flow=st.text(st.characters(), min_size=1, max_size=30).filter(str.strip))
def test_a_flow_may_be_called_anything(flow: str) -> None:
    monitor = SLOMonitor(clock=ManualClock(1e6))
    monitor.record_request(flow, True, 10.0)
    registry = CollectorRegistry()
    registry.register(CanarioCollector(monitor=monitor))
    families = parse_openmetrics(generate_openmetrics(registry).decode())
    (found,) = [
        sample.labels["flow"]
        for family in families
        for sample in family.samples
        if sample.name == "canario_slo_requests_total"
    ]
    assert found == printable(flow)


def test_promtool_takes_flows_called_anything() -> None:
    monitor = SLOMonitor(clock=ManualClock(1e6))
    for flow in ('"', "\\", "a\nb", "/items/{id}", "evaluación", "half \udc80", "#", "\x00", "le"):
        monitor.record_request(flow, True, 10.0)
    assert promtool("check", "metrics", stdin=page(CanarioCollector(monitor=monitor))) == ""


def test_the_number_of_flows_is_bounded() -> None:
    monitor = SLOMonitor(clock=ManualClock(1e6), max_flows=5)
    for number in range(50):
        monitor.record_request(f"/{number}", True, 10.0)
    found = series(page(CanarioCollector(monitor=monitor)))
    flows = {dict(labels).get("flow") for _, labels in found} - {None}
    assert len(flows) <= 6
    assert "other" in flows
    assert value(found, "canario_slo_overflowed_total") >= 44


def test_labels_are_put_on_every_series() -> None:
    collector = CanarioCollector(filled_controller(), filled_monitor(), labels={"worker": "2"})
    found = series(page(collector))
    assert {dict(labels)["worker"] for _, labels in found} == {"2"}


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="give a controller, a monitor or both"):
        CanarioCollector()
    with pytest.raises(ValueError, match="labels has 'arm', which canario's metrics use"):
        CanarioCollector(filled_controller(), labels={"arm": "x"})


def test_a_part_that_fails_leaves_the_rest_on_the_page(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The host's own metrics may be on the same page: a scrape does not fail."""
    controller, monitor = filled_controller(), filled_monitor()

    def fail(*_: object) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(monitor, "check_slo_status", fail)
    collector = CanarioCollector(controller, monitor)
    assert "canario_rollout_stage" in page(collector)
    found = series(page(collector))
    assert not any(name.startswith("canario_slo_requests") for name, _ in found)
    assert value(found, "canario_incidents_total", deployment_id="decalogo-v2", kind="faults") >= 1
    assert (
        len([record for record in caplog.records if "reading the metrics" in record.message]) == 1
    )


def test_two_collectors_in_one_registry_are_refused_by_it() -> None:
    registry = CollectorRegistry(auto_describe=True)
    registry.register(CanarioCollector(filled_controller()))
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        registry.register(CanarioCollector(filled_controller()))


def test_without_prometheus_client_it_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "prometheus_client.py").write_text(
        "raise ModuleNotFoundError('no', name='prometheus_client')"
    )
    said = subprocess.run(
        [sys.executable, "-c", "from canario.telemetry import CanarioCollector"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        check=False,
    )
    assert "pip install 'canario[prometheus]'" in said.stderr


# -- served


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


def test_it_is_scraped_under_uvicorn_while_requests_run() -> None:
    controller = CanaryDeploymentController(deployment_id="v2")
    monitor = SLOMonitor()
    registry = CollectorRegistry()
    registry.register(CanarioCollector(controller, monitor))
    guarded = CanaryMiddleware(hello, controller, monitor=monitor, flows={"": "hello"})
    metrics: Any = make_asgi_app(registry)

    async def app(scope: Scope, receive: Receive, send: Send) -> Any:
        chosen = metrics if scope.get("path") == "/metrics" else guarded
        return await chosen(scope, receive, send)

    with uvicorn_server(app, lifespan="off") as port:
        url = f"http://127.0.0.1:{port}"

        def ask() -> None:
            with httpx.Client() as client:
                for number in range(100):
                    client.get(f"{url}/", headers={"x-user-id": f"user-{number}"})

        threads = [threading.Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        seen = []
        with httpx.Client() as client:
            while any(thread.is_alive() for thread in threads):
                seen.append(total(client.get(f"{url}/metrics").text))
            for thread in threads:
                thread.join()
            last = client.get(f"{url}/metrics")
            wanted = client.get(
                f"{url}/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"}
            )
    assert promtool("check", "metrics", stdin=last.text) == ""
    assert total(last.text) == 200
    assert seen == sorted(seen)
    found = series(last.text)
    flows = {
        dict(labels)["flow"]: n
        for (name, labels), n in found.items()
        if name == "canario_slo_requests_total"
    }
    assert sum(flows.values()) == 200
    assert wanted.headers["content-type"].startswith("application/openmetrics-text")
    assert list(parse_openmetrics(wanted.text))


def total(text: str) -> float:
    return sum(n for (name, _), n in series(text).items() if name == "canario_requests_total")


def test_it_is_served_under_wsgi() -> None:
    registry = CollectorRegistry()
    registry.register(CanarioCollector(filled_controller(), filled_monitor()))
    environ: dict[str, Any] = {}
    setup_testing_defaults(environ)
    environ |= {"wsgi.errors": io.StringIO(), "QUERY_STRING": ""}
    statuses: list[str] = []

    def start_response(status: str, headers: Any, exc_info: Any = None) -> Any:
        statuses.append(status)
        return lambda data: None

    parts = validator(make_wsgi_app(registry))(environ, start_response)
    body = b"".join(list(parts)).decode()
    parts.close()  # type: ignore[attr-defined]
    assert statuses == ["200 OK"]
    assert promtool("check", "metrics", stdin=body) == ""


# -- the documentation


def test_what_the_docs_show_runs(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
    shown = re.findall(r"<!-- run -->\s*```python\n(.*?)```", text, re.DOTALL)
    assert len(shown) == 3
    for code in shown:
        ran = subprocess.run(
            [sys.executable, "-W", "error", "-c", code],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
    assert (tmp_path / "output" / "slo_dashboard.json").exists()


def documented_rows(text: str, columns: int) -> Iterator[list[str]]:
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| `canario_") and len(cells) == columns:
            yield cells


def test_the_tables_in_the_docs_are_the_metrics() -> None:
    text = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
    rows = list(documented_rows(text, 4))
    assert rows == [
        [
            f"`{metric.name}`",
            metric.kind,
            " ".join(f"`{label}`" for label in metric.labels),
            metric.help,
        ]
        for metric in METRICS.values()
    ]
    assert list(documented_rows(text, 3)) == [
        [f"`{metric.name}`", f"`{metric.otel_name}`", f"`{metric.otel_unit}`"]
        for metric in METRICS.values()
    ]
