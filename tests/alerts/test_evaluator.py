"""When alerts are evaluated: beside the requests, and not without a pause."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf, nan

import pytest
from tests.waiting import PATIENCE

from canario.alerts import evaluator as module
from canario.alerts.evaluator import AlertEvaluator


@dataclass
class Time:
    """In place of the `time` that the evaluator's thread asks."""

    now: float = 100.0
    slept: list[float] = field(default_factory=list)

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Time:
    made = Time()
    monkeypatch.setattr(module, "time", made)
    return made


def lasting(clock: Time, *seconds: float) -> Callable[[], None]:
    """Evaluations that take so long, one after the other."""
    left = list(seconds)

    def evaluate() -> None:
        clock.now += left.pop(0)

    return evaluate


def test_after_an_evaluation_there_is_a_rest_of_twenty_times_as_long(clock: Time) -> None:
    evaluator = AlertEvaluator(lasting(clock, 0.25, 0.125, 0.125, 0.0, 0.0), interval=15.0)
    for _ in range(2):
        evaluator.soon()
        assert evaluator.drain(PATIENCE)
    assert clock.slept == [5.0]
    # What has passed by itself need not be slept,
    clock.now += 1.0
    evaluator.soon()
    assert evaluator.drain(PATIENCE)
    assert clock.slept == [5.0, 1.5]
    # and after the rest there is none.
    clock.now += 2.5
    evaluator.soon()
    assert evaluator.drain(PATIENCE)
    assert clock.slept == [5.0, 1.5]


def test_no_rest_is_longer_than_the_interval(clock: Time) -> None:
    evaluator = AlertEvaluator(lasting(clock, 4.0, 0.0), interval=15.0)
    for _ in range(2):
        evaluator.soon()
        assert evaluator.drain(PATIENCE)
    assert clock.slept == [15.0]


def test_an_evaluation_that_fails_is_told_and_followed_by_a_rest(clock: Time) -> None:
    told: list[BaseException] = []

    def evaluate() -> None:
        clock.now += 0.5
        raise OSError("no disk")

    evaluator = AlertEvaluator(evaluate, interval=15.0, on_error=told.append)
    for _ in range(2):
        evaluator.soon()
        assert evaluator.drain(PATIENCE)
    assert [str(error) for error in told] == ["no disk"] * 2
    assert clock.slept == [10.0]


def test_one_evaluation_that_waits_is_enough_for_all_who_ask() -> None:
    began, go = threading.Event(), threading.Event()
    asked: list[None] = []

    def evaluate() -> None:
        asked.append(None)
        began.set()
        assert go.wait(PATIENCE)

    evaluator = AlertEvaluator(evaluate, interval=1e-3)
    evaluator.soon()
    assert began.wait(PATIENCE)
    for _ in range(5):
        evaluator.soon()
    assert not evaluator.drain(0.0)
    go.set()
    assert evaluator.drain(PATIENCE)
    assert len(asked) == 2


def test_a_look_has_them_evaluated_once_in_an_interval_from_the_first_one_on() -> None:
    asked: list[None] = []
    evaluator = AlertEvaluator(lambda: asked.append(None), interval=15)
    seen = []
    for now in (-1000.0, -986.0, -985.0, -984.0, -970.0):
        evaluator.look(now)
        assert evaluator.drain(PATIENCE)
        seen.append((evaluator.due, len(asked)))
    assert seen == [(-985.0, 0), (-985.0, 0), (-970.0, 1), (-970.0, 1), (-955.0, 2)]


@pytest.mark.parametrize("interval", [0, -1.0, inf, nan])
def test_an_interval_is_a_number_of_seconds(interval: float) -> None:
    with pytest.raises(ValueError, match="it must be a number of seconds above 0"):
        AlertEvaluator(lambda: None, interval=interval)
