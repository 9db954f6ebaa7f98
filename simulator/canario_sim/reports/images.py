"""Pictures as SVG and PNG, without a browser, in the light colours.

An SVG is the same bytes whenever it is made again; no part of it is fetched from anywhere.
"""

from __future__ import annotations

import re
from typing import Any

from .charts import CONFIG, fixed
from .palette import LIGHT, resolved
from .plain import printable_report
from .report import Picture

__all__ = ["png", "svg"]

_WIDTH = 640
_SCALE = 2.0  # pixels of a PNG for each of an SVG

# Vega numbers what is referred to within an image from the start of the process on.
_IDENTITY = re.compile(r'(?<=id=")(?:clip|gradient_)\d+(?=")')


def svg(picture: Picture, title: str) -> str:
    """The picture under a title."""
    import vl_convert

    text: str = vl_convert.vegalite_to_svg(_whole(picture, title))
    found = dict.fromkeys(_IDENTITY.findall(text))
    for number, name in enumerate(found):
        text = re.sub(rf'(?<=id="){name}(?=")|(?<=url\(#){name}(?=\))', f"part-{number}", text)
    return text + "\n"


def png(picture: Picture, title: str) -> bytes:
    """The picture under a title, twice as wide in pixels as an SVG."""
    import vl_convert

    made: bytes = vl_convert.svg_to_png(svg(picture, title), scale=_SCALE)
    return made


def _whole(picture: Picture, title: str) -> dict[str, Any]:
    """All its panels, one below the other, with their rows."""
    drawn = [fixed(panel.spec, _WIDTH) for panel in picture.draw()]
    datasets: dict[str, Any] = {}
    for spec in drawn:
        datasets |= spec.pop("datasets", {})
    # Names stand in scales as well as in rows, and a control character ends the renderer's process.
    drawn = printable_report(drawn)
    for table in picture.tables:
        names = [column.name for column in table.columns]
        datasets[table.name] = [
            {name: printable_report(cell) for name, cell in zip(names, row, strict=True)}
            for row in table.drawn
        ]
    panels = [
        _panel(spec, panel.title if len(drawn) > 1 else "")
        for spec, panel in zip(drawn, picture.draw(), strict=True)
    ]
    whole: dict[str, Any] = resolved(
        {
            "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
            "config": fixed(CONFIG, _WIDTH) | {"background": LIGHT["card"]},
            "padding": 16,
            "title": {
                "text": [printable_report(title)],
                "anchor": "start",
                "fontSize": 16,
                "color": LIGHT["ink"],
                "offset": 12,
            },
            "vconcat": panels,
            "spacing": 24,
            # Of both alike: a shared legend of shapes would stand beside one of colours.
            "resolve": {
                "scale": {"color": "independent", "shape": "independent"},
                "legend": {"color": "independent", "shape": "independent"},
            },
        }
    )
    return whole | {"datasets": datasets}


def _panel(spec: dict[str, Any], title: str) -> dict[str, Any]:
    own = {key: value for key, value in spec.items() if key not in ("$schema", "autosize")}
    heading = {
        "text": printable_report(title),
        "anchor": "start",
        "fontSize": 12,
        "color": LIGHT["ink"],
        "limit": _WIDTH,
    }
    return own | {"width": _WIDTH} | ({"title": heading} if title else {})
