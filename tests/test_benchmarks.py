"""Every benchmark runs and fills its tables. How fast anything is, no test asks."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.system_packages import need
from tests.waiting import PATIENCE

ROOT = Path(__file__).parents[1]

AIMS = {
    "core": {"≤ 5 µs", "≤ 10 MB"},
    "middleware": {"≤ 5 µs", "≤ 1/30", "≤ 1/10", "≤ 1.25 × bare"},
    "instructions": {"≤ + 30,000"},
    "tracing": {"≤ 70 µs", "< 1 µs"},
    "slo": {"≤ 400 ns", "≤ 30 µs", "≤ 10 MB"},
    "tapes": {"≤ 1 µs"},
    "judges": {"≤ 0.1 %", "≤ 1 %", "≤ 1.5 ×", "≤ 2 ×"},
    "sharing": {"≤ 100 ms", "≤ 250 ms", "≤ 0.5 %", "≤ 0.5 s"},
    "startup": {"≤ 0.15 s", "≤ 0.45 s", "≤ 4.5 s", "≤ 1.5 s", "≤ 4 s"},
    "simulation": {"≥ 100 × faster", "≥ 50 × faster", "≤ 0.15 core-hours"},
    "queues": {"≥ 50 × faster"},
    "laboratory": {"≥ 10,000 per core-hour", "≤ 0.15 core-hours"},
    "tuning": {"≤ 5 % more"},
}


def tables(text: str) -> list[list[list[str]]]:
    """The Markdown tables in `text`: rows of cells, without the head."""
    found = re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE)
    return [
        [[cell.strip() for cell in line[1:-1].split("|")] for line in table.splitlines()[2:]]
        for table in found
    ]


@pytest.mark.parametrize("name", AIMS)
def test_a_quick_run_fills_every_table(name: str) -> None:
    if name == "instructions":
        need("valgrind")
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", "--quick"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        timeout=PATIENCE,
        check=True,
    )
    rows = [row for table in tables(done.stdout.decode()) for row in table]
    for what, measured, _, aim, outcome in rows:
        assert re.search(r"\d", measured), what
        assert bool(aim) == (outcome in ("reached", "**short of the aim**")), what
    assert {row[3] for row in rows} - {""} == AIMS[name]


def test_the_page_names_the_command_of_each_table_and_has_every_row() -> None:
    page = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    sections = page.split("\n## ")[1:]
    assert len(sections) == len(AIMS)
    for section, (name, aims) in zip(sections, AIMS.items(), strict=True):
        assert f"python -m benchmarks.{name}\n" in section
        rows = [row for table in tables(section) for row in table]
        assert all(re.search(r"\d", measured) for _, measured, *_ in rows)
        assert {row[3] for row in rows} - {""} == aims
