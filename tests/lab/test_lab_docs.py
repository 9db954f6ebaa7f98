"""What the pages about the laboratory show is run, and what they say of defaults is so."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from msgspec import NODEFAULT
from msgspec.structs import fields
from tests.waiting import PATIENCE

from canario_sim.lab import Conditions
from canario_sim.peers import PRESETS

DOCS = Path(__file__).parents[2] / "docs"
ASSESS = (DOCS / "assess.md").read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [body for named, body in found if named == language]


def test_the_example_prints_what_the_page_shows(tmp_path: Path) -> None:
    release, ours = blocks(ASSESS, "toml")
    (tmp_path / "release.toml").write_text(release)
    (tmp_path / "ours.toml").write_text(ours)
    command, others = blocks(ASSESS, "sh")
    assert command.startswith("canario assess release.toml")
    assert all(name in others for name in PRESETS)
    done = subprocess.run(
        [sys.executable, "-m", *command.split()],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    said = [line.rstrip() for line in done.stdout.splitlines()]
    shown = [line.rstrip() for line in blocks(ASSESS, "")[0].splitlines()]
    assert [line for line in shown if line not in said] == ["…"]
    assert len(shown) > 15


def test_the_python_runs(tmp_path: Path) -> None:
    (code,) = blocks(ASSESS, "python")
    (tmp_path / "script.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 2 * 3
    assert re.fullmatch(r"steady-1rps ours: \d\.\d\d \[\d\.\d\d, \d\.\d\d\]", lines[0])


def _said(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, tuple):
        return "/".join(f"{each:g}" for each in value)
    return f"{value:g}" if isinstance(value, int | float) else str(value)


@pytest.mark.parametrize("name", PRESETS)
def test_every_setting_of_a_peer_is_documented_with_its_default(name: str) -> None:
    part = ASSESS.split(f"**`{name}`**")[1].split("**`")[0].split("[f1]:")[0]
    documented = dict(re.findall(r"^\| `(\w+)` \| ([^|]+?) \|", part, re.MULTILINE))
    actual = {field.name: _said(field.default) for field in fields(PRESETS[name])}
    assert all(field.default is not NODEFAULT for field in fields(PRESETS[name]))
    assert documented == actual


def test_the_table_of_conditions_is_documented_with_its_size() -> None:
    keys = re.findall(r"^\| `(rates|profiles|regressions)` \|", ASSESS, re.MULTILINE)
    assert keys == [field.name for field in fields(Conditions)]
    table = Conditions()
    number = len(table.rates) * (len(table.profiles) + len(table.regressions))
    assert f"a table of {number}:" in ASSESS
    assert len(table.regressions) == 11


def test_every_column_of_a_report_is_documented() -> None:
    from canario_sim.lab import Characteristics

    for field in fields(Characteristics):
        if field.name not in ("condition", "kind", "policy", "replications", "rolled_back_by"):
            assert f"`{field.name}`" in ASSESS


def test_the_page_about_clusters_runs_and_names_its_command(tmp_path: Path) -> None:
    page = (DOCS / "cluster.md").read_text(encoding="utf-8")
    (code,) = blocks(page, "python")
    (tmp_path / "script.py").write_text(code)
    subprocess.run([sys.executable, "script.py"], cwd=tmp_path, check=True)
    assert "python -m benchmarks.laboratory\n" in blocks(page, "sh")
    assert (DOCS.parent / "benchmarks" / "laboratory.py").exists()
