"""The page's variables, exported by a real shell, and its configuration file."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.requirements.page import BLOCKS, VARIABLES, items
from tests.requirements.proofs import proves
from tests.requirements.running import run_bash

from canario import ConfigError, Plan, create_canary_controller, load_plan
from canario.plan import Objectives, RollbackThresholds, Stage
from canario.slo import create_slo_monitor

EXPORTS = BLOCKS["configuration.environment"].text
SHOWN: dict[str, Any] = json.loads(BLOCKS["configuration.file"].text)

# What takes effect in a process of that shell, whoever reads which variable.
EFFECT = """
python -W error -c '
import json
from opentelemetry import trace
from canario import create_canary_controller
from canario.slo import create_slo_monitor
from canario.tracing import initialize_tracing
initialize_tracing()
resource = trace.get_tracer_provider().resource.attributes
deployment = create_canary_controller("v2").deployment
objectives = create_slo_monitor().objectives
print(json.dumps({
    "OTEL_SERVICE_NAME": resource["service.name"],
    "OTEL_SERVICE_VERSION": resource["service.version"],
    "SLO_AVAILABILITY_THRESHOLD": objectives.availability_percent,
    "SLO_P95_LATENCY_MS": objectives.p95_latency_ms,
    "SLO_ERROR_RATE_PERCENT": objectives.error_rate_percent,
    **dict(zip(
        ["CANARY_5_HOLD_SECONDS", "CANARY_25_HOLD_SECONDS", "CANARY_FULL_HOLD_SECONDS"],
        [stage.hold_seconds for stage in deployment.canary_stages],
        strict=True,
    )),
}))
'
"""


def effect(exports: str, folder: Path) -> dict[str, str | float]:
    # No span is made here, and nobody listens on that port.
    said = run_bash(exports + EFFECT, folder, OTEL_TRACES_EXPORTER="none")
    told: dict[str, str | float] = json.loads(said)
    return told


def typed(value: str) -> str | float:
    return float(value) if re.fullmatch(r"\d+(\.\d+)?", value) else value


def test_the_block_exports_the_variables_of_the_list() -> None:
    exported = re.findall(r'^export (\w+)="?([^"\n]*)"?$', EXPORTS, flags=re.MULTILINE)
    assert dict(exported) == VARIABLES


@proves("block.configuration.environment")
def test_the_block_takes_effect_in_a_shell(tmp_path: Path) -> None:
    expected = {name: typed(value) for name, value in VARIABLES.items()}
    del expected["OTEL_EXPORTER_OTLP_ENDPOINT"]  # test_exporting.py sees what arrives there
    assert effect(EXPORTS, tmp_path) == expected


def changed(value: str) -> str:
    """Another value that is valid too."""
    number = typed(value)
    return str(number / 2) if isinstance(number, float) else f"another-{value}"


@proves(*(name for name in items("variable") if "ENDPOINT" not in name))
def test_each_variable_is_what_changes_it(tmp_path: Path) -> None:
    """The page's values are the defaults: half of each shows that the variable was read."""
    expected = {name: typed(changed(value)) for name, value in VARIABLES.items()}
    exports = "".join(f"export {name}='{changed(value)}'\n" for name, value in VARIABLES.items())
    exports = exports.replace("another-http://", "http://another-")
    told = effect(exports, tmp_path)
    assert told == {name: expected[name] for name in told}
    assert len(told) == 8


@pytest.mark.parametrize("name", [name for name in VARIABLES if not name.startswith("OTEL_")])
def test_a_wrong_value_is_refused_by_the_name_of_its_variable(name: str) -> None:
    controller = partial(create_canary_controller, "v2")
    make = controller if name.startswith("CANARY_") else create_slo_monitor
    with pytest.raises(ConfigError, match=f"{name}.*'much'"):
        make(environ={name: "much"})


# --- the file


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "config.json"
    path.write_text(BLOCKS["configuration.file"].text)
    return path


@proves("block.configuration.file")
def test_every_key_of_the_file_is_in_the_plan(file: Path) -> None:
    import msgspec

    plan = msgspec.to_builtins(load_plan(file))
    leaves = list(walk(SHOWN))
    assert len(leaves) == 20
    for path, value in leaves:
        there = plan
        for step in path:
            there = there[step]
        assert there == value, path


def walk(node: Any, path: tuple[str | int, ...] = ()) -> Any:
    """Every leaf of a document with the way to it."""
    if isinstance(node, dict | list):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from walk(value, (*path, key))
    else:
        yield path, node


@pytest.mark.parametrize("path", [path for path, _ in walk(SHOWN)], ids=str)
def test_each_key_of_the_file_counts(path: tuple[str | int, ...], tmp_path: Path) -> None:
    """The file's values are the defaults too: another one makes another plan."""
    document = json.loads(BLOCKS["configuration.file"].text)
    there = document
    for step in path[:-1]:
        there = there[step]
    value = there[path[-1]]
    there[path[-1]] = f"another {value}" if isinstance(value, str) else type(value)(value * 0.9)
    file, other = tmp_path / "config.json", tmp_path / "other.json"
    file.write_text(BLOCKS["configuration.file"].text)
    other.write_text(json.dumps(document))
    assert load_plan(other) != load_plan(file)


def test_the_file_s_values_are_the_defaults(file: Path) -> None:
    plan, defaults = load_plan(file), Plan()
    assert plan.deployment == defaults.deployment
    assert plan.slo == defaults.slo
    assert plan.tracing.sampling_rate == defaults.tracing.sampling_rate


def test_controller_and_monitor_read_the_file(file: Path) -> None:
    file.write_text(file.read_text().replace("500.0", "400.0").replace("99.5", "99.0"))
    controller = create_canary_controller("v2", config=file, environ={})
    assert controller.deployment.rollback_thresholds.max_p95_latency_ms == 400
    assert create_slo_monitor(config=file, environ={}).objectives.availability_percent == 99
    # An argument beats a variable, and this one the file.
    environ = {"SLO_AVAILABILITY_THRESHOLD": "98"}
    assert create_slo_monitor(config=file, environ=environ).objectives.availability_percent == 98
    monitor = create_slo_monitor(97.0, config=file, environ=environ)
    assert monitor.objectives.availability_percent == 97


@proves(
    "limit.availability",
    "limit.p95_latency",
    "limit.error_rate",
    "limit.performance_regression",
    "limit.fault_recovery",
)
def test_the_documented_limits_are_the_defaults() -> None:
    assert create_slo_monitor(environ={}).objectives == Objectives(
        availability_percent=99.5,
        p95_latency_ms=200.0,
        error_rate_percent=0.1,
        performance_regression_percent=10.0,
        p99_recovery_time_ms=1500.0,
        aggregation_window_seconds=300.0,
    )
    deployment = create_canary_controller("v2", environ={}).deployment
    assert deployment.canary_stages == (Stage(5, 300), Stage(25, 600), Stage(100, 1800))
    assert deployment.rollback_thresholds == RollbackThresholds(
        max_error_rate=10.0, max_p95_latency_ms=500.0, metric_window_seconds=60.0, min_samples=10
    )
