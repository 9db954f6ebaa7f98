"""How far it is, where one looks: in a real terminal, in a real notebook, and nowhere else."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.waiting import PATIENCE

pytest.importorskip("pty")

ROOT = Path(__file__).parents[2]

PLAN = """
[deployment]
canary_stages = [{ percentage = 20, hold_seconds = 20 }, { percentage = 60, hold_seconds = 20 }]
"""
TABLE = 'rates = [20]\nregressions = [{ kind = "errors", points = 20 }]\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "plan.toml").write_text(PLAN)
    (tmp_path / "table.toml").write_text(TABLE)
    return tmp_path


COMMAND = [
    *(sys.executable, "-m", "canario", "assess", "plan.toml", "--conditions", "table.toml"),
    *("-n", "150", "--workers", "1"),
]


def in_a_terminal(folder: Path) -> tuple[str, str]:
    """Standard output, which is no terminal, and what a terminal on stderr was sent."""
    import pty

    master, slave = pty.openpty()
    with subprocess.Popen(
        COMMAND,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=slave,
        text=True,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"},
    ) as process:
        os.close(slave)
        drawn = b""
        patience = time.monotonic() + PATIENCE
        while time.monotonic() < patience:
            try:
                part = os.read(master, 65_536)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            drawn += part
        assert process.stdout is not None
        said = process.stdout.read()
        assert process.wait(PATIENCE) == 0
    os.close(master)
    return said, drawn.decode()


def test_a_terminal_shows_a_bar_with_rate_and_time_left_and_is_left_clean(folder: Path) -> None:
    said, drawn = in_a_terminal(folder)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawn)
    frames = re.findall(r"replications .*?(\d+)/600", plain)
    assert frames
    assert [int(frame) for frame in frames] == sorted(int(frame) for frame in frames)
    assert int(frames[-1]) == 600
    assert re.search(r"[\d.]+/s", plain)
    assert re.search(r"left: \d:\d\d:\d\d", plain)
    # Transient: at the end the line is erased and the cursor shown again.
    assert "\x1b[2K" in drawn
    assert drawn.rindex("\x1b[?25h") > drawn.rindex("600/600")
    assert "replications" not in said
    assert "false rollback" in said


def test_where_nobody_looks_nothing_is_drawn(folder: Path) -> None:
    done = subprocess.run(COMMAND, cwd=folder, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0
    assert done.stderr == ""


def test_a_notebook_shows_it_in_the_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat = pytest.importorskip("nbformat")
    from nbclient import NotebookClient

    # The kernel finds these tests' own experiment; two processes do the work, as in a terminal.
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    cell = (
        "from canario_sim.lab import ProgressBar, processes, replicate\n"
        "from tests.lab.worlds import experiment\n"
        "with ProgressBar() as bar:\n"
        "    made = replicate(experiment(), processes(1), most=80, progress=bar)\n"
        "print(made.complete, len(made.rows))\n"
    )
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)])
    updates: list[dict[str, object]] = []

    class Client(NotebookClient):
        def process_message(self, msg, cell, cell_index):  # type: ignore[no-untyped-def]
            if msg["msg_type"] in ("display_data", "update_display_data"):
                updates.append(msg["content"]["data"])
            return super().process_message(msg, cell, cell_index)

    Client(notebook, timeout=PATIENCE, kernel_name="python3").execute()
    outputs = notebook.cells[0].outputs
    printed = "".join(each.text for each in outputs if each.output_type == "stream")
    assert printed == "True 320\n"
    displays = [each for each in outputs if each.output_type == "display_data"]
    assert len(displays) == 1
    # One output, drawn again and again; it ends with all of them done.
    assert len(updates) > 3
    last = displays[0].data
    assert "160/160" in last["text/plain"]
    assert "160/160" in last["text/html"]
    assert re.search(r"[\d.]+/s", last["text/plain"])
    assert "left:" in last["text/plain"]
