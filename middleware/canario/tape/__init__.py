"""Recording a tape: one compact row for each request, beside the requests, in open files."""

from .format import TapeError
from .mark import Mark
from .tape_recorder import TapeRecorder

__all__ = ["Mark", "TapeError", "TapeRecorder"]
