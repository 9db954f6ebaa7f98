"""The page's canary example, its limits and the calls it documents."""

from __future__ import annotations

import json
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.requirements.proofs import proves
from tests.requirements.running import clean_environment, execute, python_block

import canario
from canario import (
    DeploymentResult,
    RollbackReason,
    create_canary_controller,
)
from canario.control.events import Event, RolledBack, Started
from canario.testing import ManualClock

Serve = Callable[[str, str], Any]

# A rollout that does not end must not hang the tests.
MOST_REQUESTS = 200_000


def served(latency_ms: float = 150.0, success: bool = True, contract_valid: bool = True) -> Any:
    return SimpleNamespace(latency_ms=latency_ms, success=success, contract_valid=contract_valid)


def healthy(request_id: str, version: str) -> Any:
    return served()


def canary_is(**bad: Any) -> Serve:
    """A service whose baseline is healthy."""
    return lambda request_id, version: served(**bad) if version == "canary" else served()


def new_ids() -> Callable[[], str]:
    numbers: Iterator[int] = count()

    def generate_request_id() -> str:
        number = next(numbers)
        assert number < MOST_REQUESTS, "the rollout does not end"
        return f"request-{number}"

    return generate_request_id


@pytest.fixture
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty present folder, and an environment that sets nothing."""
    monkeypatch.chdir(tmp_path)
    for name in set(os.environ) - set(clean_environment()):
        monkeypatch.delenv(name)
    return tmp_path


@pytest.fixture
def fast(in_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Whoever is given no clock gets one that the requests' latencies move."""
    monkeypatch.setattr("canario.controller.system_clock", lambda: ManualClock(1_700_000_000))
    return in_folder


def run_example(process_request: Serve, code: str | None = None) -> dict[str, Any]:
    return execute(
        code or python_block("canary.usage"),
        generate_request_id=new_ids(),
        process_request=process_request,
    )


@proves("block.canary.usage", "overview.canary", "limit.stages", "checklist.after.stages")
def test_the_example_deploys_a_sound_version(
    fast: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    versions: list[str] = []

    def process_request(request_id: str, version: str) -> Any:
        versions.append(version)
        return served()

    there = run_example(process_request)
    assert capsys.readouterr().out == "Deployment completed: full_rollout\n"
    result: DeploymentResult = there["result"]
    assert result.stages_completed == ("canary_5", "canary_25", "full_rollout")
    assert set(versions) == {"baseline", "canary"}
    # The requests of each stage, 150 ms apart: 2000 at 5 %, 4000 at 25 %, 12000 at 100 %.
    stages = versions[:2000], versions[2000:6000], versions[6000:]
    shares = [100 * Counter(stage)["canary"] / len(stage) for stage in stages]
    assert shares == pytest.approx([5, 25, 100], abs=2.5)
    assert len(versions) == pytest.approx(18_000, abs=150)
    assert there["controller"].deployment_id == "my-deployment-v2.0"


@proves("checklist.after.metrics")
def test_the_example_exports_its_metrics(fast: Path) -> None:
    run_example(healthy)
    exported = json.loads((fast / "output" / "deployment_metrics.json").read_text())
    assert exported["result"]["success"] is True
    assert exported["result"]["deployment_id"] == "my-deployment-v2.0"
    seen = exported["result"]["metrics_history"]
    assert seen
    assert exported["events"]


@proves(
    "limit.rollback_contract",
    "limit.rollback_error_rate",
    "limit.rollback_p95_latency",
    "phase.6.rollback",
    "trouble.latency.symptom",
    "trouble.latency.rollback",
    "trouble.contract.symptom",
    "trouble.contract.rollback",
    "diagram.canary",
)
@pytest.mark.parametrize(
    ("reason", "bad"),
    [
        ("contract_violation", {"contract_valid": False}),
        ("error_rate", {"success": False}),
        ("p95_latency", {"latency_ms": 501.0}),
    ],
)
def test_each_of_the_three_triggers_rolls_the_example_back(
    reason: str, bad: dict[str, Any], fast: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there = run_example(canary_is(**bad))
    assert capsys.readouterr().out == f"Rollback triggered: {reason}\n"
    result = there["result"]
    assert not result.success
    assert result.final_stage == "canary_5"
    # From now on everybody is served by the baseline.
    route = there["controller"].router.route_request
    assert {route(f"request-{number}") for number in range(1000)} == {"baseline"}
    exported = json.loads((fast / "output" / "deployment_metrics.json").read_text())
    assert exported["result"]["rollback_reason"] == reason


def test_the_triggers_are_those_of_the_drawing() -> None:
    assert set(RollbackReason) >= {"contract_violation", "error_rate", "p95_latency"}


def test_the_first_broken_contract_ends_it(fast: Path) -> None:
    broken: list[str] = []

    def process_request(request_id: str, version: str) -> Any:
        if version == "canary":
            broken.append(request_id)
        return served(contract_valid=version == "baseline")

    there = run_example(process_request)
    assert len(broken) == 1
    assert "contract" in there["result"].why


@proves("trouble.contract.again")
def test_what_was_rolled_back_can_be_deployed_again(fast: Path) -> None:
    assert not run_example(canary_is(contract_valid=False))["result"].success
    assert run_example(healthy)["result"].success


@pytest.mark.parametrize(
    ("limit", "bad", "passes"),
    [
        ("10 % errors", {"errors": 10}, True),
        ("11 % errors", {"errors": 11}, False),
        ("p95 of 500 ms", {"latency_ms": 500.0}, True),
        ("p95 of 500.1 ms", {"latency_ms": 500.1}, False),
    ],
)
def test_a_limit_is_passed_only_above_it(
    limit: str, bad: dict[str, float], passes: bool, in_folder: Path
) -> None:
    clock = ManualClock()
    controller = create_canary_controller("v2", clock=clock)
    controller.start()
    for number in range(100):
        outcome = canario.Outcome.BAD if number < bad.get("errors", 0) else canario.Outcome.GOOD
        controller.observe("canary", outcome, bad.get("latency_ms", 100.0))
    clock.advance(5)
    controller.tick()
    assert (controller.result().rollback_reason is None) is passes


@proves("limit.holds", "advice.holds")
def test_the_holds_can_be_set(in_folder: Path) -> None:
    """As arguments, in the environment and in a file; 15 to 30 minutes among them."""
    arguments = create_canary_controller(
        "v2",
        canary_5_hold_seconds=900,
        canary_25_hold_seconds=1200,
        full_rollout_hold_seconds=1800,
    )
    held = [stage.hold_seconds for stage in arguments.deployment.canary_stages]
    assert held == [900, 1200, 1800]
    variables = {"CANARY_5_HOLD_SECONDS": "901", "CANARY_25_HOLD_SECONDS": "1201"}
    environment = create_canary_controller("v2", environ=variables)
    held = [stage.hold_seconds for stage in environment.deployment.canary_stages]
    assert held == [901, 1201, 1800]


def test_the_example_runs_in_real_time(
    in_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the holds in the environment, since an argument would beat them."""
    for name in ("CANARY_5_HOLD_SECONDS", "CANARY_25_HOLD_SECONDS", "CANARY_FULL_HOLD_SECONDS"):
        monkeypatch.setenv(name, "0.5")

    def process_request(request_id: str, version: str) -> Any:
        time.sleep(0.002)
        return served(2.0)

    code, without = re.subn(r"^ +\w+=[\d.]+,? *#.*\n", "", python_block("canary.usage"), flags=re.M)
    assert without == 5
    before = time.monotonic()
    there = run_example(process_request, code)
    assert time.monotonic() - before >= 1.5
    assert capsys.readouterr().out == "Deployment completed: full_rollout\n"
    assert there["result"].success


@proves("limit.metrics", "checklist.during.metrics", "checklist.during.triggers")
def test_metrics_and_decisions_are_there_while_it_goes_on(fast: Path) -> None:
    told: list[Event] = []
    controller = create_canary_controller("v2", sinks=[told.append])
    seen = []
    numbers = new_ids()

    def request_generator() -> tuple[str, float, bool, bool]:
        request_id = numbers()
        counts = controller.counts("canary")
        seen.append((counts.requests, counts.errors, len(controller.metrics_history)))
        canary = controller.router.route_request(request_id) == "canary"
        return request_id, 150.0, not canary, True

    result = controller.execute_deployment(request_generator)
    assert result.rollback_reason == "error_rate"
    assert any(total == errors > 5 for total, errors, _ in seen)
    assert seen[-1][2] >= 1
    assert controller.drain(5)
    assert isinstance(told[0], Started)
    assert isinstance(told[-1], RolledBack)
    snapshot = result.metrics_history[-1]
    assert snapshot.canary.counts.errors >= 10
    assert snapshot.baseline.counts.errors == 0
    assert snapshot.baseline.p95_ms == pytest.approx(150, rel=0.01)
