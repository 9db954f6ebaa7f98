"""The release of the evaluation app, live under uvicorn and rehearsed: the same end both ways."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from canario_sim import load_scenario, run

ROOT = Path(__file__).parents[2]
REHEARSALS = ROOT / "examples" / "evaluation_app" / "rehearsals"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def served(*arguments: str) -> Iterator[str]:
    """The release's address, once it answers."""
    url = f"http://127.0.0.1:{(port := free_port())}"
    command = [sys.executable, "-m", "examples.evaluation_app", "--port", str(port), *arguments]
    server = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    try:
        for _ in range(200):
            assert server.poll() is None, server.communicate()[1]
            try:
                fetch(f"{url}/health")
                break
            except urllib.error.URLError:
                time.sleep(0.05)
        yield url
    finally:
        server.terminate()
        server.communicate(timeout=10)


def fetch(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=10) as response:
        return json.load(response)


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
    with served(*arguments, "--journal", str(journal)) as url:
        users = [sys.executable, "-m", "examples.evaluation_app.users", "--url", url]
        options = ["--rate", "12", "--seconds", "90", "--until-done"]
        sent = subprocess.run(
            [*users, *options], cwd=ROOT, capture_output=True, text=True, timeout=120, check=True
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


def test_a_wrong_plan_is_refused_before_anything_is_served(tmp_path: Path) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text("deploymnet = {}")
    said = subprocess.run(
        [sys.executable, "-m", "examples.evaluation_app", "--plan", str(plan)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert said.returncode == 2
    assert "deploymnet: unknown key; did you mean deployment?" in said.stderr
