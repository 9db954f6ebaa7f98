"""The page about reports: what it shows is run, and its pictures are what is drawn."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from nbclient import NotebookClient
from tests.report.samples import SCENARIOS, alarms, odds, rehearsal, tape, tuning
from tests.waiting import PATIENCE

from canario_sim.reports import report_of, show, write_reports
from canario_sim.reports.report import Report
from canario_sim.reports.write import FORMATS

# Without types.
nbformat: Any = import_module("nbformat.v4")
DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "reports.md").read_text(encoding="utf-8")
(PYTHON,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_the_python_runs(tmp_path: Path) -> None:
    (tmp_path / "scenarios").symlink_to(SCENARIOS)
    done = subprocess.run(
        [sys.executable, "-c", PYTHON], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "rehearsal.md").read_text().startswith("### ✅ Rehearsal of error\\_spike")
    assert (tmp_path / "rehearsal-checks.csv").exists()


def test_a_notebook_draws_the_page_in_its_cell(tmp_path: Path) -> None:
    (tmp_path / "scenarios").symlink_to(SCENARIOS)
    notebook = nbformat.new_notebook(cells=[nbformat.new_code_cell(PYTHON)])
    client = NotebookClient(
        notebook,
        timeout=PATIENCE,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    )
    client.execute()
    (output,) = notebook.cells[0].outputs
    page = output["data"]["text/html"]
    assert page.startswith('<iframe srcdoc="&lt;!doctype html&gt;')
    assert 'sandbox="allow-scripts"' in page
    assert page.count("<") == 2
    assert output["data"]["text/plain"].startswith("Rehearsal of error_spike")


def test_the_commands_are_those_that_exist() -> None:
    shown = re.findall(r"^canario (\w+) (.*--report.*)$", PAGE, re.MULTILINE)
    assert {command for command, _ in shown} == {
        "simulate",
        "assess",
        "tune",
        "backtest",
        "calibrate",
    }
    for _, words in shown:
        for name in re.findall(r"--report (\S+)", words):
            assert Path(name).suffix in FORMATS


def test_every_format_is_in_the_table() -> None:
    rows = re.findall(r"^\| (`\..*?) \|", PAGE, re.MULTILINE)
    assert set(re.findall(r"`(\.\w+)`", " ".join(rows))) == set(FORMATS)


def test_the_picture_of_the_page_is_what_is_drawn(tmp_path: Path) -> None:
    """Its words and numbers; where they stand depends on the fonts of a machine."""

    def words(path: Path) -> list[str]:
        root = ElementTree.parse(path).getroot()
        return [element.text or "" for element in root.iter() if element.tag.endswith("text")]

    scenario, made = rehearsal("error_spike")
    written = write_reports(report_of(made, scenario), [tmp_path / "error_spike.svg"])
    assert words(written[0]) == words(DOCS / "images" / "error_spike-rollout.svg")
    for name in re.findall(r"\(images/([^)]+)\)", PAGE):
        assert (DOCS / "images" / name).stat().st_size < 150_000


def test_whatever_is_found_out_has_a_report() -> None:
    _, made = rehearsal("healthy")
    commands = {report_of(found).command for found in (made, odds(), tuning(), tape(), alarms())}
    assert commands == {"simulate", "assess", "tune", "backtest"}
    report = Report(command="mine", title="t", summary=("s",), ok=None)
    assert report_of(report) is report
    assert repr(show(report)) == "t\ns"
    with pytest.raises(TypeError, match="int has no report"):
        report_of(5)  # type: ignore[arg-type]
