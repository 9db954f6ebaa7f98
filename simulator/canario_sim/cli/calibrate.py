"""The command that fits a scenario to recorded traffic."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click
from click.core import ParameterSource

from canario.cli.printing import EPILOG, complain, say, say_json, say_text
from canario_sim.reports.output import write_file
from canario_sim.reports.write import report_options

from .shared import FiniteRange
from .source import FORMAT_HELP, clear_errors, log_options, log_settings, reading

__all__ = ["calibrate"]

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command(epilog=EPILOG, short_help="Fit a scenario to recorded traffic.")
@click.argument("source", type=click.Path(path_type=Path, exists=True))
@click.option(
    "--out", type=_FILE, metavar="SCENARIO.toml", help="Where to write the scenario; else stdout."
)
@click.option(
    "--format",
    "kind",
    metavar="FORMAT",
    help="tape; otlp: spans in JSON; prometheus: an answer of /api/v1/query_range, or a text "
    "exposition; or of a log: " + FORMAT_HELP,
)
@click.option("--name", help="The scenario's name.  [default: the file's]")
@click.option("--plan", type=_FILE, help="The scenario's plan.  [default: the tape's own]")
@click.option(
    "--latency",
    type=click.Choice(["lognormal", "gamma", "mixture", "empirical"]),
    help="Take this distribution, however it fits.  [default: the best by AIC]",
)
@click.option(
    "--traffic",
    type=click.Choice(["poisson", "diurnal", "weekly", "markov_modulated", "schedule"]),
    help="Take this kind of traffic.  [default: the best by AIC]",
)
@click.option(
    "--period",
    "period_seconds",
    type=FiniteRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Of a wave in the traffic.  [default: a day; for a shorter time, what stands out most]",
)
@click.option("--no-routes", is_flag=True, help="Fit all requests alike, whatever their route.")
@click.option("--metric", help="prometheus: the histogram's name, without _bucket.")
@click.option(
    "--rate",
    type=FiniteRange(min=0, min_open=True),
    help="prometheus: requests per second, which an exposition does not tell.",
)
@log_options
@click.option("--json", "as_json", is_flag=True, help="Print the fits as JSON for a program.")
@report_options()
@click.pass_context
def calibrate(
    ctx: click.Context,
    /,
    source: Path,
    *,
    out: Path | None,
    kind: str | None,
    name: str | None,
    plan: Path | None,
    latency: str | None,
    traffic: str | None,
    period_seconds: float | None,
    no_routes: bool,
    metric: str | None,
    rate: float | None,
    as_json: bool,
    reports: tuple[Path, ...],
    **settings: object,
) -> None:
    """Fit a scenario to SOURCE: a tape, a log, JSON lines, CSV, spans or Prometheus' counters.

    Traffic, latencies, errors, routes and users become an ordinary scenario file, which
    `canario simulate` rehearses. Every fit is shown beside the others that were tried.
    """
    # Numpy and the like are imported when something is run, so that help and completion are quick.
    from canario.config import load_plan
    from canario_sim.fitting.calibration import calibrate as fit
    from canario_sim.fitting.calibration import scenario_text
    from canario_sim.fitting.sources import kind_of, observe

    if out is not None and out.suffix != ".toml":
        raise click.UsageError(f"--out is {str(out)!r}; a scenario file ends in .toml", ctx)
    given = None if plan is None else load_plan(plan)
    with clear_errors(), reading(source) as progress:
        looks = kind or kind_of(source)
        _refuse_idle_options(ctx, source, looks, settings)
        taken = log_settings(settings)
        if given is not None and not _is_given(ctx, "limit_ms"):
            thresholds = given.deployment.rollback_thresholds
            taken["limit_ms"] = thresholds.max_p95_latency_ms
        if looks == "otlp" and not _is_given(ctx, "key"):
            del taken["key"]  # spans say themselves what they know of users
        observed = observe(
            source,
            kind=kind,
            metric=metric,
            rate=rate,
            progress=progress,
            **taken,
        )
        made = fit(
            observed,
            name=name or _name(out or source),
            plan=given,
            latency=latency,
            traffic=traffic,
            period_seconds=period_seconds,
            routes=not no_routes,
        )
    text = scenario_text(made)
    if out is not None:
        write_file(out, text)
    if as_json:
        from canario_sim.reports.json_text import json_text

        say_json(json_text(made))
    elif out is None:
        say_text(text)
    else:
        from canario_sim.reports.calibrated import told
        from canario_sim.reports.terminal import show

        show(told(made))
        say()
        say(f"the scenario is in {out}; rehearse it with: canario simulate {out}")
    if reports:
        from canario_sim.reports.calibrated import calibrating
        from canario_sim.reports.write import write_reports

        for file in write_reports(calibrating(made), reports):
            complain(f"report in {file}")


def _refuse_idle_options(
    ctx: click.Context, source: Path, kind: str, settings: Mapping[str, object]
) -> None:
    """Refuse what would do nothing: an option of another kind of source."""
    from canario_sim.fitting.sources import taken_of

    for name in ("metric", "rate", *settings):
        if _is_given(ctx, name) and not taken_of(kind, name.removesuffix("_env")):
            option = next(each for each in ctx.command.params if each.name == name)
            raise click.UsageError(
                f"{option.opts[0]} says nothing of {source}, which is read as {kind} (--format)",
                ctx,
            )


def _is_given(ctx: click.Context, name: str) -> bool:
    return ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE


def _name(path: Path) -> str:
    """A scenario's name of a file's: what a name may not hold is `-`."""
    stem = path.name.partition(".")[0]
    plain = "".join(sign if sign.isascii() and sign.isalnum() else "-" for sign in stem).strip("-")
    return plain or "fitted"
