"""Text from files as text that every format can hold: what no reader sees is made visible."""

from __future__ import annotations

from typing import Any

from msgspec import Struct
from msgspec.structs import fields, replace

from .model import Cell, Column

__all__ = ["printable", "printable_report", "shown"]

# Control characters as the signs that stand for them; what turns the direction of the text around,
# so that a name reads as another one, and what no XML may hold, as a question mark in a lozenge.
_SIGNS = {number: chr(0x2400 + number) for number in range(32) if chr(number) not in "\t\n"}
_SIGNS |= {0x7F: "\u2421"} | dict.fromkeys(range(0x80, 0xA0), "\ufffd")
_SIGNS |= dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A)], "\ufffd")
_SIGNS |= dict.fromkeys([*range(0xD800, 0xE000), 0xFFFE, 0xFFFF], "\ufffd")


def printable(value: Any) -> Any:
    """A text without characters that would vanish or mislead; anything else as it is."""
    return value.translate(_SIGNS) if isinstance(value, str) else value


def printable_report(value: Any) -> Any:
    """A report, or any part of one, with all its text printable."""
    if isinstance(value, tuple):
        return tuple(map(printable_report, value))
    if isinstance(value, Struct):
        names = [field.name for field in fields(value)]
        return replace(value, **{name: printable_report(getattr(value, name)) for name in names})
    return printable(value)


def shown(value: Cell, column: Column) -> str:
    """A cell as people read it."""
    match value:
        case None:
            return "–"
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            digits = column.digits
            return f"{value:,.{digits}g}" if abs(value) < 10**digits else f"{value:,.0f}"
        case _:
            return value
