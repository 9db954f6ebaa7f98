"""What is recorded without the lock: a good latency waits, and nobody can tell."""

from __future__ import annotations

import sys
import threading
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from canario.clock import ManualClock
from canario.control.machine import Command, CommandRefusedError
from canario.control.rollout import Outcome, Rollout
from canario.control.violation import Violation
from canario.controller import CanaryDeploymentController
from canario.exchange import Exchange
from canario.metrics.histogram import BATCH
from canario.plan import Deployment, Plan, RollbackThresholds, Stage
from canario.routing.router import Arm

PLAN = Deployment(
    deployment_id="r",
    canary_stages=(Stage(5, 20.0), Stage(50, 30.0), Stage(100, 10.0)),
    rollback_thresholds=RollbackThresholds(
        max_error_rate=40.0,
        metric_window_seconds=7.3,
        min_samples=3,
        check_interval_seconds=0.7,
        abandoned_after_seconds=2.0,
    ),
)

STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["good"] * 9
            + ["bad", "neutral", "untimed", "arrive", "stay", "advance", "violate"]
            + ["pause", "resume", "skip", "restart"]
        ),
        st.sampled_from(["baseline", "canary"]),
        # Clocks stand still, and are set back.
        st.sampled_from([0.0, 0.001, 0.01, 0.1, 0.3, 1.0, -0.05, 3.0]),
        st.sampled_from([0.0, 20.0, 499.9, 500.0, 500.1, 3000.0]),
    ),
    max_size=120,
)


def driven(steps: list[tuple[str, Arm, float, float]], *, waits: bool) -> tuple[list[Any], int]:
    """All that came of it, and how many latencies waited."""
    rollout, now, seen, waited = Rollout(PLAN), 1000.0, [], 0
    told: list[Any] = [rollout.start(now)]
    for what, arm, seconds, latency in steps:
        now += seconds
        request = Exchange()
        request.arm, request.started_at = arm, now - latency / 1000
        if what == "good":
            rollout.open.add(request)
            if waits and rollout.count_good(now, arm, latency, request):
                waited += 1
            else:
                told.append(rollout.observe(now, arm, Outcome.GOOD, latency, request))
        elif what == "arrive":
            request.started_at = now
            rollout.open.add(request)
            seen.append(request)
        elif what == "stay":
            for each in seen[:1]:
                done = (now - each.started_at) * 1000
                if done >= 0 and not (waits and rollout.count_good(now, each.arm, done, each)):
                    told.append(rollout.observe(now, each.arm, Outcome.GOOD, max(done, 0), each))
                elif done >= 0:
                    waited += 1
                del seen[0]
        elif what == "violate":
            told.append(rollout.violate(now, "baseline", Violation(message="no")))
        elif what == "advance":
            told.append(rollout.advance(now))
        elif what in ("pause", "resume", "skip", "restart"):
            told.append(rollout.advance(now))
            try:
                told.append(rollout.command(Command(what), now))
            except CommandRefusedError:
                told.append("refused")
        else:
            outcome = {"bad": Outcome.BAD, "neutral": Outcome.NEUTRAL}.get(what, Outcome.GOOD)
            told.append(rollout.observe(now, arm, outcome, None if what == "untimed" else latency))
    told = [events for events in told if events]
    rollout.recorder.settle()
    for side in (rollout.recorder.baseline, rollout.recorder.canary):
        told += [side.window.counts(now), side.quantiles(now, 0.5, 0.95), side.total()]
        told += [side.duration().buckets, round(side.duration().sum_ms, 6)]
    return [told, list(rollout.history), rollout.state, rollout.due], waited


@given(STEPS)
def test_whether_latencies_wait_makes_no_difference(
    steps: list[tuple[str, Arm, float, float]],
) -> None:
    assert driven(steps, waits=True)[0] == driven(steps, waits=False)[0]


def test_most_good_requests_wait() -> None:
    steps: list[tuple[str, Arm, float, float]] = [("good", "canary", 0.001, 20.0)] * 500
    # A slice of the window is 0.12 s, and a check is made every 0.7 s: what comes first goes on.
    assert driven(steps, waits=True)[1] > 490


def test_no_more_wait_than_are_sorted_at_once() -> None:
    rollout = Rollout(PLAN)
    rollout.start(0.0)
    most = 0
    for _ in range(2 * BATCH + 10):
        request = Exchange()
        rollout.open.add(request)
        if not rollout.count_good(0.0, "baseline", 1.0, request):
            rollout.observe(0.0, "baseline", Outcome.GOOD, 1.0, request)
        most = max(most, len(rollout.recorder.baseline.waiting))
    rollout.recorder.settle()
    assert most == BATCH
    assert rollout.recorder.baseline.total().requests == 2 * BATCH + 10


def test_each_request_of_many_threads_is_counted_once() -> None:
    """While others end, a thread makes checks that give up whoever has waited for too long."""
    clock = ManualClock(1000.0)
    controller = CanaryDeploymentController(Plan(deployment=PLAN), clock=clock, telemetry=False)
    controller.start()
    each, threads = 400, 4
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:

        def serve() -> None:
            for _ in range(each):
                request = Exchange()
                request.started_at = clock()
                controller.admit(request)
                now = clock()
                latency = max(now - request.started_at, 0.0) * 1000
                controller.observe("baseline", Outcome.GOOD, latency, now=now, request=request)

        working = [threading.Thread(target=serve) for _ in range(threads)]
        for thread in working:
            thread.start()
        while any(thread.is_alive() for thread in working):
            clock.advance(2.5)
            controller.tick()
            controller.counts("baseline")
        for thread in working:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert controller.totals("baseline").counts.requests == each * threads
    assert not controller.requests_in_flight
