"""The contract checker: beside the requests, bounded, and gone when idle."""

from __future__ import annotations

import threading

import pytest

from canario.contracts import Contract, Response
from canario.contracts.checker import ContractChecker, breach_of
from canario.control.violation import Violation
from canario.host.background import BackgroundQueue

RESPONSE = Response("canary", "/a", 200, [(b"a", b"b")], b"body")


def raising(error: Exception) -> Contract:
    def contract(*response: object) -> None:
        raise error

    return contract


@pytest.mark.parametrize(
    ("contract", "breach"),
    [
        (lambda *response: None, None),
        (lambda *response: True, None),
        (lambda *response: False, "the contract does not hold"),
        (lambda *response: "no score", "no score"),
        (lambda *response: ["a", 1], "['a', 1]"),
        (raising(ValueError("no score")), "ValueError: no score"),
        (raising(AssertionError()), "AssertionError"),
    ],
)
def test_a_contract_returns_or_raises_what_is_wrong(contract: Contract, breach: str | None) -> None:
    expected = None if breach is None else Violation(message=breach, route="/a")
    assert breach_of(contract, RESPONSE) == expected


def test_a_contract_is_called_with_route_status_headers_and_body() -> None:
    calls: list[tuple[object, ...]] = []
    assert breach_of(lambda *response: calls.append(response), RESPONSE) is None
    assert calls == [("/a", 200, [(b"a", b"b")], b"body")]


def test_breaches_are_reported_and_the_rest_is_not() -> None:
    reports: list[tuple[Response, Violation]] = []
    checker = ContractChecker(
        lambda route, *rest: route == "/good", lambda *report: reports.append(report)
    )
    assert checker.submit(RESPONSE._replace(route="/good"))
    assert checker.submit(RESPONSE)
    assert checker.drain(5)
    assert reports == [(RESPONSE, Violation(message="the contract does not hold", route="/a"))]


def test_no_more_than_its_capacity_waits() -> None:
    release = threading.Event()
    checker = ContractChecker(lambda *response: release.wait(5), lambda *report: None, capacity=2)
    accepted = [checker.submit(RESPONSE) for _ in range(20)]
    assert accepted.count(True) in (2, 3)  # and one that the thread has taken
    assert not checker.drain(0.01)
    release.set()
    assert checker.drain(5)
    assert checker.submit(RESPONSE)
    assert checker.drain(5)


def threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "canario-contracts"}


def test_the_thread_comes_with_the_first_item_and_goes_when_idle() -> None:
    others = threads()
    queue: BackgroundQueue[object] = BackgroundQueue(
        lambda item: None, name="canario-contracts", idle_seconds=0.05
    )
    assert not threads() - others
    for _ in range(2):  # it comes again
        queue.submit(RESPONSE)
        (thread,) = threads() - others
        assert thread.daemon
        thread.join(5)
        assert not thread.is_alive()
