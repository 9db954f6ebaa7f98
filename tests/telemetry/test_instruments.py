"""OpenTelemetry metrics by pull: the same numbers, and nothing on a request's path."""

from __future__ import annotations

import inspect
import subprocess
import sys
import threading
from typing import Any

import pytest
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import Gauge, InMemoryMetricReader, Metric, Sum
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from tests.telemetry.filled import filled_controller, filled_monitor
from tests.waiting import PATIENCE

import canario.telemetry.instruments
from canario import CanaryDeploymentController, Outcome
from canario.telemetry import METRICS, CanarioCollector, register_instruments

Points = dict[tuple[str, frozenset[tuple[str, Any]]], float]


def collected(reader: InMemoryMetricReader) -> dict[str, Metric]:
    data = reader.get_metrics_data()
    if data is None:
        return {}
    scopes = [scope for resource in data.resource_metrics for scope in resource.scope_metrics]
    assert all(scope.scope.name == "canario" for scope in scopes)
    return {metric.name: metric for scope in scopes for metric in scope.metrics}


def points(reader: InMemoryMetricReader) -> Points:
    found: list[tuple[str, Any]] = [
        (metric.name, point)
        for metric in collected(reader).values()
        for point in metric.data.data_points
    ]
    return {
        (name, frozenset((point.attributes or {}).items())): point.value for name, point in found
    }


@pytest.fixture
def reader() -> InMemoryMetricReader:
    return InMemoryMetricReader()


@pytest.fixture
def provider(reader: InMemoryMetricReader) -> Any:
    made = MeterProvider([reader])
    yield made
    made.shutdown()


def test_they_say_the_same_as_the_exposition(
    provider: MeterProvider, reader: InMemoryMetricReader
) -> None:
    controller, monitor = filled_controller(), filled_monitor(sinks=[Dropping()])
    register_instruments(controller, monitor, provider)
    registry = CollectorRegistry()
    registry.register(CanarioCollector(controller, monitor))
    expected: Points = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            metric = METRICS.get(sample.name.removesuffix("_bucket"))
            if metric is not None:
                labels = {
                    "canario.state" if name == sample.name else f"canario.{name}": text
                    for name, text in sample.labels.items()
                }
                expected[metric.otel_name, frozenset(labels.items())] = sample.value
    assert points(reader) == expected
    assert len(expected) > 80


class Dropping:
    dropped = 2
    inline = True

    def __call__(self, told: object) -> None:
        """Nothing comes of it."""


def test_counts_are_monotonic_sums_and_the_rest_gauges(
    provider: MeterProvider, reader: InMemoryMetricReader
) -> None:
    register_instruments(filled_controller(), filled_monitor(sinks=[Dropping()]), provider)
    by_name = {metric.otel_name: metric for metric in METRICS.values()}
    seen = collected(reader)
    assert set(seen) == set(by_name)
    for name, metric in seen.items():
        assert metric.unit == by_name[name].otel_unit
        assert metric.description == by_name[name].help
        if by_name[name].kind in ("counter", "histogram"):
            assert isinstance(metric.data, Sum)
            assert metric.data.is_monotonic
        else:
            assert isinstance(metric.data, Gauge)


def test_every_collection_reads_anew(provider: MeterProvider, reader: InMemoryMetricReader) -> None:
    controller = CanaryDeploymentController(deployment_id="x")
    controller.start()
    register_instruments(controller, meter_provider=provider)
    labels = {"canario.deployment_id": "x", "canario.arm": "baseline", "canario.outcome": "good"}
    for number in range(1, 6):
        controller.observe("baseline", Outcome.GOOD, 10.0)
        assert points(reader)["canario.requests", frozenset(labels.items())] == number


def test_one_collection_reads_once(
    provider: MeterProvider, reader: InMemoryMetricReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many instruments there are: a status of every flow is not free."""
    monitor = filled_monitor()
    asked: list[str] = []
    check = monitor.check_slo_status

    def counting(flow: str) -> Any:
        asked.append(flow)
        return check(flow)

    monkeypatch.setattr(monitor, "check_slo_status", counting)
    register_instruments(monitor=monitor, meter_provider=provider)
    for number in range(1, 4):
        assert points(reader)
        assert asked == [*monitor.flows] * number


def test_registering_again_changes_nothing(
    provider: MeterProvider, reader: InMemoryMetricReader, caplog: pytest.LogCaptureFixture
) -> None:
    controller = filled_controller()
    first = register_instruments(controller, meter_provider=provider)
    once = points(reader)
    assert register_instruments(controller, meter_provider=provider) is first
    assert points(reader) == once
    assert caplog.records == []


def test_the_global_provider_may_be_set_afterwards() -> None:
    """Registered before and after, by whoever: one set of instruments, and no warning."""
    code = """
from canario import CanaryDeploymentController
from canario.telemetry import register_instruments
from opentelemetry.metrics import get_meter_provider, set_meter_provider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

controller = CanaryDeploymentController(deployment_id="x")
first = register_instruments(controller)
reader = InMemoryMetricReader()
set_meter_provider(MeterProvider([reader]))
assert register_instruments(controller) is first
assert register_instruments(controller, meter_provider=get_meter_provider()) is first
(resource,) = reader.get_metrics_data().resource_metrics
print(len(resource.scope_metrics[0].metrics))
"""
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert int(ran.stdout) >= 8


def test_registering_while_others_collect_does_not_end_in_a_deadlock() -> None:
    for _ in range(20):
        reader = InMemoryMetricReader()
        provider = MeterProvider([reader])
        done = threading.Event()

        def collect(reader: InMemoryMetricReader = reader, done: Any = done) -> None:
            while not done.is_set():
                reader.get_metrics_data()

        thread = threading.Thread(target=collect, daemon=True)
        thread.start()
        controller = CanaryDeploymentController(deployment_id="x")
        registering = threading.Thread(
            target=register_instruments, args=(controller, None, provider), daemon=True
        )
        registering.start()
        registering.join(PATIENCE)
        assert not registering.is_alive()
        done.set()
        thread.join(PATIENCE)
        assert not thread.is_alive()
        provider.shutdown()


def test_what_is_unregistered_is_read_no_more(
    provider: MeterProvider, reader: InMemoryMetricReader
) -> None:
    registration = register_instruments(filled_controller(), meter_provider=provider)
    assert points(reader)
    registration.unregister()
    registration.unregister()
    assert points(reader) == {}
    with register_instruments(filled_controller(), meter_provider=provider):
        assert points(reader)
    assert points(reader) == {}


def test_the_next_release_is_registered_beside_the_last(
    provider: MeterProvider, reader: InMemoryMetricReader, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("v1", "v2"):
        register_instruments(
            CanaryDeploymentController(deployment_id=name), meter_provider=provider
        )
    stages = {
        dict(labels)["canario.deployment_id"]
        for name, labels in points(reader)
        if name == "canario.rollout.stage"
    }
    assert stages == {"v1", "v2"}
    assert caplog.records == []


def test_a_part_that_fails_leaves_the_rest(
    provider: MeterProvider, reader: InMemoryMetricReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    controller, monitor = filled_controller(), filled_monitor()
    monkeypatch.setattr(monitor, "totals", None)
    register_instruments(controller, monitor, provider)
    names = {name for name, _ in points(reader)}
    assert "canario.rollout.stage" in names
    assert "canario.slo.requests" not in names
    assert controller.counters["faults"] >= 1


def test_without_a_provider_that_measures_nothing_is_read() -> None:
    register_instruments(filled_controller(), meter_provider=NoOpMeterProvider()).unregister()


def test_only_observable_instruments_are_made() -> None:
    made = set()

    class Meter:
        def __getattr__(self, name: str) -> Any:
            made.add(name)
            return lambda *_, **__: None

    class Provider:
        def get_meter(self, *_: str) -> Meter:
            return Meter()

    register_instruments(filled_controller(), meter_provider=Provider()).unregister()  # type: ignore[arg-type]
    assert made == {"create_observable_counter", "create_observable_gauge"}
    assert "opentelemetry.sdk" not in inspect.getsource(canario.telemetry.instruments)
