"""docs/alerts.md: its examples run, and its tables are what the code does."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import fields
from tests.sinks.receivers import ALERT, OVER
from tests.sinks.records import Records

from canario.alerts import AlertBook, AlertType, Severity
from canario.control import events
from canario.control.violation import Violation
from canario.judges.verdict import Trigger, Verdict, VerdictKind
from canario.plan import Deployment
from canario.sinks import LogSink, OpenTelemetryEvents, SlackSink, WebhookSink
from canario.slo import SLOMonitor
from canario.testing import ManualClock

PAGE = (Path(__file__).parents[2] / "docs" / "alerts.md").read_text(encoding="utf-8")
RUN = re.findall(r"<!-- run -->\s*```python\n(.*?)```", PAGE, re.DOTALL)
DEPLOYMENT = Deployment(deployment_id="v2")
VIOLATION = Violation(
    message="no score",
    contract="evaluation",
    rule="required",
    path="/a",
    route="/evaluate",
    trace_id="a" * 32,
)
VERDICT = Verdict(
    kind=VerdictKind.UNHEALTHY,
    samples=20,
    needed=10,
    why="why",
    trigger=Trigger.ERROR_RATE,
    observed=20.0,
    limit=10.0,
)
# Something for each field that an event may have.
VALUES: dict[str, Any] = {
    "at": 1_700_000_000.0,
    "since": 1_699_999_400.0,
    "deployment": DEPLOYMENT,
    "stage": 1,
    "percentage": 25.0,
    "verdict": VERDICT,
    "samples": 3,
    "without_key": 3,
    "key_sources": ("user",),
    "needed": 10,
    "violation": VIOLATION,
    "reason": events.RollbackReason.ERROR_RATE,
}


def rows(after: str) -> list[list[str]]:
    """The cells of the table that follows a text."""
    lines = PAGE[PAGE.index(after) :].split("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def names(cell: str) -> set[str]:
    return set(re.findall(r"`([^`]+)`", cell))


def emitted() -> dict[str, Any]:
    """One record of every event there is, with everything that it can say."""
    records = Records()
    emit = OpenTelemetryEvents(records.provider)
    for kind in events.Event.__args__:
        given = {f.name: VALUES[f.name] for f in fields(kind) if f.name in VALUES}
        emit(kind(**given), DEPLOYMENT)
    emit.violation(VIOLATION, at=0.0, arm="canary", deployment_id="v2")
    for alert in (ALERT, OVER):
        from msgspec.structs import replace

        emit(replace(alert, rule="14.4x"))
    return {record.event_name: record for record in records.all}


@pytest.mark.parametrize("code", RUN)
def test_an_example_runs(code: str) -> None:
    exec(compile(code, "docs/alerts.md", "exec"), {"__name__": "page"})


def test_every_log_event_and_every_attribute_is_listed() -> None:
    listed = {}
    for event, severity, attributes in rows("| event | severity | attributes |"):
        (name,) = names(event)
        listed[name] = (severity, names(attributes))
    same = listed["canario.alert.firing"][1]
    severity, more = listed["canario.alert.resolved"]
    listed["canario.alert.resolved"] = (severity, more | same)
    found = emitted()
    assert set(found) == set(listed)
    for name, record in found.items():
        severity, known = listed[name]
        assert set(record.attributes) == known, name
        assert record.severity_number.name == severity.split()[0], name


def test_every_type_is_listed_with_the_severity_that_it_has() -> None:
    listed = {kind: severity for kind, severity, _ in rows("| type | severity | fires when |")}
    assert {f"`{kind}`" for kind in AlertType} == set(listed)
    monitor = SLOMonitor(clock=ManualClock(1000))
    monitor.record_request("a", True, 1.0)
    for condition in monitor.conditions():
        if condition.alert_type is not AlertType.BURN_RATE:
            assert listed[f"`{condition.alert_type}`"] == condition.severity
    assert {Severity(each) for each in listed.values() if each.isupper()} == set(Severity)


@pytest.mark.parametrize(
    ("head", "kind", "others"),
    [
        ("| `AlertBook(…)` |", AlertBook, set()),
        ("| `WebhookSink(url, …)` | meaning", WebhookSink, {"url", "environ"}),
    ],
)
def test_options_and_defaults_are_those_of_the_code(head: str, kind: Any, others: Any) -> None:
    listed: dict[str, str] = {}
    for option, _, default in rows(head):
        listed |= dict.fromkeys(names(option), default)
    parameters = inspect.signature(kind).parameters
    assert set(listed) == set(parameters) - others
    for name, default in listed.items():
        value = parameters[name].default
        if isinstance(value, int | float):
            assert float(re.split("[: ]", default)[0]) == value, name


def test_the_sinks_of_the_page_exist() -> None:
    for kind in (LogSink, WebhookSink, SlackSink, OpenTelemetryEvents):
        assert f"`{kind.__name__}(" in PAGE
        assert kind.inline
