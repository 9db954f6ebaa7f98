"""Reports as files: the name's ending says which format."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from canario.config import ConfigError
from canario_sim.reports.output import write_file

from .slugs import Slugs

if TYPE_CHECKING:
    from .report import Report

__all__ = ["FORMATS", "report_options", "write_reports"]

# What each format is, and the modules that it takes.
_CHARTS = ("altair", "vl_convert")
FORMATS: dict[str, tuple[str, tuple[str, ...]]] = {
    ".html": ("one page that needs no network", (*_CHARTS, "jinja2")),
    ".md": ("Markdown for a comment on a pull request", ()),
    ".xml": ("JUnit for CI", ()),
    ".json": ("the whole for a program", ()),
    ".csv": ("tables", ()),
    ".parquet": ("tables", ()),
    ".svg": ("pictures", _CHARTS),
    ".png": ("pictures", _CHARTS),
}

_Command = TypeVar("_Command", bound=Callable[..., Any])


def report_options(*, junit: bool = False) -> Callable[[_Command], _Command]:
    """Give a command the option `--report`, which arrives as the tuple of paths `reports`.

    `junit` is True for a command of which something is expected, so that it may fail.
    """
    formats = [suffix for suffix in FORMATS if junit or suffix != ".xml"]

    def checked(
        context: click.Context, parameter: click.Parameter, paths: Sequence[Path]
    ) -> tuple[Path, ...]:
        for path in paths:
            if path.suffix not in formats:
                raise click.BadParameter(
                    f"{path} ends in none of {', '.join(formats)}", context, parameter
                )
            _need(path.suffix)
        return tuple(paths)

    option: Callable[[_Command], _Command] = click.option(
        "--report",
        "reports",
        multiple=True,
        type=click.Path(path_type=Path, dir_okay=False),
        callback=checked,
        metavar="FILE",
        help=f"Write a report in the format of FILE's ending: {', '.join(formats)}. Several "
        "pictures or tables make a file each, FILE-NAME. May be given several times.",
    )
    return option


def write_reports(report: Report, paths: Iterable[Path]) -> list[Path]:
    """Write a report in the formats that the paths ask for; returns the files.

    A format that holds one picture or one table makes a file of each: with a single one it is
    the path itself, with several `folder/stem-NAME.suffix`.

    Raises:
        ConfigError: When a file cannot be written, or a format has nothing to hold.
    """
    from .plain import printable_report

    plain: Report = printable_report(report)
    written = []
    for path in paths:
        files = _contents(plain, path)
        if not files:
            raise ConfigError(
                str(path), "", f"canario {report.command} has nothing to write in this format"
            )
        for name, content in files:
            write_file(name, content)
            written.append(name)
    return written


def _need(suffix: str) -> None:
    """Say what is missing before anything has run."""
    missing = [name for name in FORMATS[suffix][1] if find_spec(name) is None]
    if missing:
        raise click.ClickException(
            f"a {suffix} report needs {', '.join(missing)}; install with: "
            "pip install 'canario[report]'"
        )
    if suffix == ".parquet":
        from .table_files import parquet_is_there

        if not parquet_is_there():
            raise click.ClickException(
                "a .parquet report needs polars or pyarrow; install one of them, or write .csv"
            )


def _contents(report: Report, path: Path) -> list[tuple[Path, str | bytes]]:
    """The files that a path asks for. Formats are imported when they are wanted."""
    match path.suffix:
        case ".html":
            from .html import html

            return [(path, html(report))]
        case ".md":
            from .markdown import markdown

            return [(path, markdown(report))]
        case ".xml":
            from .junit import junit

            return [(path, junit(report))] if report.suites else []
        case ".json":
            return [(path, report.document)] if report.document else []
        case ".csv":
            from .table_files import csv

            return _each(path, [(table.name, csv(table)) for table in report.all_tables])
        case ".parquet":
            from .table_files import parquet

            return _each(path, [(table.name, parquet(table)) for table in report.all_tables])
        case _:
            from .images import png, svg

            make = svg if path.suffix == ".svg" else png
            return _each(
                path,
                [(name, make(picture, title)) for name, picture, title in _pictures(report)],
            )


def _pictures(report: Report) -> Iterable[tuple[str, Any, str]]:
    for section in report.sections:
        for picture in section.pictures:
            yield picture.name, picture, f"{section.title}: {picture.title}"


def _each(path: Path, made: Sequence[tuple[str, Any]]) -> list[tuple[Path, str | bytes]]:
    if len(made) == 1:
        return [(path, made[0][1])]
    slug = Slugs()
    return [
        (path.with_name(f"{path.stem}-{slug(name)}{path.suffix}"), content)
        for name, content in made
    ]
