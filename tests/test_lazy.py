"""Packages whose names are imported when they are first used look as if they had them all."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAZY = [
    ".".join(path.parent.relative_to(folder).parts)
    for folder in (ROOT / "middleware", ROOT / "simulator")
    for path in sorted(folder.rglob("__init__.py"))
    if "= lazy(" in path.read_text(encoding="utf-8")
]


def test_there_are_such_packages() -> None:
    assert {"canario", "canario.slo", "canario.sinks", "canario_sim", "canario_sim.tapes"} <= {
        *LAZY
    }


@pytest.mark.parametrize("name", LAZY)
def test_every_name_is_there_and_in_its_list(name: str) -> None:
    package = import_module(name)
    listed = dir(package)
    for each in package.__all__:
        assert each in listed
        assert getattr(package, each) is getattr(package, each)
    with pytest.raises(AttributeError, match=f"module '{name}' has no attribute 'no_such_name'"):
        package.no_such_name  # noqa: B018 - asking for it is what fails


def test_the_version_costs_no_other_name() -> None:
    code = "import sys, canario; print(canario.__version__, 'msgspec' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.endswith(" False\n")


def test_a_type_checker_knows_a_name_that_is_none(tmp_path: Path) -> None:
    """`__getattr__` is hidden from it, or it would take any name for one of the package's."""
    file = tmp_path / "wrong.py"
    file.write_text("from canario import Plan, Plam\n")
    said = subprocess.run(
        [sys.executable, "-m", "mypy", "--cache-dir", str(tmp_path / "cache"), str(file)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert 'Module "canario" has no attribute "Plam"' in said.stdout, said.stdout
    assert said.stdout.count("error:") == 1
