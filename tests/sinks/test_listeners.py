"""Sinks that hang or raise harm nothing: not the other sinks, not the requests, not the counts."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import httpx
import pytest
from tests.middleware.asgi_servers import uvicorn_server
from tests.middleware.asgi_tools import Controller, ask, hello, named, talk, user
from tests.sinks.receivers import ALERT, OVER, receiver
from tests.waiting import PATIENCE, until

from canario import CanaryDeploymentController, Phase
from canario.alerts import Alert
from canario.asgi import CanaryMiddleware
from canario.control.events import Event, Paused, RolledBack, StageEntered
from canario.sinks import Beside, LogSink, WebhookSink, inline
from canario.sinks.listeners import Listeners
from canario.slo import SLOMonitor
from canario.testing import CapturingSink, ManualClock


class Hanging:
    """A sink that takes for ever, until the test is over."""

    def __init__(self) -> None:
        self.called = threading.Event()
        self.go = threading.Event()

    def __call__(self, told: Event | Alert) -> None:
        self.called.set()
        self.go.wait(PATIENCE)


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    sink = Hanging()
    yield sink
    sink.go.set()


def raising(told: Event | Alert) -> None:
    raise RuntimeError("the sink is broken")


def test_a_sink_that_hangs_and_one_that_raises_keep_nobody_waiting(hanging: Hanging) -> None:
    """Through the real middleware: the requests are answered, the other sinks hear it all."""
    heard, beside = CapturingSink(), []
    controller = Controller(sinks=[hanging, raising, heard, lambda event: beside.append(event)])
    app = CanaryMiddleware(
        named(b"1"), controller, canary=named(b"2"), contract=lambda *response: "broken"
    )
    assert ask(app, user(controller.a_key("canary"))).body == b"2"
    assert app.gate.drain(PATIENCE)
    assert controller.state.phase is Phase.ROLLED_BACK
    assert ask(app, user("anybody")).body == b"1"
    assert hanging.called.wait(PATIENCE)
    assert tuple(heard.events) == controller.events
    until(lambda: tuple(beside) == controller.events)
    until(lambda: controller.counters.get("faults") == len(controller.events))
    assert not controller.drain(0.01)  # one of them still hangs


def test_under_a_real_server_with_hundreds_of_requests_at_once(hanging: Hanging) -> None:
    heard = CapturingSink()
    controller = CanaryDeploymentController(deployment_id="x", sinks=[hanging, raising, heard])
    monitor = SLOMonitor(sinks=[hanging, raising, heard])
    app = CanaryMiddleware(hello, controller, contract=lambda *_: "broken", monitor=monitor)

    async def main(port: int) -> list[int]:
        limits = httpx.Limits(max_connections=20)
        async with httpx.AsyncClient(limits=limits, timeout=PATIENCE) as client:
            url = f"http://127.0.0.1:{port}/"
            answers = await asyncio.gather(
                *(client.get(url, headers={"x-user-id": str(key)}) for key in range(200))
            )
        return [answer.status_code for answer in answers]

    with uvicorn_server(app) as port:
        assert asyncio.run(main(port)) == [200] * 200
        until(lambda: controller.state.phase is Phase.ROLLED_BACK)
        until(lambda: heard.alerts)
    assert [type(event) for event in heard.events].count(RolledBack) == 1
    assert {alert.alert_type for alert in heard.alerts} >= {"contract_violation"}


def test_what_a_hanging_sink_has_no_room_for_is_dropped_and_counted(hanging: Hanging) -> None:
    dropped: list[int] = []
    sink = Beside(hanging, capacity=3, on_drop=lambda: dropped.append(1))
    sink(ALERT)
    assert hanging.called.wait(PATIENCE)
    for _ in range(10):
        sink(ALERT)
    assert (sink.dropped, len(dropped), sink.delivered) == (7, 7, 0)
    hanging.go.set()
    assert sink.drain(PATIENCE)
    assert (sink.dropped, sink.delivered, sink.failed) == (7, 4, 0)
    assert "delivered=4 dropped=7" in repr(sink)


def test_a_sink_that_raises_is_counted_and_hears_the_next_event() -> None:
    failures: list[BaseException] = []
    sink = Beside(raising, on_error=failures.append)
    sink(ALERT)
    sink(OVER)
    assert sink.close(PATIENCE)
    assert (sink.failed, sink.delivered, len(failures)) == (2, 0, 2)


def test_inline_sinks_hear_at_once_and_in_order_before_the_call_returns() -> None:
    heard: list[Any] = []
    listeners = Listeners([inline(heard.append)], telemetry=False)
    listeners.tell(ALERT)
    assert heard == [ALERT]
    assert "append" in repr(inline(heard.append))


def test_an_inline_sink_that_raises_keeps_none_from_hearing() -> None:
    heard = CapturingSink()
    failures: list[BaseException] = []
    listeners = Listeners([inline(raising), heard], on_error=failures.append, telemetry=False)
    listeners.tell(ALERT)
    assert heard.alerts == [ALERT]
    assert len(failures) == 1


def test_an_event_that_a_sink_causes_comes_after_the_one_that_it_was_told() -> None:
    """For those after it, too: a sink that stops the rollout at full stands before another."""

    def stop_at_full(event: Event) -> None:
        if isinstance(event, StageEntered) and event.percentage == 100:
            controller.pause()

    heard: list[Event] = []
    sinks = [inline(stop_at_full), inline(heard.append)]
    controller = CanaryDeploymentController(deployment_id="x", sinks=sinks)
    controller.start()
    controller.skip()
    controller.skip()
    assert tuple(heard) == controller.events
    assert isinstance(heard[-1], Paused)


def test_what_two_threads_cause_at_once_is_heard_in_its_order_and_its_own_context() -> None:
    """The second one does not wait: the first tells what has come meanwhile."""
    told, go = threading.Event(), threading.Event()
    where: ContextVar[str] = ContextVar("where")
    heard: list[tuple[Event, str]] = []

    def slow(event: Event) -> None:
        if not told.is_set():
            told.set()
            assert go.wait(PATIENCE)

    def hear(event: Event) -> None:
        heard.append((event, where.get()))

    sinks = [inline(slow), inline(hear)]
    controller = CanaryDeploymentController(deployment_id="x", sinks=sinks)

    def start() -> None:
        where.set("first")
        controller.start()

    thread = threading.Thread(target=start)
    thread.start()
    assert told.wait(PATIENCE)
    where.set("second")
    controller.abort()
    assert heard == []
    go.set()
    thread.join(PATIENCE)
    assert tuple(event for event, _ in heard) == controller.events
    assert [at for _, at in heard] == ["first", "first", "second"]


def test_a_child_forked_while_somebody_is_told_tells_as_well() -> None:
    said = subprocess.run(
        [sys.executable, "-c", FORKED], capture_output=True, text=True, timeout=PATIENCE, check=True
    ).stdout
    assert said == "child hears of the child\n"


FORKED = """
import os, threading, warnings
from canario.sinks.listeners import Listeners, inline
warnings.simplefilter("ignore", DeprecationWarning)  # forking beside threads is what is tested
told, go = threading.Event(), threading.Event()

def hear(event):
    if event == "parent":
        told.set()
        go.wait(600)
    else:
        print("child hears of", event, flush=True)

listeners = Listeners([inline(hear)], telemetry=False)
thread = threading.Thread(target=listeners.tell, args=("parent",))
thread.start()
told.wait(600)
child = os.fork()
if not child:
    listeners.tell("the child")
    os._exit(0)
os.waitpid(child, 0)
go.set()
thread.join(600)
"""


def test_sinks_are_told_outside_of_the_locks() -> None:
    """A sink may ask the controller and the monitor, from wherever it is called."""
    seen: list[str] = []
    clock = ManualClock(1000)

    def ask_controller(event: Event) -> None:
        ask_from_elsewhere(lambda: controller.counts("canary"))
        seen.append(repr(controller))

    def ask_monitor(alert: Alert) -> None:
        ask_from_elsewhere(lambda: monitor.get_active_alerts())
        seen.append(repr(monitor))

    def ask_from_elsewhere(question: Any) -> None:
        thread = threading.Thread(target=question, daemon=True)
        thread.start()
        thread.join(PATIENCE)
        assert not thread.is_alive()

    controller = CanaryDeploymentController(
        deployment_id="x", clock=clock, sinks=[inline(ask_controller)]
    )
    controller.start()
    monitor = SLOMonitor(clock=clock, sinks=[inline(ask_monitor)])
    monitor.record_request("a", True, 1.0, False)
    monitor.evaluate_alert_rules()
    assert len(seen) >= 3
    assert "faults" not in controller.counters


def test_the_sinks_of_a_controller_are_shown_with_what_they_count() -> None:
    sink = LogSink()
    controller = CanaryDeploymentController(deployment_id="x", sinks=[sink, print])
    assert controller.sinks[0] is sink
    assert isinstance(controller.sinks[1], Beside)


def test_a_receiver_that_hangs_delays_no_request_and_no_other_receiver() -> None:
    """Two webhooks through the real middleware, on real connections."""
    with receiver("hang") as slow, receiver() as quick:
        options: dict[str, Any] = {"timeout": 30, "attempts": 1, "exit_seconds": 0}
        sinks = [WebhookSink(each.url, **options) for each in (slow, quick)]
        controller = Controller(sinks=sinks)
        app = CanaryMiddleware(hello, controller, contract=lambda *_: "broken")

        key = controller.a_key("canary")

        async def main() -> None:
            for _ in range(20):
                answer = await talk(app, user(key))
                assert answer.status == 200

        asyncio.run(main())
        assert app.gate.drain(PATIENCE)
        assert sinks[1].drain(PATIENCE)
        assert sinks[1].delivered == len(controller.events)
        assert (sinks[0].delivered, sinks[0].failed) == (0, 0)
        assert len(slow.bodies) <= 1
        slow.going.set()
        assert sinks[0].close(PATIENCE)


def test_a_log_sink_writes_one_line_at_the_level_of_the_severity(
    caplog: pytest.LogCaptureFixture,
) -> None:
    from msgspec.structs import replace

    caplog.set_level("INFO")
    sink = LogSink()
    controller = CanaryDeploymentController(deployment_id="x", sinks=[sink])
    sink(replace(ALERT, message="broken\nERROR forged \u2028\x1b[31m line"))
    sink(OVER)
    controller.start()
    mine = [record for record in caplog.records if record.name == "canario.alerts"]
    assert [record.levelname for record in mine] == ["CRITICAL", "INFO", "INFO", "INFO"]
    assert mine[0].getMessage() == r"firing: broken\nERROR forged \u2028\x1b[31m line"
    assert mine[1].getMessage() == f"resolved (cleared): {ALERT.message}"
    assert mine[3].getMessage() == "x: stage canary_5 entered: 5 % of the keys for 5 min"
    assert [record.canario_event for record in mine[1:3]] == [  # type: ignore[attr-defined]
        "canario.alert.resolved",
        "canario.rollout.started",
    ]
