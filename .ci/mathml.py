"""A hook of the docs' site: formulas become MathML, which browsers draw without any script."""

import html
import re

from latex2mathml.converter import convert

# What pymdownx.arithmatex leaves of `$…$` and of `$$…$$`.
_FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)


def on_page_content(content: str, **_: object) -> str:
    """Called by MkDocs with the HTML of each page."""
    return _FORMULA.sub(_mathml, content)


def _mathml(found: re.Match[str]) -> str:
    display = "inline" if found[1] == "span" else "block"
    return convert(html.unescape(found[2]), display=display)
