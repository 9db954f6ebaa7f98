"""OpenTelemetry's own instrumentation around an app, for who wants all of its options."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from canario.asgi_types import App

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

__all__ = ["instrument_asgi", "instrument_wsgi"]

_OPT_IN = "OTEL_SEMCONV_STABILITY_OPT_IN"


def instrument_asgi(app: App, **options: Any) -> App:
    """`app` within the middleware of opentelemetry-instrumentation-asgi.

    Two things are other than that middleware's defaults: there is one span a request, without
    those of each `receive` and `send`, and its attributes follow the stable conventions. Where
    `OTEL_SEMCONV_STABILITY_OPT_IN` is set, or another instrumentation was there before, the
    conventions stay as they were chosen.

    Args:
        app: What is served. If it is a `CanaryMiddleware`, that annotates the span.
        options: What that middleware takes; `exclude_spans=[]` brings the other spans back.

    Raises:
        ImportError: When the instrumentation is not installed.
    """
    middleware = _middleware("asgi", "canario[otel]")
    with _stable_conventions():
        wrapped: App = middleware(app, **{"exclude_spans": ["receive", "send"], **options})
    return wrapped


def instrument_wsgi(app: WSGIApplication, **options: Any) -> WSGIApplication:
    """`app` within the middleware of opentelemetry-instrumentation-wsgi, by stable conventions.

    Args:
        app: What is served. If it is a `CanaryMiddleware`, that annotates the span.
        options: What that middleware takes.

    Raises:
        ImportError: When the instrumentation is not installed.
    """
    middleware = _middleware("wsgi", "canario[otel]")
    with _stable_conventions():
        wrapped: WSGIApplication = middleware(app, **options)
    return wrapped


def _middleware(protocol: str, extra: str) -> Any:
    name = f"opentelemetry.instrumentation.{protocol}"
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f"instrument_{protocol} needs {name}: pip install '{extra}'", name=name
        ) from error
    return module.OpenTelemetryMiddleware


@contextmanager
def _stable_conventions() -> Iterator[None]:
    """Ask for them in the one way there is, which is read when the first one is made."""
    if _OPT_IN in os.environ:
        yield
        return
    os.environ[_OPT_IN] = "http"
    try:
        yield
    finally:
        del os.environ[_OPT_IN]
