"""Recording a tape: one compact row for each request, beside the requests, in open files."""

from .recorder import Mark, TapeRecorder
from .schema import TapeError

__all__ = ["Mark", "TapeError", "TapeRecorder"]
