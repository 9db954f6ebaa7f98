"""The span of a request that the middleware serves: one SERVER span, the host's or our own.

Where a local span stands for the request already, it is annotated and none is opened. Nothing
in here raises: what goes wrong is a fault of canario's own, and the request goes on without.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from opentelemetry import context, trace
from opentelemetry.context import Context, attach, detach, get_current
from opentelemetry.propagate import extract
from opentelemetry.trace import (
    INVALID_SPAN,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Tracer,
    TracerProvider,
    get_current_span,
    set_span_in_context,
)

from canario._version import __version__
from canario.host.interrupts import pass_on

from .fastapi import share_with_fastapi
from .feature_flag import FlagAttributes, key_id
from .http_attributes import Attributes, HTTPProtocol, known_methods
from .request_span import CLAIM, RequestSpan

if TYPE_CHECKING:
    from canario.controller import CanaryDeploymentController
    from canario.exchange import Exchange

__all__ = ["RequestSpan", "RequestTracer", "as_current"]

_SCHEMA = "https://opentelemetry.io/schemas/1.37.0"


class RequestTracer:
    """Opens the spans of one middleware's requests, or annotates those that the host has opened.

    Args:
        controller: Names the release; counts faults.
        provider: Where spans are opened; by default the global provider, whenever it is set.
        secret: What users' keys are hashed with; None keeps them off the spans altogether.
    """

    def __init__(
        self,
        controller: CanaryDeploymentController,
        provider: TracerProvider | None = None,
        secret: bytes | None = None,
    ) -> None:
        self._controller = controller
        self._flags = FlagAttributes(controller)
        self._secret = secret
        self._methods = known_methods()
        self._names_keys = secret is not None
        self._abandoned: deque[Callable[[], object]] = deque()
        if isinstance(provider, trace.ProxyTracerProvider):
            provider = None  # it stands for the global one
        self._explicit = provider is not None
        self._provider = provider
        self._tracer = None if provider is None else _tracer_of(provider)

    @property
    def names_keys(self) -> bool:
        """Whether a request's key is wanted for its span, hashed."""
        return self._names_keys

    def look(self) -> None:
        """Have OpenTelemetry load the provider that the environment names, if it does."""
        if not self._explicit:
            trace.get_tracer_provider()

    def open(
        self, exchange: Exchange, protocol: HTTPProtocol, request: MutableMapping[str, Any]
    ) -> RequestSpan | None:
        """The span of a request whose arm is chosen; None when there is no tracing.

        Args:
            exchange: The request.
            protocol: Reads `request`.
            request: The ASGI scope or the WSGI environ.
        """
        # Asked at each request, for a host may set its provider at any time; the public function
        # reads the environment for as long as none is set, which costs more than all else here.
        if self._tracer is None and not _present() and _global._TRACER_PROVIDER is None:
            return None
        try:
            return self._open(exchange, protocol, request)
        except BaseException as error:
            self.fault("opening a span", error)
            return None

    def abandon(self, end: Callable[[], object]) -> None:
        """Have `end` called by a later request: for where no lock may be waited for."""
        self._abandoned.append(end)

    def sweep(self) -> None:
        """End the spans that were abandoned."""
        with suppress(IndexError):  # another thread may take them too
            while True:
                self._abandoned.popleft()()

    def fault(self, where: str, error: BaseException) -> None:
        """Count an error of canario's own. Raises nothing but an `error` that is an interrupt."""
        pass_on(error)
        try:
            self._controller.notices.fault(where, error)
        except BaseException as own:
            pass_on(own)

    def _open(
        self, exchange: Exchange, protocol: HTTPProtocol, request: MutableMapping[str, Any]
    ) -> RequestSpan | None:
        if self._abandoned:
            self.sweep()
        share_with_fastapi(CLAIM)
        current = get_current()
        present = get_current_span(current) if current else INVALID_SPAN
        of = present.get_span_context()
        remote = False
        if of.is_valid:
            remote = of.is_remote
            if not remote and _stands_for_request(present):
                return self._annotate(present, exchange, request)
            if not remote and _has_ended(present):
                # What once ran where this server was started is nobody's parent any more.
                current = set_span_in_context(INVALID_SPAN, current)
        tracer = self._tracer if self._explicit else self._look_up()
        if tracer is None:
            return None
        context = current if remote else extract(request, current, protocol.getter)
        return self._begin(tracer, context, exchange, protocol, request)

    def _look_up(self) -> Tracer | None:
        provider = _global._TRACER_PROVIDER
        if provider is not self._provider:
            self._provider = provider
            self._tracer = None if provider is None else _tracer_of(provider)
        return self._tracer

    def _begin(
        self,
        tracer: Tracer,
        context: Context,
        exchange: Exchange,
        protocol: HTTPProtocol,
        request: MutableMapping[str, Any],
    ) -> RequestSpan:
        sent = method = protocol.method(request)
        if method not in self._methods:
            method = "_OTHER"
        # What a sampler may decide by, the arm included; the rest only for a span that is kept.
        attributes: Attributes = {
            "http.request.method": method,
            **self._flags(exchange.arm, exchange.reason),
        }
        protocol.first(request, attributes)
        name = method if method is sent else "HTTP"
        span = tracer.start_span(name, context, SpanKind.SERVER, attributes)
        if span.is_recording():
            rest = protocol.rest(request)
            if method is not sent:
                rest["http.request.method_original"] = sent
            if exchange.key is not None and self._secret is not None:
                rest["feature_flag.context.id"] = key_id(self._secret, exchange.key)
            span.set_attributes(rest)
        opened = RequestSpan(span, name, self.fault, own=True)
        # Also of a span that is not kept: those within are not to become roots of their own.
        opened.context = set_span_in_context(span, context)
        opened.claim(request)
        return opened

    def _annotate(
        self, host: Span, exchange: Exchange, request: MutableMapping[str, Any]
    ) -> RequestSpan:
        found = RequestSpan(host, "", self.fault, own=False)
        if host.is_recording():
            host.set_attributes(self._flags(exchange.arm, exchange.reason))
            if exchange.key is not None and self._secret is not None:
                host.set_attribute("feature_flag.context.id", key_id(self._secret, exchange.key))
        found.claim(request)
        return found


@contextmanager
def as_current(span: SpanContext | None) -> Iterator[None]:
    """Have what is done within linked to a request that is over: its span is the present one.

    None, for a request without a span, changes nothing.
    """
    if span is None or not span.is_valid:
        yield
        return
    token = attach(set_span_in_context(NonRecordingSpan(span)))
    try:
        yield
    finally:
        detach(token)


def _stands_for_request(span: Span) -> bool:
    """Whether a local span is the request's own, or may be below that.

    One of a client in the same task, or of a message that is being handled, has the request
    below it; so has one that nothing of this process is above: a server started within it hands
    it on to every request.
    """
    kind = getattr(span, "kind", None)
    if kind is None:
        return True  # a span that is not kept, whatever it stands for
    if not span.is_recording():
        return False
    if kind is SpanKind.INTERNAL:
        above = getattr(span, "parent", None)
        return above is not None and not above.is_remote
    return kind is SpanKind.SERVER


def _has_ended(span: Span) -> bool:
    return not span.is_recording()


def _tracer_of(provider: TracerProvider) -> Tracer | None:
    """A tracer that opens real spans; None of a provider that opens none."""
    tracer = provider.get_tracer("canario", __version__, _SCHEMA)
    return None if isinstance(tracer, trace.NoOpTracer) else tracer


class _Asked:
    """For a version of OpenTelemetry that keeps its global provider elsewhere."""

    @property
    def _TRACER_PROVIDER(self) -> TracerProvider | None:  # noqa: N802
        provider = trace.get_tracer_provider()
        return None if isinstance(provider, trace.ProxyTracerProvider) else provider


# The public function is 60 times as slow while no provider is set, and that is when it counts.
_global: Any = trace if hasattr(trace, "_TRACER_PROVIDER") else _Asked()


def _context_variable() -> Callable[[], Context]:
    """What `get_current` reads, without the calls around it, where that is a `ContextVar`."""
    get_current()  # makes it
    variable = getattr(getattr(context, "_RUNTIME_CONTEXT", None), "_current_context", None)
    return variable.get if isinstance(variable, ContextVar) else get_current


_present = _context_variable()
