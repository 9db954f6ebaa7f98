"""The Grafana dashboard: well-formed, and drawn from what is exposed."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from tests.telemetry.promtool import promtool

from canario.grafana import dashboard_json
from canario.telemetry.metrics import METRICS

DASHBOARD: dict[str, Any] = json.loads(dashboard_json())
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
VARIABLES = {"$__rate_interval": "5m", "$deployment": ".*", "$flow": ".*"}


def queries() -> Iterator[str]:
    for panel in PANELS:
        for target in panel.get("targets", ()):
            yield target["expr"]
    for annotation in DASHBOARD["annotations"]["list"]:
        yield annotation["expr"]


def concrete(query: str) -> str:
    for name, value in VARIABLES.items():
        query = query.replace(name, value)
    assert "$" not in query
    return query


def exposed() -> set[str]:
    names = set(METRICS)
    for metric in METRICS.values():
        if metric.kind == "histogram":
            names |= {metric.name + suffix for suffix in ("_bucket", "_count", "_sum")}
    return names


def test_every_query_is_promql(tmp_path: Path) -> None:
    rules = [
        {"record": f"query:number:{number}", "expr": concrete(query)}
        for number, query in enumerate(queries())
    ]
    path = tmp_path / "queries.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    assert f"SUCCESS: {len(rules)} rules found" in promtool("check", "rules", str(path))
    assert len(rules) > 20


def test_every_query_asks_for_what_is_exposed() -> None:
    for query in queries():
        outside_labels = re.sub(r"\b(by|without) \([^)]*\)|\{[^}]*\}", "", query)
        asked = set(re.findall(r"canario_\w+", outside_labels))
        assert asked, query
        assert asked <= exposed(), query
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            found = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]["query"])
            assert found, variable
            assert found[2] in METRICS[found[1]].labels


def test_labels_in_queries_are_labels_of_the_metrics() -> None:
    known = {label for metric in METRICS.values() for label in metric.labels} | {"le"}
    known |= {metric.name for metric in METRICS.values() if metric.kind == "states"}
    for query in queries():
        for group in re.findall(r"\bby \(([^)]*)\)", query):
            assert set(re.split(r",\s*", group)) <= known, query
        for name, selectors in re.findall(r"(canario_\w+)\{([^}]*)\}", query):
            metric = METRICS[re.sub(r"_(bucket|count|sum)$", "", name)]
            own = {*metric.labels, metric.name, "le"}
            assert set(re.findall(r"(\w+)(?:=~|!=|=)", selectors)) <= own, query


def test_what_matters_is_drawn() -> None:
    drawn = {name for query in queries() for name in re.findall(r"canario_\w+", query)}
    for name in (
        "canario_rollout_stage",
        "canario_rollout_share_ratio",
        "canario_rollout_verdict",
        "canario_rollout_events_total",
        "canario_requests_total",
        "canario_request_duration_seconds_bucket",
        "canario_slo_met",
        "canario_slo_error_budget_remaining_ratio",
        "canario_slo_burn_rate",
        "canario_alerts_active",
        "canario_incidents_total",
    ):
        assert name in drawn


def test_panels_have_ids_of_their_own_and_do_not_overlap() -> None:
    ids = [panel["id"] for panel in PANELS]
    assert len(set(ids)) == len(ids)
    for panel in PANELS:
        place = panel["gridPos"]
        assert 0 <= place["x"] < place["x"] + place["w"] <= 24
    for one, other in itertools.combinations(PANELS, 2):
        a, b = one["gridPos"], other["gridPos"]
        apart = (
            a["x"] + a["w"] <= b["x"]
            or b["x"] + b["w"] <= a["x"]
            or a["y"] + a["h"] <= b["y"]
            or b["y"] + b["h"] <= a["y"]
        )
        assert apart, (one["title"], other["title"])


def test_panels_say_what_they_show_and_use_the_chosen_data_source() -> None:
    names = {variable["name"]: variable["type"] for variable in DASHBOARD["templating"]["list"]}
    assert names == {"datasource": "datasource", "deployment": "query", "flow": "query"}
    for panel in PANELS:
        if panel["type"] != "row":
            assert panel["description"].endswith("."), panel["title"]
            sources = [panel["datasource"], *(t["datasource"] for t in panel["targets"])]
            assert {source["uid"] for source in sources} == {"${datasource}"}
            letters = [target["refId"] for target in panel["targets"]]
            assert len(set(letters)) == len(letters) > 0


def test_the_schema_is_the_last_of_its_line() -> None:
    """42 is the last version of Grafana's classic dashboard schema (DashboardMigrator.ts)."""
    assert DASHBOARD["schemaVersion"] == 42
    assert DASHBOARD["id"] is None
