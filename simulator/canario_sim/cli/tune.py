"""The command that looks for the best plan."""

from __future__ import annotations

from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

import click

from canario.cli.printing import complain, say, say_json
from canario.config import ConfigError
from canario_sim.reports.output import make_folder
from canario_sim.reports.write import report_options

from .shared import INTERRUPTED, MANY, FiniteRange
from .sweep import SWEEP_EPILOG, crew_of, go_on, inputs_of, sweep_options

if TYPE_CHECKING:
    from canario.plan import Plan
    from canario_sim.lab import Condition, Workers
    from canario_sim.scenario.scenario import Scenario
    from canario_sim.tuning import Point, Search, Tuning

__all__ = ["tune"]

_SHARE = FiniteRange(0, 1, max_open=True)


class _Duration(click.ParamType[float]):
    """Seconds, from `120s` or `5m`."""

    name = "duration"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        from canario_sim.tuning.goals import duration

        try:
            return duration(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class _Numbers(click.ParamType[tuple[float, ...]]):
    """Numbers with commas between them, in any order."""

    name = "numbers"

    def __init__(self, *, whole: bool = False) -> None:
        self._whole = whole

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        try:
            numbers = sorted({_number(part) for part in str(value).split(",")})
        except ValueError:
            self.fail(f"{value!r} is no list of numbers, such as 2,5,10", param, ctx)
        if self._whole and not all(isinstance(number, int) for number in numbers):
            self.fail(f"{value!r} is no list of whole numbers, such as 10,20", param, ctx)
        return tuple(numbers)


def _number(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        raise ValueError(text)
    return int(number) if number.is_integer() and number < 1e15 else number


@click.command(epilog=SWEEP_EPILOG, short_help="Find the plan that errs least for your goals.")
@click.argument(
    "paths", nargs=-1, type=click.Path(path_type=Path), metavar="[PLAN] [SCENARIO_OR_FOLDER…]"
)
@click.option(
    "--false-rollback",
    type=_SHARE,
    default=0.01,
    show_default=True,
    metavar="P",
    help="At most this share of good releases may be rolled back.",
)
@click.option(
    "--detect",
    type=FiniteRange(0, 1, min_open=True),
    default=0.99,
    show_default=True,
    metavar="P",
    help="At least this share of bad releases must be rolled back.",
)
@click.option(
    "--within",
    type=_Duration(),
    metavar="DURATION",
    help="So soon after they begin to be bad, such as 120s or 5m.",
)
@click.option(
    "--at-most",
    type=click.IntRange(min=0),
    metavar="N",
    help="With at most so many bad requests of the canary.",
)
@click.option(
    "--slow-above",
    type=FiniteRange(0, min_open=True),
    metavar="MS",
    help="Milliseconds above which a request is a bad one.  [default: the plan's "
    "max_p95_latency_ms]",
)
@click.option(
    "--rate",
    "rates",
    type=FiniteRange(0, min_open=True),
    multiple=True,
    metavar="R",
    help="Requests per second of the conditions made around the plan; may be given several "
    "times.  [default: 10]",
)
@click.option("--error-rates", type=_Numbers(), metavar="LIST", help="Limits to try, in percent.")
@click.option("--latencies", type=_Numbers(), metavar="LIST", help="Limits of the p95 to try (ms).")
@click.option("--windows", type=_Numbers(), metavar="LIST", help="Windows to try, in seconds.")
@click.option(
    "--min-samples", type=_Numbers(whole=True), metavar="LIST", help="Minimums of samples to try."
)
@click.option(
    "--alphas",
    type=_Numbers(),
    metavar="LIST",
    help="Levels of the sequential judge to try; 0 leaves that judge out.",
)
@click.option(
    "--trials",
    type=click.IntRange(min=0),
    default=8,
    show_default=True,
    metavar="N",
    help="Other stages, holds and check intervals to try; 0 keeps the plan's own.",
)
@click.option(
    "--replications",
    "-n",
    type=click.IntRange(1, MANY),
    default=400,
    show_default=True,
    metavar="N",
    help="Of each condition in the search.",
)
@click.option(
    "--held-out",
    type=click.IntRange(1, MANY),
    default=400,
    show_default=True,
    metavar="N",
    help="Of each condition afterwards, on other seeds, to see how the plan really does.",
)
@sweep_options
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="PLAN.toml|DIR",
    help="Write the plan to a file that ends in .toml; or plan.toml and tune.json into DIR.",
)
@report_options(junit=True)
@click.pass_context
def tune(
    ctx: click.Context,
    paths: tuple[Path, ...],
    *,
    false_rollback: float,
    detect: float,
    within: float | None,
    at_most: int | None,
    slow_above: float | None,
    rates: tuple[float, ...],
    table: Path | None,
    graded: bool,
    error_rates: tuple[float, ...] | None,
    latencies: tuple[float, ...] | None,
    windows: tuple[float, ...] | None,
    min_samples: tuple[float, ...] | None,
    alphas: tuple[float, ...] | None,
    trials: int,
    replications: int,
    held_out: int,
    confidence: float,
    seed: int,
    workers: int | None,
    address: str | None,
    rows: Path | None,
    allow_models: bool,
    as_json: bool,
    out: Path | None,
    reports: tuple[Path, ...],
) -> None:
    """Find the plan that errs least for what matters to you.

    Every candidate meets the same requests: good releases, which it should leave alone, and bad
    ones. Without a PLAN the documented one is where the search begins; without scenarios the
    conditions are made around it. Exits with 1 when a goal is missed on the held-out seeds; the
    closest plan is given even so.
    """
    # Numpy and SimPy are imported when something is run, so that help and completion are quick.
    from msgspec.structs import replace

    from canario_sim.reports import tuned
    from canario_sim.reports.terminal import show
    from canario_sim.tuning import Goals, Grid, Search, json_text
    from canario_sim.tuning.plan_file import plan_text

    if rates and table is not None:
        raise click.UsageError(
            "--rate and --conditions exclude each other; FILE says the rates", ctx
        )
    plan, scenarios = _inputs(paths, models=allow_models)
    if rates and scenarios:
        raise click.UsageError("--rate is for conditions made around a plan, not scenarios", ctx)
    values = {
        "max_error_rate": error_rates,
        "max_p95_latency_ms": latencies,
        "metric_window_seconds": windows,
        "min_samples": min_samples,
        "alpha": None if alphas is None else tuple(alpha for alpha in alphas if alpha),
    }
    try:
        search = Search(
            plan=plan,
            conditions=_conditions(plan, scenarios, table, rates, graded=graded),
            goals=Goals(
                false_rollback=false_rollback,
                detect=detect,
                within_seconds=within,
                at_most=at_most,
            ),
            grid=replace(Grid(), **{k: own for k, own in values.items() if own is not None}),
            slow_above_ms=slow_above,
            trials=trials,
            replications=replications,
            held_out=held_out,
            seed=seed,
            confidence=confidence,
        )
    except ConfigError:
        raise
    except (TypeError, ValueError) as error:
        raise ConfigError("", "", str(error)) from error
    if out is not None:
        _writable(out)
    with crew_of(workers, address, rows) as crew:
        made = _tune(search, crew, rows)
    if made is None:
        complain(f"interrupted before anything could be said; {go_on(rows)}")
        ctx.exit(INTERRUPTED)
    if as_json:
        say_json(json_text(made))
    else:
        show(tuned.told(made))
    if out is not None:
        _write(out, made, plan_text(made))
        if not as_json:
            say(f"The plan is in {_plan_path(out)}.")
    if reports:
        from canario_sim.reports.write import write_reports

        write_reports(tuned.tuned(made), reports)
    if not made.complete:
        complain(f"interrupted; {go_on(rows)}")
        ctx.exit(INTERRUPTED)
    ctx.exit(0 if made.ok else 1)


def _tune(search: Search, crew: Workers, rows: Path | None) -> Tuning | None:
    from canario_sim.lab import Progress, ProgressBar
    from canario_sim.reports.tuned import in_brief
    from canario_sim.tuning import tune as run

    def so_far(best: Point | None, at: Progress) -> None:
        complain(f"{at.in_words('tasks')}{'' if best is None else f': {in_brief(best)}'}")

    with ProgressBar("tasks") as bar:
        return run(search, crew, file=rows, progress=bar, so_far=so_far)


def _inputs(paths: tuple[Path, ...], *, models: bool) -> tuple[Plan, list[Scenario]]:
    """The plan to begin with, and the scenarios. Raises `ConfigError`."""
    from canario.plan import Plan

    plans, scenarios = inputs_of(paths, models=models)
    if len(plans) > 1:
        raise ConfigError(
            str(paths[0]), "", f"is one of {len(plans)} plans; give one, which is to be improved"
        )
    if plans:
        return next(iter(plans.values())), scenarios
    own = scenarios[0].plan if scenarios else Plan()
    if any(scenario.plan != own for scenario in scenarios):
        raise ConfigError(
            str(paths[0]), "plan", "is not that of every scenario; give the plan's own file as well"
        )
    return own, scenarios


def _conditions(
    plan: Plan,
    scenarios: list[Scenario],
    table: Path | None,
    rates: tuple[float, ...],
    *,
    graded: bool,
) -> tuple[Condition, ...]:
    from msgspec.structs import replace

    from canario_sim.lab import Condition, load_conditions
    from canario_sim.tuning.defaults import CONDITIONS

    grades = load_conditions(table) if table else CONDITIONS
    if rates:
        grades = replace(grades, rates=tuple(dict.fromkeys(rates)))
    if not scenarios:
        return grades.of_plan(plan)
    if table is None and not graded:
        return tuple(map(Condition.of, scenarios))
    return tuple(made for scenario in scenarios for made in grades.around(scenario))


def _plan_path(out: Path) -> Path:
    return out if out.suffix == ".toml" else out / "plan.toml"


def _writable(out: Path) -> None:
    """Refuse a place that cannot be written to before the work, not after it."""
    folder = _plan_path(out).parent
    if out.suffix == ".toml" and out.is_dir():
        raise ConfigError(str(out), "", "is a folder; give a file, or a folder of another name")
    if out.suffix in (".json", ".html", ".md", ".csv") and not out.is_dir():
        problem = "is neither a folder nor a plan's file, which ends in .toml; see --report"
        raise ConfigError(str(out), "", problem)
    make_folder(folder)


def _write(out: Path, tuning: Tuning, plan: str) -> None:
    from canario.host.whole_files import write_whole
    from canario_sim.tuning import json_text

    files = {_plan_path(out): plan}
    if out.suffix != ".toml":
        files[out / "tune.json"] = json_text(tuning).decode()
    for path, content in files.items():
        try:
            write_whole(path, content)
        except OSError as error:
            raise ConfigError(str(path), "", f"cannot be written: {error.strerror}") from error
