"""Runs that the garbage collector ends, wherever it comes in between."""

from __future__ import annotations

import contextvars
import gc
import subprocess
import sys
import threading
import types
from collections.abc import AsyncGenerator, Generator, Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode, get_current_span
from tests.tracing.traces import Spans, traced
from tests.waiting import PATIENCE

from canario.slo import SLOMonitor
from canario.testing import ManualClock
from canario.tracing import TracingManager, trace_flow
from canario.tracing.collecting import collecting

FLOW = "rows"


def rows() -> Generator[int, None, None]:
    yield 1
    yield 2


class Knot:
    """Holds itself, so that nothing but the collector can end what it holds."""

    def __init__(self, held: object) -> None:
        self.held = held
        self.itself = self


def drop(made: Generator[int, None, None]) -> None:
    next(made)
    Knot(made)


@pytest.fixture
def spans() -> Iterator[Spans]:
    """The collector is at work when a test asks, and looks at what the test has made alone."""
    gc.collect()
    gc.freeze()
    gc.disable()
    with traced() as made:
        yield made
    gc.enable()
    gc.unfreeze()


def test_a_generator_that_the_collector_drops_ends_at_the_next_traced_call(spans: Spans) -> None:
    drop(trace_flow(FLOW)(rows)())
    gc.collect()
    dropped_by = _now(spans)
    assert spans.names == ["now"]
    trace_flow("next")(lambda: None)()
    assert spans.names == ["now", FLOW, "next"]
    span = spans.one(FLOW)
    assert span.status.status_code is StatusCode.UNSET
    assert (span.attributes or {})["canario.output.size"] == 1
    assert span.end_time is not None
    assert span.end_time < dropped_by


def _now(spans: Spans) -> int:
    spans.tracer.start_span("now").end()
    end = spans.one("now").end_time
    assert end is not None
    return end


@pytest.mark.parametrize("end", [TracingManager.force_flush, TracingManager.shutdown])
def test_or_when_spans_are_flushed(spans: Spans, end: Any) -> None:
    drop(trace_flow(FLOW)(rows)())
    gc.collect()
    end(TracingManager(spans.provider))
    assert spans.names == [FLOW]


def test_one_that_fails_while_it_is_dropped_is_a_failure(spans: Spans) -> None:
    @trace_flow(FLOW)
    def fails() -> Generator[int, None, None]:
        try:
            yield 1
        finally:
            raise LookupError("while it is dropped")

    told: list[Any] = []
    sys.unraisablehook, before = told.append, sys.unraisablehook
    try:
        drop(fails())
        gc.collect()
    finally:
        sys.unraisablehook = before
    assert len(told) == 1
    told.clear()
    trace_flow("next")(lambda: None)()
    span = spans.one(FLOW)
    assert span.status.status_code is StatusCode.ERROR
    assert [event.name for event in span.events] == ["exception"]


def test_a_coroutine_that_is_dropped_is_neither_a_success_nor_a_failure(spans: Spans) -> None:
    """The monitor does not hear of it, whether the collector drops it or somebody closes it."""

    @types.coroutine
    def pause() -> Generator[None, None, None]:
        yield

    monitor = SLOMonitor()

    @trace_flow(FLOW, monitor=monitor)
    async def waits() -> None:
        await pause()

    for dropped in (True, False):
        made = waits()
        contextvars.copy_context().run(made.send, None)  # as a task does
        if dropped:
            Knot(made)
            del made
            gc.collect()
        else:
            made.close()
    trace_flow("next")(lambda: None)()
    ended = [span for span in spans.ended if span.name == FLOW]
    assert [(span.attributes or {}).get("canario.cancelled") for span in ended] == [True, True]
    assert monitor.flows == ()


def test_no_context_is_touched_and_nothing_is_traced_while_the_collector_is_at_work(
    spans: Spans,
) -> None:
    seen: list[tuple[bool, object]] = []

    @trace_flow("clean up")
    def clean_up() -> None:
        seen.append((collecting(), get_current_span()))

    @trace_flow(FLOW)
    def cleans_up() -> Generator[int, None, None]:
        try:
            yield 1
        finally:
            clean_up()

    drop(cleans_up())
    with spans.tracer.start_as_current_span("whoever was interrupted") as interrupted:
        gc.collect()
        assert get_current_span() is interrupted
    assert seen == [(True, interrupted)]
    assert not collecting()
    trace_flow("next")(lambda: None)()
    assert sorted(spans.names) == ["next", FLOW, "whoever was interrupted"]


def test_it_waits_for_no_lock_of_whoever_was_interrupted(spans: Spans) -> None:
    """The collector comes while the flow's lock is held, as it may come anywhere."""
    monitor = SLOMonitor(clock=ManualClock(1e6))
    drop(trace_flow(FLOW, monitor=monitor)(rows)())
    monitor.record_request(FLOW, True, 1.0)
    done = threading.Event()

    def interrupted() -> None:
        with monitor._flows[FLOW].lock:
            gc.collect()
        done.set()

    threading.Thread(target=interrupted, daemon=True).start()
    assert done.wait(PATIENCE)
    trace_flow("next")(lambda: None)()
    assert monitor.totals(FLOW).requests == 2


def test_async_generators_and_other_threads_go_on_meanwhile(spans: Spans) -> None:
    """Another thread is not the collector's, even while that is at work."""
    inside, go = threading.Event(), threading.Event()

    @trace_flow(FLOW)
    def waits() -> Generator[int, None, None]:
        try:
            yield 1
        finally:
            inside.set()
            go.wait(PATIENCE)

    drop(waits())
    collector = threading.Thread(target=gc.collect)
    collector.start()
    assert inside.wait(PATIENCE)
    trace_flow("meanwhile")(lambda: None)()
    assert spans.names == ["meanwhile"]
    go.set()
    collector.join(PATIENCE)
    trace_flow("next")(lambda: None)()
    assert spans.names == ["meanwhile", FLOW, "next"]


def test_an_async_generator_without_a_loop_is_dropped_as_well(spans: Spans) -> None:
    @trace_flow(FLOW)
    async def async_rows() -> AsyncGenerator[int, None]:
        yield 1
        yield 2

    made = async_rows()
    with pytest.raises(StopIteration):
        anext(made).__await__().send(None)
    Knot(made)
    del made
    gc.collect()
    trace_flow("next")(lambda: None)()
    ended: list[ReadableSpan] = [span for span in spans.ended if span.name == FLOW]
    assert [(span.attributes or {})["canario.output.size"] for span in ended] == [1]


MANY = """
import gc, sys
from opentelemetry.sdk.trace import TracerProvider
from canario.slo import SLOMonitor
from canario.tracing import initialize_tracing, trace_flow

monitor = SLOMonitor()
initialize_tracing("s", tracer_provider=TracerProvider(), monitor=monitor)

@trace_flow("rows")
def rows():
    yield 1
    yield 2

class Knot: pass

for threshold in (700, 13):
    gc.set_threshold(threshold)
    for number in range(5000):
        knot = Knot()
        knot.rows, knot.itself = rows(), knot
        next(knot.rows)
del knot
gc.collect()
list(rows())
print(monitor.totals("rows").requests)
"""


def test_thousands_that_the_collector_drops_in_the_midst_of_others() -> None:
    """Where contexts were set as well, CPython 3.11 has crashed here."""
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", MANY],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "10001\n", "")
