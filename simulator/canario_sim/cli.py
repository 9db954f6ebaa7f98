"""The commands that the simulator adds to `canario`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from canario.cli import EPILOG
from canario.config import ConfigError

from .report.write import report_options

if TYPE_CHECKING:
    from .runner import Run
    from .scenario import Scenario

__all__ = ["scenario", "simulate"]

_PATHS = click.argument(
    "paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="SCENARIO_OR_FOLDER…"
)


@click.command(epilog=EPILOG)
@_PATHS
@click.option("--seed", type=click.IntRange(min=0), help="Seed, instead of each scenario's own.")
@click.option("--json", "as_json", is_flag=True, help="Print the reports as JSON for a program.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Write a JSON report per scenario into DIR: same scenario and seed, same bytes.",
)
@click.option("--verbose", "-v", is_flag=True, help="Show the whole journal of each rollout.")
@report_options
@click.pass_context
def simulate(
    ctx: click.Context,
    paths: tuple[Path, ...],
    *,
    seed: int | None,
    as_json: bool,
    out: Path | None,
    verbose: bool,
    reports: tuple[Path, ...],
) -> None:
    """Rehearse releases: each SCENARIO_OR_FOLDER through the controller that guards the app."""
    # Numpy and SimPy are imported when something is run, so that help and completion are quick.
    from .reporting import report
    from .reporting import reports as document
    from .runner import run

    scenarios = _load(paths)
    if out is not None:
        _make(out)
    runs: list[Run] = []
    show = None if as_json else _shower(verbose=verbose)
    for scenario in scenarios:
        made = run(scenario, seed)
        runs.append(made)
        if out is not None:
            _write(out / f"{made.scenario}.json", report(made))
        if show is not None:
            show.run(scenario, made)
    if show is None:
        click.echo(document(runs), nl=False)
    else:
        show.closing(runs)
        if out is not None:
            click.echo(f"\n{len(runs)} reports in {out}")
    if reports:
        from .report.simulation import simulation
        from .report.write import write_reports

        write_reports(simulation(list(zip(scenarios, runs, strict=True))), reports)
    ctx.exit(0 if all(made.ok for made in runs) else 1)


@click.group(epilog=EPILOG)
def scenario() -> None:
    """Check scenario files."""


@scenario.command(epilog=EPILOG)
@_PATHS
def check(paths: tuple[Path, ...]) -> None:
    """Say what each scenario teaches, or what is wrong with it."""
    for made in _load(paths):
        click.echo(f"{made.name}: {made.teaches}")


@scenario.command(epilog=EPILOG)
def schema() -> None:
    """Print the JSON Schema of a scenario file, for editors to complete it."""
    from .load import scenario_schema

    click.echo(json.dumps(scenario_schema(), indent=2, ensure_ascii=False))


def _load(paths: Iterable[Path]) -> list[Scenario]:
    """All scenarios, checked before the first one runs. Raises `ConfigError`."""
    from .load import find_scenarios, load_scenario

    scenarios: dict[str, tuple[Path, Scenario]] = {}
    for path in find_scenarios(paths):
        made = load_scenario(path)
        if made.name in scenarios:
            other = scenarios[made.name][0]
            raise ConfigError(str(path), "name", f"{made.name!r} is the name of {other} too")
        scenarios[made.name] = (path, made)
    return [made for _, made in scenarios.values()]


def _shower(*, verbose: bool) -> Show:
    from .show import Show

    return Show(verbose=verbose)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(str(folder), "", f"cannot be made: {error.strerror}") from error


def _write(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        raise ConfigError(str(path), "", f"cannot be written: {error.strerror}") from error


if TYPE_CHECKING:
    from .show import Show
