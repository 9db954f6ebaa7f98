"""Tables as CSV and as Parquet."""

from __future__ import annotations

import csv as csv_format
import io
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from canario.printable import printable

from .report import Cell, Table

__all__ = ["csv", "parquet", "parquet_is_there"]

# What a spreadsheet takes for the beginning of a formula.
_FORMULA = ("=", "+", "-", "@")


def csv(table: Table) -> str:
    """The table with a line of headings; numbers with all their digits, nothing for no value.

    Text that a spreadsheet would run as a formula is written behind an apostrophe.
    """
    out = io.StringIO()
    writer = csv_format.writer(out, lineterminator="\n")
    writer.writerow([column.name for column in table.columns])
    writer.writerows([[_cell(cell) for cell in row] for row in table.rows])
    return out.getvalue()


def parquet(table: Table) -> bytes:
    """The table, by whichever of polars and pyarrow is installed.

    Raises `ModuleNotFoundError` where neither is.
    """
    columns = {
        column.name: _values([row[place] for row in table.rows])
        for place, column in enumerate(table.columns)
    }
    out = io.BytesIO()
    if find_spec("polars") is not None:
        import polars

        polars.DataFrame(columns, strict=False).write_parquet(out)
    else:
        arrow = import_module("pyarrow")
        import_module("pyarrow.parquet").write_table(arrow.table(columns), out)
    return out.getvalue()


def parquet_is_there() -> bool:
    """True where Parquet can be written."""
    return any(find_spec(name) is not None for name in ("pyarrow", "polars"))


def _cell(cell: Cell) -> str | int | float | None:
    match cell:
        case bool():
            return "true" if cell else "false"
        case str():
            text = printable(cell)
            return f"'{text}" if text.startswith(_FORMULA) else text
        case _:
            return cell


def _values(cells: list[Cell]) -> list[Any]:
    """A column of one type: numbers as numbers, and what is mixed as text."""
    kinds = {type(cell) for cell in cells if cell is not None}
    if kinds <= {int, float} and float in kinds:
        return [None if cell is None else float(cell) for cell in cells]
    if len(kinds) > 1:
        return [None if cell is None else str(_cell(cell)) for cell in cells]
    return list(cells)
