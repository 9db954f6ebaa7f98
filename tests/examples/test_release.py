"""The release of the evaluation app, live under uvicorn and rehearsed: the same end both ways."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.examples.serving import ROOT, fetch, served
from tests.waiting import PATIENCE

from canario_sim import load_scenario, run

REHEARSALS = ROOT / "examples" / "evaluation_app" / "rehearsals"
PLAN = ROOT / "examples" / "evaluation_app" / "release.toml"
LIMITS = "[deployment.rollback_thresholds]\n"


@pytest.mark.parametrize(
    ("rehearsal", "arguments"),
    [
        ("version_two", ["--version", "2"]),
        ("version_three_slow", ["--version", "3", "--fault", "slow"]),
        ("version_three_failing", ["--version", "3", "--fault", "failing"]),
        ("version_three_contract", ["--version", "3", "--fault", "contract"]),
    ],
)
def test_the_rehearsal_predicts_the_release(
    rehearsal: str, arguments: list[str], tmp_path: Path
) -> None:
    predicted = run(load_scenario(REHEARSALS / f"{rehearsal}.toml"))
    assert predicted.ok
    journal = tmp_path / "journal.jsonl"
    terminal = tmp_path / "terminal"
    plan = tmp_path / "release.toml"
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
    assert status["state"] == predicted.outcome
    assert status["reason"] == predicted.reason
    assert status["stage"] == predicted.final_stage
    assert "canary" in sent.stdout
    told = subprocess.run(
        [sys.executable, "-m", "canario", "journal", str(journal)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.splitlines()[-1].startswith(predicted.outcome)
    # The release told the same while it went on, and its alerts where there were any.
    lines = terminal.read_text().splitlines()
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
