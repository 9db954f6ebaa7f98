"""Argument before environment before plan before default, and nothing wrong becomes a default."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canario.config import ConfigError
from canario.plan import Tracing
from canario.tracing.settings import TracingSettings, read_settings

PLAN = Tracing(
    service_name="of plan",
    service_version="1",
    environment="plan",
    sampling_rate=0.5,
    otlp_endpoint="http://plan:4317",
)


def read(
    environ: dict[str, str] | None = None, plan: Tracing | None = None, **given: Any
) -> TracingSettings:
    return read_settings(environ or {}, plan or Tracing(), **given)


def test_by_default_everything_is_sampled_and_nothing_is_exported() -> None:
    assert read() == TracingSettings(sampler="parentbased_always_on")


@pytest.mark.parametrize(
    ("attribute", "argument", "environ", "planned"),
    [
        (
            "service.name",
            "service_name",
            [
                {"OTEL_SERVICE_NAME": "x", "OTEL_RESOURCE_ATTRIBUTES": "service.name=y"},
                {"OTEL_RESOURCE_ATTRIBUTES": "service.name=x"},
            ],
            "of plan",
        ),
        (
            "service.version",
            "service_version",
            [
                {"OTEL_SERVICE_VERSION": "x", "OTEL_RESOURCE_ATTRIBUTES": "service.version=y"},
                {"OTEL_RESOURCE_ATTRIBUTES": "service.version=x"},
            ],
            "1",
        ),
        (
            "deployment.environment.name",
            "environment",
            [
                {"OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=x"},
                {"OTEL_RESOURCE_ATTRIBUTES": "deployment.environment=x"},
            ],
            "plan",
        ),
    ],
)
def test_names_come_from_argument_environment_and_plan(
    attribute: str, argument: str, environ: list[dict[str, str]], planned: str
) -> None:
    for each in environ:
        assert read(each, PLAN, **{argument: "given"}).resource[attribute] == "given"
        assert read(each, PLAN).resource[attribute] == "x"
    assert read({"OTEL_SERVICE_NAME": " "}, PLAN).resource[attribute] == planned
    assert attribute not in read().resource


def test_resource_attributes_are_decoded_and_kept() -> None:
    resource = read({"OTEL_RESOURCE_ATTRIBUTES": "a=1, b.c = x%20y%3D ,"}).resource
    assert resource == {"a": "1", "b.c": "x y="}


@pytest.mark.parametrize(
    ("environ", "rate", "wanted"),
    [
        ({}, None, ("parentbased_traceidratio", 0.5)),
        ({}, 1, ("parentbased_always_on", None)),
        ({}, 0, ("parentbased_traceidratio", 0.0)),
        ({"OTEL_TRACES_SAMPLER": "Always_Off"}, None, ("always_off", None)),
        ({"OTEL_TRACES_SAMPLER": "always_off"}, 0.25, ("parentbased_traceidratio", 0.25)),
        (
            {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.1"},
            None,
            ("traceidratio", 0.1),
        ),
        ({"OTEL_TRACES_SAMPLER": "traceidratio"}, None, ("traceidratio", 1.0)),
        (
            {"OTEL_TRACES_SAMPLER": "vendor", "OTEL_TRACES_SAMPLER_ARG": "a=b"},
            None,
            ("vendor", "a=b"),
        ),
    ],
)
def test_the_sampler_comes_from_argument_environment_and_plan(
    environ: dict[str, str], rate: float | None, wanted: tuple[str, object]
) -> None:
    settings = read(environ, PLAN, sampling_rate=rate)
    assert (settings.sampler, settings.sampler_arg) == wanted


@pytest.mark.parametrize(
    ("environ", "given", "wanted"),
    [
        ({}, None, ()),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4317"}, None, ("otlp",)),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://localhost:4317"}, None, ("otlp",)),
        ({"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "http://localhost:4317"}, None, ()),
        ({"OTEL_TRACES_EXPORTER": "console, otlp,console"}, None, ("console", "otlp")),
        ({"OTEL_TRACES_EXPORTER": "none"}, None, ()),
        (
            {
                "OTEL_TRACES_EXPORTER": "none",
                "OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4317",
            },
            None,
            (),
        ),
        ({"OTEL_TRACES_EXPORTER": "console"}, "otlp", ("otlp",)),
        ({"OTEL_TRACES_EXPORTER": "console"}, ["otlp", "zipkin"], ("otlp", "zipkin")),
        ({"OTEL_TRACES_EXPORTER": "console"}, [], ()),
    ],
)
def test_exporters_are_those_named_else_otlp_where_an_endpoint_is(
    environ: dict[str, str], given: Any, wanted: tuple[str, ...]
) -> None:
    assert read(environ, exporters=given).exporters == wanted


def test_the_endpoint_is_handed_over_unless_opentelemetry_s_variables_have_it() -> None:
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://environ:4317"}
    assert read(environ, PLAN, endpoint="https://given").endpoint == "https://given"
    assert read(environ, PLAN).endpoint is None
    assert read({}, PLAN).endpoint == "http://plan:4317"
    assert read({}, PLAN).exporters == ("otlp",)
    bare = {"OTEL_EXPORTER_OTLP_INSECURE": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4317"}
    assert read(bare).exporters == ("otlp",)


def test_logs_are_exported_only_where_it_is_said() -> None:
    assert read({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4317"}).log_exporters == ()
    assert read({"OTEL_LOGS_EXPORTER": "otlp"}).log_exporters == ("otlp",)
    assert read({"OTEL_LOGS_EXPORTER": "otlp"}, log_exporters="none").log_exporters == ()


def test_each_signal_may_have_its_protocol() -> None:
    environ = {
        "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
    }
    settings = read(environ)
    assert (settings.protocol, settings.log_protocol) == ("http/protobuf", "grpc")
    assert read(environ, protocol="grpc").protocol == "grpc"


@pytest.mark.parametrize("value", ["true", "TRUE", " True "])
def test_the_sdk_can_be_disabled(value: str) -> None:
    assert read({"OTEL_SDK_DISABLED": value}).disabled
    assert not read({"OTEL_SDK_DISABLED": "false"}).disabled


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OTEL_SDK_DISABLED", "1"),
        ("OTEL_RESOURCE_ATTRIBUTES", "a=1,b"),
        ("OTEL_RESOURCE_ATTRIBUTES", "=1"),
        ("OTEL_TRACES_SAMPLER_ARG", "often"),
        ("OTEL_TRACES_SAMPLER_ARG", "1.5"),
        ("OTEL_TRACES_SAMPLER_ARG", "nan"),
        ("OTEL_TRACES_EXPORTER", "otlp,"),
        ("OTEL_TRACES_EXPORTER", "otlp,none"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4317"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "ftp://localhost"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:99999"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http"),
        ("OTEL_BSP_SCHEDULE_DELAY", "soon"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "-1"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4096"),
        ("OTEL_BLRP_EXPORT_TIMEOUT", "1.5"),
    ],
)
def test_a_wrong_variable_is_an_error_that_names_it_and_its_value(
    variable: str, value: str
) -> None:
    environ = {"OTEL_TRACES_SAMPLER": "traceidratio", variable: value}
    with pytest.raises(ConfigError) as raised:
        read(environ)
    assert variable in str(raised.value)
    assert value.rpartition(",")[2] in str(raised.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("service_name", ""),
        ("service_version", 2),
        ("environment", " "),
        ("sampling_rate", 1.1),
        ("sampling_rate", -0.1),
        ("sampling_rate", True),
        ("sampling_rate", "half"),
        ("sampling_rate", float("nan")),
        ("exporters", ""),
        ("exporters", ["none", "otlp"]),
        ("endpoint", "localhost:4317"),
        ("protocol", "http"),
    ],
)
def test_a_wrong_argument_is_an_error_that_names_it_and_its_value(name: str, value: Any) -> None:
    with pytest.raises(ConfigError) as raised:
        read({}, **{name: value})
    assert name in str(raised.value)
    assert repr(value) in str(raised.value)


@given(st.floats(0, 1))
def test_any_rate_is_kept_exactly(rate: float) -> None:
    settings = read({}, sampling_rate=rate)
    assert settings.sampler_arg == (rate if rate < 1 else None)
