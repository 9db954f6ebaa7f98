"""`canario slo`: what it writes is taken by those it is written for."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
import yaml
from tests.commands import call, process
from tests.telemetry.promtool import promtool

from canario.config import load_plan
from canario.grafana import dashboard_json
from canario.plan import Objectives
from canario.slo.dashboard_schema import dashboard_schema
from canario.slo.openslo import export_openslo
from canario.slo.prometheus_rules import prometheus_rules


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    path = tmp_path / "plan.toml"
    path.write_text(
        'tracing = { service_name = "Evaluación" }\n[slo]\navailability_percent = 99.9\n',
        encoding="utf-8",
    )
    return path


def test_rules_are_taken_by_promtool(plan: Path, tmp_path: Path) -> None:
    target = tmp_path / "new" / "rules.yaml"
    said = call(
        "slo", "rules", str(plan), "--flow", "a", "--label", "team=x", "--output", str(target)
    )
    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")
    assert "SUCCESS" in promtool("check", "rules", str(target))
    objectives = Objectives(availability_percent=99.9)
    expected = prometheus_rules(objectives, flows=["a"], labels={"team": "x"})
    assert yaml.safe_load(target.read_text(encoding="utf-8")) == expected


def test_the_environment_overrides_the_plan_where_asked(plan: Path) -> None:
    environ = {"SLO_AVAILABILITY_THRESHOLD": "99"}
    assert "> 0.144" in call("slo", "rules", str(plan), "-e", environ=environ).stdout
    assert "> 0.0144" in call("slo", "rules", str(plan), environ=environ).stdout


def test_openslo_goes_out_and_comes_back(plan: Path, tmp_path: Path) -> None:
    said = call("slo", "openslo", str(plan), "--flow", "a", "--flow", "/b/{id}")
    objectives = Objectives(availability_percent=99.9)
    documents = export_openslo(objectives, service="Evaluación", flows=["a", "/b/{id}"])
    assert list(yaml.safe_load_all(said.stdout)) == documents
    as_json = call("slo", "openslo", str(plan), "--json", "--service", "s")
    assert json.loads(as_json.stdout) == export_openslo(objectives, service="s")
    path = tmp_path / "slo.yaml"
    path.write_text(said.stdout, encoding="utf-8")
    table = call("slo", "import", str(path))
    assert (table.returncode, table.stderr) == (0, "")
    again = tmp_path / "again.toml"
    again.write_text(table.stdout, encoding="utf-8")
    assert load_plan(again).slo == objectives
    as_json = call("slo", "import", str(path), "--json")
    assert json.loads(as_json.stdout) == tomllib.loads(table.stdout)


def test_what_is_left_out_of_an_import_is_said(tmp_path: Path) -> None:
    documents = export_openslo(Objectives())
    for document in documents:
        if document["kind"] == "SLO":
            document["spec"]["timeWindow"][0]["duration"] = "28d"
    path = tmp_path / "slo.json"
    path.write_text(json.dumps(documents))
    said = call("slo", "import", str(path))
    assert said.returncode == 0
    assert f"canario: {path}: document " in said.stderr
    assert "error budgets are over 30 rolling days" in said.stderr


def test_grafana_and_schema_are_json() -> None:
    assert call("slo", "grafana").stdout == dashboard_json()
    assert json.loads(call("slo", "schema").stdout) == dashboard_schema()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["rules", "none.toml"], "none.toml: cannot be read: No such file or directory"),
        (["rules", "{plan}", "--label", "severity=x"], "labels has 'severity'"),
        (["rules", "{plan}", "--label", "team"], "--label 'team' is not NAME=VALUE"),
        (["rules", "{plan}", "-o", "/proc/none/x"], "/proc/none/x: cannot be written"),
        (["openslo", "{full}"], "makes a target of 100 %; OpenSLO's are"),
        (["import", "none.yaml"], "none.yaml: cannot be read: No such file or directory"),
        (["import", "{plan}"], "document 1: is a str; it must be an object"),
        (["import", "{full}", "--latency-unit", "hours"], "'seconds', 'milliseconds'"),
        (["ruels", "{plan}"], "No such command 'ruels'"),
    ],
)
def test_bad_usage_is_one_line_and_code_2(
    arguments: list[str], says: str, plan: Path, tmp_path: Path
) -> None:
    full = tmp_path / "full.json"
    full.write_text('{"slo": {"availability_percent": 100}}')
    said = call("slo", *(argument.format(plan=plan, full=full) for argument in arguments))
    assert (said.returncode, said.stdout) == (2, "")
    assert says in said.stderr
    assert said.stderr.startswith("canario: ")
    assert said.stderr.count("\n") == 1


def test_without_pyyaml_it_says_what_to_install(plan: Path, tmp_path: Path) -> None:
    (tmp_path / "yaml.py").write_text("raise ModuleNotFoundError('no', name='yaml')")
    for arguments in (["rules", str(plan)], ["openslo", str(plan)], ["import", "x.yaml"]):
        Path(tmp_path / "x.yaml").touch()
        said = process("slo", *arguments, folder=tmp_path, environ={"PYTHONPATH": str(tmp_path)})
        assert said.returncode == 2
        assert "pip install 'canario[openslo]'" in said.stderr
