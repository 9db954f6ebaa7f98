"""What the commands share that rehearse again and again: inputs, workers, Ctrl-C, resumption."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from canario.cli.printing import EPILOG
from canario.config import ConfigError

from .shared import INTERRUPTED, MANY, FiniteRange, models_option

if TYPE_CHECKING:
    from canario.plan import Plan
    from canario_sim.lab import Workers
    from canario_sim.scenario.scenario import Scenario

__all__ = ["SWEEP_EPILOG", "crew_of", "go_on", "inputs_of", "sweep_options"]

SWEEP_EPILOG = f"{EPILOG[:-1]}, {INTERRUPTED} interrupted (what is done is reported)."

# The tables of a plan file; a scenario has others.
_PLAN_TABLES = {"deployment", "tracing", "slo"}

_Command = TypeVar("_Command", bound=Callable[..., Any])

_FILE = click.Path(path_type=Path, dir_okay=False)

_OPTIONS = (
    click.option(
        "--conditions",
        "table",
        type=_FILE,
        metavar="FILE",
        help="Rates, healthy profiles and regressions, instead of the default table's; scenarios "
        "are then graded too.",
    ),
    click.option(
        "--graded",
        is_flag=True,
        help="Around each scenario: as it is, but its canary is healthy, or worse by degrees.",
    ),
    click.option(
        "--confidence",
        type=FiniteRange(0, 1, min_open=True, max_open=True),
        default=0.95,
        show_default=True,
        metavar="C",
        help="Of every interval.",
    ),
    click.option(
        "--seed",
        type=click.IntRange(min=0),
        default=1,
        show_default=True,
        help="Of all replications.",
    ),
    click.option(
        "--workers",
        type=click.IntRange(1, MANY),
        metavar="N",
        help="Processes on this machine.  [default: one for each processor]",
    ),
    click.option(
        "--cluster",
        "address",
        metavar="ADDRESS",
        help="A Dask scheduler's address, such as tcp://10.0.0.5:8786, instead of this machine.",
    ),
    click.option(
        "--rows",
        type=_FILE,
        metavar="FILE.jsonl",
        help="Append what each replication came to to FILE, and go on where an earlier run "
        "stopped.",
    ),
    models_option,
    click.option("--json", "as_json", is_flag=True, help="Print the result as JSON for a program."),
)


def sweep_options(command: _Command) -> _Command:
    """Give a command the options that every sweep has, in this order."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@contextmanager
def crew_of(workers: int | None, address: str | None, rows: Path | None) -> Iterator[Workers]:
    """Who does the work.

    Raises:
        UsageError: When both a number of processes and a cluster are asked for.
        ConfigError: When the cluster cannot be used.
        ClickException: When workers are lost again and again.
    """
    from canario_sim.lab import cluster, processes

    if workers is not None and address is not None:
        raise click.UsageError(
            "--workers and --cluster exclude each other", click.get_current_context(silent=True)
        )
    with ExitStack() as stack:
        crew = processes(workers) if address is None else stack.enter_context(cluster(address))
        try:
            yield crew
        except crew.lost as error:
            reason = str(error).partition("\n")[0]
            raise click.ClickException(
                f"workers were lost again and again: {reason or type(error).__name__}; "
                f"{go_on(rows)}"
            ) from error


def go_on(rows: Path | None) -> str:
    """How a run that was stopped is taken up again, in words."""
    if rows is None:
        return "give --rows FILE.jsonl to go on another time where a run has stopped"
    return f"the same command goes on with what is in {rows}"


def inputs_of(
    paths: tuple[Path, ...], *, models: bool = False
) -> tuple[dict[str, Plan], list[Scenario]]:
    """Plans by name, and scenarios, all checked. Raises `ConfigError`."""
    from canario.config import load_plan
    from canario.config.decode import read_document
    from canario_sim.scenario.load import find_scenarios, load_scenario

    plans: dict[str, tuple[Path, Plan]] = {}
    scenarios: dict[str, tuple[Path, Scenario]] = {}
    for path in paths:
        if path.is_file() and set(read_document(path)) <= _PLAN_TABLES:
            _unique(path, path.stem, plans, "--policy NAME=FILE gives it another")
            plans[path.stem] = path, load_plan(path)
            continue
        for file in find_scenarios([path]):
            made = load_scenario(file, models=models)
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
