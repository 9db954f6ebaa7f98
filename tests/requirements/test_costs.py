"""What the page says that canario may cost in memory. Its times are benchmarks."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.requirements.page import FLOWS
from tests.requirements.proofs import proves
from tests.requirements.running import run_python

from canario import Outcome, create_canary_controller
from canario.slo import create_slo_monitor
from canario.testing import ManualClock

MEGABYTE = 1_000_000
NAMES = [name for group in FLOWS.values() for name in group]


@contextmanager
def at_most(megabytes: float) -> Iterator[None]:
    """What is allocated and still held at the end is bounded."""
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        yield
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 0 < after - before < megabytes * MEGABYTE


@proves("cost.canary.memory")
def test_ten_thousand_requests_of_a_rollout() -> None:
    clock = ManualClock(1_700_000_000)
    with at_most(10):
        controller = create_canary_controller("v2", environ={}, clock=clock)
        controller.start()
        for number in range(10_000):
            clock.advance(0.03)
            controller.observe("canary" if number % 2 else "baseline", Outcome.GOOD, 100.0)
            controller.tick()
        assert controller.counts("canary").requests >= 900


@proves("cost.slo.memory")
def test_five_minutes_of_all_flows() -> None:
    clock = ManualClock(1_700_000_000)
    with at_most(20):
        monitor = create_slo_monitor(environ={}, clock=clock)
        for second in range(300):
            for name in NAMES:
                for number in range(10):
                    monitor.record_request(name, True, 10.0 + (second * 7 + number * 31) % 400)
            clock.advance(1)
        monitor.evaluate_alert_rules()
    assert monitor.flows == tuple(sorted(NAMES))
    assert monitor.check_slo_status(NAMES[0]).samples == 3000


@proves("cost.tracing.memory")
def test_ten_thousand_spans(tmp_path: Path) -> None:
    """Of a process that sends them off in batches."""
    held = run_python(
        """
import gc, tracemalloc
from opentelemetry import trace
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from canario.tracing import FlowType, initialize_tracing, trace_flow

class Counting(SpanExporter):
    spans = 0
    def export(self, spans):
        Counting.spans += len(spans)
        return SpanExportResult.SUCCESS

initialize_tracing(service_name="s")
batches = BatchSpanProcessor(Counting(), max_queue_size=20000)
trace.get_tracer_provider().add_span_processor(batches)
work = trace_flow(FlowType.HEALTH_CHECK)(lambda: None)
work()
gc.collect()
tracemalloc.start()
before, _ = tracemalloc.get_traced_memory()
for number in range(10000):
    work()
    if number % 500 == 0:
        batches.force_flush()
batches.force_flush()
gc.collect()
print(tracemalloc.get_traced_memory()[0] - before, Counting.spans)
""",
        tmp_path,
    )
    used, spans = map(int, held.split())
    assert spans == 10_001
    assert used < 5 * MEGABYTE
