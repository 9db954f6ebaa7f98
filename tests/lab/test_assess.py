"""`canario assess`: what it takes, what it says, and how it ends."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tests.lab.worlds import here

from canario.__main__ import main
from canario.cli.main import cli
from canario_sim import library_path
from canario_sim.lab import executor

PLAN = """
[deployment]
canary_stages = [{ percentage = 20, hold_seconds = 20 }, { percentage = 60, hold_seconds = 20 }]
"""
STRICT = PLAN + "rollback_thresholds = { max_error_rate = 1 }\n"
TABLE = """
rates = [10]
regressions = [{ kind = "errors", points = 30 }, { kind = "errors", factor = 2 }]
"""
SCENARIO = """
teaches = "what is taught"
plan = "plan.toml"
traffic = { kind = "poisson", rate = 10 }
baseline = { latency = { kind = "lognormal", p50_ms = 80, p95_ms = 160 } }
"""
FAULT = 'faults = [{ kind = "errors", rate = 80 }]\n'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    # In this process: that real ones give the same is for other tests.
    monkeypatch.setattr("canario_sim.lab.processes", lambda _: here())
    (tmp_path / "plan.toml").write_text(PLAN)
    (tmp_path / "strict.toml").write_text(STRICT)
    (tmp_path / "table.toml").write_text(TABLE)
    (tmp_path / "scenarios").mkdir()
    (tmp_path / "scenarios" / "plan.toml").write_text(PLAN)
    releases = tmp_path / "releases"
    releases.mkdir()
    (releases / "fine.toml").write_text(SCENARIO.replace("plan.toml", "../plan.toml"))
    (releases / "worse.toml").write_text(SCENARIO.replace("plan.toml", "../plan.toml") + FAULT)
    return tmp_path


def call(*arguments: str, n: int = 5) -> Result:
    return CliRunner().invoke(cli, ["assess", *arguments, "-n", str(n)], standalone_mode=False)


def report(*arguments: str, n: int = 5) -> Any:
    done = call(*arguments, "--json", n=n)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return json.loads(done.stdout)


@pytest.mark.usefixtures("folder")
def test_what_there_is_to_say_is_said_on_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ("plan.toml", "--conditions", "table.toml", "--json")
    quiet = call(*arguments, n=30)
    monkeypatch.setattr(executor, "FIRST_ANSWER_SECONDS", 1e-9)
    told = call(*arguments, n=30)
    assert told.stdout == quiet.stdout
    assert quiet.stderr == ""
    assert re.match(r"canario: after \d+ s, \d+ of \d+ replications, some \d+", told.stderr)
    assert "canario:     A good release is rolled back most often in" in told.stderr


@pytest.mark.usefixtures("folder")
def test_a_plan_is_assessed_under_a_table_of_conditions() -> None:
    found = report("plan.toml", "--conditions", "table.toml", n=8)
    assert found["complete"]
    assert [each["name"] for each in found["policies"]] == ["plan"]
    assert [each["condition"] for each in found["characteristics"]] == [
        *("steady-10rps", "errors_plus_30-10rps", "errors_x2-10rps"),
        *("noisy-10rps", "slow_tail-10rps"),
    ]
    assert {each["replications"] for each in found["characteristics"]} == {8}
    for each in found["characteristics"]:
        # What the issue lists: probabilities and quantiles, each with its interval.
        for name in ("rolled_back", "promoted", "undecided"):
            assert 0 <= each[name]["low"] <= each[name]["value"] <= each[name]["high"] <= 1
        for name in (
            *("seconds_to_rollback", "seconds_to_promotion"),
            *("bad_requests", "users", "budget_burnt"),
        ):
            assert [one["q"] for one in each[name]] in ([0.5, 0.9, 0.99], [])
            assert all(one["low"] <= one["value"] <= one["high"] for one in each[name])
    caught = found["characteristics"][1]
    assert caught["rolled_back"]["value"] == 1
    assert len(caught["seconds_to_rollback"]) == 3


@pytest.mark.usefixtures("folder")
def test_without_a_table_there_is_one() -> None:
    found = report("plan.toml", n=1)
    kinds = [each["kind"] for each in found["conditions"]]
    assert (kinds.count("healthy"), kinds.count("regression")) == (9, 33)


@pytest.mark.usefixtures("folder")
def test_a_folder_of_scenarios_is_assessed_by_their_own_plans() -> None:
    found = report("releases")
    assert [(each["name"], each["kind"], each["about"]) for each in found["conditions"]] == [
        ("fine", "healthy", "what is taught"),
        ("worse", "regression", "what is taught"),
    ]
    assert found["policies"] == [{"name": "own plan", "deployment": None, "peer": None}]
    fine, worse = found["characteristics"]
    assert fine["promoted"]["value"] == worse["rolled_back"]["value"] == 1


@pytest.mark.usefixtures("folder")
def test_a_plan_judges_scenarios_and_other_policies_stand_beside_it() -> None:
    found = report(
        *("plan.toml", "releases/fine.toml", "releases/worse.toml"),
        *("--policy", "strict=strict.toml", "--policy", "flagger:interval_seconds=10"),
        *("--policy", "argo", "--policy", "lax=argo:failure_limit=3", "--policy", "kayenta"),
    )
    policies = {each["name"]: each for each in found["policies"]}
    assert list(policies) == [
        *("plan", "strict", "flagger:interval_seconds=10", "argo", "lax", "kayenta"),
    ]
    assert policies["lax"]["peer"]["failure_limit"] == 3
    assert policies["strict"]["deployment"]["rollback_thresholds"]["max_error_rate"] == 1
    assert len(found["characteristics"]) == 2 * 6
    assert len(found["differences"]) == 2 * 5


@pytest.mark.usefixtures("folder")
def test_scenarios_are_graded() -> None:
    given = ("releases/fine.toml", "--graded")
    names = [each["name"] for each in report(*given, n=1)["conditions"]]
    # This service has no errors, so no multiple of them is more: that is told, and left out.
    assert names[:2] == ["healthy-fine", "errors_plus_1-fine"]
    assert "errors_x2 is left out" in call(*given, n=1).stderr
    table = report("releases/fine.toml", "--conditions", "table.toml", n=1)
    assert [each["name"] for each in table["conditions"]] == [
        "healthy-fine",
        "errors_plus_30-fine",
    ]


@pytest.mark.usefixtures("folder")
def test_the_same_seed_gives_the_same_bytes_and_another_one_others() -> None:
    given = ("plan.toml", "--conditions", "table.toml", "--json")
    first, again, other = call(*given), call(*given), call(*given, "--seed", "2")
    assert first.stdout == again.stdout
    assert first.stdout != other.stdout


def test_files_are_written(folder: Path) -> None:
    said = call("releases", "--out", "new/out", "--rows", "rows/rows.jsonl", "--json")
    assert (folder / "new/out/assess.json").read_bytes() == said.stdout.encode()
    lines = list(csv.DictReader(io.StringIO((folder / "new/out/assess.csv").read_text())))
    assert [line["condition"] for line in lines] == ["fine", "worse"]
    assert (folder / "rows/rows.jsonl").read_bytes().count(b"\n") == 1 + 2 * 5


@pytest.mark.usefixtures("folder")
def test_it_goes_on_until_it_is_precise_enough() -> None:
    found = report("releases", "--precision", "0.04", n=5000)
    assert [each["replications"] for each in found["characteristics"]] == [100, 100]
    for each in found["characteristics"]:
        width = each["rolled_back"]["high"] - each["rolled_back"]["low"]
        assert width / 2 <= 0.04
    wide = report("releases", "--confidence", "0.5", n=10)["characteristics"]
    narrow = report("releases", "--confidence", "0.99", n=10)["characteristics"]
    assert wide[0]["rolled_back"]["high"] < narrow[0]["rolled_back"]["high"]


@pytest.mark.usefixtures("folder")
def test_it_says_what_stands_out() -> None:
    said = call("releases", "--policy", "mine=strict.toml").stdout
    assert "Releases as good as what they replace" in said
    assert "Every bad release was rolled back: in 56.6 % of the rollouts at least." in said
    assert "Against own plan, on the very same requests" in said


BAD = [
    ([], "Missing argument"),
    (["nothing.toml"], "nothing.toml: does not exist"),
    (["plan.toml", "--policy", "spinnaker"], "presets are flagger, argo, kayenta"),
    (["plan.toml", "--policy", "a="], "neither NAME=PLAN_FILE"),
    (["plan.toml", "--policy", "a=b.toml"], "b.toml: cannot be read"),
    (["plan.toml", "--policy", "argo:limit=3"], "'limit' is no key of argo"),
    (["plan.toml", "--policy", "x=argo:count=0"], "count"),
    (["plan.toml", "--policy", "argo", "--policy", "argo"], "'argo' is given twice"),
    (["plan.toml", "--policy", "plan=strict.toml"], "is the name of another policy too"),
    (["plan.toml", "plan.toml"], "--policy NAME=FILE gives it another"),
    (["releases", "releases/fine.toml"], "'fine' is the name of"),
    (["plan.toml", "--conditions", "plan.toml"], "deployment: unknown key"),
    (["plan.toml", "--graded"], "--graded is about scenarios"),
    (["plan.toml", "--precision", "0"], "0<x<1"),
    (["plan.toml", "--confidence", "1"], "0<x<1"),
    (["plan.toml", "--workers", "0"], "1<=x"),
    (["plan.toml", "--workers", "1", "--cluster", "tcp://a:1"], "exclude each other"),
    (["plan.toml", "--cluster", "no-address"], "cannot be used"),
    (["plan.toml", "--rows", "releases"], "is a directory"),
    (["releases", "--rows", "plan.toml"], "plan.toml: line 1"),
    (["releases", "--out", "plan.toml"], "is a file"),
    (["releases/fine.toml", "--rows", "/proc/none/rows.jsonl"], "cannot be used"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=[" ".join(each) for each, _ in BAD])
@pytest.mark.usefixtures("folder")
def test_bad_input_is_one_line_and_exit_code_2(
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.argv", ["canario", "assess", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert re.fullmatch(r"canario: [^\n]+\n", told), told
    assert message in told


def test_help_names_the_presets_and_imports_nothing_heavy() -> None:
    import subprocess

    code = (
        "import sys\n"
        "sys.argv = ['canario', 'assess', '--help']\n"
        "from canario.__main__ import main\n"
        "try:\n"
        "    main()\n"
        "finally:\n"
        "    print(sorted({'numpy', 'simpy', 'rich', 'distributed'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    for word in ("flagger", "argo", "kayenta", "--cluster", "--rows"):
        assert word in done.stdout
    assert done.stdout.rstrip().endswith("[]")


@pytest.mark.usefixtures("folder")
def test_the_library_is_assessed_where_no_folder_is_called_scenarios(tmp_path: Path) -> None:
    (tmp_path / "scenarios" / "plan.toml").unlink()
    (tmp_path / "scenarios").rmdir()
    found = report("scenarios/healthy.toml", n=1)
    assert found["conditions"][0]["name"] == "healthy"
    assert (library_path() / "healthy.toml").exists()
