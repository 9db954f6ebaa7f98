"""`canario slo`: objectives for other tools."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from canario.cli.printing import EPILOG, complain, dumped, say_text

if TYPE_CHECKING:
    from canario.plan import Plan

__all__ = ["slo"]

_FILE = click.Path(path_type=Path, dir_okay=False)

_plan = click.argument("plan", type=_FILE)
_environment = click.option(
    "--environment", "-e", is_flag=True, help="Let environment variables override the plan."
)
_flows = click.option(
    "--flow", "flows", multiple=True, metavar="NAME", help="A flow; may be given again."
)
_output = click.option("--output", "-o", type=_FILE, help="Write to this file, with its folders.")


@click.group(epilog=EPILOG, short_help="Objectives for Prometheus, OpenSLO and Grafana.")
def slo() -> None:
    """Write objectives for Prometheus, OpenSLO and Grafana, and read them."""


@slo.command(epilog=EPILOG, short_help="Write Prometheus rules from a plan's objectives.")
@_plan
@_environment
@_flows
@click.option(
    "--label",
    "labels",
    multiple=True,
    metavar="NAME=VALUE",
    help="A label for every alert, such as team=search; may be given again.",
)
@_output
def rules(
    plan: Path,
    *,
    environment: bool,
    flows: tuple[str, ...],
    labels: tuple[str, ...],
    output: Path | None,
) -> None:
    """Write recording rules and alerts from the objectives of PLAN, as Prometheus' YAML.

    They are about all flows, or about those that --flow names.
    """
    from canario.slo.prometheus_rules import prometheus_rules_yaml

    objectives = _load(plan, environment=environment).slo
    pairs = dict(_label(text) for text in labels)
    try:
        text = prometheus_rules_yaml(objectives, flows=flows, labels=pairs)
    except (ValueError, ModuleNotFoundError) as error:
        raise click.ClickException(str(error)) from error
    _write(text, output)


@slo.command(epilog=EPILOG, short_help="Write a plan's objectives as OpenSLO v1.")
@_plan
@_environment
@_flows
@click.option(
    "--service", help="Names the service; by default the plan's service_name or deployment_id."
)
@click.option("--json", "as_json", is_flag=True, help="Write JSON, one list of documents.")
@_output
def openslo(
    plan: Path,
    *,
    environment: bool,
    flows: tuple[str, ...],
    service: str | None,
    as_json: bool,
    output: Path | None,
) -> None:
    """Write the objectives of PLAN as OpenSLO v1 documents, in YAML.

    There is one set of SLOs for all requests, or one for each --flow.
    """
    from canario.slo.openslo import export_openslo
    from canario.yaml_text import dump_yaml

    loaded = _load(plan, environment=environment)
    name = service or loaded.tracing.service_name or loaded.deployment.deployment_id or "canario"
    try:
        documents = export_openslo(loaded.slo, service=name, flows=flows)
        text = dumped(documents) if as_json else dump_yaml(documents)
    except (ValueError, ModuleNotFoundError) as error:
        raise click.ClickException(f"{plan}: {error}") from error
    _write(text, output)


@slo.command("import", epilog=EPILOG, short_help="Read OpenSLO v1 into a plan's [slo] table.")
@click.argument("file", type=_FILE)
@click.option(
    "--latency-unit",
    type=click.Choice(["seconds", "milliseconds"]),
    help="Unit of latency values, where the documents do not tell it; thresholds are of latency "
    "then.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON for a program.")
@_output
def import_(file: Path, *, latency_unit: Any, as_json: bool, output: Path | None) -> None:
    """Read the OpenSLO v1 documents in FILE and print the [slo] table of a plan.

    What FILE does not say has its default. What each SLO was taken for stands above the table (on
    stderr with --json), what is left out is said on stderr. What cannot be kept as it is meant (a
    p99, time slices, several objectives in one SLO) is refused.
    """
    from msgspec import to_builtins

    from canario.slo.openslo_import import import_openslo

    try:
        read = import_openslo(file, latency_unit=latency_unit)
    except ModuleNotFoundError as error:
        raise click.ClickException(str(error)) from error
    for note in (*(read.taken if as_json else ()), *read.notes):
        complain(f"{file}: {note}")
    table: dict[str, float] = to_builtins(read.objectives)
    lines = [
        *(f"# {each}" for each in read.taken),
        "[slo]",
        *(f"{key} = {value!r}" for key, value in table.items()),
    ]
    _write(dumped({"slo": table}) if as_json else "\n".join(lines) + "\n", output)


@slo.command(epilog=EPILOG)
@_output
def grafana(output: Path | None) -> None:
    """Print the Grafana dashboard of canario's metrics, as JSON to import."""
    from canario.grafana import dashboard_json

    _write(dashboard_json(), output)


@slo.command(epilog=EPILOG)
@_output
def schema(output: Path | None) -> None:
    """Print the JSON Schema of the SLO dashboard's document."""
    from canario.slo.dashboard_schema import dashboard_schema

    _write(dumped(dashboard_schema()), output)


def _load(path: Path, *, environment: bool) -> Plan:
    from canario.config import load_plan

    return load_plan(path, environ=os.environ if environment else None)


def _label(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise click.ClickException(f"--label {text!r} is not NAME=VALUE")
    return name, value


def _write(text: str, output: Path | None) -> None:
    if output is None:
        say_text(text)
        return
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise click.ClickException(f"{output}: cannot be written: {error.strerror}") from error
