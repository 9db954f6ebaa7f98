"""Pieces of PromQL: durations, quoted text, selectors."""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import ceil

from canario.printable import printable

__all__ = ["any_of", "duration", "quoted"]

_SPECIAL = re.compile(r"[\\.+*?()|\[\]{}^$]")


def duration(seconds: float) -> str:
    """`5m`, `1h`, `3d`, `90s`: rounded up to whole seconds, at least one."""
    whole = max(1, ceil(seconds))
    for unit, length in (("d", 86_400), ("h", 3600), ("m", 60)):
        if whole % length == 0:
            return f"{whole // length}{unit}"
    return f"{whole}s"


def quoted(text: str) -> str:
    """The text as a string of PromQL."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def any_of(label: str, values: Sequence[str]) -> str:
    """A selector of series whose label has one of the values; of all when there are none.

    The labels of canario's series are printable, and so are these.
    """
    if not values:
        return ""
    # RE2 inside a quoted string.
    either = "|".join(_SPECIAL.sub(r"\\\g<0>", printable(value)) for value in values)
    return f"{{{label}=~{quoted(either)}}}"
