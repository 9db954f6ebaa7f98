"""Plans: the documented document, where values come from, and what is refused."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from canario import create_canary_controller
from canario.config import ConfigError, load_plan, plan_schema
from canario.plan import (
    Deployment,
    ForcedArms,
    MissingEvidence,
    Plan,
    RollbackThresholds,
    Routing,
    Stage,
)
from canario.slo import create_slo_monitor

# The configuration file of the user's own description, as it stands there.
DOCUMENT: dict[str, Any] = {
    "deployment": {
        "canary_stages": [
            {"percentage": 5, "hold_seconds": 300},
            {"percentage": 25, "hold_seconds": 600},
            {"percentage": 100, "hold_seconds": 1800},
        ],
        "rollback_thresholds": {
            "max_error_rate": 10.0,
            "max_p95_latency_ms": 500.0,
            "metric_window_seconds": 60,
            "min_samples": 10,
        },
    },
    "tracing": {
        "service_name": "decalogo-evaluation-system",
        "service_version": "1.0.0",
        "environment": "production",
        "sampling_rate": 1.0,
    },
    "slo": {
        "availability_percent": 99.5,
        "p95_latency_ms": 200.0,
        "error_rate_percent": 0.1,
        "performance_regression_percent": 10.0,
        "p99_recovery_time_ms": 1500.0,
        "aggregation_window_seconds": 300,
    },
}

ENVIRONMENT = {
    "OTEL_SERVICE_NAME": "another-system",
    "OTEL_SERVICE_VERSION": "2.0.0",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4317",
    "SLO_AVAILABILITY_THRESHOLD": "99.9",
    "SLO_P95_LATENCY_MS": "150.0",
    "SLO_ERROR_RATE_PERCENT": "0.5",
    "CANARY_5_HOLD_SECONDS": "30",
    "CANARY_25_HOLD_SECONDS": "60.5",
    "CANARY_FULL_HOLD_SECONDS": "0",
}


@pytest.fixture
def document(tmp_path: Path) -> Path:
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(DOCUMENT))
    return path


def changed(path: str, value: object) -> dict[str, Any]:
    """The documented document with one value changed or added."""
    made: dict[str, Any] = json.loads(json.dumps(DOCUMENT))
    at: Any = made
    *way, last = path.split(".")
    for name in way:
        at = at[int(name)] if name.isdigit() else at.setdefault(name, {})
    at[int(last) if last.isdigit() else last] = value
    return made


def test_the_documented_document_is_the_default_plan(document: Path) -> None:
    plan = load_plan(document)
    assert plan.deployment == Deployment()
    assert plan.slo == Plan().slo
    assert plan.tracing.service_name == "decalogo-evaluation-system"
    assert [stage.name for stage in plan.deployment.canary_stages] == [
        "canary_5",
        "canary_25",
        "full_rollout",
    ]
    assert plan.deployment.rollback_thresholds.check_interval_seconds == 5


def test_toml_says_the_same(tmp_path: Path, document: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(
        """
        [deployment]
        canary_stages = [
            { percentage = 5, hold_seconds = 300 },
            { percentage = 25, hold_seconds = 600 },
            { percentage = 100, hold_seconds = 1800 },
        ]
        [deployment.rollback_thresholds]
        max_error_rate = 10.0
        [tracing]
        service_name = "decalogo-evaluation-system"
        service_version = "1.0.0"
        environment = "production"
        """
    )
    assert load_plan(path) == load_plan(document)


def test_the_environment_beats_the_file_and_an_argument_beats_both(document: Path) -> None:
    plan = load_plan(document, environ=ENVIRONMENT)
    assert [stage.hold_seconds for stage in plan.deployment.canary_stages] == [30, 60.5, 0]
    assert (plan.slo.availability_percent, plan.slo.p95_latency_ms) == (99.9, 150)
    assert plan.slo.error_rate_percent == 0.5
    assert plan.tracing.service_name == "another-system"
    assert plan.tracing.service_version == "2.0.0"
    assert plan.tracing.otlp_endpoint == "http://localhost:4317"
    plan = load_plan(
        document,
        environ=ENVIRONMENT,
        hold_seconds={5: 1},
        thresholds={"max_error_rate": 2},
        deployment_id="release-7",
    )
    assert [stage.hold_seconds for stage in plan.deployment.canary_stages] == [1, 60.5, 0]
    assert plan.deployment.rollback_thresholds.max_error_rate == 2
    assert plan.deployment.deployment_id == "release-7"


def test_an_empty_variable_is_no_value(document: Path) -> None:
    assert load_plan(document, environ={"CANARY_5_HOLD_SECONDS": " "}) == load_plan(document)


def test_a_hold_variable_reaches_any_stage_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_text("deployment.canary_stages = [{ percentage = 2.5, hold_seconds = 9 }]")
    plan = load_plan(path, environ={"CANARY_2_5_HOLD_SECONDS": "4"})
    assert plan.deployment.canary_stages == (Stage(2.5, 4),)


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("CANARY_5_HOLD_SECONDS", "five", "'five'; it must be a number"),
        ("CANARY_5_HOLD_SECONDS", "-5", "CANARY_5_HOLD_SECONDS"),
        ("CANARY_5_HOLD_SECONDS", "nan", "nan"),
        ("CANARY_7_HOLD_SECONDS", "5", "no stage of 7 %"),
        ("SLO_AVAILABILITY_THRESHOLD", "101", "SLO_AVAILABILITY_THRESHOLD"),
        ("SLO_P95_LATENCY_MS", "0", "SLO_P95_LATENCY_MS"),
        ("SLO_ERROR_RATE_PERCENT", "inf", "SLO_ERROR_RATE_PERCENT"),
    ],
)
def test_a_bad_variable_is_named(document: Path, variable: str, value: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_plan(document, environ={variable: value})
    assert says in str(caught.value)
    assert caught.value.source == variable


@pytest.mark.parametrize(
    ("variable", "says"),
    [
        ("CANARY_5_HOLD_SECOND", "did you mean CANARY_5_HOLD_SECONDS?"),
        ("CANARY_HOLD_SECONDS", "did you mean CANARY_5_HOLD_SECONDS?"),
        ("CANARY_FULL_ROLLOUT_HOLD_SECONDS", "did you mean CANARY_FULL_HOLD_SECONDS?"),
        ("CANARY_MAX_ERROR_RATE", "set in a plan file or by an argument"),
        ("CANARY_MAX_P95_LATENCY_MS", "set in a plan file or by an argument"),
        ("SLO_P95_LATENCY_THRESHOLD_MS", "did you mean SLO_P95_LATENCY_MS?"),
        ("SLO_AVAILABILITY_PERCENT", "did you mean SLO_AVAILABILITY_THRESHOLD?"),
    ],
)
def test_a_variable_that_means_a_value_and_names_none_is_refused(variable: str, says: str) -> None:
    with pytest.raises(ConfigError, match="unknown variable") as caught:
        load_plan(environ={variable: "5"})
    assert says in str(caught.value)
    assert caught.value.source == variable


@pytest.mark.parametrize(
    "variable",
    ["CANARY_TOKEN", "CANARY", "SLO_TEAM", "OTEL_SERVICE_NAMESPACE", "CANARY_WINDOWS_HOST"],
)
def test_somebody_else_s_variable_is_nobody_s_error(variable: str) -> None:
    assert load_plan(environ={variable: "x"}) == load_plan()


def test_a_wrong_hold_names_the_argument_that_gave_it() -> None:
    with pytest.raises(ConfigError, match=r"^canary_5_hold_seconds: .*it is -1"):
        create_canary_controller("x", canary_5_hold_seconds=-1, environ={})
    with pytest.raises(ConfigError, match=r"^full_rollout_hold_seconds: .*it is -1"):
        create_canary_controller("x", full_rollout_hold_seconds=-1, environ={})


def test_a_monitor_has_no_stages_that_a_hold_could_be_missing_in() -> None:
    create_slo_monitor(environ={"CANARY_10_HOLD_SECONDS": "5"})


@pytest.mark.parametrize(
    ("path", "value", "key", "says"),
    [
        ("deployment.rollback_thresholds.max_eror_rate", 1, "max_eror_rate", "max_error_rate?"),
        ("deploymnet", {}, "deploymnet", "did you mean deployment?"),
        ("deployment.canary_stages.0.percent", 5, "canary_stages[0].percent", "percentage?"),
        ("slo.p95_latency", 5, "slo.p95_latency", "did you mean p95_latency_ms?"),
        ("deployment.rollback_thresholds.min_samples", "ten", "min_samples", "'ten'"),
        ("deployment.rollback_thresholds.min_samples", 2.5, "min_samples", "int"),
        ("deployment.rollback_thresholds.min_samples", 0, "min_samples", ">= 1"),
        ("deployment.rollback_thresholds.max_error_rate", True, "max_error_rate", "bool"),
        ("deployment.rollback_thresholds.max_error_rate", 101, "max_error_rate", "101"),
        ("deployment.rollback_thresholds.max_error_rate", math.nan, "max_error_rate", "nan"),
        ("deployment.rollback_thresholds.max_p95_latency_ms", 0, "max_p95_latency_ms", "0"),
        ("deployment.rollback_thresholds.metric_window_seconds", math.inf, "", "inf"),
        ("deployment.rollback_thresholds.check_interval_seconds", 0, "check_interval", ">= 0.001"),
        ("deployment.canary_stages.1.percentage", 5, "deployment", "5 after 5"),
        ("deployment.canary_stages.1.percentage", 4, "deployment", "must rise"),
        ("deployment.canary_stages.2.percentage", 101, "canary_stages[2].percentage", "101"),
        ("deployment.canary_stages.0.percentage", -1, "canary_stages[0].percentage", "-1"),
        ("deployment.canary_stages.0.percentage", 0, "canary_stages[0].percentage", "0"),
        ("deployment.canary_stages.0.percentage", 5.0001, "canary_stages[0]", "multiple"),
        ("deployment.canary_stages.0.percentage", math.nan, "canary_stages[0]", "nan"),
        ("deployment.canary_stages.0.hold_seconds", -1, "hold_seconds", "-1"),
        ("deployment.canary_stages.0.hold_seconds", math.inf, "canary_stages[0]", "inf"),
        ("deployment.canary_stages", [], "canary_stages", "length"),
        ("deployment.canary_stages", [{"percentage": 5}], "canary_stages[0]", "hold_seconds"),
        ("deployment.missing_evidence.then", "advance", "missing_evidence", "give both"),
        ("deployment.missing_evidence.deadline_seconds", 5, "missing_evidence", "give both"),
        ("deployment.missing_evidence.then", "rolback", "missing_evidence.then", "rolback"),
        ("deployment.routing.key_sources", ["headers:x"], "routing", "header:NAME"),
        ("deployment.routing.key_sources", ["path:/plans"], "routing", "path:/plans/{id}"),
        ("deployment.routing.salt", "", "routing", "salt"),
        ("deployment.routing.anonymous_cookie", "sid; Secure", "routing", "anonymous_cookie is"),
        ("deployment.routing.forced_arms", {}, "forced_arms", "trusted_peers"),
        ("deployment.deployment_id", "", "deployment", "name"),
        ("tracing.sampling_rate", 1.5, "sampling_rate", "1.5"),
        ("tracing.sampling_rate", math.nan, "sampling_rate", "nan"),
        ("slo.availability_percent", 100.5, "availability_percent", "100.5"),
    ],
)
def test_a_bad_value_is_refused_by_name(
    tmp_path: Path, path: str, value: object, key: str, says: str
) -> None:
    file = tmp_path / "plan.json"
    file.write_text(json.dumps(changed(path, value)))
    with pytest.raises(ConfigError) as caught:
        load_plan(file)
    assert str(caught.value).startswith(f"{file}: ")
    assert key in caught.value.key
    assert says in caught.value.problem
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("plan.toml", "a = ", "not valid TOML"),
        ("plan.json", "{", "not valid JSON"),
        ("plan.json", '{"slo": {}, "slo": {}}', "'slo' is given twice"),
        ("plan.json", "[]", "must be an object"),
        ("plan.yaml", "a: 1", "valid are .toml and .json"),
    ],
)
def test_a_bad_file_is_refused(tmp_path: Path, name: str, text: str, says: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=says.replace(".", r"\.")):
        load_plan(tmp_path / name)


def test_a_missing_or_binary_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load_plan(tmp_path / "none.toml")
    (tmp_path / "plan.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_plan(tmp_path / "plan.toml")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Stage(math.nan, 1), "percentage is nan"),
        (lambda: Stage(5, -1), "hold_seconds is -1"),
        (lambda: RollbackThresholds(min_samples=0), "min_samples is 0"),
        (lambda: RollbackThresholds(max_error_rate=math.inf), "max_error_rate is inf"),
        (lambda: MissingEvidence(deadline_seconds=-1, then="pause"), "deadline_seconds is -1"),
        (lambda: Deployment(canary_stages=()), "canary_stages is empty"),
        (lambda: Deployment(canary_stages=(Stage(5, 1), Stage(5, 1))), "must rise"),
        (lambda: Routing(key_sources=("client:x",)), "client:N"),
        (lambda: ForcedArms(), "verified"),
        (
            lambda: Routing(
                anonymous_cookie="a", forced_arms=ForcedArms(cookie="a", secret_env="S")
            ),
            "two names",
        ),
    ],
)
def test_a_value_made_in_python_is_checked_too(make: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make()


@pytest.mark.parametrize(
    "table",
    [
        {"deployment": {"deployment_id": "a\ud800"}},
        {"deployment": {"routing": {"salt": "\udcff"}}},
        {"deployment": {"routing": {"key_sources": ["user", "path:/\udcff/{id}"]}}},
        {"deployment": {"routing": {"forced_arms": {"secret_env": "\udcff"}}}},
        {"tracing": {"service_name": "\udcff"}},
    ],
)
def test_what_is_no_text_of_utf_8_is_refused_with_the_plan(table: Any, tmp_path: Path) -> None:
    """Python makes it of other bytes in the environment; no journal, span or file can hold it."""
    file = tmp_path / "plan.json"
    file.write_text(json.dumps(table))
    with pytest.raises(ConfigError, match="no text that UTF-8 can hold") as caught:
        load_plan(file)
    assert str(caught.value).isascii()
    assert load_plan(document={"deployment": {"deployment_id": "🐤"}}) != Plan()


@pytest.mark.parametrize(
    "name",
    ["", "a\r\nSet-Cookie: evil=1", "a\n", "€", "sid; Domain=evil.example", "a b", "a=b", '"a"'],
)
def test_a_name_that_would_end_its_line_is_refused_with_the_plan(name: str, tmp_path: Path) -> None:
    """Of a cookie it is a token of RFC 6265, of a header one of RFC 9110."""
    for key in ("anonymous_cookie", "forced_arms.cookie", "forced_arms.header"):
        _, _, last = key.rpartition(".")
        made: dict[str, Any] = {last: name} | ({"secret_env": "S"} if "." in key else {})
        routing = {"forced_arms": made} if "." in key else made
        file = tmp_path / "plan.json"
        file.write_text(json.dumps({"deployment": {"routing": routing}}))
        with pytest.raises(ConfigError, match=f"{last} is .*must be the name of a") as caught:
            load_plan(file)
        assert "\n" not in str(caught.value)
        with pytest.raises(ValueError, match=f"{last} is"):
            ForcedArms(**made) if "." in key else Routing(**made)
    for source in ("header", "cookie"):
        with pytest.raises(ValueError, match="key_sources has"):
            Routing(key_sources=(f"{source}:{name}",))


@pytest.mark.parametrize(
    ("source", "valid"),
    [
        ("query:plan", True),
        ("query:filter[plan]", True),
        ("query:a&b", False),
        ("query:a%20b", False),
        ("path:/plans/{id}", True),
        ("path:/tenants/{tenant}/plans/{id}.json", True),
        ("path:/plánes/{id}", True),
        ("path:plans/{id}", False),
        ("path:/plans/{id}/", False),
        ("path:/plans/{id:int}", False),
        ("path:/plans/{a}{b}", False),
        ("path:/plans/{id}?x", False),
        ("path:/my%20plans/{id}", False),
        ("path:", False),
    ],
)
def test_a_part_of_the_url_may_be_the_key(source: str, valid: bool) -> None:
    if valid:
        assert Routing(key_sources=(source,)).key_sources == (source,)
    else:
        with pytest.raises(ValueError, match="key_sources has"):
            Routing(key_sources=(source,))


def test_a_number_must_be_one() -> None:
    with pytest.raises(TypeError, match="percentage is '5'; it must be a number"):
        Stage("5", 1)  # type: ignore[arg-type]


def test_a_plan_is_frozen() -> None:
    with pytest.raises(AttributeError):
        Plan().deployment = Deployment()  # type: ignore[misc]


def test_the_schema_accepts_what_is_valid_and_refuses_what_is_not() -> None:
    schema = plan_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    assert validator.is_valid(DOCUMENT)
    assert validator.is_valid(json.loads(msgspec.json.encode(Plan())))
    for path, value in [
        ("deployment.rollback_thresholds.max_eror_rate", 1),
        ("deployment.rollback_thresholds.min_samples", "ten"),
        ("deployment.canary_stages.0.hold_seconds", -1),
        ("deployment.canary_stages.0.percentage", 101),
        ("deployment.canary_stages", []),
    ]:
        assert not validator.is_valid(changed(path, value)), path


def test_importing_canario_is_light() -> None:
    """Neither numpy, the OpenTelemetry SDK nor a web framework comes with it."""
    heavy = ["numpy", "simpy", "starlette", "opentelemetry.sdk", "click", "rich", "canario_sim"]
    code = f"import sys, canario; print([name for name in {heavy!r} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
