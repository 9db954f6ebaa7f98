"""FastAPI's own telemetry takes part in the request's span instead of opening a second one.

From 0.165 on FastAPI opens a SERVER span of its own as soon as a provider is set, whatever span is
there already, and without it would make neither its metrics nor the spans of its operations. It has
no way to be told of a span that exists. So its class is wrapped, once, as OpenTelemetry's
instrumentations do: for a request that has a span the tracer that it asks for gives it that one,
and nothing else changes; without such a request it does what it always did.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping, MutableMapping
from contextlib import suppress
from contextvars import ContextVar
from functools import wraps
from inspect import signature
from typing import Any

from opentelemetry.context import attach, detach
from opentelemetry.trace import Span, SpanContext, SpanKind, Tracer, set_span_in_context

from canario.exchange import present

__all__ = ["share_with_fastapi"]

logger = logging.getLogger("canario")

_MODULE = "fastapi.telemetry._asgi"

# What the wrapped parts must be called and take.
_ASKED = {"__call__": {"app", "scope"}, "_get_tracer": {"provider"}}

_done: set[object] = set()

# The span of the request that FastAPI is about to open another one for.
_of_request: ContextVar[Span | None] = ContextVar("canario.fastapi", default=None)


def share_with_fastapi(claim: str) -> None:
    """Have FastAPI, where it is there, take part; a second call changes nothing.

    Args:
        claim: The key of the scopes whose requests have a span.
    """
    module = sys.modules.get(_MODULE)
    if module is None or module in _done:
        return
    _done.add(module)
    telemetry = getattr(module, "NativeTelemetry", None)
    if telemetry is None or not _is_as_known(telemetry):
        logger.warning(
            "this version of FastAPI opens a SERVER span beside the request's, in a way that is "
            'not known here: FastAPI(telemetry={"tracing": False}) prevents that'
        )
        return
    telemetry.__call__ = _called(telemetry.__call__, claim)
    telemetry._get_tracer = _asked_for_tracer(telemetry._get_tracer)


def _is_as_known(telemetry: Any) -> bool:
    for name, wanted in _ASKED.items():
        method = getattr(telemetry, name, None)
        if method is None or not wanted <= signature(method).parameters.keys():
            return False
    return True


def _called(original: Callable[..., Any], claim: str) -> Callable[..., Any]:
    @wraps(original)
    async def called(
        self: Any, *, app: Callable[..., Any], scope: MutableMapping[str, Any], **rest: Any
    ) -> Any:
        exchange = present.get()
        # A request that the app makes in its process is another one, in a scope of its own.
        if exchange is None or exchange.span is None or not scope.get(claim):
            return await original(self, app=app, scope=scope, **rest)
        span = exchange.span.span

        async def within(*args: Any) -> Any:
            # The app itself finds the span as it is.
            attached = attach(set_span_in_context(span))
            token = _of_request.set(None)
            try:
                return await app(*args)
            finally:
                with suppress(ValueError):  # closed in another context than it ran in
                    _of_request.reset(token)
                    detach(attached)

        token = _of_request.set(span)
        try:
            return await original(self, app=within, scope=scope, **rest)
        finally:
            with suppress(ValueError):
                _of_request.reset(token)

    return called


def _asked_for_tracer(original: Callable[..., Tracer]) -> Callable[..., Tracer]:
    @wraps(original)
    def _get_tracer(self: Any, *, provider: Any) -> Tracer:
        tracer = original(self, provider=provider)
        span = _of_request.get()
        if span is None:
            return tracer
        return _SharingTracer(tracer, span)

    return _get_tracer


class _SharingTracer(Tracer):
    """Gives the request's span where a SERVER span is asked for, else what the tracer gives."""

    def __init__(self, tracer: Tracer, span: Span) -> None:
        self._tracer = tracer
        self._span = span

    def start_span(
        self, name: str, context: Any = None, kind: Any = None, *args: Any, **rest: Any
    ) -> Span:
        if kind is SpanKind.SERVER:
            return _SharedSpan(self._span)
        return self._tracer.start_span(name, context, kind or SpanKind.INTERNAL, *args, **rest)

    def start_as_current_span(self, *args: Any, **rest: Any) -> Any:
        return self._tracer.start_as_current_span(*args, **rest)


class _SharedSpan(Span):
    """The request's span, as FastAPI has it: whoever opened it says how the request ended."""

    def __init__(self, span: Span) -> None:
        self._span = span

    def __getattr__(self, name: str) -> Any:
        return getattr(self._span, name)

    def get_span_context(self) -> SpanContext:
        return self._span.get_span_context()

    def is_recording(self) -> bool:
        return self._span.is_recording()

    def set_attribute(self, key: str, value: Any) -> None:
        self._span.set_attribute(key, value)

    def update_name(self, name: str) -> None:
        self._span.update_name(name)

    def add_event(self, *args: Any, **rest: Any) -> None:
        self._span.add_event(*args, **rest)

    def add_link(self, *args: Any, **rest: Any) -> None:
        self._span.add_link(*args, **rest)

    def record_exception(self, *args: Any, **rest: Any) -> None:
        self._span.record_exception(*args, **rest)

    # By these FastAPI describes the request and how it ended, as whoever opened the span does.
    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        pass

    def set_status(self, *args: Any, **rest: Any) -> None:
        pass

    def end(self, end_time: int | None = None) -> None:
        pass
