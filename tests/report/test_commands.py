"""`--report` and `--watch`: what is written, what is drawn, what is refused and how."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import junitparser
import pytest
from click.testing import CliRunner
from rich.console import Console
from tests.commands import call
from tests.report.samples import SCENARIOS, rehearsal
from tests.waiting import PATIENCE

from canario_sim import Run, load_scenario, run
from canario_sim.cli.simulate import simulate
from canario_sim.reports import write
from canario_sim.reports.watch import Watch, default_speed

SMALL = """
teaches = "a \\u001b[31msmall\\u001b[0m one"
plan = { deployment = { canary_stages = [{ percentage = 50, hold_seconds = 60 }] } }
traffic = { kind = "poisson", rate = 20 }
baseline = { latency = { kind = "lognormal", p50_ms = 20, p95_ms = 40 } }
"""


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(SMALL + '[expect]\noutcome = "completed"\n')
    return path


# -- --report


def test_a_report_is_written_beside_what_is_printed(small: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    wrong = tmp_path / "wrong.toml"
    wrong.write_text(SMALL + '[expect]\noutcome = "rolled_back"\n')
    options = [f"--report={out / name}" for name in ("r.xml", "r.md", "r.json", "r.csv")]
    said = call("simulate", small, wrong, *options)
    assert said.returncode == 1, said.stderr
    assert "2 rehearsed, 1 as expected, 1 not" in said.stdout
    assert said.stderr == ""
    made = junitparser.JUnitXml.fromfile(str(out / "r.xml"))
    assert (made.tests, made.failures) == (2, 1)
    assert (out / "r.md").read_text().startswith("### ❌ 2 rehearsals")
    assert {path.suffix for path in out.iterdir()} == {".xml", ".md", ".json", ".csv"}


@pytest.mark.parametrize("command", ["simulate", "assess", "tune", "backtest", "calibrate"])
def test_each_command_that_finds_something_out_reports_it(command: str) -> None:
    said = call(command, "--help").stdout
    assert "--report FILE" in said
    assert ".html" in said
    assert (".xml" in said) is (command in ("simulate", "tune", "backtest"))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("r.pdf", "r.pdf ends in none of .html, .md, .xml, .json, .csv, .parquet, .svg, .png"),
        ("r", "ends in none of"),
    ],
)
def test_an_ending_that_is_no_format_is_refused_before_anything_runs(
    small: Path, tmp_path: Path, name: str, says: str
) -> None:
    said = call("simulate", small, "--report", tmp_path / name)
    assert (said.returncode, said.stdout) == (2, "")
    assert says in said.stderr
    assert said.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("suffix", "gone", "says"),
    [
        (".html", {"altair"}, "a .html report needs altair; install with: pip install"),
        (".svg", {"altair", "vl_convert"}, "needs altair, vl_convert; install with"),
        (".parquet", {"polars", "pyarrow"}, "needs polars or pyarrow"),
    ],
)
def test_a_missing_extra_is_one_line(
    small: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    suffix: str,
    gone: set[str],
    says: str,
) -> None:
    from canario_sim.reports import table_files as files

    for module in (write, files):
        monkeypatch.setattr(module, "find_spec", lambda name: None if name in gone else object())
    said = CliRunner().invoke(simulate, [str(small), "--report", str(tmp_path / f"r{suffix}")])
    assert said.exit_code == 1
    assert says in said.output
    assert said.output.count("\n") == 1


def test_text_and_numbers_need_no_library_of_charts(small: Path, tmp_path: Path) -> None:
    """A pipeline that installs `canario[sim]` gets JUnit, Markdown, JSON and CSV."""
    block = (
        "import sys\n"
        "for name in ('altair', 'vl_convert', 'jinja2', 'markupsafe', 'polars', 'pyarrow'):\n"
        "    sys.modules[name] = None\n"
        "from canario.cli.main import run\n"
        "sys.exit(run())\n"
    )
    options = [f"--report={tmp_path / 'out'}.{each}" for each in ("xml", "md", "json", "csv")]
    said = subprocess.run(
        [sys.executable, "-c", block, "simulate", str(small), *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert said.returncode == 0, said.stderr
    assert (tmp_path / "out.xml").exists()
    assert (tmp_path / "out-checks.csv").exists()


def test_help_is_quick_and_imports_no_chart() -> None:
    code = (
        "import sys\n"
        "import canario_sim.cli.simulate, canario_sim.cli.assess, canario_sim.cli.tapes\n"
        "heavy = {'altair', 'vl_convert', 'jinja2', 'numpy', 'simpy', 'rich', 'polars'}\n"
        "print(*heavy & set(sys.modules))\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert said.stdout == b"\n"


def test_a_rehearsal_imports_what_it_runs_and_no_more(small: Path) -> None:
    """Imports are most of what one rehearsal costs."""
    code = (
        "import sys\n"
        "from canario.cli.main import run\n"
        f"sys.argv = ['canario', 'simulate', {str(small)!r}]\n"
        "try:\n"
        "    run()\n"
        "finally:\n"
        "    heavy = {'numpy.ma', 'numba', 'sqlite3', 'canario.slo.monitor', 'altair'}\n"
        "    heavy |= {'canario_sim.tapes.read', 'canario_sim.world.closed.loop'}\n"
        "    print(*heavy & set(sys.modules))\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.endswith(" 0 not\n\n"), said.stdout


# -- --watch


class Time:
    """A clock that sleeping moves."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def watched(name: str, *, terminal: bool, speed: float | None = None) -> tuple[Run, str, Time]:
    scenario = load_scenario(SCENARIOS / f"{name}.toml")
    time_of = Time()
    console = Console(
        force_terminal=terminal,
        width=100,
        record=True,
        highlight=False,
        soft_wrap=True,
        file=open(os.devnull, "w", encoding="utf-8"),  # noqa: SIM115
        color_system="standard" if terminal else None,
    )
    view = Watch(scenario, speed, console=console, clock=time_of.clock, sleep=time_of.sleep)
    with console.file, view:
        made = run(scenario, watch=view)
        text = console.export_text()
    return made, text, time_of


def test_what_is_watched_is_what_is_rehearsed() -> None:
    made, _, _ = watched("error_spike", terminal=True)
    assert made == rehearsal("error_spike")[1]


def test_a_rollout_is_watched_at_a_pace_that_eyes_follow() -> None:
    scenario, made = rehearsal("error_spike")
    _, _, time_of = watched("error_spike", terminal=True)
    assert time_of.now - 100 == pytest.approx(made.ended_at / default_speed(scenario))
    assert sum(time_of.slept) == pytest.approx(time_of.now - 100)
    assert max(time_of.slept) < 1
    _, _, faster = watched("error_spike", terminal=True, speed=1000)
    assert faster.now - 100 == pytest.approx(made.ended_at / 1000)


def test_both_arms_the_share_and_what_happened_are_drawn() -> None:
    _, text, _ = watched("error_spike", terminal=True)
    last = text[text.rindex("error_spike   canary_25") :]
    assert "10 min 15 s" in last
    for words in (
        "share        ▁",
        "error rate   ",
        "canary 10.2 %, limit 10 %",
        "baseline 0.456 %",
        "over 500 ms  ",
        "verdict      unhealthy",
        "fault on the canary starts: 50 % of the requests fail",
        "rolled back, error_rate: 29 of 284 requests failed",
    ):
        assert words in last, words
    assert all(len(line) <= 100 for line in last.splitlines())


def test_where_there_is_no_terminal_each_line_is_printed_once_and_at_once() -> None:
    made, text, time_of = watched("error_spike", terminal=False)
    assert time_of.slept == []
    assert text.count("\n") == len(made.events) + len(made.notes)
    assert "\x1b" not in text
    _, _, slow = watched("error_spike", terminal=False, speed=100)
    assert slow.now - 100 == pytest.approx(6.15)


def test_a_pipe_gets_lines_and_the_table(small: Path) -> None:
    said = call("simulate", small, "--watch")
    assert said.returncode == 0, said.stderr
    assert said.stdout.count("promoted: 100 % of the keys") == 1
    assert "1 rehearsed, 1 as expected" in said.stdout
    # What a file says is no command to a terminal.
    assert "\x1b" not in said.stdout
    assert r"\x1b[31msmall" in said.stdout


def test_options_that_contradict_each_other_are_refused(small: Path) -> None:
    for options, says in (
        (["--watch", "--json"], "--watch and --json exclude each other"),
        (["--speed", "5"], "--speed is the speed of --watch"),
        (["--watch", "--speed", "0"], "--speed"),
    ):
        said = call("simulate", small, *options)
        assert said.returncode == 2
        assert says in said.stderr


def test_ctrl_c_gives_the_terminal_back(small: Path) -> None:
    """A real terminal, and a real Ctrl-C in the middle of the rollout, which takes long enough for
    whoever is to press it, on a busy machine too."""
    pid, terminal = pty.fork()
    if pid == 0:  # pragma: no cover - another process
        os.environ |= {"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "40"}
        os.execv(
            sys.executable,
            [sys.executable, "-m", "canario", "simulate", str(small), "--watch", "--speed", "1"],
        )
    said, pressed, patience = b"", False, time.monotonic() + PATIENCE
    try:
        while time.monotonic() < patience:
            if select.select([terminal], [], [], 0.2)[0]:
                try:
                    said += os.read(terminal, 65536)
                except OSError:
                    break
            if not pressed and b"verdict" in said:
                os.write(terminal, b"\x03")
                pressed = True
        _, status = os.waitpid(pid, 0)
        pid = 0
    finally:
        if pid:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        os.close(terminal)
    text = said.decode()
    assert os.waitstatus_to_exitcode(status) == 130
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)
    assert re.search(r"canario: small was interrupted at .+ of the rollout\r?\n$", plain)
    assert "Traceback" not in plain
    # The cursor is shown again after it was hidden.
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")
