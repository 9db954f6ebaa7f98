"""OpenTelemetry's own instrumentation in one call."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.middleware.asgi_tools import Controller, ask, hello, http_scope
from tests.middleware.wsgi_tools import answers
from tests.middleware.wsgi_tools import ask as ask_wsgi
from tests.tracing.request_tools import Provider, attributes

from canario.asgi import CanaryMiddleware
from canario.tracing import instrument_asgi, instrument_wsgi

ROOT = Path(__file__).parents[2]

# In a process of its own: the conventions are chosen once and for all by whoever comes first.
CONVENTIONS = """
import os, sys
from opentelemetry import trace
from tests.middleware.asgi_tools import ask, hello, http_scope
from tests.middleware.wsgi_tools import answers, ask as ask_wsgi, request
from tests.tracing.request_tools import Provider, attributes
from canario.tracing.contrib import instrument_asgi, instrument_wsgi
provider = Provider()
if sys.argv[1] == "asgi":
    ask(instrument_asgi(hello, tracer_provider=provider), http_scope())
else:
    ask_wsgi(instrument_wsgi(answers(), tracer_provider=provider), request())
(span,) = provider.spans
print(*sorted(name for name in attributes(span) if "method" in name))
print(os.environ.get("OTEL_SEMCONV_STABILITY_OPT_IN"))
"""


@pytest.mark.parametrize("protocol", ["asgi", "wsgi"])
@pytest.mark.parametrize(
    ("chosen", "names"),
    [(None, "http.request.method"), ("http/dup", "http.method http.request.method")],
)
def test_the_conventions_are_the_stable_ones_unless_others_were_chosen(
    protocol: str, chosen: str | None, names: str
) -> None:
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    environ.pop("OTEL_SEMCONV_STABILITY_OPT_IN", None)
    if chosen is not None:
        environ["OTEL_SEMCONV_STABILITY_OPT_IN"] = chosen
    said = subprocess.run(
        [sys.executable, "-c", CONVENTIONS, protocol],
        capture_output=True,
        text=True,
        check=True,
        env=environ,
    ).stdout
    assert said.splitlines() == [names, str(chosen)]


def test_there_is_one_span_a_request_unless_more_are_wanted() -> None:
    wanted: list[tuple[dict[str, Any], int]] = [({}, 1), ({"exclude_spans": []}, 3)]
    for options, spans in wanted:
        provider = Provider()
        ask(instrument_asgi(hello, tracer_provider=provider, **options), http_scope())
        assert len(provider.spans) == spans


def test_around_the_middleware_its_span_says_the_arm() -> None:
    provider = Provider()
    guarded = CanaryMiddleware(hello, Controller(), tracer_provider=provider)
    ask(instrument_asgi(guarded, tracer_provider=provider), http_scope())
    assert attributes(provider.server)["feature_flag.key"] == "release-1"


def test_a_wsgi_app_is_traced_too() -> None:
    provider = Provider()
    ask_wsgi(instrument_wsgi(answers(), tracer_provider=provider))
    assert len(provider.spans) == 1


@pytest.mark.parametrize("protocol", ["asgi", "wsgi"])
def test_without_the_instrumentation_it_says_what_to_install(
    protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, f"opentelemetry.instrumentation.{protocol}", None)
    instrument: Any = instrument_asgi if protocol == "asgi" else instrument_wsgi
    with pytest.raises(ImportError, match=r"pip install 'canario\[otel\]'"):
        instrument(hello)
