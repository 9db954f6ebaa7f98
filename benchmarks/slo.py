"""Recording for objectives, asking how they stand, and alerts, beside the usual ways.

python -m benchmarks.slo [--quick]
"""

from __future__ import annotations

import tracemalloc
from collections import deque
from collections.abc import Callable
from functools import partial
from random import Random

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry, Counter, Histogram

from canario.clock import ManualClock, system_clock
from canario.slo import create_slo_monitor
from canario.slo.monitor import SLOMonitor
from canario.tracing import FlowType

from .measure import (
    Row,
    Table,
    Timer,
    bytes_text,
    options,
    per_call,
    ratio_text,
    report,
    rounds_of,
    time_text,
)

FLOW = "decalogo_evaluation"
FLOWS = tuple(str(flow) for flow in FlowType)
WINDOW_SECONDS = 300.0
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
_random = Random(17)
LATENCIES = [_random.lognormvariate(4.5, 0.4) for _ in range(997)]


def main() -> None:
    """Measure everything and print the tables."""
    quick = options("Time and memory of the objectives, beside the usual ways.")
    calls, rounds = (500, 3) if quick else (20_000, 41)
    report(
        [
            recording(calls, rounds),
            asking((100, 1000) if quick else (100, 10_000, 1_000_000), rounds),
            alerting(300 if quick else 10_000, rounds),
            memory(10 if quick else 100),
        ]
    )


class ListRecorder:
    """Every request of the window in a list: what needs no thought, and keeps everything."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._flows: dict[str, deque[tuple[float, bool, float, bool]]] = {}

    def record_request(
        self, flow_name: str, success: bool, latency_ms: float, contract_valid: bool = True
    ) -> None:
        """Keep a request, and drop those that are too old."""
        now = self._clock()
        requests = self._flows.setdefault(flow_name, deque())
        requests.append((now, success, latency_ms, contract_valid))
        while requests[0][0] < now - WINDOW_SECONDS:
            requests.popleft()

    def check_slo_status(self, flow_name: str) -> tuple[float, float, float]:
        """Availability (%), p95 (ms) and error rate (%)."""
        requests = self._flows[flow_name]
        n = len(requests)
        failed = sum(not success for _, success, _, _ in requests)
        bad = sum(not (success and valid) for _, success, _, valid in requests)
        latencies = sorted(latency for _, _, latency, _ in requests)
        return 100 * (n - bad) / n, latencies[min(n * 95 // 100, n - 1)], 100 * failed / n


# -- recording


def recording(calls: int, rounds: int) -> Table:
    """One observation."""
    monitor, recorder = create_slo_monitor(environ={}), ListRecorder(system_clock())
    histogram = Histogram("duration_seconds", "", ["flow"], registry=CollectorRegistry())
    errors = Counter("errors", "", ["flow"], registry=CollectorRegistry())
    reader = InMemoryMetricReader()
    measure = MeterProvider([reader]).get_meter("benchmark").create_histogram("duration")
    labelled, counted, attributes = histogram.labels(FLOW), errors.labels(FLOW), {"flow": FLOW}

    def prometheus(success: bool, latency_ms: float) -> None:
        labelled.observe(latency_ms / 1000)
        if not success:
            counted.inc()

    def opentelemetry(success: bool, latency_ms: float) -> None:  # noqa: ARG001
        measure.record(latency_ms / 1000, attributes)

    def nothing(success: bool, latency_ms: float) -> None:
        """The loop and the call alone."""

    def canario(success: bool, latency_ms: float) -> None:
        monitor.record_request(
            flow_name=FLOW, success=success, latency_ms=latency_ms, contract_valid=True
        )

    def traced(success: bool, latency_ms: float) -> None:
        monitor.record_request(FLOW, success, latency_ms, trace_id=TRACE_ID)

    def listed(success: bool, latency_ms: float) -> None:
        recorder.record_request(
            flow_name=FLOW, success=success, latency_ms=latency_ms, contract_valid=True
        )

    measured = rounds_of(
        {
            "nothing": _recorded(nothing, calls),
            "canario": _recorded(canario, calls),
            "failing": _recorded(canario, calls, success=False),
            "traced": _recorded(traced, calls),
            "list": _recorded(listed, calls),
            "prometheus": _recorded(prometheus, calls),
            "otel": _recorded(opentelemetry, calls),
        },
        rounds,
    )
    expected = (rounds + 1) * calls * 3
    if monitor.totals(FLOW).requests != expected:
        raise RuntimeError(f"{monitor.totals(FLOW).requests} of {expected} were recorded")

    def row(what: str, name: str, aim: float | None = None) -> Row:
        added = measured.added(name, "nothing")
        beside = ratio_text(measured.added_ratio(name, "list", "nothing"), "the list")
        if aim is None:
            return Row(what, time_text(added), beside)
        return Row(what, time_text(added), beside, f"≤ {time_text(aim)}", added <= aim)

    return Table(
        "Recording one SLO observation",
        [
            row("`monitor.record_request`", "canario", 0.4e-6),
            row("the same for a request that failed", "failing", 0.4e-6),
            row("the same with a trace id, as the decorators have one", "traced"),
            row("a list of (instant, success, latency, valid), with its expiry", "list"),
            row("prometheus-client, a labelled histogram and a counter", "prometheus"),
            row("OpenTelemetry SDK, `Histogram.record` alone", "otel"),
        ],
        "Keyword calls as the documentation has them, with the reading of the clock, and with "
        "what is folded later; the loop and the call around them are taken off.",
    )


def _recorded(record: Callable[[bool, float], None], calls: int, *, success: bool = True) -> Timer:
    def loop(n: int) -> None:
        latencies = LATENCIES
        for number in range(n):
            record(success, latencies[number % 997])

    return per_call(loop, calls)


# -- asking


def asking(sizes: tuple[int, ...], rounds: int) -> Table:
    """A status, whatever the traffic."""
    rows = []
    for size in sizes:
        clock = ManualClock(1e6)
        monitor, recorder = create_slo_monitor(environ={}, clock=clock), ListRecorder(clock)
        for number in range(size):
            clock.advance(WINDOW_SECONDS / (size + 1))
            latency = LATENCIES[number % 997]
            monitor.record_request(FLOW, number % 1000 != 0, latency)
            recorder.record_request(FLOW, number % 1000 != 0, latency)
        timers = {
            "canario": _after_recording(monitor, clock, 200),
            "list": per_call(partial(_repeat, partial(recorder.check_slo_status, FLOW)), 1),
        }
        measured = rounds_of(timers, rounds if size <= 10_000 else 5)
        seconds = measured.median("canario")
        rows.append(
            Row(
                f"`monitor.check_slo_status`, {size:,} requests in the window",
                time_text(seconds),
                ratio_text(measured.ratio("canario", "list"), "the list"),
                "≤ 30 µs",
                seconds <= 30e-6,
            )
        )
        rows.append(Row("the list, sorted", time_text(measured.median("list"))))
    return Table(
        "How an objective stands",
        rows,
        "Availability, p95, error rate and the rest of the status. Between two questions ten more "
        "requests are recorded, so that nothing can be remembered; their recording is in the time.",
    )


def _after_recording(monitor: SLOMonitor, clock: ManualClock, calls: int) -> Timer:
    def loop(n: int) -> None:
        for number in range(n):
            for more in range(10):
                monitor.record_request(FLOW, True, LATENCIES[more])
            if number % 50 == 0:
                clock.advance(0.01)
            monitor.check_slo_status(FLOW)

    return per_call(loop, calls)


def _repeat(function: Callable[[], object], calls: int) -> None:
    for _ in range(calls):
        function()


# -- alerting


def alerting(requests: int, rounds: int) -> Table:
    """One evaluation of all rules over 28 flows."""
    clock = ManualClock(1e6)
    calm, burning = (create_slo_monitor(environ={}, clock=clock) for _ in range(2))
    for number in range(requests):
        clock.advance(WINDOW_SECONDS / (requests + 1))
        for flow in FLOWS:
            latency = LATENCIES[number % 997]
            calm.record_request(flow, True, min(latency, 150.0))
            burning.record_request(flow, number % 50 != 0, 2 * latency)
    for monitor in (calm, burning):
        for flow in FLOWS:
            monitor.set_baseline(flow)
    measured = rounds_of(
        {
            "calm": per_call(partial(_repeat, calm.evaluate_alert_rules), 10),
            "burning": per_call(partial(_repeat, burning.evaluate_alert_rules), 10),
        },
        rounds,
    )
    if calm.get_active_alerts() or not burning.get_active_alerts():
        raise RuntimeError("the rules do not tell the calm monitor from the burning one")
    return Table(
        f"Evaluating every rule over {len(FLOWS)} flows",
        [
            Row(
                "`monitor.evaluate_alert_rules`, nothing wrong", time_text(measured.median("calm"))
            ),
            Row(
                f"the same with {len(burning.get_active_alerts())} alerts firing",
                time_text(measured.median("burning")),
            ),
        ],
        f"{requests:,} requests of each flow in the window. It is done beside the requests.",
    )


# -- memory


def memory(rate: int) -> Table:
    """What the window of all flows weighs."""
    kept = {name: _weight(make, rate) for name, make in RECORDERS.items()}
    mine, theirs = kept["canario"], kept["list"]
    return Table(
        f"Memory of {len(FLOWS)} flows × {WINDOW_SECONDS:g} s at {rate} requests/s each",
        [
            Row(
                "`SLOMonitor`, with 30 days of counts",
                bytes_text(mine),
                ratio_text(mine / theirs, "the lists"),
                "≤ 10 MB",
                mine <= 10e6,
            ),
            Row("lists", bytes_text(theirs)),
        ],
        "What Python has allocated for them after a window and two slices.",
    )


def _monitor(clock: ManualClock) -> SLOMonitor:
    return create_slo_monitor(environ={}, clock=clock)


RECORDERS: dict[str, Callable[[ManualClock], SLOMonitor | ListRecorder]] = {
    "canario": _monitor,
    "list": ListRecorder,
}


def _weight(make: Callable[[ManualClock], SLOMonitor | ListRecorder], rate: int) -> int:
    clock, random = ManualClock(1e6), Random(3)
    tracemalloc.start()
    try:
        recorder = make(clock)
        for _ in range(int((WINDOW_SECONDS + 10) * rate)):
            clock.advance(1 / rate)
            for flow in FLOWS:
                recorder.record_request(flow, True, random.lognormvariate(4.5, 0.4))
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


if __name__ == "__main__":
    main()
