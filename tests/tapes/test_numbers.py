"""What no controller can have been told is no row of a tape, and no number of a scenario."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tests.middleware.asgi_tools import Controller

from canario import Outcome
from canario.cli.main import cli
from canario.tape import TapeRecorder
from canario.tape.format import TapeError
from canario_sim import load_scenario
from canario_sim.tapes.read import read_tape

ROWS: list[tuple[str, Any]] = [
    ("at", 9e999),
    ("at", 1e300),
    ("ended", -1e300),
    ("arm", 7),
    ("arm", 300),
    ("arm", "canary"),
    ("outcome", 3),
    ("outcome", -1),
    ("outcome", "bad"),
    ("latency_ms", 9e999),
    ("latency_ms", -1.0),
    ("latency_ms", 1e12),
    ("latency_ms", "fast"),
    ("bucket", 100_000),
    ("route", 9),
]


@pytest.fixture
def tape(tmp_path: Path) -> Path:
    path = tmp_path / "a.tape"
    recorder = TapeRecorder(path)
    controller = Controller(clock=None)
    controller.record_to(recorder)
    controller.start()
    for _ in range(3):
        controller.observe("canary", Outcome.GOOD, 10.0)
        controller.observe("canary", Outcome.BAD)
    assert recorder.close(10)
    assert len(read_tape(path).at) == 6
    return path


@pytest.mark.parametrize(("column", "value"), ROWS, ids=str)
def test_a_row_that_is_none_is_refused_by_name(tape: Path, column: str, value: Any) -> None:
    with closing(sqlite3.connect(tape)) as file:
        file.execute("PRAGMA ignore_check_constraints = on")
        file.execute(f"UPDATE requests SET {column} = ? WHERE n = 1", (value,))
        file.commit()
    with pytest.raises(TapeError, match=r"has arm|has at|has \w+ .*; it must be|another kind"):
        read_tape(tape)


HEAD = 'teaches = "Numbers."\n[traffic]\nkind = "poisson"\nrate = {rate}\n[baseline]\n{latency}\n'
LATENCY = 'latency = {{ kind = "lognormal", p50_ms = {p50}, p95_ms = {p95} }}'
SCENARIOS = {
    "rate is 1e+308; it must be at most": {"rate": "1e308"},
    "up to 1e+07 requests per second": {"rate": "1e7"},
    "it is nan": {"rate": "nan"},
    "p95_ms is 1e+308; it must be at most": {"p95": "1e308"},
    "p50_ms is 1e-300; it must be at least": {"p50": "1e-300"},
}


@pytest.mark.parametrize("says", SCENARIOS)
def test_a_scenario_whose_numbers_lead_nowhere_is_refused(tmp_path: Path, says: str) -> None:
    numbers = {"rate": "20", "p50": "60", "p95": "110", **SCENARIOS[says]}
    path = tmp_path / "s.toml"
    path.write_text(
        HEAD.format(rate=numbers["rate"], latency=LATENCY.format(**numbers))
        + "[canary]\n"
        + LATENCY.format(**numbers)
    )
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the words are looked at
        load_scenario(path)
    assert says in str(caught.value)


@pytest.mark.parametrize("value", ["nan", "inf", "-1.0", "1e308"])
@pytest.mark.parametrize("place", ["points", "values"])
def test_numbers_in_lists_are_refused_too(tmp_path: Path, place: str, value: str) -> None:
    traffic = 'kind = "poisson"\nrate = 20'
    latency = LATENCY.format(p50=60, p95=110)
    if place == "points":
        traffic = f'kind = "schedule"\npoints = [[0, 10], [60, {value}]]'
    else:
        latency = f'latency = {{ kind = "empirical", values_ms = [10.0, {value}] }}'
    path = tmp_path / "s.toml"
    path.write_text(
        f'teaches = "Numbers."\n[traffic]\n{traffic}\n[baseline]\n{latency}\n[canary]\n{latency}\n'
    )
    with pytest.raises(ValueError, match="finite number"):
        load_scenario(path)


@pytest.mark.parametrize(
    "arguments",
    [
        ["calibrate", "a.log", "--rate", "nan"],
        ["tape", "import", "a.log", "--out", "a.tape", "--limit-ms", "inf"],
        ["assess", "s.toml", "--precision", "nan"],
        ["assess", "s.toml", "--replications", "999999999999"],
        ["tune", "s.toml", "--alphas", "0.01,nan"],
        ["tune", "s.toml", "--false-rollback", "nan"],
        ["simulate", "s.toml", "--seeds", "999999999999"],
    ],
    ids=" ".join,
)
def test_an_option_takes_no_number_that_is_none_or_takes_days(
    tmp_path: Path, arguments: list[str]
) -> None:
    names = {"s.toml", "a.log"} & set(arguments)
    for name in names:
        (tmp_path / name).write_text("")
    placed = [str(tmp_path / each) if each in names else each for each in arguments]
    done = CliRunner().invoke(cli, placed)
    assert done.exit_code == 2
    assert arguments[-2] in done.stderr
    assert "nan" in done.stderr or "is not" in done.stderr
