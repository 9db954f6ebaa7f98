"""Text from files as text that every format can hold: what no reader sees is made visible."""

from __future__ import annotations

from typing import Any

from msgspec import Struct
from msgspec.structs import fields, replace

from canario.printable import printable_lines

from .report import Cell, Column

__all__ = ["printable_report", "shown"]


def printable_report(value: Any) -> Any:
    """A report, or any part of one, with all its text printable."""
    if isinstance(value, tuple):
        return tuple(map(printable_report, value))
    if isinstance(value, Struct):
        names = [field.name for field in fields(value)]
        return replace(value, **{name: printable_report(getattr(value, name)) for name in names})
    if isinstance(value, dict):
        return {key: printable_report(part) for key, part in value.items()}
    if isinstance(value, list):
        return [printable_report(part) for part in value]
    return printable_lines(value) if isinstance(value, str) else value


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
