"""The commands of the laboratory that the simulator adds to `canario`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from canario.cli import EPILOG
from canario.config import ConfigError

from .reports.write import report_options

if TYPE_CHECKING:
    from canario.plan import Plan

    from .lab import Condition, Conditions, Experiment, Policy, Replications, Workers
    from .scenario import Scenario

__all__ = ["INTERRUPTED", "INTERRUPTED_EPILOG", "assess", "crew_of", "read_inputs"]

# The tables of a plan file; a scenario has others.
_PLAN_TABLES = {"deployment", "tracing", "slo"}

_REPLICATIONS = 400
_AT_MOST = 100_000

# What a shell reports of a program that Ctrl-C has ended.
INTERRUPTED = 130

INTERRUPTED_EPILOG = f"{EPILOG[:-1]}, {INTERRUPTED} interrupted (what is done is reported)."


def _named(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """By name what judges: `NAME=PLAN_FILE`, a preset, or `NAME=PRESET`."""
    from .peers import PRESETS

    found: dict[str, str] = {}
    for value in values:
        if value.partition(":")[0] in PRESETS:
            name = what = value
        else:
            name, _equals, what = value.partition("=")
            if not (name and what):
                raise click.BadParameter(
                    f"{value!r} is neither NAME=PLAN_FILE, such as strict=strict.toml, nor a "
                    f"preset; presets are {', '.join(PRESETS)}"
                )
        if name in found:
            raise click.BadParameter(f"{name!r} is given twice; give each policy its own name")
        found[name] = what
    return found


_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command(epilog=INTERRUPTED_EPILOG, short_help="Say how often a plan errs, with intervals.")
@click.argument(
    "paths",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path),
    metavar="PLAN_OR_SCENARIO_OR_FOLDER…",
)
@click.option(
    "--policy",
    "named",
    multiple=True,
    callback=_named,
    metavar="[NAME=]WHAT",
    help="What else judges the same requests, as often as you like: NAME=PLAN_FILE, or another "
    "system's rule with its documented defaults (flagger, argo, kayenta) or with others, such as "
    "argo:failure_limit=3,interval_seconds=60.",
)
@click.option(
    "--conditions",
    "table",
    type=_FILE,
    metavar="FILE",
    help="Rates, healthy profiles and regressions, instead of the default table's; scenarios "
    "are then graded too.",
)
@click.option(
    "--graded",
    is_flag=True,
    help="Around each scenario: as it is, but its canary is healthy, or worse by degrees.",
)
@click.option(
    "--replications",
    "-n",
    type=click.IntRange(min=1),
    metavar="N",
    help=f"Of each condition; with --precision at most so many.  [default: {_REPLICATIONS}, with "
    f"--precision {_AT_MOST}]",
)
@click.option(
    "--precision",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    metavar="P",
    help="Go on until the probability of a rollback is known to ± P (0.01: one percent).",
)
@click.option(
    "--confidence",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.95,
    show_default=True,
    metavar="C",
    help="Of every interval.",
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Of all replications."
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    metavar="N",
    help="Processes on this machine.  [default: one for each processor]",
)
@click.option(
    "--cluster",
    "address",
    metavar="ADDRESS",
    help="A Dask scheduler's address, such as tcp://10.0.0.5:8786, instead of this machine.",
)
@click.option(
    "--rows",
    type=_FILE,
    metavar="FILE.jsonl",
    help="Append each replication's result to FILE, and go on where an earlier run stopped.",
)
@click.option(
    "--intervals",
    is_flag=True,
    help="In the tables print the intervals of times and numbers too, as --json and --out do.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the assessment as JSON for a program.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Write assess.json and assess.csv into DIR.",
)
@report_options()
@click.pass_context
def assess(
    ctx: click.Context,
    paths: tuple[Path, ...],
    *,
    named: dict[str, str],
    table: Path | None,
    graded: bool,
    replications: int | None,
    precision: float | None,
    confidence: float,
    seed: int,
    workers: int | None,
    address: str | None,
    rows: Path | None,
    intervals: bool,
    as_json: bool,
    out: Path | None,
    reports: tuple[Path, ...],
) -> None:
    """Say how often a plan errs: false rollbacks, misses, time to rollback, users hurt.

    A plan is rehearsed again and again, under conditions that are made around it or that the
    scenarios are; scenarios without a plan are judged by their own. Several plans judge the very
    same requests.
    """
    # Numpy and SimPy are imported when something is run, so that help and completion are quick.
    from .lab import Experiment, load_conditions
    from .lab.assessment import assessment, csv_text, json_text
    from .lab.show import show

    if workers is not None and address is not None:
        raise click.UsageError("--workers and --cluster exclude each other", ctx)
    plans, scenarios = read_inputs(paths)
    if graded and not scenarios:
        raise click.UsageError("--graded is about scenarios; give at least one", ctx)
    policies = _policies(plans, named)
    grades = load_conditions(table) if table else None
    conditions = _conditions(plans, scenarios, grades, graded=graded)
    if out is not None:
        _make(out)
    experiment = Experiment(conditions=conditions, policies=policies, seed=seed)
    most = replications or (_REPLICATIONS if precision is None else _AT_MOST)
    with crew_of(workers, address) as crew:
        made = _replicate(experiment, crew, most, precision, confidence, rows)
    assessed = assessment(made, confidence=confidence)
    if as_json:
        click.echo(json_text(assessed), nl=False)
    else:
        show(assessed, intervals=intervals)
    if out is not None:
        _write(out / "assess.json", json_text(assessed))
        _write(out / "assess.csv", csv_text(assessed).encode())
    if reports:
        from .reports.assessing import assessing
        from .reports.write import write_reports

        write_reports(assessing(assessed), reports)
    if not made.complete:
        click.echo(f"canario: interrupted; {_how_to_go_on(rows)}", err=True)
    ctx.exit(0 if made.complete else INTERRUPTED)


def _replicate(
    experiment: Experiment,
    crew: Workers,
    most: int,
    precision: float | None,
    confidence: float,
    rows: Path | None,
) -> Replications:
    from .lab import ProgressBar, replicate

    try:
        with ProgressBar() as bar:
            return replicate(
                experiment,
                crew,
                most=most,
                precision=precision,
                confidence=confidence,
                file=rows,
                progress=bar,
            )
    except crew.lost as error:
        reason = str(error).partition("\n")[0]
        raise click.ClickException(
            f"workers were lost again and again: {reason or type(error).__name__}; "
            f"{_how_to_go_on(rows)}"
        ) from error


def _how_to_go_on(rows: Path | None) -> str:
    if rows is None:
        return "give --rows FILE.jsonl to go on another time where a run has stopped"
    return f"the same command goes on with what is in {rows}"


@contextmanager
def crew_of(workers: int | None, address: str | None) -> Iterator[Workers]:
    from .lab import cluster, processes

    with ExitStack() as stack:
        yield processes(workers) if address is None else stack.enter_context(cluster(address))


def read_inputs(paths: tuple[Path, ...]) -> tuple[dict[str, Plan], list[Scenario]]:
    """Plans by name, and scenarios, all checked. Raises `ConfigError`."""
    from canario.config import load_plan, read_document

    from .load import find_scenarios, load_scenario

    plans: dict[str, tuple[Path, Plan]] = {}
    scenarios: dict[str, tuple[Path, Scenario]] = {}
    for path in paths:
        if path.is_file() and set(read_document(path)) <= _PLAN_TABLES:
            _unique(path, path.stem, plans, "--policy NAME=FILE gives it another")
            plans[path.stem] = path, load_plan(path)
            continue
        for file in find_scenarios([path]):
            made = load_scenario(file)
            _unique(file, made.name, scenarios, "give it another")
            scenarios[made.name] = file, made
    return (
        {name: plan for name, (_, plan) in plans.items()},
        [made for _, made in scenarios.values()],
    )


def _unique(path: Path, name: str, known: dict[str, tuple[Path, Any]], remedy: str) -> None:
    if name in known:
        raise ConfigError(
            str(path), "name", f"{name!r} is the name of {known[name][0]} too; {remedy}"
        )


def _policies(plans: dict[str, Plan], named: dict[str, str]) -> tuple[Policy, ...]:
    """The plans; where there is none, every scenario's own. And those of `--policy`."""
    from canario.config import load_plan

    from .lab import Policy
    from .peers import peer_named

    policies = [Policy(name=name, deployment=plan.deployment) for name, plan in plans.items()]
    if not plans:
        policies.append(Policy(name="own plan"))
    for name, what in named.items():
        if any(name == policy.name for policy in policies):
            raise ConfigError("--policy", name, "is the name of another policy too")
        peer = peer_named(what, "--policy")
        own = None if peer else load_plan(Path(what)).deployment
        policies.append(Policy(name=name, deployment=own, peer=peer))
    return tuple(policies)


def _conditions(
    plans: dict[str, Plan],
    scenarios: list[Scenario],
    grades: Conditions | None,
    *,
    graded: bool,
) -> tuple[Condition, ...]:
    from .lab import Condition, Conditions

    if not scenarios:
        # The first plan gives the objectives; stages and thresholds are each policy's.
        return (grades or Conditions()).of_plan(next(iter(plans.values())))
    if grades is None and not graded:
        return tuple(map(Condition.of, scenarios))
    grades = grades or Conditions()
    for scenario in scenarios:
        for name in grades.without_effect(scenario.baseline):
            click.echo(
                f"canario: {name} is left out: {scenario.name} has an error rate of "
                f"{scenario.baseline.error_rate:g} %, which it does not raise",
                err=True,
            )
    return tuple(made for scenario in scenarios for made in grades.around(scenario))


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
