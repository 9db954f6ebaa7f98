"""Setting tracing up, each time in a process of its own, since a provider is set once."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from tests.tracing.collectors import Collector, grpc_collector, http_collector
from tests.waiting import PATIENCE


def python(
    code: str, *, check: bool = True, blocked: str = "", **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run code in a new process, with these variables and no other of OpenTelemetry's.

    `blocked` is a package that cannot be imported there.
    """
    environ = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    prelude = "import logging, sys\nlogging.basicConfig(level=logging.INFO)\n"
    if blocked:
        prelude += textwrap.dedent(f"""
            class Blocked:
                def find_spec(self, name, path=None, target=None):
                    if name == {blocked!r} or name.startswith({blocked!r} + "."):
                        raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
            sys.meta_path.insert(0, Blocked())
        """)
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", prelude + textwrap.dedent(code)],
        env={**environ, **variables},
        capture_output=True,
        text=True,
        check=check,
        timeout=PATIENCE,
    )


def run(code: str, blocked: str = "", **variables: str) -> str:
    """What a process that ends well logs."""
    done = python(code, check=False, blocked=blocked, **variables)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    return done.stderr


def fails(code: str, blocked: str = "", **variables: str) -> str:
    """The last line of a process that ends in an exception."""
    done = python(code, check=False, blocked=blocked, **variables)
    assert done.returncode == 1, done.stderr
    return done.stderr.strip().splitlines()[-1]


INITIALIZE = "from canario.tracing import initialize_tracing; initialize_tracing()"

PAGE = """
    from canario.tracing import initialize_tracing, trace_flow, trace_component, FlowType
    from canario.tracing import ComponentType, create_span_logger, get_tracing_manager

    {setup}

    @trace_flow(FlowType.DECALOGO_EVALUATION)
    def evaluate_plan(plan_text: str) -> dict:
        encode_text(plan_text)
        return {{"score": 1}}

    @trace_component(ComponentType.EMBEDDING_MODEL)
    def encode_text(text: str) -> list:
        return [1.0]

    logger = create_span_logger(__name__)
    logger.info("Processing plan", plan_id="12345")
    assert evaluate_plan("a plan") == {{"score": 1}}
    try:
        trace_flow("fails")(lambda: 1 / 0)()
    except ZeroDivisionError:
        pass
    manager = get_tracing_manager()
    headers = {{}}
    manager.inject_context(headers)
    context = manager.extract_context(headers)
"""

ARGUMENTS = (
    'initialize_tracing(service_name="decalogo-evaluation-system", '
    'service_version="1.0.0", environment="production", {})'
)

VARIABLES = {
    "OTEL_SERVICE_NAME": "decalogo-evaluation-system",
    "OTEL_SERVICE_VERSION": "1.0.0",
    "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=production",
}


@pytest.mark.parametrize(
    ("collector", "protocol"),
    [(grpc_collector, None), (grpc_collector, "grpc"), (http_collector, "http/protobuf")],
)
@pytest.mark.parametrize("by", ["variables", "arguments", "plan"])
def test_the_page_s_examples_reach_a_collector_and_nothing_is_lost_at_the_end(
    by: str,
    collector: Callable[[], AbstractContextManager[Collector]],
    protocol: str | None,
    tmp_path: Path,
) -> None:
    with collector() as received:
        variables = {"OTEL_EXPORTER_OTLP_PROTOCOL": protocol} if protocol else {}
        setup = "initialize_tracing()"
        if by == "arguments":
            setup = ARGUMENTS.format(f"endpoint={received.url!r}")
        elif by == "variables":
            variables |= {**VARIABLES, "OTEL_EXPORTER_OTLP_ENDPOINT": received.url}
        else:
            plan = tmp_path / "plan.toml"
            plan.write_text(
                "[tracing]\nservice_name = 'decalogo-evaluation-system'\n"
                "service_version = '1.0.0'\nenvironment = 'production'\n"
                f"otlp_endpoint = '{received.url}'\n"
            )
            setup = f"initialize_tracing(config={str(plan)!r})"
        run(PAGE.format(setup=setup), **variables)
    spans = {span.name: span for span in received.spans}
    assert sorted(spans) == ["decalogo_evaluation", "embedding_model", "fails"]
    assert len(received.spans) == 3
    evaluation, model, failed = (
        spans["decalogo_evaluation"],
        spans["embedding_model"],
        spans["fails"],
    )
    assert (model.trace_id, model.parent_id) == (evaluation.trace_id, evaluation.span_id)
    assert evaluation.parent_id == ""
    assert evaluation.attributes["canario.flow.group"] == "Evaluation"
    assert (failed.error, failed.events) == (True, ["exception"])
    assert failed.attributes["error.type"] == "ZeroDivisionError"
    for span in received.spans:
        assert span.scope == "canario"
        assert span.resource["service.name"] == "decalogo-evaluation-system"
        assert span.resource["service.version"] == "1.0.0"
        assert span.resource["deployment.environment.name"] == "production"
        assert span.resource["service.instance.id"]


def test_opentelemetry_s_other_variables_of_otlp_are_kept() -> None:
    with http_collector() as received:
        run(
            INITIALIZE + "\nfrom canario.tracing import trace_flow\ntrace_flow('f')(dir)()",
            OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=f"{received.url}/v1/traces",
            OTEL_EXPORTER_OTLP_TRACES_PROTOCOL="http/protobuf",
            OTEL_EXPORTER_OTLP_HEADERS="x-tenant=t",
            OTEL_EXPORTER_OTLP_COMPRESSION="gzip",
        )
    assert [span.name for span in received.spans] == ["f"]
    assert received.headers[0]["x-tenant"] == "t"
    assert received.headers[0]["content-encoding"] == "gzip"


def test_the_page_s_examples_run_without_a_collector_and_without_being_initialised() -> None:
    assert run(PAGE.format(setup="")) == "INFO:__main__:Processing plan\n"
    said = run(PAGE.format(setup=ARGUMENTS.format("")))
    assert "exported nowhere" in said
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in said


@pytest.mark.parametrize("extra", ["opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.grpc"])
def test_what_is_not_installed_is_named(extra: str) -> None:
    assert run(PAGE.format(setup=""), blocked=extra) == "INFO:__main__:Processing plan\n"
    said = fails(INITIALIZE, blocked=extra, OTEL_EXPORTER_OTLP_ENDPOINT="http://localhost:4317")
    wanted = "canario[otel]" if extra == "opentelemetry.sdk" else "canario[otlp]"
    assert f"pip install '{wanted}'" in said


@pytest.mark.parametrize(
    ("variable", "value", "valid"),
    [
        ("OTEL_TRACES_EXPORTER", "consol", "console, none, otlp, otlp_proto_grpc"),
        ("OTEL_LOGS_EXPORTER", "consol", "console, none, otlp"),
        ("OTEL_TRACES_SAMPLER", "sometimes", "always_off, always_on, parentbased_always_off"),
        ("OTEL_PROPAGATORS", "tracecontxt", "baggage, tracecontext"),
    ],
)
def test_what_is_misspelled_is_refused_with_what_is_installed(
    variable: str, value: str, valid: str
) -> None:
    said = fails(
        """
        from opentelemetry import trace
        from canario.tracing import initialize_tracing
        try:
            initialize_tracing()
        finally:
            assert type(trace.get_tracer_provider()) is trace.ProxyTracerProvider
        """,
        **{variable: value},
    )
    assert "ConfigError" in said
    assert all(part in said for part in (variable, repr(value), valid))


def test_a_host_s_provider_is_used_and_never_replaced_nor_shut_down() -> None:
    said = run(
        """
        from opentelemetry import trace
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
        from canario.tracing import initialize_tracing, trace_flow
        before = trace_flow("before")(dir)
        before()
        host, exporter = TracerProvider(), InMemorySpanExporter()
        host.add_span_processor(SimpleSpanProcessor(exporter))
        trace.set_tracer_provider(host)
        before()
        manager = initialize_tracing("mine", sampling_rate=0, exporters="console")
        assert trace.get_tracer_provider() is manager.provider is host
        trace_flow("after")(dir)()
        manager.shutdown()
        before()
        names = [span.name for span in exporter.get_finished_spans()]
        assert names == ["before", "after", "before"]
        """
    )
    assert "a tracer provider (TracerProvider) is set already and is used as it is" in said
    assert "WARNING" not in said


def test_a_second_call_changes_nothing_and_says_what_it_would_have_changed() -> None:
    said = run(
        """
        from canario.tracing import get_tracing_manager, initialize_tracing
        first = initialize_tracing("a", exporters=[])
        assert initialize_tracing("a", exporters=[]) is first is get_tracing_manager()
        logging.info("so far")
        assert initialize_tracing("b", sampling_rate=0.5, propagate_arm=True) is first
        assert not first.propagate_arm
        """
    )
    before, after = said.split("so far")
    assert "WARNING" not in before
    (warning,) = (line for line in after.splitlines() if "WARNING" in line)
    assert "set up already; ignored" in warning
    assert all(each in warning for each in ("resource", "'b'", "sampler", "propagate_arm"))


def test_beginning_again_after_the_end_is_said_not_to_work() -> None:
    said = run(
        """
        from canario.tracing import initialize_tracing
        with initialize_tracing(exporters=[]):
            pass
        logging.info("so far")
        with initialize_tracing(exporters=[]):
            pass
        """
    )
    before, after = said.split("so far")
    assert "shut down" not in before
    assert "tracing was shut down, and cannot begin again in this process" in after


def test_a_disabled_sdk_sets_nothing_up() -> None:
    said = run(
        INITIALIZE
        + """
from opentelemetry import trace
from canario.tracing import get_tracing_manager, trace_flow
assert type(trace.get_tracer_provider()) is trace.ProxyTracerProvider
trace_flow("f")(lambda: None)()
assert get_tracing_manager().inject_context({}) == {}
""",
        OTEL_SDK_DISABLED="true",
        OTEL_EXPORTER_OTLP_ENDPOINT="http://localhost:4317",
    )
    assert "OTEL_SDK_DISABLED is true" in said


@pytest.mark.parametrize(
    ("rate", "variables", "least", "most"),
    [
        ("0", {}, 0, 0),
        ("1", {}, 400, 400),
        # Of 400 traces at a rate of a half, five deviations either way: 1 in 3.5 million.
        ("0.5", {}, 150, 250),
        ("None", {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"}, 0, 0),
    ],
)
def test_the_rate_is_the_share_of_traces_that_are_kept(
    rate: str, variables: dict[str, str], least: int, most: int
) -> None:
    run(
        f"""
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
        from canario.tracing import initialize_tracing, trace_flow
        exporter = InMemorySpanExporter()
        with initialize_tracing(sampling_rate={rate}, exporters=[exporter]) as manager:
            inner = trace_flow("inner")(lambda: None)
            outer = trace_flow("outer")(lambda: inner())
            for _ in range(400):
                outer()
            assert manager.force_flush()
            names = [span.name for span in exporter.get_finished_spans()]
        assert {least} <= names.count("outer") <= {most}, names.count("outer")
        assert names.count("inner") == names.count("outer")
        """,
        **variables,
    )


def test_log_records_are_exported_where_it_is_said() -> None:
    code = """
        from opentelemetry._logs import LogRecord, get_logger
        from canario.tracing import initialize_tracing
        {host}
        initialize_tracing({arguments})
        get_logger("tests").emit(LogRecord(body="told"))
    """
    with grpc_collector() as received:
        endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": received.url}
        run(code.format(host="", arguments=""), **endpoint)
        assert received.logs == []
        run(code.format(host="", arguments=""), **endpoint, OTEL_LOGS_EXPORTER="otlp")
        run(code.format(host="", arguments="logs_exporters=['otlp']"), **endpoint)
        assert received.logs == ["told"] * 2
        host = (
            "from opentelemetry._logs import set_logger_provider; "
            "from opentelemetry.sdk._logs import LoggerProvider; "
            "set_logger_provider(LoggerProvider())"
        )
        said = run(code.format(host=host, arguments="logs_exporters='otlp'"), **endpoint)
        assert received.logs == ["told"] * 2
        assert "a logger provider is set already" in said


def test_a_fork_after_initialising_loses_and_repeats_nothing() -> None:
    with http_collector() as received:
        run(
            """
            import os
            from canario.tracing import initialize_tracing, trace_flow
            with initialize_tracing(protocol="http/protobuf") as manager:
                trace_flow("before")(dir)()
                child = os.fork()
                trace_flow("parent" if child else "child")(dir)()
                if child:
                    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            """,
            OTEL_EXPORTER_OTLP_ENDPOINT=received.url,
        )
    spans = {span.name: span for span in received.spans}
    assert sorted(span.name for span in received.spans) == ["before", "child", "parent"]
    instances = {name: span.resource["service.instance.id"] for name, span in spans.items()}
    assert instances["child"] != instances["parent"] == instances["before"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("exporters=[3]", "exporters has 3"),
        ("config='no.toml'", "no.toml"),
        ("config='a.toml', plan=object()", "give config or plan, not both"),
        ("sampling_rate=2", "sampling_rate: is 2"),
    ],
)
def test_wrong_arguments_are_refused_and_set_nothing_up(arguments: str, said: str) -> None:
    code = f"""
        from opentelemetry import trace
        from canario.tracing import initialize_tracing
        try:
            initialize_tracing({arguments})
        finally:
            assert type(trace.get_tracer_provider()) is trace.ProxyTracerProvider
    """
    assert said in fails(code)
