"""What a request's span and a decorator cost, beside OpenTelemetry's own and Starlette's.

python -m benchmarks.tracing [--quick]
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any, Literal

from opentelemetry import trace
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON
from starlette.applications import Starlette
from starlette.middleware.opentelemetry import OpenTelemetryMiddleware as StarlettesOwn

from canario.asgi import CanaryMiddleware
from canario.controller import CanaryDeploymentController
from canario.tracing import FlowType, trace_flow

from .apps import PLAN, NullExporter, starlette
from .measure import (
    Row,
    Table,
    Timer,
    options,
    per_call,
    ratio_text,
    report,
    rounds_of,
    time_text,
)
from .middleware import receive, scope_of, send

Sampling = Literal["sampled", "unsampled", "off"]

NAMES = {
    "canario": "canario's span (over canario without spans)",
    "contrib": "OpenTelemetry ASGI, default (three spans)",
    "contrib, one span": "OpenTelemetry ASGI, `exclude_spans` (one span)",
    "starlette": "Starlette's `OpenTelemetryMiddleware`",
}


def main() -> None:
    """Measure everything and print the tables."""
    quick = options("What a request's span and a decorator cost.")
    requests, calls, rounds = (20, 200, 3) if quick else (100, 5000, 101)
    samplings: tuple[Sampling, ...] = ("sampled", "unsampled", "off")
    with asyncio.Runner() as runner:
        spans = [span_of_a_request(each, requests, rounds, runner.run) for each in samplings]
    report([*spans, decorators(calls, rounds)])


def _provider(sampling: Sampling) -> tuple[trace.TracerProvider, Callable[[], object]]:
    """A provider, and what waits until its spans are exported."""
    if sampling == "off":
        return trace.NoOpTracerProvider(), lambda: None
    made = TracerProvider(sampler=ALWAYS_ON if sampling == "sampled" else ALWAYS_OFF)
    made.add_span_processor(BatchSpanProcessor(NullExporter()))
    return made, made.force_flush


# -- the request's span


def span_of_a_request(
    sampling: Sampling, requests: int, rounds: int, run: Callable[[Any], object]
) -> Table:
    """One request with a span, over the same without."""
    apps: dict[str, Callable[[trace.TracerProvider], Any]] = {
        "bare": lambda provider: starlette(),  # noqa: ARG005
        "canario, no span": lambda provider: _guarded(starlette(), provider, spans=False),
        "canario": lambda provider: _guarded(starlette(), provider, spans=True),
        "contrib": lambda provider: OpenTelemetryMiddleware(starlette(), tracer_provider=provider),
        "contrib, one span": lambda provider: OpenTelemetryMiddleware(
            starlette(), tracer_provider=provider, exclude_spans=["receive", "send"]
        ),
        "starlette": lambda provider: StarlettesOwn(starlette(), tracer_provider=provider),
    }
    timers: dict[str, Timer] = {}
    for name, make in apps.items():
        provider, settle = _provider(sampling)
        timers[name] = _timer(make(provider), requests, run, settle)
    measured = rounds_of(timers, rounds)

    def rows() -> Iterator[Row]:
        mine = measured.added("canario", "canario, no span")
        aimed = sampling == "sampled"
        yield Row(
            NAMES["canario"],
            f"+ {time_text(mine)}",
            aim="≤ 70 µs" if aimed else "",
            reached=mine <= 70e-6 if aimed else None,
        )
        for name in ("contrib", "contrib, one span", "starlette"):
            added = measured.added(name, "bare")
            beside = ratio_text(added / mine, "canario's") if mine > 0 else ""
            yield Row(NAMES[name], f"+ {time_text(added)}", beside)

    return Table(
        f"A request's span, {sampling}",
        list(rows()),
        f"CPU time added to a request: the median of {rounds} rounds of {requests} requests each, "
        "the exporter's thread included. Off means a provider that makes no spans.",
    )


def _guarded(app: Starlette, provider: trace.TracerProvider, *, spans: bool) -> CanaryMiddleware:
    controller = CanaryDeploymentController(PLAN)
    controller.start()
    return CanaryMiddleware(app, controller, tracer_provider=provider, spans=spans)


def _timer(
    app: Any, requests: int, run: Callable[[Any], object], settle: Callable[[], object]
) -> Timer:
    def measure() -> float:
        scopes = [scope_of(number) for number in range(requests)]
        seconds = 0.0

        async def call() -> None:
            nonlocal seconds
            start = time.process_time()
            for scope in scopes:
                await app(scope, receive, send)
            settle()
            seconds = time.process_time() - start

        run(call())
        return seconds / requests

    return measure


# -- decorators


def plain(text: str) -> int:
    """What is decorated: cheap, so that what is added to it shows."""
    return len(text)


async def plain_async(text: str) -> int:
    """The same for a coroutine."""
    return len(text)


def decorators(calls: int, rounds: int) -> Table:
    """A decorated call, with tracing off and on."""
    off, off_async = trace_flow(FlowType.RUBRIC_SCORING)(plain), trace_flow("plain")(plain_async)
    off_timers = {
        "plain": _called(plain, calls),
        "canario": _called(off, calls),
        "otel": _called(trace.get_tracer("benchmark").start_as_current_span("plain")(plain), calls),
        "plain_async": _awaited(plain_async, calls),
        "canario_async": _awaited(off_async, calls),
    }
    without = rounds_of(off_timers, rounds)
    provider, settle = _provider("sampled")
    trace.set_tracer_provider(provider)
    on = trace_flow(FlowType.RUBRIC_SCORING)(plain)
    own = trace.get_tracer("benchmark").start_as_current_span("plain")(plain)
    on_timers = {
        "plain": _called(plain, calls // 10),
        "canario": _called(on, calls // 10, settle),
        "otel": _called(own, calls // 10, settle),
    }
    with_spans = rounds_of(on_timers, rounds)

    def row(what: str, added: float, beside: float, *, aimed: bool = False) -> Row:
        return Row(
            what,
            f"+ {time_text(added)}",
            ratio_text(added / beside, "the tracer's own"),
            "< 1 µs" if aimed else "",
            added < 1e-6 if aimed else None,
        )

    peer_off, peer_on = without.added("otel", "plain"), with_spans.added("otel", "plain")
    return Table(
        "A decorated call",
        [
            row(
                "`@trace_flow`, tracing off",
                without.added("canario", "plain"),
                peer_off,
                aimed=True,
            ),
            row(
                "the same on a coroutine",
                without.added("canario_async", "plain_async"),
                peer_off,
                aimed=True,
            ),
            row("`@tracer.start_as_current_span`, tracing off", peer_off, peer_off),
            row("`@trace_flow`, sampled", with_spans.added("canario", "plain"), peer_on),
            row("`@tracer.start_as_current_span`, sampled", peer_on, peer_on),
        ],
        "CPU time added to the call of a function that does nearly nothing; sampled spans go "
        "through the batch processor to an exporter that drops them.",
    )


def _called(
    function: Callable[[str], object], calls: int, settle: Callable[[], object] = lambda: None
) -> Timer:
    def loop(n: int) -> None:
        for _ in range(n):
            function("a plan")
        settle()

    return per_call(loop, calls)


def _awaited(function: Callable[[str], Any], calls: int) -> Timer:
    async def loop(n: int) -> None:
        for _ in range(n):
            await function("a plan")

    return per_call(lambda n: asyncio.run(loop(n)), calls)


if __name__ == "__main__":
    main()
