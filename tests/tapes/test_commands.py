"""`canario backtest`, `tape` and `calibrate`, as a person and as a program calls them."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.tapes.live import live, plan, traffic

from canario.cli.main import cli, run
from canario_sim import load_scenario

STRICT = """
[deployment]
canary_stages = [
    { percentage = 20, hold_seconds = 30 },
    { percentage = 60, hold_seconds = 21.5 },
    { percentage = 100, hold_seconds = 10 },
]
[deployment.rollback_thresholds]
max_error_rate = 2.0
min_samples = 5
metric_window_seconds = 20
check_interval_seconds = 2
"""


def call(*args: object, code: int = 0) -> Result:
    result = CliRunner().invoke(cli, [str(arg) for arg in args])
    assert result.exit_code == code, result.output
    return result


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("tapes")
    asyncio.run(live(plan(min_samples=20), traffic(3, errors=0.2), made / "bad.tape.sqlite"))
    (made / "strict.toml").write_text(STRICT)
    lines = [
        f"10.0.0.{n % 40} - - [18/Nov/2026:{n // 1200:02d}:{n // 20 % 60:02d}:{3 * (n % 20):02d} "
        f'+0000] "GET /items/{n} HTTP/1.1" {500 if n % 50 == 0 else 200} 12 "-" "curl" '
        f"0.{n % 90 + 10:03d}"
        for n in range(3000)
    ]
    (made / "access.log").write_text("\n".join([*lines, "nonsense", ""]))
    return made


def test_a_rollout_is_judged_by_its_own_plan_and_by_others(folder: Path) -> None:
    said = call(
        "backtest", folder / "bad.tape.sqlite", folder / "strict.toml", "--policy", "argo", "-v"
    ).output
    assert "what happened  rolled_back, error_rate" in said
    assert "as it happened" in said
    assert "strict: rolled back, error_rate" in said
    assert "its share is always what it was, so this is exact" in said
    assert "an estimate from" in said
    assert "stage canary_20 entered" in said


def test_programs_get_all_of_it(folder: Path) -> None:
    args = ("backtest", folder / "bad.tape.sqlite", folder / "strict.toml", "--json")
    document = json.loads(call(*args).output)
    assert document["tape"]["whole"]
    own, strict = document["policies"]
    assert own["same_journal"]
    assert strict["policy"] == "strict"
    assert strict["events"][-1]["event"] == "rolled_back"
    assert call(*args).output == call(*args).output


def test_a_tape_that_contradicts_its_plan_fails(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "changed.tape.sqlite"
    shutil.copy(folder / "bad.tape.sqlite", path)
    with closing(sqlite3.connect(path)) as tape:
        tape.execute("UPDATE requests SET outcome = 0")
        tape.commit()
    result = call("backtest", path, code=1)
    assert "does not give back its journal" in result.output


def test_a_log_becomes_a_tape_and_a_canary_that_changes_nothing(
    folder: Path, tmp_path: Path
) -> None:
    tape = tmp_path / "month.tape"
    said = call("tape", "import", folder / "access.log", "--out", tape).output
    assert "3,000 requests of 3,001 lines, 1 left out" in said
    assert "request times are seconds, instants the end of a request" in said
    assert "(line 3001)" in said
    facts = call("tape", "info", tape).output
    assert "3,000 requests of 40 users" in facts
    assert "routes: /items/{id}" in facts
    assert json.loads(call("tape", "info", tape, "--json").output)["tape"]["errors"] == 60
    said = call("backtest", tape, folder / "strict.toml", "--as", "canary").output
    assert "rolled back" in said
    alarms = json.loads(call("backtest", tape, "--as", "canary", "--every", 300, "--json").output)[
        "alarms"
    ]
    assert alarms[0]["policy"] == "the defaults"
    assert alarms[0]["windows"][1]["start"] - alarms[0]["windows"][0]["start"] == 300
    strict = ("backtest", tape, folder / "strict.toml", "--as", "canary")
    call(*strict, "--at-most", 100)
    call(*strict, "--at-most", 0, code=1)


def test_a_scenario_is_fitted_and_runs(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "fitted.toml"
    said = call("calibrate", folder / "access.log", "--out", out).output
    assert "poisson" in said
    assert "held out" in said
    assert load_scenario(out).name == "fitted"
    assert "fitted" in call("simulate", out).output
    text = call("calibrate", folder / "bad.tape.sqlite", "--no-routes", "--name", "bad").output
    assert text.startswith("# Fitted to bad.tape.sqlite")
    assert "[plan.deployment]" in text
    fits = json.loads(call("calibrate", folder / "access.log", "--json").output)
    assert fits["arms"][0]["fits"][0]["aic"] is not None


def test_a_report_has_q_q_plots(folder: Path, tmp_path: Path) -> None:
    page, picture, tables = (tmp_path / f"fit{suffix}" for suffix in (".html", ".svg", ".csv"))
    call(
        "calibrate", folder / "access.log", "--out", tmp_path / "fitted.toml", "--no-routes",
        "--report", page, "--report", picture, "--report", tables,
    )  # fmt: skip
    assert "Q-Q plot" in page.read_text()
    assert picture.read_text().startswith("<svg")
    assert "fitted (ms)" in picture.read_text()
    assert {file.name for file in tmp_path.glob("*.csv")} == {
        "fit-traffic.csv",
        "fit-latency-baseline.csv",
        "fit-q-q-baseline.csv",
    }


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["backtest", "{folder}/access.log"], "is no tape and no plan; `canario tape import`"),
        (["backtest", "nothing.tape"], "nothing.tape: does not exist"),
        (["backtest", "{folder}/strict.toml"], "give at least one tape"),
        (["backtest", "{folder}/bad.tape.sqlite", "--every", "5"], "--every needs --as canary"),
        (["backtest", "{folder}/bad.tape.sqlite", "--policy", "x"], "is neither NAME=PLAN_FILE"),
        (
            ["backtest", "{folder}/bad.tape.sqlite", "--policy", "own plan={folder}/strict.toml"],
            "own plan: is the name of another policy too",
        ),
        (["backtest", "{folder}/bad.tape.sqlite", "--as", "canary", "--policy", "argo"], "not one"),
        (["tape", "info", "{folder}/access.log"], "is no tape"),
        (["tape", "import", "{folder}/strict.toml", "--out", "x.tape"], "cannot be read as log"),
        (
            ["tape", "import", "{folder}/access.log", "--out", "{folder}/bad.tape.sqlite"],
            "is there already",
        ),
        (["tape", "import", "{folder}/access.log", "--out", "x", "--map", "at"], "is no KEY=NAME"),
        (["tape", "import", "{folder}/access.log", "--out", "x", "--errors", "9"], "is no list of"),
        (
            ["tape", "import", "{folder}/access.log", "--out", "x", "--secret-env", "NOT_THERE"],
            "NOT_THERE",
        ),
        (["calibrate", "{folder}/access.log", "--out", "x.json"], "a scenario file ends in .toml"),
        (["calibrate", "{folder}/strict.toml"], "cannot be read as log"),
    ],
)
def test_bad_input_is_one_line(
    args: list[str],
    message: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["canario", *(arg.format(folder=folder) for arg in args)])
    with pytest.raises(SystemExit) as exit_:
        run()
    said = capsys.readouterr().err
    assert exit_.value.code == 2, said
    assert message in said
    assert said.count("\n") == 1


def test_names_from_logs_cannot_move_the_cursor(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "a.jsonl"
    record = {"at": 1.0, "latency_ms": 5, "ok": True, "route": "/[bold]x[/bold]\x1b[2J"}
    log.write_text("".join(json.dumps(record | {"at": float(n)}) + "\n" for n in range(300)))
    call("tape", "import", log, "--out", tmp_path / "a.tape")
    said = call("tape", "info", tmp_path / "a.tape").output
    assert "\x1b" not in said
    assert r"/[bold]x[/bold]\x1b[2J" in said
    assert "\x1b" not in call("calibrate", log, "--out", tmp_path / "a.toml").output
