"""The commands that the simulator adds to `canario`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from canario.cli.printing import EPILOG, complain, say, say_json
from canario.config import ConfigError
from canario_sim.reports.output import make_folder, write_file
from canario_sim.reports.write import report_options

from .shared import INTERRUPTED, MANY, FiniteRange, models_option

if TYPE_CHECKING:
    from canario_sim.lab.over_seeds import Share
    from canario_sim.scenario.scenario import Scenario
    from canario_sim.world.rehearsal import Run

__all__ = ["scenario", "simulate"]

_PATHS = click.argument(
    "paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="SCENARIO_OR_FOLDER…"
)


@click.command(epilog=EPILOG, short_help="Rehearse releases through the controller.")
@_PATHS
@models_option
@click.option("--seed", type=click.IntRange(min=0), help="Seed, instead of each scenario's own.")
@click.option(
    "--seeds",
    type=click.IntRange(1, MANY),
    metavar="N",
    help="Rehearse each scenario under N seeds, from its own (or --seed) on, and test whether it "
    "is as expected under as many as it says: under any, or a share (its chance).",
)
@click.option("--json", "as_json", is_flag=True, help="Print the reports as JSON for a program.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Write a JSON report per scenario into DIR: same scenario and seed, same bytes.",
)
@click.option("--verbose", "-v", is_flag=True, help="Show the whole journal of each rollout.")
@click.option("--watch", is_flag=True, help="Draw each rehearsal in the terminal as it goes.")
@click.option(
    "--speed",
    type=FiniteRange(0, min_open=True),
    metavar="N",
    help="With --watch: rehearsed seconds for each second.  [default: a rollout without a hitch "
    "takes 20 s]",
)
@report_options(junit=True)
@click.pass_context
def simulate(
    ctx: click.Context,
    paths: tuple[Path, ...],
    *,
    allow_models: bool,
    seed: int | None,
    seeds: int | None,
    as_json: bool,
    out: Path | None,
    verbose: bool,
    watch: bool,
    speed: float | None,
    reports: tuple[Path, ...],
) -> None:
    """Rehearse releases: each SCENARIO_OR_FOLDER through the controller that guards the app."""
    # Numpy and SimPy are imported when something is run, so that help and completion are quick.
    from canario_sim.reports import simulation
    from canario_sim.reports.json_text import report
    from canario_sim.reports.json_text import reports as document
    from canario_sim.reports.terminal import show
    from canario_sim.world.rehearsal import run

    if watch and as_json:
        raise click.UsageError("--watch and --json exclude each other", ctx)
    if speed is not None and not watch:
        raise click.UsageError("--speed is the speed of --watch", ctx)
    if seeds is not None and watch:
        raise click.UsageError("--seeds and --watch exclude each other", ctx)
    scenarios = _load(paths, models=allow_models)
    if out is not None:
        make_folder(out)
    if seeds is not None:
        shares = _shares(scenarios, seeds, seed, out, as_json=as_json, verbose=verbose)
        if reports:
            from canario_sim.reports.seeds import sharing
            from canario_sim.reports.write import write_reports

            write_reports(sharing(scenarios, shares), reports)
        ctx.exit(0 if all(share.ok for share in shares) else 1)
    runs: list[Run] = []
    for scenario in scenarios:
        if watch:
            made = _watched(ctx, scenario, seed, speed, verbose=verbose)
        else:
            if not as_json:
                show(simulation.heading(scenario))
            made = run(scenario, seed)
        runs.append(made)
        if out is not None:
            write_file(out / f"{made.scenario}.json", report(made))
        if not (as_json or watch):
            show(simulation.told(made, verbose=verbose))
    if as_json:
        say_json(document(runs).decode())
    else:
        show(simulation.closing(runs))
        if out is not None:
            say()
            say(f"{len(runs)} reports in {out}")
    if reports:
        from canario_sim.reports.write import write_reports

        write_reports(simulation.simulation(list(zip(scenarios, runs, strict=True))), reports)
    ctx.exit(0 if all(made.ok for made in runs) else 1)


def _shares(
    scenarios: Sequence[Scenario],
    seeds: int,
    first_seed: int | None,
    out: Path | None,
    *,
    as_json: bool,
    verbose: bool,
) -> list[Share]:
    """Each scenario under many seeds, told as they come."""
    from canario_sim.lab.over_seeds import share_document, share_of, shares_document, told

    shares: list[Share] = []
    for scenario in scenarios:
        share = share_of(scenario, seeds, first_seed)
        shares.append(share)
        if out is not None:
            write_file(out / f"{share.scenario}.json", share_document(share))
        if not as_json:
            for line in told(share, most=None if verbose else 3):
                say(line)
    if as_json:
        say_json(shares_document(shares).decode())
        return shares
    failed = sum(not share.ok for share in shares)
    stated = sum(share.chance is not None for share in shares)
    say()
    say(
        f"{len(shares)} rehearsed under {seeds} seeds each, {stated - failed} as they say, "
        f"{failed} not"
    )
    if out is not None:
        say()
        say(f"{len(shares)} reports in {out}")
    return shares


def _watched(
    ctx: click.Context,
    scenario: Scenario,
    seed: int | None,
    speed: float | None,
    *,
    verbose: bool,
) -> Run:
    """A rehearsal that is shown as it goes. Ctrl-C ends the command, with what a shell reports."""
    from canario.control.words import seconds_in_words
    from canario_sim.reports.simulation import heading, told
    from canario_sim.reports.terminal import show
    from canario_sim.reports.watch import Watch
    from canario_sim.world.rehearsal import run

    view = Watch(scenario, speed)
    # What a terminal draws goes when it is over, and the timeline comes; lines stay.
    if not view.draws:
        show(heading(scenario))
    try:
        with view:
            made = run(scenario, seed, watch=view)
    except KeyboardInterrupt:
        at = seconds_in_words(round(view.now))
        complain(f"{scenario.name} was interrupted at {at} of the rollout")
        ctx.exit(INTERRUPTED)
    if view.draws:
        show(heading(scenario))
    show(told(made, verbose=verbose, watched=not view.draws))
    return made


@click.group(epilog=EPILOG)
def scenario() -> None:
    """Check scenario files."""


@scenario.command(epilog=EPILOG)
@_PATHS
@models_option
def check(paths: tuple[Path, ...], *, allow_models: bool) -> None:
    """Say what each scenario teaches, or what is wrong with it."""
    for made in _load(paths, models=allow_models):
        say(f"{made.name}: {' '.join(made.teaches.split())}")


@scenario.command(epilog=EPILOG, short_help="Print the JSON Schema of a scenario file.")
def schema() -> None:
    """Print the JSON Schema of a scenario file, for editors to complete it."""
    from canario_sim.scenario.load import scenario_schema

    say_json(scenario_schema())


def _load(paths: Iterable[Path], *, models: bool) -> list[Scenario]:
    """All scenarios, checked before the first one runs. Raises `ConfigError`."""
    from canario_sim.scenario.load import find_scenarios, load_scenario

    scenarios: dict[str, tuple[Path, Scenario]] = {}
    for path in find_scenarios(paths):
        made = load_scenario(path, models=models)
        if made.name in scenarios:
            other = scenarios[made.name][0]
            raise ConfigError(str(path), "name", f"{made.name!r} is the name of {other} too")
        scenarios[made.name] = (path, made)
    return [made for _, made in scenarios.values()]
