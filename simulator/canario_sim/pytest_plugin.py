"""Scenarios as tests: `pytest scenarios/` rehearses every file, and tests may write their own.

Numpy and SimPy are imported when a scenario runs, so that the plugin costs other test runs
nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from canario.config import ConfigError
from canario.printable import printable, printable_lines

if TYPE_CHECKING:
    from .scenario.scenario import Scenario
    from .world.rehearsal import Run

__all__ = ["Rehearse", "rehearse"]

_INI = "canario_scenarios"
_SUFFIXES = (".toml", ".json")


class Rehearse(Protocol):
    """What the fixture `rehearse` is."""

    def __call__(self, scenario: Scenario | str | Path, seed: int | None = None) -> Run:
        """Rehearse a scenario, or the one in a file; fail the test if it is not as it expects."""


# What a test is marked with that is not as expected by chance: pytest has no word for it.
_BY_CHANCE = ("canario", "by chance")


class UnexpectedShareError(Exception):
    """A scenario that is as expected under another share of seeds than it says."""


class UnexpectedEndError(Exception):
    """A rehearsal that did not come to what its scenario expects."""

    def __init__(self, run: Run) -> None:
        self.run = run
        super().__init__(_story(run))


def pytest_addoption(parser: pytest.Parser) -> None:
    """The folders whose files are scenarios, and the seed."""
    parser.addini(
        _INI,
        "Globs of the scenario files that are collected as tests (canario).",
        type="args",
        default=["scenarios/*.toml", "scenarios/*.json"],
    )
    group = parser.getgroup("canario")
    group.addoption(
        "--scenario-models",
        action="store_true",
        help="Run the Python code that scenarios name as their models. Only for files that you "
        "trust.",
    )
    group.addoption(
        "--scenario-seed",
        type=int,
        default=None,
        metavar="SEED",
        help="Seed of every scenario, instead of its own.",
    )
    group.addoption(
        "--scenario-seeds",
        type=int,
        default=None,
        metavar="N",
        help="Rehearse every scenario under N seeds, and test whether it is as expected under as "
        "many as it says: under any, or a share (its chance).",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Refuse what is no number of seeds."""
    seeds: int | None = config.getoption("--scenario-seeds")
    if seeds is not None and seeds < 1:
        raise pytest.UsageError(f"--scenario-seeds is {seeds}; it must be at least 1")


def pytest_report_teststatus(
    report: pytest.CollectReport | pytest.TestReport,
) -> tuple[str, str, tuple[str, dict[str, bool]]] | None:
    """A test that passed although a rehearsal in it was not as expected, by chance."""
    marked = isinstance(report, pytest.TestReport) and _BY_CHANCE in map(
        tuple, report.user_properties
    )
    if marked and report.when == "call" and report.passed:
        return "by chance", "c", ("BY CHANCE", {"yellow": True})
    return None


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> ScenarioFile | None:
    """Collect a scenario: a file that the globs name, or that was named on the command line."""
    if file_path.suffix not in _SUFFIXES:
        return None
    globs: list[str] = parent.config.getini(_INI)
    if any(file_path.match(glob) for glob in globs) or parent.session.isinitpath(file_path):
        made: ScenarioFile = ScenarioFile.from_parent(parent, path=file_path)
        return made
    return None


class ScenarioFile(pytest.File):
    """One scenario file."""

    def collect(self) -> Iterator[pytest.Item]:
        """Its one test, named after the file."""
        item: ScenarioItem = ScenarioItem.from_parent(self, name=self.path.stem)
        yield item


class ScenarioItem(pytest.Item):
    """The rehearsal of one scenario file."""

    def runtest(self) -> None:
        """Rehearse it. Raises for a wrong file and for an end that it does not expect."""
        from .scenario.load import load_scenario

        scenario = load_scenario(self.path, models=self.config.getoption("--scenario-models"))
        self.add_report_section("call", "teaches", printable_lines(scenario.teaches))
        _rehearse(self, scenario, None)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> str:
        """The story of the rehearsal, or what is wrong with the file: no traceback of ours."""
        if isinstance(excinfo.value, UnexpectedEndError | UnexpectedShareError | ConfigError):
            return printable_lines(str(excinfo.value))
        return str(super().repr_failure(excinfo, style))

    def reportinfo(self) -> tuple[Path, None, str]:
        """What pytest prints of it."""
        return self.path, None, f"scenario {self.name}"


@pytest.fixture
def rehearse(request: pytest.FixtureRequest) -> Rehearse:
    """Rehearse a scenario that a test has made, or one in a file beside the test.

    Returns the `Run`. A scenario whose `expect` does not come true fails the test, with what was
    expected, what came of it, and the timeline; unless it does so by chance (`Run.by_chance`),
    which marks the test. With `--scenario-seeds` its share of seeds is tested first, where no seed
    is given here.
    """

    def do(scenario: Scenario | str | Path, seed: int | None = None) -> Run:
        from .scenario.load import load_scenario

        if isinstance(scenario, str | Path):
            models = request.config.getoption("--scenario-models")
            scenario = load_scenario(request.path.parent / scenario, models=models)
        try:
            return _rehearse(request.node, scenario, seed)
        except (UnexpectedEndError, UnexpectedShareError) as error:
            pytest.fail(str(error), pytrace=False)

    return do


def _rehearse(item: pytest.Item, scenario: Scenario, seed: int | None) -> Run:
    """Once by a seed that is given; otherwise as the options say."""
    from .world.rehearsal import run

    seeds: int | None = item.config.getoption("--scenario-seeds")
    if seed is None:
        seed = item.config.getoption("--scenario-seed")
        if seeds is not None:
            _test_share(scenario, seeds, seed)
    made = run(scenario, seed)
    if not made.ok:
        raise UnexpectedEndError(made)
    if made.by_chance:
        if _BY_CHANCE not in item.user_properties:
            item.user_properties.append(_BY_CHANCE)
        item.add_report_section("call", "by chance", _story(made))
    return made


def _test_share(scenario: Scenario, seeds: int, first_seed: int | None) -> None:
    from .lab.over_seeds import share_of, told

    share = share_of(scenario, seeds, first_seed)
    if not share.ok:
        raise UnexpectedShareError("\n".join(told(share)))


def _story(run: Run) -> str:
    """Expected against actual, then what happened when."""
    from canario.control.words import seconds_in_words

    from .reports.timeline import timeline
    from .scenario.expect import under

    by_chance = f", by chance: {under(run.chance)} it is" if run.by_chance else ""
    lines = [f"scenario {run.scenario}, seed {run.seed}: not as expected{by_chance}", ""]
    for each in run.expectations:
        mark = " " if each.ok else ">"
        lines.append(f"{mark} {each.name}: expected {each.expected}, actual {each.actual}")
    lines += ["", *(f"{seconds_in_words(at):>15}  {text}" for at, text in timeline(run))]
    return "\n".join(map(printable, lines))
