"""The colours of reports, in light and in dark, told apart by colour-blind readers too.

The hues are those of Okabe and Ito ("Color Universal Design", 2008), made darker or lighter until
text in them keeps a contrast of 4.5 to 1 on every background here.
"""

from __future__ import annotations

import re
from typing import Any

__all__ = ["DARK", "LIGHT", "SERIES", "STEPS", "contrast", "css", "resolved", "var"]

LIGHT = {
    "page": "#f6f5f1",
    "card": "#ffffff",
    "ink": "#1c2127",
    "muted": "#57606a",
    "line": "#d9dde2",
    "axis": "#8a939c",
    "focus": "#0b5cad",
    "baseline": "#2a62a6",
    "canary": "#a45a00",
    "good": "#0a7457",
    "wait": "#5d6a86",
    "bad": "#b5370a",
    "fault": "#8b3f7f",
    "limit": "#b5370a",
    "fill-good": "#84c7ac",
    "fill-wait": "#d9dcea",
    "fill-bad": "#e2693a",
    "series-0": "#2a62a6",
    "series-1": "#a45a00",
    "series-2": "#0a7457",
    "series-3": "#8b3f7f",
    "series-4": "#1a7390",
    "series-5": "#6b6200",
    "step-0": "#eef4fa",
    "step-1": "#d0e1f0",
    "step-2": "#f7e3b5",
    "step-3": "#f0b56b",
    "step-4": "#d9703a",
    "step-5": "#8f2d0b",
    "on-step-0": "#1c2127",
    "on-step-1": "#1c2127",
    "on-step-2": "#1c2127",
    "on-step-3": "#1c2127",
    "on-step-4": "#1c2127",
    "on-step-5": "#ffffff",
}

DARK = {
    "page": "#12161b",
    "card": "#1b2128",
    "ink": "#e9edf1",
    "muted": "#a6b1bd",
    "line": "#343d47",
    "axis": "#7c8894",
    "focus": "#7db8f5",
    "baseline": "#7fb6f2",
    "canary": "#f2b24a",
    "good": "#52cfa6",
    "wait": "#a8b4d0",
    "bad": "#ff8f66",
    "fault": "#dd9fd1",
    "limit": "#ff8f66",
    "fill-good": "#286f59",
    "fill-wait": "#3b4358",
    "fill-bad": "#a8401f",
    "series-0": "#7fb6f2",
    "series-1": "#f2b24a",
    "series-2": "#52cfa6",
    "series-3": "#dd9fd1",
    "series-4": "#6cc9e6",
    "series-5": "#d3cc62",
    "step-0": "#24303b",
    "step-1": "#2d4a63",
    "step-2": "#6b5a2a",
    "step-3": "#98651f",
    "step-4": "#d0713c",
    "step-5": "#ffa582",
    "on-step-0": "#e9edf1",
    "on-step-1": "#e9edf1",
    "on-step-2": "#ffffff",
    "on-step-3": "#ffffff",
    "on-step-4": "#12161b",
    "on-step-5": "#12161b",
}

# For policies and other series that have no colour of their own, in this order.
SERIES = tuple(f"series-{number}" for number in range(6))

# For probabilities, from none to certain.
STEPS = tuple(f"step-{number}" for number in range(6))

_VAR = re.compile(r"var\(--([a-z0-9-]+)\)")


def var(name: str) -> str:
    """A colour as a chart names it; what it is, light and dark decide."""
    assert name in LIGHT, name
    return f"var(--{name})"


def css(colours: dict[str, str]) -> str:
    """The colours as declarations of CSS variables."""
    return " ".join(f"--{name}: {value};" for name, value in colours.items())


def resolved(spec: Any, colours: dict[str, str] = LIGHT) -> Any:
    """A chart's specification with every named colour as what it is, for pictures without CSS."""
    if isinstance(spec, dict):
        return {key: resolved(value, colours) for key, value in spec.items()}
    if isinstance(spec, list):
        return [resolved(value, colours) for value in spec]
    if isinstance(spec, str) and (found := _VAR.fullmatch(spec)):
        return colours[found[1]]
    return spec


def contrast(one: str, other: str) -> float:
    """The contrast ratio of WCAG 2.2, from 1 to 21, of two colours as `#rrggbb`."""
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    channels = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
