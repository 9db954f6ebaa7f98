"""The controller: the documented way to run a rollout, its journal, and its manners."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.waiting import PATIENCE

import canario
from canario import (
    CanaryDeploymentController,
    CommandRefusedError,
    ConfigError,
    Outcome,
    Phase,
    Plan,
    RollbackReason,
    create_canary_controller,
    load_plan,
)
from canario.control.events import Event, Promoted, RolledBack, StageEntered, Unwatched
from canario.control.journal import dump_journal, parse_journal
from canario.controller import JournalMismatchError
from canario.plan import Deployment, RollbackThresholds, Stage
from canario.sinks import inline
from canario.testing import CapturingSink, ManualClock

QUICK = Plan(
    deployment=Deployment(
        canary_stages=(Stage(20, 10), Stage(100, 10)),
        rollback_thresholds=RollbackThresholds(min_samples=5),
    )
)


def requests(
    controller: CanaryDeploymentController, latency_ms: float = 50.0, **canary: Any
) -> Any:
    """A request generator whose canary behaves as `canary` says."""
    count = iter(range(10**9))

    def handle() -> tuple[str, float, bool, bool]:
        request_id = f"request-{next(count)}"
        if controller.router.route_request(request_id) == "baseline":
            return request_id, latency_ms, True, True
        return (
            request_id,
            canary.get("latency_ms", latency_ms),
            canary.get("success", True),
            canary.get("contract_valid", True),
        )

    return handle


def test_the_documented_usage(tmp_path: Path) -> None:
    """The first example of the user's description, with only its import line changed."""
    controller = create_canary_controller(
        deployment_id="my-deployment-v2.0",
        canary_5_hold_seconds=300,
        canary_25_hold_seconds=600,
        full_rollout_hold_seconds=1800,
        max_error_rate=10.0,
        max_p95_latency_ms=500.0,
    )
    handle = requests(controller)

    def request_generator() -> tuple[str, float, bool, bool]:
        made: tuple[str, float, bool, bool] = handle()
        return made

    began = time.perf_counter()
    result = controller.execute_deployment(request_generator, clock=ManualClock())
    assert time.perf_counter() - began < PATIENCE  # for 45 simulated minutes
    assert result.success
    assert result.final_stage == "full_rollout"
    assert result.stages_completed == ("canary_5", "canary_25", "full_rollout")
    assert result.rollback_reason is None
    assert controller.clock() == pytest.approx(2700, abs=0.1)
    assert len(result.metrics_history) == 540
    controller.export_metrics(tmp_path / "output" / "deployment_metrics.json")
    exported = json.loads((tmp_path / "output" / "deployment_metrics.json").read_text())
    assert exported["result"]["success"] is True
    assert exported["result"]["metrics_history"][100]["canary"]["p95_ms"] == pytest.approx(50, 0.01)
    assert [e["event"] for e in exported["events"]].count("stage_entered") == 3


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ({"success": False}, RollbackReason.ERROR_RATE),
        ({"latency_ms": 501.0}, RollbackReason.P95_LATENCY),
        ({"contract_valid": False}, RollbackReason.CONTRACT_VIOLATION),
    ],
)
def test_a_bad_canary_is_rolled_back(behaviour: Any, reason: RollbackReason) -> None:
    controller = CanaryDeploymentController(QUICK, deployment_id="bad")
    result = controller.execute_deployment(requests(controller, **behaviour), clock=ManualClock())
    assert not result.success
    assert result.phase is Phase.ROLLED_BACK
    assert (result.rollback_reason, result.final_stage) == (reason, "canary_20")
    assert result.stages_completed == ()
    assert str(reason) in (result.why or "")
    assert controller.router.share == 0
    end = controller.events[-1]
    assert isinstance(end, RolledBack)
    assert end.verdict.samples >= (1 if reason is RollbackReason.CONTRACT_VIOLATION else 5)


def test_an_async_generator_is_awaited() -> None:
    controller = CanaryDeploymentController(QUICK, deployment_id="async", clock=ManualClock())
    handle = requests(controller)
    others = 0

    async def generate() -> AsyncIterator[tuple[str, float, bool, bool]]:
        while True:
            yield handle()

    async def other() -> None:
        nonlocal others
        while True:
            others += 1
            await asyncio.sleep(0)

    async def main() -> canario.DeploymentResult:
        task = asyncio.create_task(other())
        result = await controller.execute_deployment(generate)
        task.cancel()
        return result

    assert asyncio.run(main()).success
    assert others > 100  # nobody was kept from running


def test_a_generator_function_is_taken_too_and_its_end_is_the_run_s() -> None:
    controller = CanaryDeploymentController(QUICK, deployment_id="gen")
    handle = requests(controller)

    def generate() -> Iterator[tuple[str, float, bool, bool]]:
        for _ in range(40):
            yield handle()

    result = controller.execute_deployment(generate, clock=ManualClock())
    assert (result.phase, result.success, result.final_stage) == (Phase.RUNNING, False, "canary_20")
    assert controller.execute_deployment(handle, clock=controller.clock).success


def test_it_never_sleeps_for_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail("slept"))
    plan = Plan(deployment=Deployment(canary_stages=(Stage(100, 0.2),)))
    controller = CanaryDeploymentController(plan, deployment_id="real")
    began = time.perf_counter()
    result = controller.execute_deployment(requests(controller, latency_ms=1e-3))
    assert result.success
    assert time.perf_counter() - began >= 0.2
    assert result.metrics_history[-1].canary.counts.requests > 500


def test_no_request_just_now_is_no_busy_loop() -> None:
    asked = 0

    def handle() -> None:
        nonlocal asked
        asked += 1
        if asked == 40:
            controller.abort()

    controller = CanaryDeploymentController(QUICK, deployment_id="idle", clock=ManualClock())
    result = controller.execute_deployment(handle)
    assert result.phase is Phase.ABORTED
    assert result.rollback_reason is RollbackReason.ABORTED
    assert controller.clock() == pytest.approx(2.0)


def test_an_error_of_the_generator_is_the_callers() -> None:
    controller = CanaryDeploymentController(QUICK, deployment_id="raises")

    def handle() -> tuple[str, float, bool, bool]:
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        controller.execute_deployment(handle)
    assert controller.state.phase is Phase.RUNNING


def test_a_release_must_have_a_name() -> None:
    with pytest.raises(ValueError, match="deployment_id is missing"):
        CanaryDeploymentController()
    named = Plan(deployment=Deployment(deployment_id="from-the-plan"))
    assert CanaryDeploymentController(named).deployment_id == "from-the-plan"
    assert CanaryDeploymentController(named, deployment_id="given").deployment_id == "given"


def test_the_environment_reaches_the_documented_constructor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CANARY_25_HOLD_SECONDS", "7")
    stages = create_canary_controller("x", canary_5_hold_seconds=3).deployment.canary_stages
    assert [stage.hold_seconds for stage in stages] == [3, 7, 1800]
    with pytest.raises(ConfigError, match="max_error_rate"):
        create_canary_controller("x", max_error_rate=-1)


def test_nothing_is_counted_before_the_start() -> None:
    controller = CanaryDeploymentController(QUICK, deployment_id="x", clock=ManualClock())
    controller.observe("canary", Outcome.BAD, 10)
    controller.report_violation("canary", "x")
    assert controller.events == ()
    controller.start()
    assert controller.counts("canary").requests == 0
    controller.start()
    assert len(controller.events) == 2


def test_operators() -> None:
    clock = ManualClock()
    controller = CanaryDeploymentController(QUICK, deployment_id="x", clock=clock)
    controller.start()
    controller.pause()
    clock.advance(100)
    assert controller.tick() > 100
    assert controller.state.phase is Phase.PAUSED
    controller.resume()
    controller.skip()
    assert controller.router.share == 100
    controller.restart()
    assert controller.router.share == 20
    with pytest.raises(CommandRefusedError, match="valid: promote, pause"):
        controller.resume()
    controller.promote()
    assert controller.result().success
    with pytest.raises(CommandRefusedError):
        controller.pause()
    assert "completed" in repr(controller)
    controller.abort()
    assert (controller.router.share, controller.result().phase) == (0, Phase.ABORTED)


# -- the journal


def test_a_journal_takes_the_rollout_up_where_it_stood(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "journal.jsonl"
    clock = ManualClock(1000)
    first = CanaryDeploymentController(QUICK, deployment_id="x", clock=clock, journal=path)
    first.start()
    first.skip()
    clock.advance(4)
    assert first.close(PATIENCE)
    assert parse_journal(path.read_bytes()).events == first.events
    clock.advance(1000)
    second = CanaryDeploymentController(QUICK, deployment_id="x", clock=clock, journal=path)
    second.start()
    assert second.events == (*first.events, Unwatched(at=2004, stage=1, since=1004, restart=True))
    assert (second.state.stage, second.state.ends_at) == (1, 2004 + 6)
    assert second.router.share == 100
    for _ in range(5):
        second.observe("canary", Outcome.GOOD, 10)
    clock.advance(10)
    second.tick()
    assert isinstance(second.events[-1], Promoted)
    assert second.close(PATIENCE)
    assert parse_journal(path.read_bytes()).events == second.events
    third = CanaryDeploymentController(QUICK, deployment_id="x", clock=clock, journal=path)
    third.start()
    assert third.state.phase is Phase.COMPLETED


def test_a_truncated_journal_is_used_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "journal.jsonl"
    clock = ManualClock(1000)
    first = CanaryDeploymentController(QUICK, deployment_id="x", clock=clock, journal=path)
    first.start()
    first.skip()
    assert first.close(PATIENCE)
    path.write_bytes(dump_journal(first.events)[:-5])
    second = CanaryDeploymentController(QUICK, deployment_id="x", clock=clock, journal=path)
    second.start()
    assert "ends in the middle of an event; the 2 whole ones are used" in caplog.text
    assert second.router.share == 20
    assert second.close(PATIENCE)
    assert parse_journal(path.read_bytes()).events == second.events


def test_another_release_s_journal_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    first = CanaryDeploymentController(QUICK, deployment_id="x", journal=path)
    first.start()
    assert first.close(PATIENCE)
    with pytest.raises(JournalMismatchError, match="journal of its own"):
        CanaryDeploymentController(QUICK, deployment_id="y", journal=path).start()
    with pytest.raises(JournalMismatchError, match=r"another plan.*canary_stages had 2 entries"):
        CanaryDeploymentController(deployment_id="x", journal=path).start()


def test_what_differs_between_a_journal_s_plan_and_the_own_one_is_named(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    first = create_canary_controller("x", journal=path, environ={})
    first.start()
    assert first.close(PATIENCE)
    second = create_canary_controller(
        "x", journal=path, environ={}, canary_25_hold_seconds=20, min_samples=5
    )
    with pytest.raises(JournalMismatchError) as caught:
        second.start()
    assert "canary_stages[1].hold_seconds was 600 and is 20" in str(caught.value)
    assert "rollback_thresholds.min_samples was 10 and is 5; give" in str(caught.value)
    other = CanaryDeploymentController(
        load_plan(
            document={"deployment": {"missing_evidence": {"deadline_seconds": 60, "then": "pause"}}}
        ),
        deployment_id="x",
        journal=path,
    )
    with pytest.raises(JournalMismatchError, match="deadline_seconds was not set and is 60, "):
        other.start()


def test_a_process_that_starts_after_a_rollback_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "journal.jsonl"
    first = CanaryDeploymentController(QUICK, deployment_id="x", journal=path)
    first.start()
    first.report_violation("canary", "broken")
    assert first.close(PATIENCE)
    caplog.clear()
    second = CanaryDeploymentController(QUICK, deployment_id="x", journal=path)
    second.start()
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("canario", "WARNING")
    assert "this release is over (rolled back, contract_violation" in record.getMessage()
    assert "the baseline serves everybody" in record.getMessage()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"journal": 5}, "journal is 5"),
        ({"sinks": print}, r"such as \[print\]"),
        ({"sinks": [5]}, "sinks holds 5"),
    ],
)
def test_a_journal_and_sinks_that_are_none_are_refused_at_once(
    given: dict[str, Any], says: str
) -> None:
    with pytest.raises(TypeError, match=says):
        create_canary_controller("x", environ={}, **given)


def test_a_journal_that_cannot_be_written_does_not_keep_a_bad_canary_alive(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "journal.jsonl"
    controller = CanaryDeploymentController(QUICK, deployment_id="x", journal=path)
    controller.start()
    assert controller.drain(PATIENCE)
    os.remove(path)
    path.mkdir()
    controller.report_violation("canary", "broken")
    assert controller.state.phase is Phase.ROLLED_BACK
    assert not controller.drain(PATIENCE)
    assert controller.counters["journal_failed"] >= 1
    assert caplog.text.count("cannot be written") == 1
    path.rmdir()
    assert controller.drain(PATIENCE)  # nothing is lost while the process lives
    assert parse_journal(path.read_bytes()).events == controller.events


# -- who listens


def test_sinks_hear_every_event_and_harm_nothing(caplog: pytest.LogCaptureFixture) -> None:
    heard = CapturingSink()

    def broken(event: Event) -> None:
        raise RuntimeError("sink")

    controller = CanaryDeploymentController(QUICK, deployment_id="x", sinks=[broken, heard])
    controller.start()
    controller.abort()
    assert controller.drain(PATIENCE)
    assert tuple(heard.events) == controller.events
    assert controller.counters["faults"] == 3
    assert caplog.text.count("canario failed in a sink: RuntimeError") == 1


def test_a_sink_may_give_orders() -> None:
    def stop(event: Event) -> None:
        if isinstance(event, StageEntered):
            controller.pause()

    controller = CanaryDeploymentController(QUICK, deployment_id="x", sinks=[inline(stop)])
    controller.start()
    assert controller.state.phase is Phase.PAUSED


def test_a_rollback_is_logged_as_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "canario")
    controller = CanaryDeploymentController(QUICK, deployment_id="x")
    controller.start()
    controller.report_violation("canary", "/evaluate: no score")
    warnings = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == [
        "x: rolled back, contract_violation: 1 contract violation; none is allowed "
        "(/evaluate: no score)"
    ]


def test_many_counts_at_once_are_the_same_as_one_by_one() -> None:
    one, many = (
        CanaryDeploymentController(QUICK, deployment_id="x", clock=ManualClock()) for _ in "12"
    )
    for controller in (one, many):
        controller.start()
    for _ in range(30):
        one.observe("canary", Outcome.BAD, 700.0, now=3.2)
    from canario.metrics.counts import Counts

    many.observe_counts("canary", Counts(requests=30, errors=30, timed=30, slow=30), now=3.2)
    for controller in (one, many):
        controller.observe("baseline", Outcome.GOOD, 1.0, now=6.0)
    assert one.events == many.events
    assert isinstance(one.events[-1], RolledBack)


def test_the_public_names_are_sorted_and_exist() -> None:
    assert sorted(canario.__all__) == canario.__all__
    for name in canario.__all__:
        assert getattr(canario, name) is not None
