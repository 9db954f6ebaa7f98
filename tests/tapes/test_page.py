"""What docs/tapes.md shows runs, and what it names is there."""

from __future__ import annotations

import asyncio
import re
import shlex
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.tapes.live import live, plan, traffic
from tests.tapes.test_commands import STRICT

from canario.cli.main import cli
from canario_sim.tapes.records import FIELDS

PAGE = (Path(__file__).parents[2] / "docs" / "tapes.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("page")
    (made / "myapp.py").write_text(
        "from starlette.applications import Starlette\n"
        "version_1, version_2 = Starlette(), Starlette()\n"
    )
    for name in ("strict.toml", "plan.toml"):
        (made / name).write_text(STRICT)
    asyncio.run(live(plan(), traffic(3, errors=0.2), made / "traffic.tape.sqlite"))
    lines = [
        f"10.0.0.{n % 40} - - [18/Nov/2026:10:{n // 60:02d}:{n % 60:02d} +0000] "
        f'"GET /items/{n} HTTP/1.1" 200 12 0.{n % 90 + 10:03d}'
        for n in range(1200)
    ]
    (made / "access.log").write_text("\n".join(lines) + "\n")
    return made


def test_its_python_runs(folder: Path) -> None:
    recording, *rest = blocks("python")
    # The recording is begun under the tape's name; the rest reads the one that is there.
    code = recording + "\n".join(rest)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "own plan rolled_back None 0" in done.stdout
    assert "<Recording 'traffic.tape.sqlite'" in done.stdout


def test_its_commands_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    commands = [
        line.removeprefix("$ canario ")
        for line in blocks("console")[0].splitlines()
        if line.startswith("$ canario ")
    ]
    assert len(commands) == 4
    for command in commands:
        done = CliRunner().invoke(cli, shlex.split(command))
        assert done.exit_code == 0, (command, done.output)


def test_its_query_runs(folder: Path) -> None:
    (query,) = re.findall(r'sqlite3 traffic\.tape\.sqlite "([^"]+)"', PAGE)
    with closing(sqlite3.connect(folder / "traffic.tape.sqlite")) as tape:
        found = tape.execute(query).fetchall()
        columns = {row[1] for row in tape.execute("PRAGMA table_info(traffic)")}
    assert {row[0] for row in found} == {"baseline", "canary"}
    documented = set(re.findall(r"`(\w+)`", PAGE.split("| column | |")[1].split("\n\n")[0]))
    assert columns <= documented


def test_every_option_is_told_of(folder: Path) -> None:
    told = set(re.findall(r"--[a-z][a-z-]+", PAGE))
    known = set()
    for name in ("backtest", "calibrate", "tape import", "tape info"):
        known |= set(
            re.findall(r"--[a-z][a-z-]+", CliRunner().invoke(cli, [*name.split(), "--help"]).output)
        )
    assert told - known <= {"--data-urlencode", "--log-config"}
    ordinary = {"--help", "--verbose", "--name", "--plan", "--format", "--salt", "--stamp"}
    assert known - told <= ordinary


def test_every_key_of_a_record_is_told_of() -> None:
    assert all(f"`{field}`" in PAGE for field in FIELDS)
