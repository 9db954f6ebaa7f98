"""The release of the evaluation app, live under uvicorn and rehearsed: the same end both ways."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.commands import call
from tests.examples.serving import ROOT, fetch, served
from tests.waiting import PATIENCE

from canario_sim import load_scenario, run

REHEARSALS = ROOT / "examples" / "evaluation_app" / "rehearsals"
PLAN = ROOT / "examples" / "evaluation_app" / "release.toml"
LIMITS = "[deployment.rollback_thresholds]\n"


RELEASES = {
    "version_two": ["--version", "2"],
    "version_three_slow": ["--version", "3", "--fault", "slow"],
    "version_three_failing": ["--version", "3", "--fault", "failing"],
    "version_three_contract": ["--version", "3", "--fault", "contract"],
}


@dataclass(frozen=True)
class Released:
    """A release that is over: its status, its journal, what its server and its users told."""

    status: dict[str, Any]
    journal: Path
    terminal: Path
    users: str


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Released]]]:
    """All of them at the same time: a release takes its holds, and hardly any work."""
    with ThreadPoolExecutor(len(RELEASES)) as pool:
        yield {
            name: pool.submit(released, arguments, tmp_path_factory.mktemp(name))
            for name, arguments in RELEASES.items()
        }


def released(arguments: list[str], folder: Path) -> Released:
    """Release to users until it is over."""
    journal, terminal, plan = (folder / name for name in ("journal", "terminal", "release.toml"))
    plan.write_text(_patient(PLAN.read_text()) if "slow" not in arguments else PLAN.read_text())
    arguments = [*arguments, "--plan", str(plan), "--journal", str(journal)]
    with served(*arguments, terminal=terminal) as url:
        users = [sys.executable, "-m", "examples.evaluation_app.users", "--url", url]
        options = ["--rate", "12", "--seconds", "600", "--until-done"]
        sent = subprocess.run(
            [*users, *options],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=True,
        )
        status = fetch(f"{url}/canario/status")
    return Released(status, journal, terminal, sent.stdout)


@pytest.mark.parametrize("name", RELEASES)
def test_the_rehearsal_predicts_the_release(
    name: str, releases: dict[str, Future[Released]]
) -> None:
    predicted = run(load_scenario(REHEARSALS / f"{name}.toml"))
    assert predicted.ok
    live = releases[name].result(PATIENCE)
    status = live.status
    assert status["state"] == predicted.outcome
    assert status["reason"] == predicted.reason
    assert status["stage"] == predicted.final_stage
    assert "canary" in live.users
    told = call("journal", live.journal)
    assert told.stdout.splitlines()[-1].startswith(predicted.outcome)
    # The release told the same while it went on, and its alerts where there were any.
    lines = live.terminal.read_text().splitlines()
    assert re.fullmatch(r" +0\.0 s  rollout of evaluation-app-v2 started", lines[0])
    others = [line for line in lines if not re.match(r" *\d+\.\d s  ", line)]
    assert all(line.startswith(("firing: ", "resolved: ")) for line in others), lines
    assert not (others and predicted.outcome == "completed")


def test_a_wrong_plan_is_refused_before_anything_is_served(tmp_path: Path) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text("deploymnet = {}")
    said = subprocess.run(
        [sys.executable, "-m", "examples.evaluation_app", "--plan", str(plan)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert said.returncode == 2
    assert "deploymnet: unknown key; did you mean deployment?" in said.stderr


def _patient(plan: str) -> str:
    """The plan, for machines that are busy with something else: nothing is slow on them."""
    made = plan.replace(LIMITS, f"{LIMITS}max_p95_latency_ms = {1000 * PATIENCE:g}\n")
    assert made != plan
    return f"{made}\n[slo]\np95_latency_ms = {1000 * PATIENCE:g}\n"
