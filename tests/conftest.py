"""What holds for every test: where modules are found, how Hypothesis runs, what needs a package."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Tools of the tests and the examples are found from the root of the repository.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests import system_packages

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
