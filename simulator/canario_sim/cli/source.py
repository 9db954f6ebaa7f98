"""What the commands that read recorded traffic share: options of a log, errors, progress."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from canario.config import ConfigError

from .shared import FiniteRange

__all__ = ["FORMAT_HELP", "clear_errors", "log_options", "log_settings", "progress_bar", "reading"]

FORMAT_HELP = (
    "log (an access log that begins as in the common format), jsonl, csv, or one by name: "
    "ingress-nginx, traefik, alb, elb, envoy, istio, uvicorn, combined-d, combinedio-d (Apache "
    "with %D), gunicorn-d, gunicorn-m, hypercorn-d, caddy, traefik-json, envoy-json, k6, k6-json, "
    "jmeter, cloudfront, iis.  [default: the one that fits alone]"
)

_Command = TypeVar("_Command", bound=Callable[..., Any])


class _BadInput(click.ClickException):
    """A file that cannot be used; as for a plan, the exit code is 2."""

    exit_code = 2


def _named_values(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """`NAME=VALUE`, as often as it is given."""
    found: dict[str, str] = {}
    for text in values:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise click.BadParameter(f"{text!r} is no NAME=VALUE, such as job=shop")
        if found.setdefault(name, value) != value:
            raise click.BadParameter(f"{name} has two values: {found[name]!r} and {value!r}")
    return found


def _mapping(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """`KEY=NAME`, as often as it is given."""
    found: dict[str, str] = {}
    for value in values:
        key, equals, name = value.partition("=")
        if not (key and equals and name):
            raise click.BadParameter(f"{value!r} is no KEY=NAME, such as at=time")
        found[key] = name
    return found


def _statuses(_: click.Context, __: click.Parameter, value: str | None) -> frozenset[int]:
    """`429,404`."""
    if value is None:
        return frozenset()
    parts = [part.strip() for part in value.split(",")]
    if not all(part.isdecimal() and 100 <= int(part) <= 599 for part in parts):
        raise click.BadParameter(f"{value!r} is no list of statuses, such as 429,404")
    return frozenset(map(int, parts))


_OPTIONS = (
    click.option(
        "--pattern",
        metavar="PATTERN",
        help="How an access log's lines are built: nginx's log_format, Apache's LogFormat, "
        "gunicorn's, or the fields $client $user $time $iso $epoch $request $method $path $status "
        "$took $took_s $took_ms $took_us $took_ns $arm $kind $created $skip $lead $rest.",
    ),
    click.option(
        "--latency-field",
        metavar="FIELD",
        help="The field of an access log that is the request's time: its name, or its number as "
        "awk counts them, with what is quoted or in brackets as one; none for no latencies.",
    ),
    click.option(
        "--unit",
        type=click.Choice(["s", "ms", "us", "ns"]),
        help="Of an access log's request times, or Prometheus' buckets.  [default: what they say; "
        "else of a log s for times with a point, as nginx writes them; whole numbers that no name "
        "tells it need one: Apache's %D is us, %T s]",
    ),
    click.option(
        "--stamp",
        type=click.Choice(["start", "end"]),
        help="Which end of a request an instant tells.  [default: the format's; else end, and "
        "start where an access log's request times are whole numbers]",
    ),
    click.option(
        "--key",
        type=click.Choice(["client", "user", "none"]),
        default="client",
        show_default=True,
        help="What users are told apart by.",
    ),
    click.option(
        "--map",
        "names",
        multiple=True,
        callback=_mapping,
        metavar="KEY=NAME",
        help="JSON lines and CSV: what one of canario's keys is called there, such as at=time "
        "(at, latency_s, latency_ms, latency_us, latency_ns, status, ok, outcome, key, route, "
        "method, arm).",
    ),
    click.option(
        "--where",
        multiple=True,
        callback=_named_values,
        metavar="NAME=VALUE",
        help="Only records (JSON lines, CSV) that hold this, spans with this attribute, or series "
        "with this label, such as service.name=shop or job=shop; may be given again.",
    ),
    click.option(
        "--errors",
        callback=_statuses,
        metavar="STATUS,…",
        help="Statuses below 500 that count as errors; other 4xx say nothing.",
    ),
    click.option(
        "--limit-ms",
        type=FiniteRange(min=0, min_open=True),
        default=500.0,
        show_default=True,
        help="A client that left (status 499) after a longer wait counts as slow; another says "
        "nothing.",
    ),
    click.option(
        "--secret-env",
        metavar="VARIABLE",
        help="Environment variable with the secret that users' keys are hashed with.  [default: "
        "a random one]",
    ),
    click.option(
        "--strict", is_flag=True, help="Stop at the first line of a log that cannot be read."
    ),
)


def log_options(command: _Command) -> _Command:
    """Give a command the options of a log; `log_settings` makes arguments of them."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def log_settings(options: Mapping[str, object]) -> dict[str, Any]:
    """The arguments of `import_log`. Raises `ConfigError` for a secret that is not there."""
    settings = dict(options)
    variable = settings.pop("secret_env")
    if variable is not None:
        secret = os.environ.get(str(variable), "").encode()[:64]
        if not secret:
            raise ConfigError(str(variable), "", "is empty or not set; --secret-env names it")
        settings["secret"] = secret
    return settings


@contextmanager
def clear_errors() -> Iterator[None]:
    """What is wrong with recorded traffic is one line, like what is wrong with a plan."""
    from canario.tape.format import TapeError

    try:
        yield
    except ConfigError:
        raise
    except (TapeError, ValueError) as error:
        raise _BadInput(str(error)) from error


@contextmanager
def reading(path: Path) -> Iterator[Callable[[int], object]]:
    """A bar while a file is read: to be told how many bytes were."""
    with progress_bar(f"reading {path.name}") as update:
        size = max(path.stat().st_size, 1) if path.is_file() else 1
        # What is compressed is longer than its file; its bar then waits at the end.
        yield lambda read: update(min(read / size, 1.0))


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[float], object]]:
    """A bar on stderr, in a terminal, to be told a part from 0 to 1; it is gone at the end."""
    from rich.progress import Progress, TextColumn

    from canario_sim.console import Terminal

    console = Terminal(stderr=True)
    # As the default, but that a file's name is no markup.
    columns = (TextColumn("{task.description}", markup=False), *Progress.get_default_columns()[1:])
    drawn = console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=not drawn) as bar:
        task = bar.add_task(title, total=1.0)
        yield lambda done: bar.update(task, completed=done)
