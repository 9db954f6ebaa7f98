"""What is known of the span that stands for one request, and what is put on it in the end."""

from __future__ import annotations

import time
from collections.abc import Callable, MutableMapping
from contextvars import Token
from typing import TYPE_CHECKING, Any

from opentelemetry.context import Context, attach
from opentelemetry.trace import Span, StatusCode, format_trace_id

from canario.control.rollout import Outcome

if TYPE_CHECKING:
    from canario.exchange import Exchange


__all__ = ["CLAIM", "RequestSpan"]

# As the metrics call them, whose attribute has the same name.
_WORDS = {Outcome.GOOD: "good", Outcome.BAD: "error", Outcome.NEUTRAL: "neutral"}

# With this key in an ASGI scope, Starlette's own middleware takes a request as traced already.
CLAIM = "starlette.opentelemetry"


class RequestSpan:
    """The span that stands for one request.

    Attributes:
        span: OpenTelemetry's.
        own: Whether canario opened it, and so ends it; else it is only annotated.
        context: For an own span, what is to be attached while the app runs.
    """

    __slots__ = (
        "_claimed",
        "_ended_at",
        "_fault",
        "_name",
        "_raised",
        "_worth",
        "context",
        "own",
        "span",
    )

    def __init__(
        self, span: Span, name: str, fault: Callable[[str, BaseException], object], *, own: bool
    ) -> None:
        self.span = span
        self.own = own
        self.context: Context | None = None
        self._fault = fault
        self._name = name
        self._ended_at: int | None = None
        self._raised = False
        self._worth: dict[str, str | float] = {}
        self._claimed: MutableMapping[str, Any] | None = None

    @property
    def trace_id(self) -> str:
        """The trace's id, 32 hex digits."""
        return format_trace_id(self.span.get_span_context().trace_id)

    @property
    def kept(self) -> bool:
        """Whether the span was sampled, so that its trace can be looked up."""
        return self.span.get_span_context().trace_flags.sampled

    @property
    def recording(self) -> bool:
        """Whether attributes still reach it."""
        return self.span.is_recording()

    def attach(self) -> Token[Context] | None:
        """Make an own span the present one; returns what `detach` takes."""
        return None if self.context is None else attach(self.context)

    def claim(self, request: MutableMapping[str, Any]) -> None:
        """Keep what Starlette and FastAPI bring from opening a second SERVER span further in."""
        if request.get("type") in ("http", "websocket") and CLAIM not in request:
            request[CLAIM] = True
            self._claimed = request

    def release(self) -> None:
        """Leave the scope as it was."""
        if self._claimed is not None:
            self._claimed.pop(CLAIM, None)
            self._claimed = None

    def note_route(self, route: str | None) -> None:
        """Put the route on a host's span, unless the host has done so. Never raises."""
        try:
            if route is not None and self.span.is_recording():
                known = getattr(self.span, "attributes", None) or ()
                if "http.route" not in known:
                    self.span.set_attribute("http.route", route)
        except BaseException as error:
            self._fault("naming the route on a span", error)

    def note_worth(self, outcome: Outcome, latency_ms: float | None) -> None:
        """Say what the controller is told of the request, so that spans which are read back tell
        the same as a tape. Never raises.

        Args:
            outcome: What it says of the service.
            latency_ms: None where it is not timed.
        """
        try:
            worth = self._worth
            worth["canario.outcome"] = _WORDS[outcome]
            if latency_ms is not None:
                worth["canario.latency_ms"] = latency_ms
            if not self.own and self.span.is_recording():
                self.span.set_attributes(worth)
        except BaseException as error:
            self._fault("noting an outcome on a span", error)

    def mark_end(self) -> None:
        """The last message is out; the span ends as of now, whenever `end` is called."""
        self._ended_at = time.time_ns()

    def raised(self, error: BaseException) -> None:
        """Record on an own span what the app has raised. Never raises."""
        try:
            span = self.span
            if not (self.own and span.is_recording()):
                return
            self._raised = True
            name = _qualified(type(error))
            if not _is_recorded(span, name, str(error)):
                span.record_exception(error, escaped=True)
            span.set_attribute("error.type", name)
            span.set_status(StatusCode.ERROR, f"{type(error).__name__}: {error}")
        except BaseException as own:
            self._fault("recording an exception", own)

    def end(self, exchange: Exchange, status: int | None, route: str | None) -> None:
        """End an own span, once; later calls change nothing. Never raises.

        Args:
            exchange: The request.
            status: Of the response; None when none was sent.
            route: Template of the route; None when there is none.
        """
        try:
            span = self.span
            if not (self.own and span.is_recording()):
                return
            ended_at = self._ended_at or time.time_ns()
            try:
                # A server refuses any other status; the span of it ends all the same.
                self._describe(span, exchange, status if type(status) is int else None, route)
            finally:
                span.end(ended_at)
        except BaseException as error:
            self._fault("ending a span", error)

    def _describe(
        self, span: Span, exchange: Exchange, status: int | None, route: str | None
    ) -> None:
        last: dict[str, str | float] = self._worth
        if route is not None:
            last["http.route"] = route
            span.update_name(f"{self._name} {route}")
        if status is not None:
            last["http.response.status_code"] = status
        if exchange.left:
            last["canario.response.aborted"] = True
        if not self._raised:
            failure = _failure(exchange, status)
            if failure is not None:
                last["error.type"] = failure
                span.set_status(StatusCode.ERROR)
        if last:
            span.set_attributes(last)


def _failure(exchange: Exchange, status: int | None) -> str | None:
    """What `error.type` says of a response; None for one that is no failure of the service."""
    if status is not None and status >= 500:
        return str(status)
    if exchange.left:
        return None
    if exchange.failed:  # without an exception: a WebSocket that its app closed so
        return "invalid_status" if status is None else "1011"
    return None if exchange.complete else "incomplete_response"


def _qualified(kind: type[BaseException]) -> str:
    """The name that OpenTelemetry gives an exception as `exception.type`."""
    return kind.__qualname__ if kind.__module__ == "builtins" else _dotted(kind)


def _dotted(kind: type[BaseException]) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _is_recorded(span: Span, name: str, message: str) -> bool:
    """Whether the app has recorded the exception on the span itself."""
    for event in getattr(span, "events", ()):
        told = event.attributes or {}
        if (told.get("exception.type"), told.get("exception.message")) == (name, message):
            return True
    return False
