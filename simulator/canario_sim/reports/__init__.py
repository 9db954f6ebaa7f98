"""Reports: what was found out, as a page, pictures, tables, Markdown and JUnit XML.

What imports a library of charts is imported when it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from canario.lazy import lazy

if TYPE_CHECKING:
    from .notebook import report_of, show
    from .report import Report
    from .write import report_options, write_reports

__all__ = ["Report", "report_of", "report_options", "show", "write_reports"]

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy(
        __name__,
        {
            "notebook": ("report_of", "show"),
            "report": ("Report",),
            "write": ("report_options", "write_reports"),
        },
    )
