"""Whose doing it was that an app of ASGI's ended with an exception that is no `Exception`."""

from __future__ import annotations

import asyncio
import sys
from math import inf
from opcode import opmap

__all__ = ["was_cancelled", "was_closed"]

_RAISE = opmap["RAISE_VARARGS"]


def was_cancelled(error: BaseException) -> bool:
    """Whether a request ended because it was cancelled from outside.

    What an app cancels itself (a task that it awaits, a scope of its own) is over when it gets
    here, and the server answers 500: so it does to a `CancelledError` without anyone who cancels.
    A group is a cancellation when it holds nothing else.
    """
    if isinstance(error, BaseExceptionGroup):
        return all(was_cancelled(each) for each in error.exceptions)
    if isinstance(error, asyncio.CancelledError):
        try:
            task = asyncio.current_task()
        except RuntimeError:  # no loop of asyncio's runs here, so none has cancelled
            return False
        return task is not None and task.cancelling() > 0
    trio = sys.modules.get("trio")
    if trio is None or not isinstance(error, trio.Cancelled):
        return False
    # Of the scopes around the middleware: those that the app has opened are closed by now.
    deadline: float = trio.current_effective_deadline()
    return deadline == -inf


def was_closed(error: GeneratorExit) -> bool:
    """Whether a coroutine was thrown away, perhaps by the garbage collector in the midst of
    anything; an app that raises a `GeneratorExit` by a statement of its own was not."""
    at = error.__traceback__
    if at is None:
        return True
    while at.tb_next is not None:
        at = at.tb_next
    return at.tb_frame.f_code.co_code[at.tb_lasti] != _RAISE
