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
from typing import Literal

import click

# What only one command needs is imported when that runs: help and completion are quick.
from canario import __version__
from canario.cli.printing import EPILOG, complain, say, say_builtins, say_text
from canario.cli.slo import slo
from canario.cli.story import journal, store
from canario.config import ConfigError

__all__ = ["cli", "run"]


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
            say_builtins(
                {
                    "valid": False,
                    "source": error.source,
                    "key": error.key,
                    "problem": error.problem,
                }
            )
        raise
    if as_json:
        say_builtins({"valid": True, "plan": made})
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

    say_builtins(plan_schema())


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
cli.add_command(journal)
cli.add_command(store)


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
