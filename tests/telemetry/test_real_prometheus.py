"""A real Prometheus scrapes an app, and evaluates the generated rules."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from prometheus_client import CollectorRegistry, make_asgi_app
from tests.middleware.asgi_servers import uvicorn_server
from tests.system_packages import need
from tests.telemetry.test_grafana import concrete, queries
from tests.waiting import PATIENCE, until

from canario import CanaryDeploymentController, Outcome
from canario.plan import Objectives
from canario.slo import SLOMonitor
from canario.slo.prometheus_rules import prometheus_rules_yaml
from canario.telemetry import CanarioCollector


@contextmanager
def prometheus(folder: Path, port_of_app: int) -> Iterator[httpx.Client]:
    """A Prometheus of its own on the loopback interface; ended by its process id."""
    (folder / "rules.yaml").write_text(prometheus_rules_yaml(Objectives()), encoding="utf-8")
    config = {
        "global": {"scrape_interval": "200ms", "evaluation_interval": "200ms"},
        "rule_files": [str(folder / "rules.yaml")],
        "scrape_configs": [
            {
                "job_name": "app",
                "static_configs": [{"targets": [f"127.0.0.1:{port_of_app}"]}],
            }
        ],
    }
    (folder / "prometheus.json").write_text(json.dumps(config))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                need("prometheus"),
                f"--config.file={folder / 'prometheus.json'}",
                f"--storage.tsdb.path={folder / 'data'}",
                "--web.listen-address=127.0.0.1:0",
            ],
            stdout=log,
            stderr=log,
        )
    try:
        until(lambda: process.poll() is not None or address(folder / "log"))
        assert process.poll() is None, (folder / "log").read_text()
        with httpx.Client(base_url=f"http://{address(folder / 'log')}") as client:
            until(lambda: answers(client, "/-/ready"))
            yield client
    finally:
        process.terminate()
        process.wait(PATIENCE)


def address(log: Path) -> str | None:
    """Where it listens, on a port that the system chose."""
    found = re.search(r'"Listening on" address=(127\.0\.0\.1:\d+)', log.read_text())
    return found and found[1]


def answers(client: httpx.Client, path: str) -> bool:
    try:
        return client.get(path).is_success
    except httpx.TransportError:
        return False


def result(client: httpx.Client, query: str) -> list[Any]:
    answer = client.get("/api/v1/query", params={"query": query}).json()
    assert answer["status"] == "success", answer
    found: list[Any] = answer["data"]["result"]
    return found


def test_a_real_prometheus_scrapes_it_and_its_alerts_fire(tmp_path: Path) -> None:
    controller = CanaryDeploymentController(deployment_id="v2")
    controller.start()
    monitor = SLOMonitor()
    monitor.record_request("/evaluate", True, 10.0)
    registry = CollectorRegistry()
    registry.register(CanarioCollector(controller, monitor))
    with (
        uvicorn_server(make_asgi_app(registry), lifespan="off") as port,
        prometheus(tmp_path, port) as client,
    ):
        until(lambda: result(client, "canario_slo_requests_total"))
        controller.observe("canary", Outcome.GOOD, 20.0)
        controller.report_violation("canary", "no score")

        def firing() -> set[str]:
            # Going on, so that no scrape is the last that sees a rise.
            monitor.record_request("/evaluate", False, 10.0, contract_valid=False)
            found = result(client, 'ALERTS{alertstate="firing"}')
            return {alert["metric"]["alertname"] for alert in found}

        wanted = {"CanarioRolledBack", "CanarioErrorBudgetBurn", "CanarioContractViolation"}
        until(lambda: firing() >= wanted)
        (target,) = client.get("/api/v1/targets").json()["data"]["activeTargets"]
        assert (target["health"], target["lastError"]) == ("up", "")
        (phase,) = result(client, "canario_rollout_phase == 1")
        assert phase["metric"]["canario_rollout_phase"] == "rolled_back"
        groups = client.get("/api/v1/rules").json()["data"]["groups"]
        assert {rule["health"] for group in groups for rule in group["rules"]} == {"ok"}
        for query in queries():
            result(client, concrete(query))
        (stage,) = result(client, "max by (deployment_id) (canario_rollout_stage)")
        assert stage["metric"] == {"deployment_id": "v2"}
