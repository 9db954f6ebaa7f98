"""The commands of the laboratory that the simulator adds to `canario`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from canario.cli.printing import complain, say_json
from canario_sim.reports.output import make_folder, write_file
from canario_sim.reports.write import report_options

from .shared import INTERRUPTED, MANY, FiniteRange, policy_option, with_named
from .sweep import SWEEP_EPILOG, crew_of, go_on, inputs_of, sweep_options

if TYPE_CHECKING:
    from canario.plan import Plan
    from canario_sim.lab import Condition, Conditions, Experiment, Policy, Replications, Workers
    from canario_sim.scenario.scenario import Scenario

__all__ = ["assess"]

_REPLICATIONS = 400
_AT_MOST = 100_000


@click.command(epilog=SWEEP_EPILOG, short_help="Say how often a plan errs, with intervals.")
@click.argument(
    "paths",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path),
    metavar="PLAN_OR_SCENARIO_OR_FOLDER…",
)
@policy_option(
    "What else judges the same requests, as often as you like: NAME=PLAN_FILE, or another "
    "system's rule with its documented defaults (flagger, argo, kayenta) or with others, such as "
    "argo:failure_limit=3,interval_seconds=60."
)
@click.option(
    "--replications",
    "-n",
    type=click.IntRange(1, MANY),
    metavar="N",
    help=f"Of each condition; with --precision at most so many.  [default: {_REPLICATIONS}, with "
    f"--precision {_AT_MOST}]",
)
@click.option(
    "--precision",
    type=FiniteRange(0, 1, min_open=True, max_open=True),
    metavar="P",
    help="Go on until the probability of a rollback is known to ± P (0.01: one percent).",
)
@click.option(
    "--intervals",
    is_flag=True,
    help="In the tables print the intervals of times and numbers too, as --json and --out do.",
)
@sweep_options
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
    allow_models: bool,
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
    from canario_sim.lab import Experiment, load_conditions
    from canario_sim.lab.assessment import assessment, csv_text, json_text
    from canario_sim.reports import assessing
    from canario_sim.reports.terminal import show

    plans, scenarios = inputs_of(paths, models=allow_models)
    if graded and not scenarios:
        raise click.UsageError("--graded is about scenarios; give at least one", ctx)
    policies = _policies(plans, named)
    grades = load_conditions(table) if table else None
    conditions = _conditions(plans, scenarios, grades, graded=graded)
    if out is not None:
        make_folder(out)
    experiment = Experiment(conditions=conditions, policies=policies, seed=seed)
    most = replications or (_REPLICATIONS if precision is None else _AT_MOST)
    with crew_of(workers, address, rows) as crew:
        made = _replicate(experiment, crew, most, precision, confidence, rows)
    assessed = assessment(made, confidence=confidence)
    if as_json:
        say_json(json_text(assessed))
    else:
        show(assessing.told(assessed, intervals=intervals))
    if out is not None:
        write_file(out / "assess.json", json_text(assessed))
        write_file(out / "assess.csv", csv_text(assessed))
    if reports:
        from canario_sim.reports.write import write_reports

        write_reports(assessing.assessing(assessed), reports)
    if not made.complete:
        complain(f"interrupted; {go_on(rows)}")
    ctx.exit(0 if made.complete else INTERRUPTED)


def _replicate(
    experiment: Experiment,
    crew: Workers,
    most: int,
    precision: float | None,
    confidence: float,
    rows: Path | None,
) -> Replications:
    from canario_sim.lab import Progress, ProgressBar, replicate
    from canario_sim.lab.assessment import assessment
    from canario_sim.reports.assessing import verdicts

    def so_far(made: Replications, at: Progress) -> None:
        complain(f"{at.in_words('replications')}:")
        for line in verdicts(assessment(made, confidence=confidence)):
            complain(f"    {line}")

    with ProgressBar() as bar:
        return replicate(
            experiment,
            crew,
            most=most,
            precision=precision,
            confidence=confidence,
            file=rows,
            progress=bar,
            so_far=so_far,
        )


def _policies(plans: dict[str, Plan], named: dict[str, str]) -> tuple[Policy, ...]:
    """The plans; where there is none, every scenario's own. And those of `--policy`."""
    from canario_sim.lab import Policy

    policies = [Policy(name=name, deployment=plan.deployment) for name, plan in plans.items()]
    if not plans:
        policies.append(Policy(name="own plan"))
    return with_named(policies, named)


def _conditions(
    plans: dict[str, Plan],
    scenarios: list[Scenario],
    grades: Conditions | None,
    *,
    graded: bool,
) -> tuple[Condition, ...]:
    from canario_sim.lab import Condition, Conditions

    if not scenarios:
        # The first plan gives the objectives; stages and thresholds are each policy's.
        return (grades or Conditions()).of_plan(next(iter(plans.values())))
    if grades is None and not graded:
        return tuple(map(Condition.of, scenarios))
    grades = grades or Conditions()
    for scenario in scenarios:
        for name in grades.without_effect(scenario.baseline):
            complain(
                f"{name} is left out: {scenario.name} has an error rate of "
                f"{scenario.baseline.error_rate:g} %, which it does not raise"
            )
    return tuple(made for scenario in scenarios for made in grades.around(scenario))
