"""`canario tune` as people and programs call it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.commands import call
from tests.waiting import PATIENCE, until

from canario.config import load_plan

PLAN = """
[[deployment.canary_stages]]
percentage = 20
hold_seconds = 60

[[deployment.canary_stages]]
percentage = 100
hold_seconds = 60
"""
TABLE = """
rates = [8]

[[profiles]]
name = "steady"
service = { latency = { kind = "lognormal", p50_ms = 80, p95_ms = 160 }, error_rate = 1 }

[[regressions]]
kind = "errors"
points = 50
"""
QUICK = ["--conditions", "table.toml", "--trials", "0", "-n", "8", "--held-out", "8"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "plan.toml").write_text(PLAN, encoding="utf-8")
    (tmp_path / "table.toml").write_text(TABLE, encoding="utf-8")
    return tmp_path


def test_json_and_a_folder_hold_the_same(folder: Path) -> None:
    command = ["tune", "plan.toml", *QUICK, "--json", "--out", "made", "--workers", "1"]
    done = call(*command, folder=folder)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    said = json.loads(done.stdout)
    assert json.loads((folder / "made" / "tune.json").read_bytes()) == said
    assert {"front", "recommended", "heat", "checks", "impossible", "characteristics"} <= set(said)
    plan = load_plan(folder / "made" / "plan.toml")
    limits = said["plan"]["deployment"]["rollback_thresholds"]
    assert plan.deployment.rollback_thresholds.max_error_rate == limits["max_error_rate"]


def test_a_goal_that_is_missed_is_told_and_the_closest_plan_is_written(folder: Path) -> None:
    command = ["tune", "plan.toml", *QUICK, "--within", "1s", "--out", "closest.toml"]
    done = call(*command, folder=folder)
    assert done.returncode == 1, done.stderr
    assert "No plan that was tried meets every goal" in done.stdout
    assert "in time is missed under errors_plus_50-8rps: 0.0 % instead of 99.0 %" in done.stdout
    assert "What cannot be had" in done.stdout
    assert load_plan(folder / "closest.toml").deployment.canary_stages


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--within", "soon"], "'soon' is no duration; write 120s, 5m or 1h"),
        (["--detect", "2"], "2.0 is not in the range"),
        (["--at-most", "-1"], "-1 is not in the range"),
        (["--error-rates", "5,x"], "'5,x' is no list of numbers, such as 2,5,10"),
        (["--error-rates", "200"], "max_error_rate is 200; it must be"),
        (["--latencies", "nan"], "'nan' is no list of numbers"),
        (["--min-samples", "2.5"], "'2.5' is no list of whole numbers"),
        (["--alphas", "2"], "alpha is 2"),
        (["--false-rollback", "0.5", "--detect", "0.4"], "more of the bad releases"),
        (["--workers", "2", "--cluster", "x"], "exclude each other"),
        (["--rate", "5", "--conditions", "table.toml"], "exclude each other"),
        (
            ["--out", "found.json"],
            "found.json: is neither a folder nor a plan's file, which ends in",
        ),
        (["nowhere.toml"], "nowhere.toml: does not exist"),
        (["scenarios/healthy.toml"], "no condition is a bad release"),
        (["scenarios/"], "is not that of every scenario; give the plan's own file as well"),
        (["--rows", "plan.toml"], "is not one of canario tune's files"),
    ],
)
def test_wrong_input_is_one_line(arguments: list[str], said: str, folder: Path) -> None:
    done = call("tune", *arguments, folder=folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_ctrl_c_reports_what_is_done_and_the_same_command_goes_on(folder: Path) -> None:
    rows = folder / "rows.jsonl"
    command = ["plan.toml", "--conditions", "table.toml", "--trials", "1", "-n", "8"]
    command += ["--held-out", "3000", "--workers", "1", "--rows", "rows.jsonl"]
    process = subprocess.Popen(
        [sys.executable, "-m", "canario", "tune", *command],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )

    def has_begun() -> bool:
        assert process.poll() is None, process.communicate()
        return rows.exists() and rows.read_bytes().count(b"held out") > 2

    until(has_begun)
    # Nobody else may write there meanwhile.
    second = call("tune", *command, folder=folder)
    assert second.returncode == 2
    assert "rows.jsonl: is being written by another run; wait for it" in second.stderr
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, err
    assert "Stopped early: the search is not complete." in out
    assert "interrupted; the same command goes on with what is in rows.jsonl" in err
    assert "Traceback" not in err
    there = rows.read_bytes()
    assert there.endswith(b"\n")
    # Another search does not touch it.
    other = call("tune", *command[:-1], "rows.jsonl", "--seed", "2", folder=folder)
    assert other.returncode == 2
    assert "is another search than this one" in other.stderr
    assert rows.read_bytes() == there
