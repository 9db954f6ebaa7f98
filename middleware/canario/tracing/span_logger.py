"""Log records that know their span, and keep what they are given apart from the message."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any

from opentelemetry.trace import format_span_id, format_trace_id, get_current_span

from canario.host.interrupts import pass_on
from canario.printable import printable

__all__ = [
    "Fields",
    "SpanLogger",
    "TraceContextFilter",
    "add_trace_context",
    "create_span_logger",
]

# Frames between the user's line and the one that asks for it: `info` and `_log`.
_OWN_FRAMES = 2

_PLAIN = (int, float, bool, type(None))


def _safe(value: Any) -> Any:
    """A value whose text is one line: itself where it is, else its escaped text."""
    if type(value) in _PLAIN:
        return value
    if isinstance(value, str):
        return printable(value)
    try:
        text = str(value)
    except BaseException as error:
        pass_on(error)
        return f"<{type(value).__qualname__}: {type(error).__name__} in __str__>"
    escaped = printable(text)
    return value if escaped == text else escaped


class Fields(dict[str, Any]):
    """The keyword fields of a record, as they were given; its text is `name=value name=value`."""

    def __str__(self) -> str:
        return " ".join(f"{printable(name)}={_shown(value)}" for name, value in self.items())


def _shown(value: Any) -> str:
    text = str(_safe(value))
    return repr(text) if not text or any(each in text for each in " =\"'") else text


def _trace_fields() -> dict[str, Any]:
    """Ids of the current span, empty outside of one."""
    context = get_current_span().get_span_context()
    if not context.is_valid:
        return {"trace_id": "", "span_id": "", "trace_sampled": False}
    return {
        "trace_id": format_trace_id(context.trace_id),
        "span_id": format_span_id(context.span_id),
        "trace_sampled": context.trace_flags.sampled,
    }


def create_span_logger(name: str | None = None) -> SpanLogger:
    """A logger that writes to `logging.getLogger(name)`."""
    return SpanLogger(logging.getLogger(name))


class SpanLogger:
    """Logs with keyword fields, and with the ids of the span that is current at the call.

    `logger.info("Processing plan", plan_id="12345")` makes a record with the attributes
    `trace_id` and `span_id` (hex; empty outside a span), `trace_sampled`, `fields` (a dict) and
    `plan_id`. A field whose name a record has already, such as `name` or `args`, is in `fields`
    alone. Attributes and message are one line each, whatever text they hold; `fields` has the
    values as they were given.

    `exc_info`, `stack_info`, `stacklevel` and a mapping `extra` mean what they mean in `logging`;
    further positional arguments are put into the message by `%`.
    """

    __slots__ = ("_bound", "logger")

    def __init__(self, logger: logging.Logger, **bound: Any) -> None:
        self.logger = logger
        self._bound = bound

    @property
    def name(self) -> str:
        """Name of the logger that is written to."""
        return self.logger.name

    def bind(self, **fields: Any) -> SpanLogger:
        """A logger that gives these fields to each of its records."""
        made = SpanLogger(self.logger)
        made._bound = self._bound | fields
        return made

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 - logging's name
        """Whether a record of this level would be made."""
        return self.logger.isEnabledFor(level)

    def debug(self, message: object, /, *args: object, **fields: Any) -> None:
        """Log at level DEBUG."""
        if self.logger.isEnabledFor(logging.DEBUG):
            self._log(logging.DEBUG, message, args, fields)

    def info(self, message: object, /, *args: object, **fields: Any) -> None:
        """Log at level INFO."""
        if self.logger.isEnabledFor(logging.INFO):
            self._log(logging.INFO, message, args, fields)

    def warning(self, message: object, /, *args: object, **fields: Any) -> None:
        """Log at level WARNING."""
        if self.logger.isEnabledFor(logging.WARNING):
            self._log(logging.WARNING, message, args, fields)

    def error(self, message: object, /, *args: object, **fields: Any) -> None:
        """Log at level ERROR."""
        if self.logger.isEnabledFor(logging.ERROR):
            self._log(logging.ERROR, message, args, fields)

    def exception(self, message: object, /, *args: object, **fields: Any) -> None:
        """Log at level ERROR, with the exception that is being handled."""
        if self.logger.isEnabledFor(logging.ERROR):
            self._log(logging.ERROR, message, args, {"exc_info": True, **fields})

    def critical(self, message: object, /, *args: object, **fields: Any) -> None:
        """Log at level CRITICAL."""
        if self.logger.isEnabledFor(logging.CRITICAL):
            self._log(logging.CRITICAL, message, args, fields)

    def log(self, level: int, message: object, /, *args: object, **fields: Any) -> None:
        """Log at any level."""
        if self.logger.isEnabledFor(level):
            self._log(level, message, args, fields)

    def _log(
        self, level: int, message: object, args: tuple[object, ...], fields: dict[str, Any]
    ) -> None:
        fields = self._bound | fields
        exc_info = _exc_info(fields.pop("exc_info", None))
        stack_info = bool(fields.pop("stack_info", False))
        stacklevel = fields.pop("stacklevel", 1)
        if isinstance(fields.get("extra"), Mapping):
            fields |= fields.pop("extra")
        file, line, function, stack = self.logger.findCaller(stack_info, stacklevel + _OWN_FRAMES)
        record = self.logger.makeRecord(
            self.logger.name,
            level,
            file,
            line,
            _safe(message),
            _safe_args(args),
            exc_info,
            function,
            None,
            stack,
        )
        _describe(record, fields)
        self.logger.handle(record)


def _describe(record: logging.LogRecord, fields: dict[str, Any]) -> None:
    # A host's record factory may have set some already, such as other ids of the trace.
    for name, value in (_trace_fields() | {"fields": Fields(fields)}).items():
        setattr(record, name, value)
    for name, value in fields.items():
        # A formatter sets these two, and would lose the message where they were kept.
        if name not in ("message", "asctime") and not hasattr(record, name):
            setattr(record, name, _safe(value))


def _safe_args(args: tuple[object, ...]) -> tuple[object, ...]:
    if len(args) == 1 and isinstance(args[0], Mapping):
        # `"%(plan)s", {"plan": …}`; the wrapping is logging's own.
        return ({key: _safe(value) for key, value in args[0].items()},)
    return tuple(_safe(each) for each in args)


def _exc_info(given: Any) -> Any:
    if isinstance(given, BaseException):
        return type(given), given, given.__traceback__
    if given and not isinstance(given, tuple):
        return sys.exc_info()
    return given or None


class TraceContextFilter(logging.Filter):
    """Puts `trace_id`, `span_id`, `trace_sampled` and `fields` on every record that passes.

    For plain `logging`; add it to a handler, whose formatter may then name them. What a record
    has already stays: it may come from another thread.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Complete the record; always True."""
        for name, value in (_trace_fields() | {"fields": Fields()}).items():
            if not hasattr(record, name):
                setattr(record, name, value)
        return True


def add_trace_context(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """A processor for structlog: the ids of the current span, where there is one."""
    ids = _trace_fields()
    if ids["trace_id"]:
        for name, value in ids.items():
            event.setdefault(name, value)
    return event
