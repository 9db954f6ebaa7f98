"""Reports: what was found out, as a page, pictures, tables, Markdown and JUnit XML.

What imports a library of charts is imported when it is used.
"""

from .notebook import report_of, show
from .report import Report
from .write import report_options, write_reports

__all__ = ["Report", "report_of", "report_options", "show", "write_reports"]
