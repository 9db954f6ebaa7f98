"""A report as one HTML file: no request to any network, nothing of its data taken for markup.

The page may run its own scripts and nothing else: its Content-Security-Policy names them by
their digests, forbids every connection, and does without `eval`: Vega interprets its expressions.
"""

from __future__ import annotations

from base64 import b64encode
from functools import cache
from hashlib import sha256
from importlib import resources
from importlib.metadata import version
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from msgspec import json

from canario.control.words import seconds_in_words
from canario_sim.kept import kept

from .charts import CONFIG
from .palette import DARK, LIGHT, css
from .plain import shown
from .report import Cell, Panel, Report, Table
from .slugs import Slugs

__all__ = ["html"]

# Rows that a table shows; a file of its own has all of them.
_MOST_ROWS = 2000


def html(report: Report) -> str:
    """The whole file."""
    scripts = [_library(), _resource("page.js")]
    slug = Slugs()
    drawn = {picture.name: picture.draw() for picture in report.pictures}
    # Markup marks what is ours, or has no < and no & in it; everything else is escaped.
    page: str = _template().render(
        report=report,
        charts=drawn,
        slug=slug,
        policy=_policy(scripts),
        scripts=[Markup(script) for script in scripts],
        style=Markup(_style()),
        data=Markup(_embedded(_data(report, drawn, slug))),
        several=len(report.sections) > 1,
    )
    return page


def _numeric(table: Table, place: int) -> bool:
    values = [row[place] for row in table.rows if row[place] is not None]
    return bool(values) and all(
        isinstance(value, int | float) and not isinstance(value, bool) for value in values
    )


def _data(report: Report, drawn: dict[str, tuple[Panel, ...]], slug: Slugs) -> dict[str, Any]:
    """What the page's script reads: tables by name, and charts in the order of the page."""
    tables: dict[str, Any] = {}
    for table in (table for picture in report.pictures for table in picture.tables):
        tables.setdefault(
            table.name,
            {
                "columns": [
                    {"name": c.name, "title": c.title, "digits": c.digits} for c in table.columns
                ],
                "rows": [[_brief(cell) for cell in row] for row in table.drawn[:_MOST_ROWS]],
            },
        )
    charts = [
        {
            "id": f"chart-{slug(picture.name)}-{number}",
            "says": panel.says,
            "tables": [table.name for table in picture.tables],
            "spec": panel.spec,
        }
        for picture in report.pictures
        for number, panel in enumerate(drawn[picture.name])
    ]
    return {"tables": tables, "charts": charts, "config": CONFIG}


def _brief(cell: Cell) -> Cell:
    """Seven digits are more than a screen shows; all of them are in the files of numbers."""
    return float(f"{cell:.7g}") if isinstance(cell, float) else cell


def _embedded(value: Any) -> str:
    """JSON that no HTML parser takes for anything else."""
    text = json.encode(value).decode()
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _policy(scripts: list[str]) -> str:
    digests = [b64encode(sha256(script.encode()).digest()).decode() for script in scripts]
    own = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {own}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _style() -> str:
    light, dark = css(LIGHT), css(DARK)
    return (
        f":root {{ color-scheme: light dark; {light} }}\n"
        f"@media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}\n"
        f"@media print {{ :root {{ color-scheme: light; {light} }} }}\n{_resource('page.css')}"
    )


@cache
def _library() -> str:
    """Vega, Vega-Lite and Vega-Embed, as they come with vl-convert; bundling takes two seconds."""
    return kept(f"vega-embed-{version('vl-convert-python')}.js", _bundled)


def _bundled() -> str:
    import vl_convert

    bundle: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    # Inside a <script> only these could be taken for its end.
    return bundle.replace("</script", "<\\/script").replace("<!--", "<\\!--")


@cache
def _resource(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


@cache
def _template() -> Any:
    environment = Environment(
        loader=PackageLoader(__package__, ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "seconds": lambda at: seconds_in_words(round(at, 1)),
    }
    environment.globals |= {"shown": shown, "numeric": _numeric}
    return environment.get_template("page.html.j2")
