"""Sinks are told once, whoever decides, and whoever dies before it has told."""

from __future__ import annotations

from typing import Any

from tests.sharing.cluster import plan

from canario import CanaryDeploymentController
from canario.clock import ManualClock
from canario.plan import Plan
from canario.sinks import inline


def worker(store: Any, clock: ManualClock, *heard: list[Any]) -> CanaryDeploymentController:
    made = CanaryDeploymentController(
        Plan(deployment=plan()),
        store=store,
        clock=clock,
        sinks=[inline(each.append) for each in heard],
    )
    made.start()
    return made


def pass_time(clock: ManualClock, seconds: int, *workers: CanaryDeploymentController) -> None:
    for _ in range(seconds):
        clock.advance(1.0)
        for each in workers:
            each.tick()


def kinds(heard: list[Any]) -> list[str]:
    return [type(event).__name__ for event in heard]


def test_what_was_told_is_told_once(store: Any) -> None:
    clock, heard = ManualClock(1000.0), list[Any]()
    both = [worker(store, clock, heard) for _ in range(2)]
    both[1].abort()
    pass_time(clock, 60, *both)
    third = worker(store, clock, heard)
    pass_time(clock, 60, *both, third)
    assert kinds(heard) == ["Started", "StageEntered", "Aborted"]


def test_what_a_dead_worker_has_not_told_another_one_tells(store: Any) -> None:
    """It is gone after its decision, before its sinks heard."""
    clock, heard = ManualClock(1000.0), list[Any]()
    first, second = worker(store, clock), worker(store, clock, heard)
    pass_time(clock, 3, first, second)
    assert first._worker is not None
    first._worker.member.abort()
    first._worker.member.turn()  # what follows of it in this process never comes
    pass_time(clock, 5, second)
    assert second.router.weight == 0
    assert kinds(heard) == []
    pass_time(clock, 30, second)
    assert kinds(heard) == ["Aborted"]


def test_a_process_that_starts_tells_what_nobody_was_told_of(store: Any) -> None:
    clock, heard = ManualClock(1000.0), list[Any]()
    first = worker(store, clock)
    assert first._worker is not None
    pass_time(clock, 3, first)
    first._worker.member.abort()
    first._worker.member.turn()
    clock.advance(100)
    second = worker(store, clock, heard)
    pass_time(clock, 30, second)
    assert kinds(heard) == ["Aborted"]
