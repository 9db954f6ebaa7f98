"""Pytest plugin: keeps every test's outcome. It is loaded bare and wrapped alike."""

from __future__ import annotations

import pytest

from .outcomes import Outcomes

_outcomes = Outcomes()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Called for the setup, the call and the teardown of every test."""
    if report.when == "call" or not report.passed:
        _outcomes.add(report.nodeid, _outcome(report), report.longreprtext)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Called when all tests have run."""
    _outcomes.write()


def _outcome(report: pytest.TestReport) -> str:
    if hasattr(report, "wasxfail"):
        return "xfailed" if report.skipped else "xpassed"
    if report.failed and report.when != "call":
        return f"error in {report.when}"
    return report.outcome
