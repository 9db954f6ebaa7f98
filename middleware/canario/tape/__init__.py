"""Recording a tape: one compact row for each request, beside the requests, in open files."""

from .format import TapeError
from .tape_recorder import Mark, TapeRecorder

__all__ = ["Mark", "TapeError", "TapeRecorder"]
