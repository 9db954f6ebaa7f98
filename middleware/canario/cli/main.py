"""The command line. Other packages add commands through the entry points `canario.commands`.

Exit codes: 0 all as expected, 1 an expectation failed, 2 bad usage or bad input. Errors are one
line on stderr; what a program reads goes to stdout.
"""

from __future__ import annotations

import os
import sys
import time
from functools import cache
from importlib.metadata import EntryPoints, entry_points
from pathlib import Path
from typing import Any, Literal

import click

# What only one command needs is imported when that runs: help and completion are quick.
from canario import __version__
from canario.cli.printing import complain, say, say_json, say_text
from canario.cli.slo import slo
from canario.config import ConfigError

__all__ = ["cli", "run"]

EPILOG = "Exit codes: 0 all as expected, 1 an expectation failed, 2 bad usage or bad input."


class _Commands(click.Group):
    """Commands of this package, and those of the packages that are installed beside it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_plugged().names | set(super().list_commands(ctx)))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        for point in _plugged().select(name=cmd_name):
            try:
                loaded: click.Command = point.load()
            except ModuleNotFoundError as error:
                return _unavailable(cmd_name, str(error.name))
            return loaded
        return None


@cache
def _plugged() -> EntryPoints:
    """The commands of other packages; looking for them reads a file of each that is installed."""
    return entry_points(group="canario.commands")


def _unavailable(name: str, missing: str) -> click.Command:
    """A command that is listed, and says what to install when it is called."""

    def complain(**_: object) -> None:
        raise click.ClickException(
            f"'canario {name}' needs {missing}; install it with: pip install 'canario[sim]'"
        )

    return click.Command(
        name,
        callback=complain,
        short_help="Needs: pip install 'canario[sim]'.",
        params=[click.Argument(["arguments"], nargs=-1, type=click.UNPROCESSED)],
        context_settings={"ignore_unknown_options": True},
    )


@click.group(cls=_Commands, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="canario")
def cli() -> None:
    """Guard a release inside a Python web app, and rehearse it first."""


@cli.group(epilog=EPILOG)
def plan() -> None:
    """Check and explain rollout plans."""


_FILE = click.Path(path_type=Path, dir_okay=False)


@plan.command(epilog=EPILOG)
@click.argument("file", type=_FILE)
@click.option("--environment", "-e", is_flag=True, help="Let environment variables override it.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for a program.")
def check(file: Path, *, environment: bool, as_json: bool) -> None:
    """Explain the plan in FILE in words, or say what is wrong with it."""
    from canario.config import load_plan
    from canario.explain import explain

    try:
        made = load_plan(file, environ=os.environ if environment else None)
    except ConfigError as error:
        if as_json:
            _print_json(
                {
                    "valid": False,
                    "source": error.source,
                    "key": error.key,
                    "problem": error.problem,
                }
            )
        raise
    if as_json:
        _print_json({"valid": True, "plan": made})
        return
    say(f"{file}: a valid plan")
    say()
    for title, lines in explain(made.deployment):
        for index, line in enumerate(lines):
            say(f"{title if index == 0 else '':<10}{line}")


@plan.command(epilog=EPILOG)
def schema() -> None:
    """Print the JSON Schema of a plan file, for editors to complete it."""
    from canario.config import plan_schema

    _print_json(plan_schema())


@cli.command(epilog=EPILOG, short_help="Tell the story of a rollout from its journal.")
@click.argument("file", type=_FILE)
@click.option("--json", "as_json", is_flag=True, help="Print JSON for a program.")
def journal(file: Path, *, as_json: bool) -> None:
    """Tell the story of the rollout whose journal is FILE, and where it stands."""
    from canario.control.events import Started
    from canario.control.journal import JournalError, parse_journal
    from canario.control.state import Phase, replay
    from canario.control.words import describe, seconds_in_words
    from canario.plan import Deployment

    try:
        read = parse_journal(file.read_bytes())
    except OSError as error:
        raise click.ClickException(f"{file}: cannot be read: {error.strerror}") from error
    except JournalError as error:
        raise click.ClickException(f"{file}: {error}") from error
    if read.truncated:
        complain(
            f"{file} ends in the middle of an event; the {len(read.events)} whole ones "
            f"are read, {len(read.truncated)} bytes are not"
        )
    begun = next((event for event in read.events if isinstance(event, Started)), None)
    deployment = begun.deployment if begun else Deployment()
    try:
        state = replay(deployment, read.events)
    except ValueError as error:
        raise click.ClickException(f"{file}: {error}") from error
    if as_json:
        _print_json(
            {
                "state": state,
                "events": read.events,
                "truncated": bool(read.truncated),
                "watched": read.watched,
                "pid": read.pid,
            }
        )
        return
    start = last = begun.at if begun else 0.0
    for event in read.events:
        # Another process may have had another date: its story goes on where the last one ended.
        start -= max(0.0, last - event.at)
        last = event.at
        say(f"{seconds_in_words(event.at - start):>10}  {describe(event, deployment)}")
    say()
    say(f"{state.phase}, {state.share:g} % of the keys go to the canary")
    if state.phase in (Phase.RUNNING, Phase.PAUSED) and read.watched is not None:
        hold = deployment.canary_stages[state.stage].hold_seconds
        stands = read.watched if state.paused_at is None else state.paused_at
        served = seconds_in_words(min(hold, hold - max(0.0, state.ends_at - stands)))
        by = "" if read.pid is None else f", last watched by process {read.pid}"
        say(f"{served} of the {seconds_in_words(hold)} of its stage are served{by}")


@cli.command(epilog=EPILOG, short_help="Print a signed claim that forces an arm.")
@click.argument("choice", type=click.Choice(["always", "never"]))
@click.option("--deployment-id", required=True, help="The release that the claim is for.")
@click.option("--secret-env", required=True, help="Environment variable that holds the secret.")
@click.option(
    "--for",
    "seconds",
    type=click.IntRange(min=1),
    default=3600,
    show_default=True,
    help="Seconds until the claim expires.",
)
def sign(
    choice: Literal["always", "never"], deployment_id: str, secret_env: str, seconds: int
) -> None:
    """Print a signed claim that forces the canary (always) or the baseline (never)."""
    from canario.routing.forced import sign_choice

    secret = os.environ.get(secret_env, "")
    if not secret:
        raise click.ClickException(f"{secret_env} is empty or not set; put the secret there")
    say(sign_choice(secret.encode(), deployment_id, choice, int(time.time()) + seconds))


@cli.command(epilog=EPILOG, short_help="Print the completion script of a shell.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script for SHELL, as in: eval "$(canario completion bash)"."""
    from click.shell_completion import get_completion_class

    made = get_completion_class(shell)
    if made is None:  # pragma: no cover - the choice names only what click has
        raise click.ClickException(f"click has no completion for {shell}")
    say_text(made(cli, {}, "canario", "_CANARIO_COMPLETE").source() + "\n")


cli.add_command(slo)


def _print_json(document: Any) -> None:
    from msgspec import to_builtins

    say_json(to_builtins(document))


def run() -> None:
    """Run the command line and exit with its code."""
    try:
        code = cli.main(prog_name="canario", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)  # noqa: TID251 - the help is ours
        sys.exit(2)
    except click.Abort:
        _fail("interrupted", 130)
    except click.ClickException as error:
        _fail(f"{_sentence(error.format_message())}{_hint(error)}", 2)
    except ConfigError as error:
        _fail(str(error), 2)
    except BrokenPipeError:
        # Whoever read our output has seen enough; keep Python from complaining at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    sys.exit(code if isinstance(code, int) else 0)


def _sentence(message: str) -> str:
    return " ".join(message.split()).rstrip(".")


def _hint(error: click.ClickException) -> str:
    if isinstance(error, click.UsageError) and error.ctx is not None:
        return f"; see '{error.ctx.command_path} --help'"
    return ""


def _fail(message: str, code: int) -> None:
    complain(message)
    sys.exit(code)
