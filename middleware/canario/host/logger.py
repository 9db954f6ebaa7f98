"""The loggers that canario writes to: no text from outside forges a line of a log."""

from __future__ import annotations

import logging
import os
import traceback
from contextlib import suppress
from typing import TypeVar

from canario.printable import printable, printable_lines

__all__ = ["get_logger", "guarded", "information"]

_Log = TypeVar("_Log")


def get_logger(name: str = "canario") -> logging.Logger:
    """The logger of this name, whose records are printable."""
    return guarded(logging.getLogger(name))


def guarded(log: _Log) -> _Log:
    """The logger itself: what canario logs to it is printable from now on.

    A filter does it, and not each call, so that none can forget. Records of others that write to
    the same logger are left as they are, and so is what only looks like a logger.
    """
    if isinstance(log, logging.Logger):
        log.addFilter(_printable_record)  # twice is once
    return log


def information(log: _Log) -> _Log:
    """Where goes what is no warning: a child of the logger, so that an app can silence it alone."""
    if isinstance(log, logging.Logger):
        return guarded(log.getChild("info"))
    return log


def _printable_record(record: logging.LogRecord) -> bool:
    if record.pathname.startswith(_HERE):
        with suppress(Exception):  # arguments without a text: the handlers will say so
            _make_printable(record)
    return True


# The folder of canario, as records have it: from where the code was compiled.
_HERE = os.path.join(os.path.dirname(os.path.dirname(guarded.__code__.co_filename)), "")


def _make_printable(record: logging.LogRecord) -> None:
    text = record.getMessage()
    shown = printable(text)
    if shown != text:
        record.msg, record.args = shown, ()
    error = record.exc_info[1] if record.exc_info else None
    if error is None or record.exc_text is not None:
        return
    messages, notes = _said(error)
    said = "".join(messages + notes)
    if printable(said) != said:
        # Formatters take this text instead of making one of the exception.
        record.exc_text = _traceback(error, messages, notes)


def _traceback(error: BaseException, messages: list[str], notes: list[str]) -> str:
    """The traceback, in which each message and each note is one line."""
    text = "".join(traceback.format_exception(error))
    for message in sorted(messages, key=len, reverse=True):
        text = text.replace(f": {message}\n", f": {printable(message)}\n")
    for note in sorted(notes, key=len, reverse=True):
        text = text.replace(f"\n{note}\n", f"\n{printable(note)}\n")
    return printable_lines(text.rstrip("\n"))


def _said(error: BaseException) -> tuple[list[str], list[str]]:
    """Messages and notes of an exception, and of all that a traceback shows beside it."""
    messages, notes = [], []
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        messages.append(str(each))
        notes += [note for note in getattr(each, "__notes__", ()) if isinstance(note, str)]
        waiting += [each.__cause__, each.__context__]
        if isinstance(each, BaseExceptionGroup):
            waiting += each.exceptions
    return messages, notes


get_logger()  # at the import: the modules here take the logger by its name, guarded or not
