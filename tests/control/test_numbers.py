"""What is no number, no arm, no outcome is refused in words, wherever it comes in; and all ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from decimal import Decimal
from math import inf, isfinite, nan
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from tests.middleware.asgi_tools import GOOD, Controller, ask, hello, http_scope

from canario import (
    CanaryDeploymentController,
    Deployment,
    Outcome,
    Plan,
    RollbackThresholds,
    Stage,
    create_canary_controller,
)
from canario.asgi import CanaryMiddleware
from canario.metrics.counts import Counts
from canario.plan import MissingEvidence, Objectives, Sequential
from canario.recovery import FaultRecovery
from canario.slo import SLOMonitor
from canario.telemetry import CanarioCollector
from canario.testing import ManualClock


class Thing:
    """Something else; with a name that is the same in every process."""

    def __repr__(self) -> str:
        return "Thing()"


NO_LATENCIES: list[Any] = [
    nan,
    inf,
    -inf,
    -1.0,
    -1e-9,
    1e12,
    1e308,
    10**400,
    "12",
    b"12",
    1j,
    [1.0],
    Thing(),
]
NO_INSTANTS = [nan, inf, -inf, 1e300, -1e12, "12", Thing()]
NO_ARMS = ["Canary", "CANARY", b"canary", "", None, 1, True, "canary ", Thing()]
NO_OUTCOMES: list[Any] = ["good", "bad", "GOOD", None, False, True, 0, 1, Thing()]
NO_TRUTHS: list[Any] = ["yes", "false", "", b"", None, 2, 0.0, nan, [], Thing()]


def begun() -> CanaryDeploymentController:
    controller = create_canary_controller("x", environ={}, clock=ManualClock())
    controller.start()
    return controller


def nothing_counted(controller: CanaryDeploymentController) -> bool:
    totals = [controller.totals(arm) for arm in ("baseline", "canary")]
    return all(each.counts == Counts() and each.duration.count == 0 for each in totals)


@pytest.mark.parametrize("latency", NO_LATENCIES, ids=repr)
def test_what_is_no_latency_is_refused(latency: Any) -> None:
    controller = begun()
    with pytest.raises((ValueError, TypeError), match=r"latency_ms is .* must be a finite number"):
        controller.observe("canary", Outcome.GOOD, latency)
    assert nothing_counted(controller)


@pytest.mark.parametrize("latency", [0, 0.0, 12, 1e-300, 86_400_000.0, np.float32(3), Decimal(3)])
def test_what_is_a_latency_is_counted(latency: Any) -> None:
    controller = begun()
    controller.observe("canary", Outcome.GOOD, latency)
    assert controller.totals("canary").counts.timed == 1


@pytest.mark.parametrize("now", NO_INSTANTS, ids=repr)
def test_what_is_no_instant_is_refused(now: Any) -> None:
    controller = begun()
    calls: tuple[Callable[[], object], ...] = (
        lambda: controller.observe("canary", Outcome.GOOD, 1.0, now=now),
        lambda: controller.observe_counts("canary", Counts(requests=1), now=now),
        lambda: controller.report_violation("canary", "broken", now=now),
    )
    for call in calls:
        with pytest.raises((ValueError, TypeError)):
            call()
    assert nothing_counted(controller)
    assert controller.state.phase == "running"


@pytest.mark.parametrize("arm", NO_ARMS, ids=repr)
def test_what_is_no_arm_is_refused(arm: Any) -> None:
    controller = begun()
    calls: tuple[Callable[[], object], ...] = (
        lambda: controller.observe(arm, Outcome.GOOD, 1.0),
        lambda: controller.observe_counts(arm, Counts(requests=1), now=0.0),
        lambda: controller.observe_slices([(0.0, arm, Counts(requests=1))]),
        lambda: controller.report_violation(arm, "broken"),
    )
    for call in calls:
        with pytest.raises(ValueError, match="must be 'baseline' or 'canary'"):
            call()
    assert nothing_counted(controller)


@pytest.mark.parametrize("outcome", NO_OUTCOMES, ids=repr)
def test_what_is_no_outcome_is_refused(outcome: Any) -> None:
    controller = begun()
    with pytest.raises(TypeError, match=r"outcome is .* must be Outcome.GOOD"):
        controller.observe("canary", outcome, 1.0)
    assert nothing_counted(controller)


@pytest.mark.parametrize("number", [-1, nan, inf, 10**30])
def test_counts_that_are_none_are_refused(number: Any) -> None:
    controller = begun()
    for field in Counts.__struct_fields__:
        with pytest.raises(ValueError, match="are no counts"):
            controller.observe_counts("canary", Counts(**{field: number}), now=0.0)
    assert nothing_counted(controller)


def test_the_slices_before_one_that_is_none_have_taken_effect() -> None:
    plan = Plan(deployment=Deployment(canary_stages=(Stage(50, 10), Stage(100, 10))))
    controller = CanaryDeploymentController(plan, deployment_id="x", clock=ManualClock())
    controller.start()
    with pytest.raises(ValueError, match="no counts"):
        controller.observe_slices(
            [
                (1.0, "canary", Counts(requests=100, timed=100)),
                (10.0, "canary", Counts(requests=1)),
                (11.0, "canary", Counts(requests=-1)),
            ]
        )
    assert controller.state.stage == 1
    assert controller.router.share == 100
    assert controller.events[-1].at == 10


# -- the documented way to run a rollout


def tuples(*given: Any) -> Callable[[], Any]:
    def requests() -> Iterator[Any]:
        for number in range(10**9):
            yield (f"r{number}", *given)

    return requests


def tuples_later(*given: Any) -> Callable[[], Any]:
    async def requests() -> AsyncIterator[Any]:
        for number in range(10**9):
            yield (f"r{number}", *given)

    return requests


def call_of(*given: Any) -> Callable[[], Any]:
    return lambda: ("r", *given)


RUNS = [tuples, tuples_later, call_of]


def execute(requests: Callable[[], Any]) -> CanaryDeploymentController:
    controller = create_canary_controller("x", environ={})
    result: Any = controller.execute_deployment(requests, clock=ManualClock())
    if asyncio.iscoroutine(result):
        asyncio.run(result)
    return controller


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("latency", [nan, inf, -1.0, 1e12, "12", None], ids=repr)
def test_a_run_on_latencies_that_are_none_ends_in_words(latency: Any, run: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="latency_ms is"):
        execute(run(latency, True, True))


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("value", NO_TRUTHS, ids=repr)
def test_a_run_on_answers_that_are_none_ends_in_words(value: Any, run: Any) -> None:
    for given in ((10.0, value, True), (10.0, True, value)):
        with pytest.raises(TypeError, match="must be True or False"):
            execute(run(*given))


@pytest.mark.parametrize("value", [True, 1, np.True_])
def test_numbers_and_numpys_truths_are_truths(value: Any) -> None:
    assert execute(tuples(400.0, value, value)).state.phase == "completed"


# -- what would never end


@pytest.mark.parametrize(
    "call",
    [
        lambda controller: controller.observe("canary", Outcome.GOOD, 1.0, now=1e9),
        lambda controller: controller.observe_counts("canary", Counts(), now=1e9),
        lambda controller: controller.report_violation("canary", "broken", now=1e9),
        lambda controller: (controller.clock.advance(1e9), controller.tick()),
    ],
)
def test_an_instant_that_makes_millions_of_checks_due_is_refused(call: Any) -> None:
    controller = begun()
    with pytest.raises(ValueError, match="it must be at most 200,000 checks ahead"):
        call(controller)
    controller.clock.now = 1.0  # type: ignore[attr-defined]
    controller.observe("canary", Outcome.GOOD, 1.0)
    assert controller.totals("canary").counts.requests == 1


def test_a_clock_that_gives_no_instant_is_said_and_serves_the_baseline() -> None:
    controller = Controller(100, clock=lambda: nan)
    with pytest.raises(ValueError, match="now is nan"):
        controller.start()
    answer = ask(CanaryMiddleware(hello, controller), http_scope())
    assert answer.body == b"hello"
    assert controller.counters["faults"]
    assert controller.state.phase == "pending"


def test_a_clock_that_stops_to_be_one_is_said() -> None:
    controller = begun()
    controller.clock.now = nan  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="now is nan"):
        controller.tick()


@pytest.mark.parametrize("seconds", [-3600.0, 10 * 86_400.0])
def test_a_clock_that_leaps_within_a_request_times_it_within_bounds(seconds: float) -> None:
    controller = Controller(0.001, check_interval=3600)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        controller.time.now += seconds
        await hello(scope, receive, send)

    ask(CanaryMiddleware(app, controller), http_scope())
    assert controller.only.outcome is GOOD
    assert controller.only.latency_ms == (0 if seconds < 0 else 86_400_000)


PLANS: dict[str, Callable[[Any], object]] = {
    "check_interval_seconds": lambda x: RollbackThresholds(check_interval_seconds=x),
    "metric_window_seconds": lambda x: RollbackThresholds(metric_window_seconds=x),
    "max_p95_latency_ms": lambda x: RollbackThresholds(max_p95_latency_ms=x),
    "max_error_rate": lambda x: RollbackThresholds(max_error_rate=x),
    "min_samples": lambda x: RollbackThresholds(min_samples=x),
    "contract_budgets": lambda x: RollbackThresholds(contract_budgets={"a": x}),
    "abandoned_after_seconds": lambda x: RollbackThresholds(abandoned_after_seconds=x),
    "abandoned_after_by_route": lambda x: RollbackThresholds(abandoned_after_by_route={"/": x}),
    "hold_seconds": lambda x: Stage(5, x),
    "percentage": lambda x: Stage(x, 5),
    "deadline_seconds": lambda x: MissingEvidence(deadline_seconds=x, then="pause"),
    "alpha": lambda x: Sequential(alpha=x),
    "bin_seconds": lambda x: Sequential(bin_seconds=x),
    "tolerated_ratio": lambda x: Sequential(tolerated_ratio=x),
    "aggregation_window_seconds": lambda x: Objectives(aggregation_window_seconds=x),
    "evaluation_interval_seconds": lambda x: Objectives(evaluation_interval_seconds=x),
    "p95_latency_ms": lambda x: Objectives(p95_latency_ms=x),
    "max_flows": lambda x: Objectives(max_flows=x),
}


@pytest.mark.parametrize("value", [nan, inf, -inf, -1.0, "5", True, None], ids=repr)
@pytest.mark.parametrize("name", PLANS)
def test_a_plan_takes_no_number_that_is_none(name: str, value: Any) -> None:
    if value is None and name.startswith(("abandoned", "bin")):
        return  # they may be left out
    with pytest.raises((ValueError, TypeError), match=r"it must be|give both"):
        PLANS[name](value)


@pytest.mark.parametrize(
    "name", [name for name in PLANS if name.endswith("seconds") or name in ("min_samples",)]
)
def test_a_plans_times_and_numbers_of_samples_have_an_end(name: str) -> None:
    with pytest.raises(ValueError, match=r"at most 1e\+09"):
        PLANS[name](1e300 if name.endswith("seconds") else 10**300)
    if name not in ("hold_seconds", "deadline_seconds"):
        with pytest.raises(ValueError, match=r"at least|more than"):
            PLANS[name](1e-300 if name.endswith("seconds") else 0)


@pytest.mark.parametrize("interval", [1e-9, 1e-4, 0.002])
def test_a_plan_whose_checks_nobody_comes_to_the_end_of_is_refused(interval: float) -> None:
    with pytest.raises(ValueError, match=r"check_interval_seconds is .* at least 0.0"):
        Deployment(rollback_thresholds=RollbackThresholds(check_interval_seconds=interval))
    # The default plan's stages take 2,700 s.
    Deployment(rollback_thresholds=RollbackThresholds(check_interval_seconds=0.0027))


@pytest.mark.parametrize("seconds", [nan, inf, -inf, -1])
def test_a_manual_clock_moves_on_to_an_instant(seconds: float) -> None:
    clock = ManualClock(3)
    with pytest.raises(ValueError, match="seconds is"):
        clock.advance(seconds)
    assert clock() == 3
    if not isfinite(seconds):
        with pytest.raises(ValueError, match="now is"):
            ManualClock(seconds)


# -- the monitor


def exported(monitor: SLOMonitor) -> str:
    registry = CollectorRegistry()
    registry.register(CanarioCollector(monitor=monitor))
    return generate_latest(registry).decode()


@pytest.mark.parametrize("latency", NO_LATENCIES, ids=repr)
def test_the_monitor_takes_no_latency_that_is_none(latency: Any) -> None:
    monitor = SLOMonitor(clock=ManualClock())
    monitor.record_request("a", True, 10.0)
    with pytest.raises((ValueError, TypeError), match="latency_ms is"):
        monitor.record_request("a", True, latency)
    with pytest.raises((ValueError, TypeError), match="recovery_time_ms is"):
        monitor.record_recovery("a", True, latency if latency != 1e12 else 1e13)
    totals = monitor.totals("a")
    assert totals.duration.sum_ms == 10.0
    assert totals.requests == 1
    assert "NaN" not in exported(monitor)


@pytest.mark.parametrize("value", NO_TRUTHS, ids=repr)
def test_the_monitor_takes_no_answer_that_is_none(value: Any) -> None:
    monitor = SLOMonitor(clock=ManualClock())
    calls: tuple[Callable[[], object], ...] = (
        lambda: monitor.record_request("a", value, 10.0),
        lambda: monitor.record_request("a", True, 10.0, value),
        lambda: monitor.record_recovery("a", value, 10.0),
    )
    for call in calls:
        monitor.record_request("a", True, 10.0)
        with pytest.raises(TypeError, match="must be True or False"):
            call()
    assert monitor.totals("a").requests == 3


def test_a_recovery_on_a_clock_that_is_none_is_no_quick_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    monitor = SLOMonitor(clock=ManualClock())
    instants = [1.0, nan]
    recovery = FaultRecovery(monitor, "a", clock=lambda: instants.pop(0))
    recovery.fault()
    recovery.recovered()
    assert "could not be recorded" in caplog.text
    assert "a" not in monitor.flows
