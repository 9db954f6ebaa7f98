"""What holds for every test: where modules are found, how Hypothesis runs, what needs a package."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# Tools of the tests and the examples are found from the root of the repository.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests import system_packages

# A process that a test starts finds the packages compiled, and need not do it again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# How long an example takes says how busy the machine is, so no example fails for that; in CI the
# examples are the same in every run of a commit, and what fails can be repeated from its blob.
settings.register_profile(
    "canario",
    deadline=None,
    derandomize="CI" in os.environ,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("canario")

# What takes longest begins first, so that no worker is left alone with it at the end.
LONG = (
    "tests/examples/test_release.py",
    "tests/tuning/test_docs_tune.py",
    "tests/test_benchmarks.py",
    "tests/tuning/test_search.py",
    "tests/test_pytest_plugin.py",
    "tests/simulator/test_closed.py",
    "tests/simulator/test_laws.py",
    "tests/report/test_browser.py",
    "tests/test_simulate.py",
    "tests/report/test_formats.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that take longest first."""
    root = Path(__file__).resolve().parents[1]
    rank = {root / name: number for number, name in enumerate(LONG)}
    items.sort(key=lambda item: rank.get(item.path, len(LONG)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give a file to one worker, so that what its tests share is made once."""
    from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]

    if config.option.dist != "load":
        return None  # somebody has asked for another way
    config.option.loadscopereorder = False  # it puts first where most tests are
    return LoadFileScheduling(config, log)


@pytest.fixture
def lean_pytest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other runs of pytest load these plugins alone: whatever else is installed costs seconds."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTEST_PLUGINS", "canario_sim.pytest_plugin,xdist.plugin")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was skipped since a system package is not installed, a line for each."""
    skipped = terminalreporter.stats.get("skipped", [])
    for line in system_packages.summary(str(report.longrepr) for report in skipped):
        terminalreporter.write_line(line, yellow=True)
