"""What is said of a rollout that has ended, that goes on, and that has not begun."""

from __future__ import annotations

import pytest

from canario.control.events import Event
from canario.control.machine import Command
from canario.control.result import result_of
from canario.control.rollout import Outcome, Rollout
from canario.control.state import Phase
from canario.plan import Deployment, RollbackThresholds, Stage

PLAN = Deployment(
    deployment_id="told",
    canary_stages=(Stage(5, 10), Stage(100, 10)),
    rollback_thresholds=RollbackThresholds(min_samples=1),
)


Told = tuple[Phase, bool, str | None, tuple[str, ...], str | None]


def told(*orders: tuple[float, Command], bad_at: float | None = None) -> Told:
    rollout, events = Rollout(PLAN), list[Event]()
    events += rollout.start(0.0)
    for at, order in orders:
        events += rollout.command(order, at)
    if bad_at is not None:
        rollout.observe(bad_at, "canary", Outcome.BAD, None)
        events += rollout.advance(bad_at + 5.0)
    result = result_of(PLAN, rollout.state, events, rollout.history)
    assert (result.deployment_id, result.metrics_history) == ("told", tuple(rollout.history))
    return (
        result.phase, result.success, result.final_stage, result.stages_completed, result.why
    )  # fmt: skip


def test_before_anything_has_begun_there_is_no_stage() -> None:
    rollout = Rollout(PLAN)
    result = result_of(PLAN, rollout.state, [], [])
    assert (result.phase, result.success, result.final_stage) == (Phase.PENDING, False, None)
    assert (result.stages_completed, result.rollback_reason, result.why) == ((), None, None)


@pytest.mark.parametrize(
    ("orders", "bad_at", "expected"),
    [
        ((), None, (Phase.RUNNING, False, "canary_5", (), None)),
        (((1.0, Command.SKIP),), None,
         (Phase.RUNNING, False, "full_rollout", ("canary_5",), None)),
        (((1.0, Command.PROMOTE),), None,
         (Phase.COMPLETED, True, "canary_5", ("canary_5", "full_rollout"), None)),
    ],
)  # fmt: skip
def test_where_a_rollout_stands(
    orders: tuple[tuple[float, Command], ...], bad_at: float | None, expected: object
) -> None:
    assert told(*orders, bad_at=bad_at) == expected


def test_a_withdrawal_says_why() -> None:
    phase, success, stage, passed, why = told((1.0, Command.SKIP), bad_at=2.0)
    assert (phase, success, stage, passed) == (
        Phase.ROLLED_BACK, False, "full_rollout", ("canary_5",)
    )  # fmt: skip
    assert why is not None
    assert why.startswith("rolled back, error_rate: 1 of 1 requests failed")
