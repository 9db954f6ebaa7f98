"""What the tests themselves must be: true on a busy machine, and on one that has only Python."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from tests import system_packages
from tests.waiting import PATIENCE

TESTS = Path(__file__).parent
ONE = "tests/slo/test_prometheus_rules.py::test_promtool_accepts_them"


def suites() -> Iterator[Path]:
    yield from (path for path in TESTS.rglob("*.py") if "compat" not in path.parts)


def test_no_example_fails_for_the_time_that_it_takes() -> None:
    own = settings()
    assert own.deadline is None
    assert HealthCheck.too_slow in own.suppress_health_check
    assert own.print_blob


def test_no_test_sets_a_deadline_of_its_own() -> None:
    """In `settings(…)`; and a health check that is a clock is not switched on again."""
    for path in suites():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and ast.unparse(node.func) == "settings"):
                continue
            given = {word.arg: ast.unparse(word.value) for word in node.keywords}
            assert given.get("deadline", "None") == "None", path
            checks = given.get("suppress_health_check", "too_slow")
            assert "too_slow" in checks, path


def without_programs(tmp_path: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """A test that needs promtool, where only Python is installed."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", ONE],
        cwd=TESTS.parent,
        env={**os.environ, "PATH": str(tmp_path), system_packages.REQUIRED: "", **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )


def test_what_needs_a_system_package_is_skipped_counted_and_told(tmp_path: Path) -> None:
    ran = without_programs(tmp_path)
    assert ran.returncode == 0, ran.stdout
    assert "3 skipped" in ran.stdout
    assert (
        "3 tests were skipped for want of promtool; to run them: apt-get install prometheus\n"
        in ran.stdout
    )


def test_where_nothing_may_be_skipped_it_fails(tmp_path: Path) -> None:
    ran = without_programs(tmp_path, **{system_packages.REQUIRED: "1"})
    assert ran.returncode == 1
    assert "needs promtool, which is not installed: apt-get install prometheus" in ran.stdout
    assert f"{system_packages.REQUIRED}=1 lets nothing be skipped" in ran.stdout


def test_ci_skips_nothing() -> None:
    script = TESTS.parent / ".ci" / "run"
    if not script.exists():  # the tests alone, beside an installed wheel
        pytest.skip("only a checkout has the script of CI")
    assert f"export {system_packages.REQUIRED}=1\n" in script.read_text(encoding="utf-8")


@pytest.mark.parametrize("program", system_packages.PACKAGES)
def test_every_program_has_a_package(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.delenv(system_packages.REQUIRED, raising=False)
    with pytest.raises(pytest.skip.Exception) as skipped:
        system_packages.need(program)
    (line,) = system_packages.summary([str(skipped.value)] * 3)
    package = system_packages.PACKAGES[program]
    assert line == (
        f"3 tests were skipped for want of {program}; to run them: apt-get install {package}"
    )
