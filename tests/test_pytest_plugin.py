"""The pytest plugin: scenario files are tests, and tests may write scenarios."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import junitparser
import pytest
import yaml
from tests.waiting import PATIENCE

from canario_sim import library_path, load_scenario, run

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.usefixtures("lean_pytest")

GOOD = """
teaches = "ten minutes without anything wrong"
[plan.deployment]
canary_stages = [{ percentage = 50, hold_seconds = 60 }]
[traffic]
kind = "poisson"
rate = 5
[baseline]
latency = { kind = "lognormal", p50_ms = 20, p95_ms = 40 }
[expect]
outcome = "completed"
"""


def pytest_in(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Another pytest, in a project of its own, with the plugin as it is installed.

    Plugins of others, which take most of its start, stay out.
    """
    others = ["-p", "no:faker", "-p", "no:hypothesispytest", "-p", "no:anyio"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *others, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def test_a_folder_of_scenarios_is_run_and_each_is_a_test(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # With no word of ours: pytest finds the plugin by itself, where canario is installed.
    monkeypatch.delenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD")
    monkeypatch.delenv("PYTEST_PLUGINS")
    for name in ("healthy", "error_spike", "contract_violation_first_minute"):
        (tmp_path / "scenarios").mkdir(exist_ok=True)
        shutil.copy(library_path() / f"{name}.toml", tmp_path / "scenarios")
    done = pytest_in(tmp_path, "scenarios/", "-v")
    assert done.returncode == 0, done.stdout
    assert "3 passed" in done.stdout
    assert "healthy.toml::healthy PASSED" in done.stdout


def test_a_failure_shows_expected_against_actual_and_the_timeline(tmp_path: Path) -> None:
    wrong = GOOD.replace('"completed"', '"rolled_back"')
    write(tmp_path / "scenarios" / "wrong.toml", wrong)
    done = pytest_in(tmp_path, "scenarios/")
    assert done.returncode == 1
    assert "> outcome: expected rolled_back, actual completed" in done.stdout
    assert "stage canary_50 entered" in done.stdout
    assert "Traceback" not in done.stdout
    assert "pytest_plugin.py" not in done.stdout


def test_a_wrong_file_fails_with_what_is_wrong(tmp_path: Path) -> None:
    write(tmp_path / "scenarios" / "bad.toml", GOOD.replace("rate = 5", "rate = -5"))
    done = pytest_in(tmp_path, "scenarios/")
    assert done.returncode == 1
    assert "bad.toml: traffic.rate" in done.stdout


def test_other_toml_files_are_left_alone(tmp_path: Path) -> None:
    write(tmp_path / "pyproject.toml", "[project]\nname = 'x'\n")
    write(tmp_path / "other" / "data.toml", "a = 1\n")
    write(tmp_path / "test_it.py", "def test_it(): pass\n")
    done = pytest_in(tmp_path)
    assert "1 passed" in done.stdout, done.stdout


def test_the_globs_may_be_set_and_a_file_may_be_named(tmp_path: Path) -> None:
    write(tmp_path / "pytest.ini", "[pytest]\ncanario_scenarios = releases/*.toml\n")
    write(tmp_path / "releases" / "one.toml", GOOD)
    write(tmp_path / "elsewhere" / "two.toml", GOOD)
    assert "1 passed" in pytest_in(tmp_path).stdout
    assert "1 passed" in pytest_in(tmp_path, "elsewhere/two.toml").stdout


def test_the_seed_may_be_set(tmp_path: Path) -> None:
    write(tmp_path / "scenarios" / "wrong.toml", GOOD.replace('"completed"', '"held"'))
    done = pytest_in(tmp_path, "scenarios", "--scenario-seed=7")
    assert "seed 7: not as expected" in done.stdout


def test_a_test_may_write_a_scenario(tmp_path: Path) -> None:
    write(tmp_path / "mine.toml", GOOD)
    write(
        tmp_path / "test_release.py",
        "from msgspec.structs import replace\n"
        "from canario_sim import Scenario, load_scenario\n"
        "from canario_sim.scenario.expect import Expect\n"
        "def test_passes(rehearse):\n"
        "    run = rehearse('mine.toml')\n"
        "    assert run.outcome == 'completed'\n"
        "def test_fails(rehearse):\n"
        "    scenario = replace(load_scenario('mine.toml'), expect=Expect(outcome='held'))\n"
        "    rehearse(scenario, seed=3)\n",
    )
    done = pytest_in(tmp_path)
    assert "1 failed, 1 passed" in done.stdout, done.stdout
    assert "seed 3: not as expected" in done.stdout


LUCKY = GOOD.replace('"completed"', '"rolled_back"\nchance = 0.5').replace(
    "[baseline]",
    '[[faults]]\nkind = "outage"\nonset = { kind = "once", probability = 50 }\n[baseline]',
)


def test_a_seed_that_is_not_as_expected_by_chance_is_marked_and_fails_nothing(
    tmp_path: Path,
) -> None:
    write(tmp_path / "scenarios" / "lucky.toml", LUCKY)
    lucky = load_scenario(tmp_path / "scenarios" / "lucky.toml")
    missed = next(seed for seed in range(20) if run(lucky, seed).by_chance)
    write(
        tmp_path / "test_release.py",
        f"def test_it(rehearse):\n    rehearse('scenarios/lucky.toml', seed={missed})\n",
    )
    options = ["-v", "-n", "2", "--junit-xml=out.xml", f"--scenario-seed={missed}"]
    done = pytest_in(tmp_path, *options, "scenarios", "test_release.py")
    assert done.returncode == 0, done.stdout
    assert "2 by chance" in done.stdout
    assert "BY CHANCE" in done.stdout
    assert 'name="canario" value="by chance"' in (tmp_path / "out.xml").read_text()


def test_the_share_of_seeds_may_be_tested(tmp_path: Path) -> None:
    write(tmp_path / "scenarios" / "lucky.toml", LUCKY)
    write(tmp_path / "scenarios" / "sure.toml", LUCKY.replace("chance = 0.5", ""))
    write(tmp_path / "test_it.py", "def test_it(rehearse):\n    rehearse('scenarios/sure.toml')\n")
    done = pytest_in(tmp_path, "scenarios", "test_it.py", "--scenario-seeds=12")
    assert done.returncode == 1
    assert "2 failed, 1 " in done.stdout, done.stdout
    assert "it says under any seed: make its world robust" in done.stdout
    assert "Traceback" not in done.stdout
    assert pytest_in(tmp_path, "scenarios", "--scenario-seeds=0").returncode == 4


def test_the_plugin_costs_other_runs_nothing(tmp_path: Path) -> None:
    write(
        tmp_path / "test_it.py",
        "import sys\ndef test_it():\n    assert not {'numpy', 'simpy'} & set(sys.modules)\n",
    )
    done = pytest_in(tmp_path)
    assert "1 passed" in done.stdout, done.stdout


@pytest.mark.parametrize(
    ("option", "offer"), [("--fixtures", "rehearse"), ("--help", "--scenario-seed")]
)
def test_it_tells_what_it_offers(tmp_path: Path, option: str, offer: str) -> None:
    assert offer in pytest_in(tmp_path, option).stdout


def test_the_example_in_the_docs_passes(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    write(tmp_path / "test_shown.py", shown)
    (tmp_path / "scenarios").mkdir()
    shutil.copy(library_path() / "healthy.toml", tmp_path / "scenarios")
    assert "1 passed" in pytest_in(tmp_path, "test_shown.py").stdout


def test_the_failure_in_the_docs_is_what_is_printed(tmp_path: Path) -> None:
    write(tmp_path / "scenarios" / "wrong.toml", GOOD.replace('"completed"', '"rolled_back"'))
    printed = pytest_in(tmp_path, "scenarios/").stdout
    text = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"```\n(scenario wrong.*?)```", text, re.DOTALL)
    assert shown in printed


@pytest.mark.parametrize("good", [True, False])
def test_the_workflow_gates_a_release_on_scenarios_and_posts_what_came(
    tmp_path: Path, good: bool
) -> None:
    """Its own commands, in an app's repository; those of other programs are left to them."""
    workflow = (ROOT / "examples" / "github_actions" / "release.yml").read_text(encoding="utf-8")
    jobs = yaml.safe_load(workflow)["jobs"]
    assert jobs["deploy"]["needs"] == "rehearse"
    write(tmp_path / "plan.toml", "[deployment]\ndeployment_id = 'v7'\n")
    wanted = '"completed"' if good else '"rolled_back"'
    write(tmp_path / "scenarios" / "one.toml", GOOD.replace('"completed"', wanted))
    summary = tmp_path / "summary.md"
    codes = {}
    for step in jobs["rehearse"]["steps"]:
        command = step.get("run", "")
        if command.startswith(("canario ", "pytest ", "cat ")):
            done = subprocess.run(
                command.replace("canario ", f"{sys.executable} -m canario ", 1)
                if command.startswith("canario ")
                else command.replace("pytest ", f"{sys.executable} -m pytest ", 1),
                shell=True,
                cwd=tmp_path,
                env=os.environ | {"GITHUB_STEP_SUMMARY": str(summary)},
                capture_output=True,
                check=False,
                timeout=PATIENCE,
            )
            codes[command.split()[0] + command.split()[1]] = done.returncode
    failed = 0 if good else 1
    assert codes == {
        "canarioplan": 0,
        "canariosimulate": failed,
        "pytestscenarios/": failed,
        "catreports/rehearsals.md": 0,
    }
    assert summary.read_text(encoding="utf-8").startswith("### ✅ " if good else "### ❌ ")
    for name in ("rehearsals.xml", "pytest.xml"):
        made = junitparser.JUnitXml.fromfile(str(tmp_path / "reports" / name))
        assert (made.failures or sum(suite.failures for suite in made)) == failed
    assert (tmp_path / "reports" / "rehearsals.html").stat().st_size > 500_000
    (comment,) = [
        step["run"] for step in jobs["rehearse"]["steps"] if "gh pr comment" in step.get("run", "")
    ]
    assert comment.split()[-1] == "reports/rehearsals.md"
