"""Alerts end to end: the middleware records, evaluates beside the requests, and sinks hear."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.middleware.asgi_tools import Controller, ask, respond, talk, user
from tests.middleware.wsgi_tools import answers, request
from tests.middleware.wsgi_tools import ask as ask_wsgi
from tests.waiting import PATIENCE, until

from canario import CanaryDeploymentController, Phase
from canario.alerts import Alert, AlertState, AlertType, Severity
from canario.alerts.evaluator import AlertEvaluator
from canario.asgi import CanaryMiddleware
from canario.plan import Objectives
from canario.slo import SLOMonitor
from canario.testing import CapturingSink
from canario.wsgi import CanaryMiddleware as WSGIMiddleware


class Guarded:
    """An app whose contract is broken while `broken`, with a monitor and a sink."""

    def __init__(self, **objectives: Any) -> None:
        self.heard = CapturingSink()
        self.broken = False
        self.status = 200
        self.controller = Controller()
        self.monitor = SLOMonitor(
            Objectives(**objectives), clock=self.controller.time, sinks=[self.heard]
        )
        self.app = CanaryMiddleware(
            self._serve,
            self.controller,
            contract=lambda *_: "no score" if self.broken else None,
            monitor=self.monitor,
            route=lambda scope: "/evaluate",
            flows={"/evaluate": "decalogo_evaluation"},
        )

    async def _serve(self, scope: Any, receive: Any, send: Any) -> None:
        await respond(send, status=self.status)

    def ask(self, arm: Any = "baseline") -> None:
        ask(self.app, user(self.controller.a_key(arm)))
        assert self.app.gate.drain(PATIENCE)

    def told_of(self, alert_type: AlertType) -> list[Alert]:
        """The alerts of one type, as the sink has heard of them."""
        return [alert for alert in self.heard.alerts if alert.alert_type is alert_type]


def test_a_violation_on_the_baseline_is_an_alert_at_once_and_no_rollback() -> None:
    guarded = Guarded()
    guarded.broken = True
    guarded.ask("baseline")
    assert guarded.controller.state.phase is Phase.RUNNING
    assert guarded.controller.router.share == 50
    (alert,) = guarded.told_of(AlertType.CONTRACT_VIOLATION)
    assert alert.severity is Severity.CRITICAL
    assert alert.flow_name == "decalogo_evaluation"
    assert (alert.state, alert.observed, alert.limit) == (AlertState.FIRING, 1, 0)
    assert len(alert.look_at) == 6


def test_a_violation_on_the_canary_is_both() -> None:
    guarded = Guarded()
    guarded.broken = True
    guarded.ask("canary")
    assert guarded.controller.state.phase is Phase.ROLLED_BACK
    assert guarded.told_of(AlertType.CONTRACT_VIOLATION)


def test_it_is_told_once_and_resolves_by_itself() -> None:
    """Ten violations are one alert; it ends when the window has been clean for a minute."""
    guarded = Guarded()
    guarded.broken = True
    for _ in range(10):
        guarded.ask()
    guarded.broken = False
    kind = AlertType.CONTRACT_VIOLATION
    assert [alert.state for alert in guarded.told_of(kind)] == [AlertState.FIRING]
    for _ in range(40):
        guarded.controller.time.advance(15)
        guarded.ask()
    fired, over = guarded.told_of(kind)
    assert over.state is AlertState.RESOLVED
    assert over.alert_id == fired.alert_id
    assert kind not in {alert.alert_type for alert in guarded.monitor.get_active_alerts()}
    assert guarded.monitor.alert_history()[-1].resolved_at is not None


def test_requests_drive_the_evaluation_and_none_of_them_waits_for_it() -> None:
    guarded = Guarded(evaluation_interval_seconds=15)
    guarded.status = 500
    for _ in range(20):
        guarded.ask()
    assert guarded.heard.alerts == []  # it is not due yet
    guarded.controller.time.advance(15)
    guarded.ask()
    (alert,) = guarded.told_of(AlertType.ERROR_RATE_EXCEEDED)
    assert alert.state is AlertState.FIRING


@pytest.fixture
def stuck() -> Iterator[threading.Event]:
    go = threading.Event()
    yield go
    go.set()


def test_an_evaluation_that_takes_for_ever_delays_no_request(stuck: threading.Event) -> None:
    guarded = Guarded()
    asked: list[int] = []

    def evaluate() -> None:
        asked.append(threading.get_ident())
        stuck.wait(PATIENCE)

    assert guarded.app.gate._objectives is not None
    guarded.app.gate._objectives.alerts = AlertEvaluator(evaluate, interval=15)

    async def main() -> None:
        for _ in range(30):
            guarded.controller.time.advance(15)
            assert (await talk(guarded.app, user("somebody"))).status == 200

    asyncio.run(main())
    until(lambda: asked)
    assert threading.get_ident() not in asked
    assert len(asked) == 1


def test_an_evaluation_that_fails_is_a_fault_and_nothing_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(SLOMonitor, "evaluate_alert_rules", lambda self: 1 / 0)
    guarded = Guarded()
    guarded.broken = True
    guarded.ask()
    guarded.ask()
    assert guarded.controller.counters["faults"] == 2


def test_under_asgi_alerts_are_evaluated_without_traffic() -> None:
    """The lifespan's timer does it; nobody asks anything after the first errors."""
    heard, told = CapturingSink(), threading.Event()
    monitor = SLOMonitor(
        Objectives(evaluation_interval_seconds=0.1), sinks=[heard, lambda _: told.set()]
    )
    controller = CanaryDeploymentController(deployment_id="x")
    started = asyncio.Event()

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})

    app = CanaryMiddleware(serve, controller, monitor=monitor)

    async def main() -> None:
        down = asyncio.Event()
        messages = [{"type": "lifespan.startup"}]

        async def receive() -> Any:
            if messages:
                return messages.pop()
            await down.wait()
            return {"type": "lifespan.shutdown"}

        async def send(message: Any) -> None:
            started.set()

        task = asyncio.create_task(app({"type": "lifespan", "asgi": {}}, receive, send))
        await asyncio.wait_for(started.wait(), 10)
        for _ in range(20):
            monitor.record_request("a", False, 1.0)
        assert await asyncio.to_thread(told.wait, PATIENCE)
        down.set()
        await task

    asyncio.run(main())
    assert {alert.flow_name for alert in heard.alerts} == {"a"}


def test_under_wsgi_the_requests_drive_it_as_well() -> None:
    heard, controller = CapturingSink(), Controller()
    monitor = SLOMonitor(clock=controller.time, sinks=[heard])

    app = WSGIMiddleware(answers(status="500 Internal Server Error"), controller, monitor=monitor)
    for _ in range(25):
        controller.time.advance(1)
        ask_wsgi(app, request())
    assert app.gate.drain(PATIENCE)
    assert AlertType.ERROR_RATE_EXCEEDED in {alert.alert_type for alert in heard.alerts}


def test_evaluations_asked_for_without_a_pause_take_a_small_part_of_the_time() -> None:
    """A contract that every request breaks must not keep a processor busy with alerts."""
    asked: list[float] = []

    def evaluate() -> None:
        asked.append(time.monotonic())
        time.sleep(0.02)

    evaluator = AlertEvaluator(evaluate, interval=15)
    for _ in range(3):
        evaluator.soon()
        assert evaluator.drain(PATIENCE)
    assert all(later - earlier >= 0.4 for earlier, later in itertools.pairwise(asked))


def test_the_evaluator_waits_an_interval_first_and_then_keeps_to_it() -> None:
    asked: list[None] = []
    evaluator = AlertEvaluator(lambda: asked.append(None), interval=15)
    for now in (100.0, 110.0, 115.0, 116.0, 129.0, 130.0, 500.0):
        evaluator.look(now)
        assert evaluator.drain(PATIENCE)
    assert len(asked) == 3
    evaluator.soon()
    assert evaluator.drain(PATIENCE)
    assert len(asked) == 4
    with pytest.raises(ValueError, match="interval is 0"):
        AlertEvaluator(lambda: None, interval=0)
