"""What the documentation shows is executed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import canario
import canario_sim
from canario.config import load_plan
from canario_sim import load_scenario, run

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of one language; "" for those that name none."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [body for named, body in found if named == language]


def marked(name: str) -> list[str]:
    return re.findall(rf"<!-- {name} -->\s*```\w*\n(.*?)```", README, re.DOTALL)


def test_the_readme_has_one_command_to_run_and_one_to_test() -> None:
    (main,) = marked("main")
    (tests,) = marked("tests")
    assert "canario simulate scenarios/" in main
    assert "pytest" in tests
    assert main.count("\n") == tests.count("\n") == 1


def test_the_readme_s_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "myapp.py").write_text(
        "from starlette.applications import Starlette\n"
        "version_1, version_2 = Starlette(), Starlette()\n"
    )
    wrap, execute, observe = marked("run")
    assert len(wrap.strip().replace("\n\n", "\n").splitlines()) == 5
    printed = [
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for code in (wrap, execute, observe)
    ]
    assert printed[0] == printed[2] == ""
    shown = README.split(execute)[1].split("```\n")[2]
    assert printed[1] == shown
    exported = json.loads((tmp_path / "output" / "deployment_metrics.json").read_text())
    assert exported["result"]["rollback_reason"] == "p95_latency"


def test_the_timeline_in_the_readme_is_what_is_printed() -> None:
    said = subprocess.run(
        [sys.executable, "-m", "canario", "simulate", str(ROOT / "scenarios" / "error_spike.toml")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    shown = next(block for block in blocks(README, "") if block.startswith("error_spike"))
    assert [line.rstrip() for line in said.splitlines()][: shown.count("\n")] == [
        line.rstrip() for line in shown.splitlines()
    ]


def test_the_table_of_rehearsals_in_the_readme_is_what_is_printed() -> None:
    folder = ROOT / "examples" / "evaluation_app" / "rehearsals"
    said = subprocess.run(
        [sys.executable, "-m", "canario", "simulate", str(folder)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    shown = next(block for block in blocks(README, "") if block.startswith("scenario "))
    for line in shown.splitlines():
        assert line.rstrip() in [printed.rstrip() for printed in said.splitlines()]


def test_the_plan_in_the_docs_is_valid(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "plan.md").read_text(encoding="utf-8")
    (shown,) = blocks(text, "toml")
    path = tmp_path / "plan.toml"
    path.write_text(shown)
    plan = load_plan(path)
    # Every key of the tables that it shows; those commented out are valid too.
    path.write_text(re.sub(r"^# (\w+ = )", r"\1", shown, flags=re.MULTILINE))
    whole = load_plan(path)
    assert whole.deployment.routing.forced_arms is not None
    assert plan.deployment.canary_stages == whole.deployment.canary_stages


def test_the_scenario_in_the_docs_is_valid(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "scenarios.md").read_text(encoding="utf-8")
    shown, *_ = blocks(text, "toml")
    path = tmp_path / "shown.toml"
    path.write_text(shown)
    assert run(load_scenario(path)).ok
    assert set(tomllib.loads(shown)) <= set(_properties())


def _properties() -> Any:
    from canario_sim import scenario_schema

    return scenario_schema()["$defs"]["Scenario"]["properties"]


def test_every_option_of_the_middleware_is_documented() -> None:
    from inspect import signature

    from canario.asgi import CanaryMiddleware as Asgi
    from canario.gate.options import GateOptions
    from canario.wsgi import CanaryMiddleware as Wsgi

    text = (ROOT / "docs" / "middleware.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))
    for kind in (Asgi, Wsgi):
        own = set(signature(kind).parameters) - {"app", "controller", "options"}
        assert own | set(GateOptions.__annotations__) == documented | {"environ"}


def test_the_first_hour_goes_as_its_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (ROOT / "docs" / "first-hour.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    Path("myapp.py").write_text("async def version_1(*_): ...\nversion_2 = version_1\n")
    plan, scenario = blocks(text, "toml")
    Path("release.toml").write_text(plan)
    Path("rehearsal.toml").write_text(scenario)
    (printed,) = blocks(text, "")
    said = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        for code in blocks(text, "python")
    ]
    assert [done.stdout for done in said] == ["", printed]
    commands = re.findall(r"^canario (.*)$", text, re.MULTILINE)
    assert len(commands) == 3
    for command in commands:
        subprocess.run([sys.executable, "-m", "canario", *command.split()], check=True)


@pytest.mark.parametrize("package", [canario, canario_sim])
def test_the_architecture_names_every_room(package: ModuleType) -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rooms = text.split(f"## The rooms of `{package.__name__}`")[1].split("\n\n")[1]
    first = "\n".join(line.split(" | ")[0] for line in rooms.splitlines())
    named = set(re.findall(r"`(\w+)[/…]*`", first))
    here = Path(str(package.__file__)).parent
    # A folder of another kind is none: a wheel's scenarios, or caches of a room that was moved.
    found = {path.parent.name for path in here.glob("*/__init__.py")}
    found |= {path.stem for path in here.glob("*.py")}
    assert {name for name in found if not name.startswith(("_", "cli", "py"))} <= named
    assert {name for name in named if name not in found} <= {"cli"}


def test_links_of_the_documentation_lead_somewhere() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    for page in pages:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
