"""What commands cost before they do anything: mostly imports.

python -m benchmarks.startup [--quick]
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from .measure import Rounds, Row, Table, Timer, options, ratio_text, report, rounds_of, time_text

ROOT = Path(__file__).resolve().parents[1]

SCENARIOS = ROOT / "scenarios"
ONE = SCENARIOS / "healthy.toml"

# What nobody can do without who looks for plugged-in commands and prints their help; who rehearses
# anything and draws it; who makes charts.
FLOORS = {
    "help": "import click; from importlib.metadata import entry_points; entry_points()",
    "one": "import numpy.random, simpy, click, rich.table, importlib.metadata",
    "charts": "import altair, jinja2",
}


def main() -> None:
    """Measure everything and print the tables."""
    quick = options("What commands cost before they do anything.")
    with tempfile.TemporaryDirectory() as folder:
        report([commands(Path(folder), 2 if quick else 7), first(Path(folder), 1 if quick else 3)])


def commands(folder: Path, rounds: int) -> Table:
    """The commands that everybody begins with."""
    page = folder / "page.html"
    variants: dict[str, Timer] = {
        f"floor of {name}": partial(_seconds, "-c", code) for name, code in FLOORS.items()
    }
    variants |= {
        "python": partial(_seconds, "-c", "pass"),
        "help": partial(_canario, "--help"),
        "one": partial(_canario, "simulate", str(ONE)),
        "all": partial(_canario, "simulate", str(SCENARIOS)),
        "report": partial(_canario, "simulate", str(ONE), "--report", str(page)),
    }
    measured = rounds_of(variants, rounds)
    least = {name: min(seconds) for name, seconds in measured.seconds.items()}
    added = least["report"] - least["one"]
    charts = least["floor of charts"] - least["python"]
    return Table(
        "Commands, from the start of the process to its end",
        [
            _row("`canario --help`", least["help"], 0.15, _beside(measured, "help")),
            _row(
                "`canario simulate` of one scenario", least["one"], 0.45, _beside(measured, "one")
            ),
            _row(
                f"of all {len(list(SCENARIOS.glob('*.toml')))} in `scenarios/`",
                least["all"],
                4.5,
                ratio_text(least["all"] / least["one"], "one scenario"),
            ),
            _row(
                "`--report page.html` adds",
                added,
                1.5,
                ratio_text(added / charts, "importing Altair and Jinja"),
            ),
            Row("Python alone", time_text(least["python"])),
        ],
        "CPU time of the whole process, its system's too, least of "
        f"{rounds}: what disturbs a start only adds to it. Beside each stands what it cannot do "
        "without: for the help click and a look for the entry points of all packages that are "
        "installed, for a rehearsal NumPy, SimPy, click and rich. Of all scenarios, a quarter of "
        "the time loads what is compiled for those whose requests act on each other, and the "
        "controller's checks are most of the rest. The bundle of charts has been kept by an "
        "earlier report.",
    )


def first(folder: Path, rounds: int) -> Table:
    """A command of an installation that has compiled nothing."""

    def fresh() -> float:
        with tempfile.TemporaryDirectory(dir=folder) as empty:
            return _canario(
                "simulate", str(SCENARIOS / "retry_storm.toml"), environ={"NUMBA_CACHE_DIR": empty}
            )

    seconds = min(rounds_of({"fresh": fresh}, rounds).seconds["fresh"])
    return Table(
        "The first rehearsal whose requests act on each other",
        [_row("`canario simulate scenarios/retry_storm.toml`", seconds, 4.0, "")],
        "CPU time as above, where the engine has never been compiled: 90,000 requests are carried "
        f"interpreted, which takes about 30 µs each. Least of {rounds}.",
    )


def _beside(measured: Rounds, name: str) -> str:
    return ratio_text(measured.ratio(name, f"floor of {name}"), "what it imports at least")


def _row(what: str, seconds: float, aim: float, compared: str) -> Row:
    return Row(what, time_text(seconds), compared, f"≤ {aim:g} s", seconds <= aim)


def _canario(*arguments: str, environ: Mapping[str, str] | None = None) -> float:
    return _seconds("-m", "canario", *arguments, environ=environ)


def _seconds(*arguments: str, environ: Mapping[str, str] | None = None) -> float:
    """CPU time of a Python process, in user's and in system's mode, and of its children."""
    before = os.times()
    subprocess.run(
        [sys.executable, *arguments],
        stdout=subprocess.DEVNULL,
        # Sources are compiled once for an installation, whatever this process was told.
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": ""} | dict(environ or {}),
        check=True,
    )
    after = os.times()
    return (
        after.children_user + after.children_system - before.children_user - before.children_system
    )


if __name__ == "__main__":
    main()
