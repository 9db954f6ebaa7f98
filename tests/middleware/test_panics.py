"""What canario calls and did not write may raise anything: counted, said once, and no user's."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable
from typing import Any

import pytest
from tests.middleware import wsgi_tools
from tests.middleware.asgi_tools import (
    BAD,
    GOOD,
    Controller,
    Receive,
    Scope,
    Send,
    ask,
    hello,
    http_scope,
    respond,
    user,
)

from canario import CanaryDeploymentController, Deployment, Outcome, Plan, Stage
from canario.asgi import CanaryMiddleware
from canario.contracts import FlowContract, ResponseContract
from canario.host.interrupts import is_interrupt
from canario.judges.make import make_judge
from canario.judges.verdict import Evidence
from canario.recovery import FaultRecovery
from canario.sinks import inline
from canario.testing import ManualClock
from canario.tracing import trace_flow
from canario.wsgi import CanaryMiddleware as OverWSGI


class Panic(BaseException):
    """What a Rust extension raises."""


def panic(*args: Any, **kwargs: Any) -> Any:
    raise Panic("in Rust")


class Panics:
    """Whatever one asks of it."""

    is_authenticated = True

    @property
    def pk(self) -> str:
        raise Panic("in Rust")


class PanickingContract(ResponseContract):
    """Cannot even say whether it is about a response."""

    name = "panics"

    def check(self, response: object) -> Any:
        raise Panic

    def may_be_about(self, status: int, headers: Any) -> bool:
        raise Panic


class Judge:
    """Raises at every check."""

    def begin(self) -> None:
        pass

    check = end_of_stage = broken = panic


def judged() -> Controller:
    return Controller(judge=Judge(), check_interval=1)


FOREIGN: dict[str, tuple[Callable[[], Controller], dict[str, Any], dict[str, Any]]] = {
    "route": (Controller, {"route": panic}, {}),
    "key": (Controller, {"key": panic}, {}),
    "user": (Controller, {}, {"user": Panics()}),
    "may_be_about": (Controller, {"contract": PanickingContract()}, {}),
    "judge": (judged, {}, {}),
    "inline sink": (lambda: Controller(sinks=[inline(panic)]), {}, {}),
}


@pytest.mark.parametrize("protocol", ["asgi", "wsgi"])
@pytest.mark.parametrize("what", FOREIGN)
def test_a_panic_in_what_canario_calls_is_a_fault_and_reaches_no_user(
    what: str, protocol: str, caplog: pytest.LogCaptureFixture
) -> None:
    make, options, scope = FOREIGN[what]
    if what == "user" and protocol == "wsgi":
        return  # REMOTE_USER is text
    controller = make()
    gate: Any
    if protocol == "asgi":
        gate = CanaryMiddleware(hello, controller, errors={"/": {409}}, **options)
    else:
        gate = OverWSGI(wsgi_tools.answers(), controller, errors={"/": {409}}, **options)
    for _ in range(5):
        controller.time.advance(1)
        if protocol == "asgi":
            assert ask(gate, {**http_scope(), **scope}).body == b"hello"
        else:
            answer = wsgi_tools.ask(gate)
            assert answer.body == b"hello"
            assert answer.raised is None
    assert controller.counters["faults"] >= 1
    assert sum("canario failed in" in record.message for record in caplog.records) == 1
    if what not in ("judge", "user"):
        assert [seen.outcome for seen in controller.seen] == [GOOD] * 5


@pytest.mark.parametrize("protocol", ["asgi", "wsgi"])
@pytest.mark.parametrize("error", [Panic, SystemExit, KeyboardInterrupt, asyncio.CancelledError])
def test_a_validator_that_panics_is_no_answer(
    error: type[BaseException], protocol: str, caplog: pytest.LogCaptureFixture
) -> None:
    def contract(*_: object) -> None:
        raise error("at item 7")

    controller = Controller()
    gate: Any
    if protocol == "asgi":
        gate = CanaryMiddleware(hello, controller, contract=contract)
    else:
        gate = OverWSGI(wsgi_tools.answers(), controller, contract=contract)
    for _ in range(5):
        if protocol == "asgi":
            ask(gate, http_scope())
        else:
            wsgi_tools.ask(gate)
    assert gate.gate.drain(10)
    assert controller.counters["contract_not_checked"] == 5
    assert "contract_checked" not in controller.counters
    (told,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert "not checked against its contract" in told.getMessage()
    assert error.__name__ in told.getMessage()
    assert told.exc_info


def test_an_exception_of_a_validator_is_still_what_is_wrong() -> None:
    def contract(*_: object) -> None:
        raise ValueError("no score")

    controller = Controller(100)
    gate = CanaryMiddleware(hello, controller, canary=hello, contract=contract)
    ask(gate, user("7"))
    assert gate.gate.drain(10)
    assert controller.state.phase == "rolled_back"


def test_a_monitor_that_panics_is_a_fault() -> None:
    from canario.slo import SLOMonitor

    monitor = SLOMonitor(clock=ManualClock())
    monitor.record_request = panic  # type: ignore[method-assign]
    controller = Controller()
    assert ask(CanaryMiddleware(hello, controller, monitor=monitor), http_scope()).body == b"hello"
    assert controller.only.outcome is GOOD
    assert controller.counters["faults"] == 1


def test_a_function_contract_that_panics_is_counted_and_no_users(
    caplog: pytest.LogCaptureFixture,
) -> None:
    contract = FlowContract(output=panic)

    @trace_flow("flow", contract=contract)
    def work() -> int:
        return 7

    for _ in range(3):
        assert work() == 7
    assert contract.not_checked == 3
    assert sum("is not checked" in record.message for record in caplog.records) == 1


def test_a_monitor_of_recoveries_that_panics_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    class Monitor:
        record_recovery = panic

    recovery = FaultRecovery(Monitor(), "a")
    with recovery:
        recovery.fault()
    assert "could not be recorded" in caplog.text


def test_what_a_judge_decided_before_it_panics_takes_effect() -> None:
    """A check raises after another one, in the same call, has led into the next stage."""
    deployment = Deployment(canary_stages=(Stage(50, 10), Stage(100, 10)))
    judge = make_judge(deployment)

    class Later:
        begin, end_of_stage, broken = judge.begin, judge.end_of_stage, judge.broken

        def check(self, evidence: Evidence) -> Any:
            return panic() if evidence.number else judge.check(evidence)

    controller = CanaryDeploymentController(
        Plan(deployment=deployment),
        deployment_id="x",
        clock=ManualClock(),
        judge=Later(),
    )
    controller.start()
    for _ in range(100):
        controller.observe("canary", Outcome.GOOD, 1.0)
    controller.clock.now = 16.0  # type: ignore[attr-defined]
    controller.tick()
    assert controller.state.stage == 1
    assert controller.router.share == 100
    assert controller.events[-1].at == 10
    with pytest.raises(Panic):
        controller.tick()


# -- orders to stop are passed on


@pytest.mark.parametrize("protocol", ["asgi", "wsgi"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_in_canarios_own_code_reaches_the_process(
    error: type[BaseException], protocol: str
) -> None:
    """A signal comes while canario asks for the name of a route."""

    def handler(*_: object) -> None:
        raise error

    def route(*_: object) -> str:
        signal.raise_signal(signal.SIGUSR1)
        return "/"

    before = signal.signal(signal.SIGUSR1, handler)
    controller = Controller()
    try:
        if protocol == "asgi":
            guarded = CanaryMiddleware(hello, controller, errors={"/": {409}}, route=route)

            async def main() -> None:
                async def nothing(*_: object) -> Any:
                    pass

                await guarded(http_scope(), nothing, nothing)

            with pytest.raises(error):
                asyncio.run(main())
        else:
            over = OverWSGI(wsgi_tools.answers(), controller, errors={"/": {409}}, route=route)
            assert isinstance(wsgi_tools.ask(over).raised, error)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert "faults" not in controller.counters


def test_a_greenlets_timeout_is_an_interrupt_and_a_panic_is_none() -> None:
    gevents = type("Timeout", (BaseException,), {"__module__": "gevent.timeout"})
    assert is_interrupt(gevents())
    assert is_interrupt(type("MyTimeout", (gevents,), {})())
    assert is_interrupt(KeyboardInterrupt())
    assert not is_interrupt(Panic())
    assert not is_interrupt(asyncio.CancelledError())
    assert not is_interrupt(type("Timeout", (Exception,), {"__module__": "gevent.timeout"})())


# -- lifespan


@pytest.mark.parametrize("arm", ["baseline", "canary"])
def test_an_app_that_panics_in_its_lifespan_is_not_supported_and_the_other_one_is(
    arm: str,
) -> None:
    begun: list[str] = []

    async def good(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await respond(send)
            return
        await receive()
        begun.append("good")
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})

    async def bad(scope: Scope, receive: Receive, send: Send) -> None:
        raise Panic

    apps = (bad, good) if arm == "baseline" else (good, bad)
    guarded = CanaryMiddleware(apps[0], Controller(), canary=apps[1])
    sent: list[str] = []

    async def main() -> None:
        incoming = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]

        async def receive() -> Any:
            return incoming.pop(0)

        async def send(message: Any) -> None:
            sent.append(message["type"])

        await guarded({"type": "lifespan", "state": {}}, receive, send)

    asyncio.run(main())
    assert begun == ["good"]
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


# -- what is no warning can be silenced alone


def test_what_is_no_warning_has_a_logger_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "canario")
    news = logging.getLogger("canario.info")
    for silent in (False, True):
        caplog.clear()
        news.disabled = silent
        try:
            controller = Controller(100)
            gate = CanaryMiddleware(hello, controller, canary=hello, contract=lambda *_: "wrong")
            ask(gate, user("7"))
            assert gate.gate.drain(10)
        finally:
            news.disabled = False
        levels = [record.levelno for record in caplog.records if record.name.startswith("canario")]
        assert logging.WARNING in levels  # it was rolled back
        assert (logging.INFO in levels) is not silent


def test_a_bad_request_is_bad_all_the_same() -> None:
    controller = Controller()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await respond(send, status=500)

    ask(CanaryMiddleware(app, controller, route=panic, errors={"/": {409}}), http_scope())
    assert controller.only.outcome is BAD
