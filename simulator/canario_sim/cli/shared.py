"""What several commands of the simulator share: files, options, exit codes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from canario.config import ConfigError

if TYPE_CHECKING:
    from canario_sim.lab.experiment import Policy

__all__ = [
    "INTERRUPTED",
    "MANY",
    "FiniteRange",
    "models_option",
    "policy_option",
    "with_named",
]

# What a shell reports of a program that Ctrl-C has ended.
INTERRUPTED = 130

# Of replications, seeds and trials: more would take days.
MANY = 1_000_000


class FiniteRange(click.FloatRange):
    """A finite number in a range: NaN is in every one of click's."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """The number. Fails, as all types of click do, with words for who gave it."""
        number: float = super().convert(value, param, ctx)
        if not isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


_Command = TypeVar("_Command", bound=Callable[..., Any])


def models_option(command: _Command) -> _Command:
    """Give a command the flag `--allow-models`, which arrives as `allow_models`."""
    option: Callable[[_Command], _Command] = click.option(
        "--allow-models",
        is_flag=True,
        help="Run the Python code that scenarios name as their models. Only for files that you "
        "trust.",
    )
    return option(command)


def policy_option(text: str) -> Callable[[_Command], _Command]:
    """Give a command the option `--policy`, which arrives as `named`: by name what judges."""
    option: Callable[[_Command], _Command] = click.option(
        "--policy", "named", multiple=True, callback=_named, metavar="[NAME=]WHAT", help=text
    )
    return option


def _named(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """`NAME=PLAN_FILE`, a preset, or `NAME=PRESET`."""
    from canario_sim.peers import PRESETS

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


def with_named(policies: Iterable[Policy], named: Mapping[str, str]) -> tuple[Policy, ...]:
    """The policies, and those of `--policy`. Raises `ConfigError` for two of one name."""
    from canario.config import load_plan
    from canario_sim.lab.experiment import Policy
    from canario_sim.peers import peer_named

    made = list(policies)
    for name, what in named.items():
        peer = peer_named(what, "--policy")
        own = None if peer else load_plan(Path(what)).deployment
        made.append(Policy(name=name, deployment=own, peer=peer))
    names = [policy.name for policy in made]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError("--policy", name, "is the name of another policy too")
    return tuple(made)
