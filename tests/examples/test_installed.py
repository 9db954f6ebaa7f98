"""The example says what it needs, and the extra `examples` has it."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# As the README's first command leaves a machine: nothing but Python and the simulator.
WITHOUT = """
import runpy, sys
for name in ("httpx", "starlette", "uvicorn", "prometheus_client"):
    sys.modules[name] = None
runpy.run_module(sys.argv[1], run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize("module", ["examples.evaluation_app", "examples.evaluation_app.users"])
def test_what_is_not_installed_is_named_with_the_command_that_installs_it(module: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", WITHOUT, module, "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 1
    assert re.fullmatch(
        r"the example needs \w+; install it with: pip install '\.\[examples\]'\n", ran.stderr
    )
    assert ran.stdout == ""


def test_the_extra_has_what_the_example_imports() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    declared = set(map(_name, project["dependencies"]))
    waiting = ["examples"]
    while waiting:
        for each in extras[waiting.pop()]:
            ours = re.fullmatch(r"canario\[(.*)\]", each)
            if ours:
                waiting += ours[1].split(",")
            else:
                declared.add(_name(each))
    imported: set[str] = set()
    for path in (ROOT / "examples").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                imported.add(node.module.partition(".")[0])
    homes = packages_distributions()
    own = {"__future__", "canario", "canario_sim", "examples"}
    foreign = {name for name in imported - own if name not in sys.stdlib_module_names}
    assert {"httpx", "starlette", "uvicorn"} <= foreign
    for name in foreign:
        assert any(_name(each) in declared for each in homes[name]), name


def test_the_readme_installs_it_first() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"<!-- example -->\n```sh\n(.*?)```", readme, re.DOTALL)
    install, serve, send = block.splitlines()
    assert install == "pip install -q '.[examples]'"
    assert serve.startswith("python -m examples.evaluation_app ")
    assert send.startswith("python -m examples.evaluation_app.users ")


def _name(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found is not None
    return found[0].lower().replace("_", "-")
