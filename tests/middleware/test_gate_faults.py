"""What fails beneath the gate is counted and reaches nobody; and why a request has its arm."""

from __future__ import annotations

from typing import Any

import pytest
from tests.middleware.asgi_tools import Controller, forced
from tests.middleware.test_gate_exchange import KEYS, admitted, ended, gate
from tests.middleware.test_gate_keys import Request, admit

from canario.control.violation import Violation
from canario.exchange import Exchange
from canario.gate.gate import Gate
from canario.limits import LONGEST_MS
from canario.slo import SLOMonitor


def failing(*_: Any, **__: Any) -> Any:
    raise RuntimeError("beneath the gate")


def faults(controller: Controller) -> int:
    return controller.counters.get("faults", 0)


# -- faults


def test_a_contract_that_cannot_be_asked_checks_nothing() -> None:
    here, controller = gate(contract={"/": {"type": "object"}})
    assert here._checking is not None
    here._checking.may_check = failing  # type: ignore[method-assign]
    exchange = admitted(here)
    exchange.see_head(200, [])
    assert (exchange.body, faults(controller)) == (None, 1)
    here._checking.checker.pass_over = failing  # type: ignore[method-assign]
    here.pass_over("it is too long")
    assert faults(controller) == 2


def test_without_a_contract_nothing_may_be_checked() -> None:
    here, controller = gate()
    assert here.may_check(200, []) is False
    here.pass_over("there is no contract")
    assert faults(controller) == 0


def test_a_controller_that_takes_no_violation_breaks_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here, controller = gate()
    monkeypatch.setattr(controller, "report_violation", failing)
    here.report_violation("canary", Violation(message="x"))
    assert faults(controller) == 1


def test_an_observation_that_fails_is_counted_and_made_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here, controller = gate()
    monkeypatch.setattr(controller, "observe", failing)
    exchange = ended(here)
    here.finish(exchange, None)
    assert faults(controller) == 1


def test_a_request_that_cannot_be_routed_is_the_baselines(monkeypatch: pytest.MonkeyPatch) -> None:
    here, controller = gate()
    monkeypatch.setattr(here._chooser, "choose", failing)
    taken = here.admit(Exchange(), Request([(b"x-user-id", b"ann")]), "GET", "/", False)
    assert (taken, faults(controller)) == (False, 1)


def test_a_monitor_that_fails_is_a_fault_of_its_own() -> None:
    controller = Controller(routing=KEYS)
    monitor = SLOMonitor(clock=controller.time)
    here = Gate(controller, monitor=monitor)
    monitor.record_request = failing  # type: ignore[method-assign]
    exchange = ended(here)
    assert faults(controller) == 1
    here.give_up(exchange)
    assert faults(controller) == 2
    assert controller.totals(exchange.arm).counts.requests == 1


# -- what a request is worth


def test_a_latency_is_at_least_nothing_and_at_most_a_day() -> None:
    here, controller = gate()
    seen: list[float | None] = []
    observe = controller.observe

    def noting(arm: Any, outcome: Any, latency_ms: float | None, **rest: Any) -> None:
        seen.append(latency_ms)
        observe(arm, outcome, latency_ms, **rest)

    controller.observe = noting  # type: ignore[assignment, method-assign]
    for began in (0.0, 5.0, -LONGEST_MS / 1000, -2 * LONGEST_MS / 1000):
        exchange = admitted(here)
        exchange.started_at += began
        exchange.status, exchange.complete = 200, True
        here.finish(exchange, None)
    assert seen == [0.0, 0.0, LONGEST_MS, LONGEST_MS]


# -- reasons


def test_each_way_to_an_arm_has_its_reason() -> None:
    controller = Controller(routing=forced(trusted_peers=("203.0.113.0/24",)))
    here = Gate(controller, environ={})
    known = [(b"x-user-id", b"ann")]
    claim = [*known, (b"x-canary", b"always")]
    assert admit(here, Request(known)).reason == "split"
    assert admit(here, Request()).reason == "default"
    assert admit(here, Request([(b"x-user-id", b"x" * 600)])).reason == "error"
    assert admit(here, Request(claim)).reason == "targeting_match"
    asked = Request([(b"origin", b"https://a.example"), (b"access-control-request-method", b"PUT")])
    exchange = Exchange()
    assert here.admit(exchange, asked, "OPTIONS", "/", False)
    assert (exchange.reason, exchange.arm) == ("default", "baseline")


@pytest.mark.parametrize(("without", "warned"), [(45, False), (46, True)])
def test_of_fifty_requests_more_than_nine_tenths_without_a_key_are_told(
    without: int, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    controller = Controller(routing=KEYS)
    here = Gate(controller)
    for number in range(50):
        admit(here, Request([] if number < without else [(b"x-user-id", b"ann")]))
    told = [each for each in caplog.messages if "had no key" in each]
    assert bool(told) is warned
