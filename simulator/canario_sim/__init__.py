"""canario_sim: a release rehearsed in a simulated world, by the very controller that guards it."""

from .expect import Expectation
from .load import find_scenarios, library_path, load_scenario, scenario_schema
from .reporting import report, timeline
from .runner import ArmTotals, Exposure, Run, replay_tape, run
from .scenario import Order, Scenario
from .tape import Fate, RecordedRequest
from .world import Note

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
