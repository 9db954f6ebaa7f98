"""A controller and a monitor that saw some of everything there is."""

from __future__ import annotations

from collections.abc import Iterable

from canario import CanaryDeploymentController, Outcome
from canario.plan import Objectives
from canario.sinks import Sink
from canario.slo import SLOMonitor
from canario.testing import ManualClock

START = 1_800_000_000.0

# Milliseconds; 50 is a boundary of the duration's buckets, and belongs to the one below it.
BASELINE_MS = (4.0, 50.0, 50.5, 700.0, 20_000.0)
CANARY_MS = (20.0, 30.0, 40.0)


def filled_controller(
    clock: ManualClock | None = None, sinks: Iterable[Sink] = ()
) -> CanaryDeploymentController:
    """A rollout of `decalogo-v2` in its first stage, with traffic of every kind."""
    clock = clock or ManualClock(START)
    controller = CanaryDeploymentController(deployment_id="decalogo-v2", clock=clock, sinks=sinks)
    controller.start()
    for latency_ms in BASELINE_MS:
        controller.observe("baseline", Outcome.GOOD, latency_ms)
    controller.observe("baseline", Outcome.BAD, 5.0)
    controller.observe("baseline", Outcome.NEUTRAL)
    for latency_ms in CANARY_MS * 4:
        controller.observe("canary", Outcome.GOOD, latency_ms)
    controller.report_violation("baseline", "no score")
    controller.notices.count("no_key")
    clock.advance(10)
    controller.tick()
    return controller


def filled_monitor(clock: ManualClock | None = None, sinks: Iterable[Sink] = ()) -> SLOMonitor:
    """A flow that is well, one that is not and was, and one that only recovered."""
    clock = clock or ManualClock(START)
    monitor = SLOMonitor(Objectives(), clock=clock, max_flows=4, sinks=sinks)
    for _ in range(2000):
        monitor.record_request("decalogo_evaluation", True, 100.0)
        monitor.record_request("/plans/{id}", True, 100.0)
    monitor.set_baseline("decalogo_evaluation")
    monitor.set_baseline("/plans/{id}")
    clock.advance(400)
    for number in range(2000):
        monitor.record_request("decalogo_evaluation", True, 100.0)
        monitor.record_request("/plans/{id}", number % 10 != 0, 300.0, number % 5 != 0)
    for _ in range(20):
        monitor.record_recovery("document_processing", True, 2000.0)
    monitor.evaluate_alert_rules()
    clock.advance(1)
    return monitor
