"""One run of a decorated function: its span, what it took, and how it ended.

Nothing here may break the function: what fails in here is logged once per kind, and the function
runs on without it.
"""

from __future__ import annotations

import logging
from asyncio import CancelledError
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from time import perf_counter, time_ns
from typing import Any, NamedTuple, Protocol

from msgspec.structs import replace
from opentelemetry import context as contexts
from opentelemetry.trace import (
    INVALID_SPAN,
    Span,
    SpanKind,
    get_current_span,
    set_span_in_context,
)

from canario.control.violation import Violation
from canario.host.interrupts import pass_on

from .collecting import collecting, collector
from .current import FlowMonitor, SpanSource
from .describe import record_error, size_of, size_of_input, trace_id_of

__all__ = ["Contract", "Run", "Traced", "end_collected", "tell_once"]

logger = logging.getLogger("canario")

_told: set[str] = set()

_INTERNAL = SpanKind.INTERNAL

# Ends of runs that the garbage collector has ended, where no lock may be waited for.
_collected: deque[Callable[[], None]] = deque()


class Contract(Protocol):
    """What checks a flow; `canario.contracts.FlowContract` is one."""

    def check_input(self, flow: str, args: Any, kwargs: Any, /) -> list[Violation]:
        """What is wrong with the arguments."""

    def check_output(self, flow: str, args: Any, kwargs: Any, result: Any, /) -> list[Violation]:
        """What is wrong with the result."""

    def report(self, violations: list[Violation], /) -> object:
        """Tell what was found."""


def tell_once(what: str) -> None:
    """Log the exception that is being handled, the first time that `what` fails so."""
    if what not in _told:
        _told.add(what)
        logger.exception("%s failed; the function that is traced goes on", what)


class Traced(NamedTuple):
    """What the runs of one decorated function have in common.

    `skipped` is 1 for a method, whose first argument is no input, neither for a contract nor for
    its size; `sizes` whether the sizes of inputs and outputs are noted.
    """

    name: str
    attributes: Mapping[str, str]
    source: SpanSource
    monitor: FlowMonitor | None
    contract: Contract | None
    measured: bool
    sizes: bool
    skipped: int

    def begin(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Run | None:
        """A run that has begun; None when there is nothing to be done about it."""
        if collector.thread is not None and collecting():
            return None  # what is called while something is dropped is not traced
        try:
            if _collected:
                end_collected()
            source = self.source
            span = source.tracer.start_span(self.name, None, _INTERNAL, self.attributes)
            monitor = self.monitor or (source.monitor if self.measured else None)
            watched = monitor is not None or self.contract is not None
            # This is all that is done when tracing is off.
            if not watched and (span is INVALID_SPAN or not _matters(span)):
                return None
            return Run(self, span, monitor, args, kwargs)
        except BaseException as own:
            pass_on(own)
            tell_once("starting a span")
            return None


def end_collected() -> None:
    """End the spans of runs that were dropped, as of then."""
    with suppress(IndexError):  # another thread may take them too
        while not collecting():
            _collected.popleft()()


def _matters(span: Span) -> bool:
    """Whether a span is one of its own: without a provider, the current one is handed back."""
    if span is INVALID_SPAN:
        return False
    if span.is_recording():
        return True
    ours, around = span.get_span_context(), get_current_span().get_span_context()
    return ours.is_valid and ours.span_id != around.span_id


class Run:
    """One run. The first of `done`, `failed`, `closed` and `cancelled` ends it."""

    __slots__ = (
        "_args",
        "_items",
        "_kwargs",
        "_monitor",
        "_span",
        "_spent",
        "_started",
        "_traced",
        "_valid",
        "context",
    )

    def __init__(
        self,
        traced: Traced,
        span: Span,
        monitor: FlowMonitor | None,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> None:
        self._traced = traced
        self._span: Span | None = span
        self._monitor = monitor
        self._valid = True
        self._args = self._kwargs = None
        args = args[traced.skipped :]
        if traced.contract is not None:
            self._args, self._kwargs = args, kwargs
            self._check(lambda contract: contract.check_input(traced.name, args, kwargs))
        # Where tracing is off, the span around stays the current one.
        self.context = set_span_in_context(span) if _matters(span) else contexts.get_current()
        if traced.sizes and span.is_recording():
            size = size_of_input(args, kwargs)
            if size is not None:
                span.set_attribute("canario.input.size", size)
        self._items = 0
        self._spent = 0.0
        self._started = perf_counter()

    def pause(self) -> None:
        """The function has yielded: what its consumer does is not its time."""
        self._items += 1
        self._spent += perf_counter() - self._started

    def resume(self) -> None:
        """The function goes on."""
        self._started = perf_counter()

    def done(self, result: Any) -> None:
        """The function has returned."""
        spent = self._elapsed()
        span, traced = self._span, self._traced
        if span is None:
            return
        try:
            if traced.contract is not None:
                self._check_result(result)
            if traced.sizes and span.is_recording():
                size = size_of(result)
                if size is not None:
                    span.set_attribute("canario.output.size", size)
        except BaseException as own:
            pass_on(own)
            tell_once("describing a result")
        self._end(span, True, spent)

    def closed(self) -> None:
        """A generator is exhausted, or its consumer wants no more, which is no failure."""
        spent = self._elapsed()
        span = self._span
        if span is None:
            return
        if collecting():
            self._span = None
            _collected.append(partial(self._close, span, spent, time_ns()))
        else:
            self._close(span, spent)

    def failed(self, error: BaseException) -> None:
        """The function has raised."""
        spent = self._elapsed()
        span = self._span
        if span is None:
            return
        if isinstance(error, GeneratorExit):
            self.closed()
            return
        if isinstance(error, CancelledError):
            self.cancelled()
            return
        if collecting():
            self._span = None
            _collected.append(partial(self._fail, span, error, spent, time_ns()))
        else:
            self._fail(span, error, spent)

    def cancelled(self) -> None:
        """Someone else has stopped the function: neither a success nor a failure of it."""
        span, self._span = self._span, None
        if span is None:
            return
        if collecting():
            _collected.append(partial(_cancel, span, time_ns()))
        else:
            _cancel(span)

    def _elapsed(self) -> float:
        return self._spent + perf_counter() - self._started

    def _close(self, span: Span, spent: float, at: int | None = None) -> None:
        if self._traced.sizes and span.is_recording():
            span.set_attribute("canario.output.size", self._items)
        self._end(span, True, spent, at)

    def _fail(self, span: Span, error: BaseException, spent: float, at: int | None = None) -> None:
        try:
            if span.is_recording():
                record_error(span, error)
        except BaseException as own:
            pass_on(own)
            tell_once("recording an exception")
        self._end(span, False, spent, at)

    def _end(self, span: Span, success: bool, seconds: float, at: int | None = None) -> None:
        self._span = None
        try:
            _finish(span, at)
            if self._monitor is not None:
                self._monitor.record_request(
                    self._traced.name,
                    success,
                    seconds * 1000,
                    self._valid,
                    trace_id=trace_id_of(span),
                )
        except BaseException as own:
            pass_on(own)
            tell_once("ending a span or recording a flow")

    def _check_result(self, result: Any) -> None:
        name, args, kwargs = self._traced.name, self._args, self._kwargs
        self._check(lambda contract: contract.check_output(name, args, kwargs, result))

    def _check(self, ask: Callable[[Contract], list[Violation]]) -> None:
        contract, span = self._traced.contract, self._span
        try:
            found = [] if contract is None else ask(contract)
            if not found or contract is None or span is None:
                return
            self._valid = False
            span.set_attribute("canario.contract.violations", [str(each) for each in found])
            trace_id = trace_id_of(span)
            contract.report(
                [each if each.trace_id else replace(each, trace_id=trace_id) for each in found]
            )
        except BaseException as own:
            pass_on(own)
            tell_once("checking a contract")


def _cancel(span: Span, at: int | None = None) -> None:
    try:
        span.set_attribute("canario.cancelled", True)
        _finish(span, at)
    except BaseException as own:
        pass_on(own)
        tell_once("ending a span")


def _finish(span: Span, at: int | None = None) -> None:
    # Without a provider this is the span around, which is not ours to end.
    if span.is_recording():
        span.end(at)
