"""canario_sim: a release rehearsed in a simulated world, by the very controller that guards it.

The names below are imported when they are first used: the pytest plugin of this package is loaded
by every test run beside it, and must neither cost time nor need numpy there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from canario.lazy import lazy

if TYPE_CHECKING:
    from .chance.given import Fate, RecordedRequest
    from .reports.json_text import report
    from .reports.timeline import timeline
    from .scenario.expect import Expectation
    from .scenario.load import find_scenarios, library_path, load_scenario, scenario_schema
    from .scenario.scenario import Order, Scenario
    from .world.carrier import Note
    from .world.rehearsal import ArmTotals, Exposure, Run, replay_tape, run

__all__ = [
    "ArmTotals",
    "Expectation",
    "Exposure",
    "Fate",
    "Note",
    "Order",
    "RecordedRequest",
    "Run",
    "Scenario",
    "find_scenarios",
    "library_path",
    "load_scenario",
    "replay_tape",
    "report",
    "run",
    "scenario_schema",
    "timeline",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy(
        __name__,
        {
            "scenario.expect": ("Expectation",),
            "scenario.load": ("find_scenarios", "library_path", "load_scenario", "scenario_schema"),
            "reports.json_text": ("report",),
            "reports.timeline": ("timeline",),
            "world.rehearsal": ("ArmTotals", "Exposure", "Run", "replay_tape", "run"),
            "scenario.scenario": ("Order", "Scenario"),
            "chance.given": ("Fate", "RecordedRequest"),
            "world.carrier": ("Note",),
        },
    )
