"""The commands about recorded traffic that the simulator adds to `canario`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from canario.cli.printing import EPILOG, complain, say_json
from canario.config import ConfigError
from canario_sim.reports.write import report_options

from .calibrate import calibrate
from .shared import FiniteRange, policy_option, with_named
from .source import FORMAT_HELP, clear_errors, log_options, log_settings, progress_bar, reading

if TYPE_CHECKING:
    from canario_sim.lab.experiment import Policy
    from canario_sim.tapes import Recording
    from canario_sim.tapes.importing import Format

__all__ = ["backtest", "calibrate", "tape"]

_PATH = click.Path(path_type=Path)
_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command(epilog=EPILOG, short_help="Say what policies would have decided on real traffic.")
@click.argument("paths", nargs=-1, required=True, type=_PATH, metavar="TAPE… [PLAN_FILE…]")
@policy_option(
    "Another policy, as often as you like: NAME=PLAN_FILE, or another system's rule "
    "(flagger, argo, kayenta), as `canario assess` takes them."
)
@click.option(
    "--as",
    "as_arm",
    type=click.Choice(["canary"]),
    help="Take all of the traffic for a canary that changes nothing, release it again and again, "
    "and say how often that is rolled back.",
)
@click.option(
    "--every",
    "every_seconds",
    type=FiniteRange(min=0, min_open=True),
    metavar="SECONDS",
    help="With --as canary: from the start of one rollout to the next.  [default: a plan's holds]",
)
@click.option(
    "--at-most",
    "at_most",
    type=FiniteRange(0, 100),
    metavar="PERCENT",
    help="With --as canary: exit with 1 when a policy rolls back a larger share.",
)
@click.option(
    "--fates",
    type=click.Choice(["matched", "recorded"]),
    default="matched",
    show_default=True,
    help="Of requests that a policy would have sent to the other arm: matched, drawn from the "
    "recorded requests of that arm, route and time (an estimate); recorded, as they were.",
)
@click.option(
    "--within",
    "within_seconds",
    type=FiniteRange(min=0),
    default=300.0,
    show_default=True,
    metavar="SECONDS",
    help="How far away in time a request may be whose fate is drawn.",
)
@click.option("--no-orders", is_flag=True, help="Leave out what the operator ordered.")
@click.option(
    "--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Of what is drawn."
)
@click.option("--json", "as_json", is_flag=True, help="Print the backtest as JSON for a program.")
@click.option("--verbose", "-v", is_flag=True, help="Show each policy's timeline.")
@report_options(junit=True)
@click.pass_context
def backtest(
    ctx: click.Context,
    paths: tuple[Path, ...],
    *,
    named: dict[str, str],
    as_arm: str | None,
    every_seconds: float | None,
    at_most: float | None,
    fates: Literal["matched", "recorded"],
    within_seconds: float,
    no_orders: bool,
    seed: int,
    as_json: bool,
    verbose: bool,
    reports: tuple[Path, ...],
) -> None:
    """Judge recorded traffic by policies: what each would have decided, when and why.

    TAPE is a file that the middleware has recorded or `canario tape import` has made, or a folder
    of them. Its own plan is judged too, and gives back its own journal. PLAN_FILEs are further
    policies.
    """
    # Numpy and the like are imported when something is run, so that help and completion are quick.
    from canario_sim.backtest import false_alarms, judge_tape
    from canario_sim.reports import backtested
    from canario_sim.reports.json_text import json_text
    from canario_sim.reports.terminal import show
    from canario_sim.tapes import read_tape

    for name, value in (("--every", every_seconds), ("--at-most", at_most)):
        if value is not None and as_arm is None:
            raise click.UsageError(f"{name} needs --as canary", ctx)
    tapes, plans = _sorted_out(paths, ctx)
    with clear_errors():
        recording = read_tape(*tapes)
        policies = _policies(recording, plans, named)
        if as_arm is None and not recording.events and (recording.arm != 1).all():
            raise click.UsageError(
                f"{recording.source} has no canary; --as canary takes its traffic for one", ctx
            )
        with _progress("backtest", [policy.name for policy in policies]) as progress:
            if as_arm is None:
                made = judge_tape(
                    recording,
                    policies,
                    fates=fates,
                    within_seconds=within_seconds,
                    seed=seed,
                    orders=not no_orders,
                    progress=progress,
                )
            else:
                made = false_alarms(
                    recording, policies, every_seconds=every_seconds, seed=seed, progress=progress
                )
    if as_json:
        say_json(json_text(made))
    else:
        show(backtested.told(made, verbose=verbose))
    if reports:
        from canario_sim.reports.write import write_reports

        write_reports(backtested.backtested(made, at_most=at_most), reports)
    if not made.exact:
        complain("the tape's own plan does not give back its journal")
    over = at_most is not None and any(100 * each.share > at_most for each in made.alarms)
    ctx.exit(1 if over or not made.exact else 0)


@click.group(epilog=EPILOG)
def tape() -> None:
    """Import and describe tapes of real traffic."""


@tape.command(epilog=EPILOG)
@click.argument("paths", nargs=-1, required=True, type=_PATH, metavar="TAPE…")
@click.option("--json", "as_json", is_flag=True, help="Print the facts as JSON for a program.")
def info(paths: tuple[Path, ...], *, as_json: bool) -> None:
    """Say what a tape holds, and how its rollout ended."""
    from canario_sim.backtest.judging import facts_of, happened_of
    from canario_sim.reports import tape_facts
    from canario_sim.reports.json_text import json_text
    from canario_sim.reports.terminal import show
    from canario_sim.tapes import read_tape

    with clear_errors():
        recording = read_tape(*paths)
    facts = facts_of(recording)
    happened = happened_of(recording)
    if as_json:
        say_json(json_text({"tape": facts, "happened": happened}))
    else:
        show(tape_facts.facts(facts))
        show(tape_facts.happened(happened, facts))


@tape.command("import", epilog=EPILOG, short_help="Make a tape of an access log or a table.")
@click.argument("log", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--out", type=_FILE, required=True, metavar="FILE", help="The tape to make.")
@click.option(
    "--format",
    "kind",
    metavar="FORMAT",
    help=FORMAT_HELP,
)
@click.option(
    "--salt", default="import", show_default=True, help="Under which users fall into buckets."
)
@log_options
def import_(log: Path, *, out: Path, kind: Format | None, salt: str, **settings: object) -> None:
    """Make a tape of an access log, JSON lines or a CSV file; .gz, .xz and .bz2 are unpacked.

    What was taken for what is printed, with the first lines as they were understood; what can be
    read in several ways is refused. Users' keys are hashed, and paths become templates without
    queries, numbers, tokens and addresses: nothing else of a line is kept.
    """
    from canario_sim.reports.tape_facts import imported
    from canario_sim.reports.terminal import show
    from canario_sim.tapes.importing import import_log
    from canario_sim.tapes.save import write_tape

    options = log_settings(settings)
    with clear_errors(), reading(log) as progress:
        made = import_log(log, format=kind, salt=salt, progress=progress, **options)
        write_tape(made.recording, out)
    show(imported(made))


def _sorted_out(paths: tuple[Path, ...], ctx: click.Context) -> tuple[list[Path], list[Path]]:
    """Tapes, and plans."""
    from canario_sim.tapes.read import is_tape

    tapes = [path for path in paths if path.is_dir() or is_tape(path)]
    rest = [path for path in paths if path not in tapes]
    plans = [path for path in rest if path.suffix in (".toml", ".json")]
    for path in rest:
        if not path.exists():
            raise ConfigError(str(path), "", "does not exist; give tapes and plan files")
        if path not in plans:
            raise ConfigError(
                str(path), "", "is no tape and no plan; `canario tape import` makes a tape of a log"
            )
    if not tapes:
        raise click.UsageError("give at least one tape", ctx)
    return tapes, plans


def _policies(recording: Recording, plans: list[Path], named: dict[str, str]) -> tuple[Policy, ...]:
    """The tape's own plan, the plan files, and those of `--policy`; the defaults if there is none.

    Raises `ConfigError`.
    """
    from canario.config import load_plan
    from canario_sim.backtest.backtest import OWN
    from canario_sim.lab.experiment import Policy

    policies = [Policy(name=OWN)] if recording.plan is not None else []
    policies += [Policy(name=path.stem, deployment=load_plan(path).deployment) for path in plans]
    if not (policies or named):
        policies.append(Policy(name="the defaults", deployment=load_plan().deployment))
    return with_named(policies, named)


@contextmanager
def _progress(title: str, names: list[str]) -> Iterator[Callable[[int, float], object]]:
    with progress_bar(title) as update:
        count = len(names)
        yield lambda number, part: update((number + part) / count)
