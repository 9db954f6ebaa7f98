"""What a span tells about the run of a function."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Mapping
from types import CodeType, TracebackType
from typing import Any

from opentelemetry.trace import Span, Status, StatusCode, format_trace_id

from canario.host.interrupts import pass_on

__all__ = ["record_error", "size_of", "size_of_input", "trace_id_of", "wrapper_codes"]

_SIZED = (str, bytes, bytearray, memoryview, list, tuple, dict, set, frozenset, deque, array)

# Code of the functions that wrap: an exception whose traceback shows an inner one of them has
# been recorded there.
wrapper_codes: set[CodeType] = set()


def record_error(span: Span, error: BaseException) -> None:
    """Put an exception on a span: its type and status, and an event where none has it yet."""
    kind = type(error)
    where = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    span.set_attribute("error.type", f"{where}{kind.__qualname__}")
    try:
        description = f"{kind.__name__}: {error}"
    except BaseException as own:
        pass_on(own)
        description = kind.__name__
    span.set_status(Status(StatusCode.ERROR, description))
    if not _recorded_inside(error.__traceback__):
        span.record_exception(error)


def _recorded_inside(traceback: TracebackType | None) -> bool:
    """Whether the exception has come through another decorated function before this one."""
    # The first frame is the wrapper's own; an exception thrown into a generator shows it twice.
    own = None if traceback is None else traceback.tb_frame
    while traceback is not None:
        frame = traceback.tb_frame
        if frame is not own and frame.f_code in wrapper_codes:
            return True
        traceback = traceback.tb_next
    return False


def trace_id_of(span: Span) -> str | None:
    """32 hex digits; None outside of a trace."""
    context = span.get_span_context()
    return format_trace_id(context.trace_id) if context.is_valid else None


def size_of_input(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> int | None:
    """Size of the first argument that has one."""
    for value in (*args, *kwargs.values()):
        size = size_of(value)
        if size is not None:
            return size
    return None


def size_of(value: Any) -> int | None:
    """`len()` of text, bytes, an array or a container; None of anything else.

    Of other types, even those that have a length, asking for it may be work: a lazy query of a
    database is carried out.
    """
    if isinstance(value, _SIZED) or hasattr(type(value), "__array_interface__"):
        try:
            return len(value)
        except BaseException as error:  # an array without dimensions has none
            pass_on(error)
            return None
    return None
