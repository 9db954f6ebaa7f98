"""Spans kept in memory, and the trees that they make."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple
from unittest import mock

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Sampler

from canario.tracing.current import current, tracer_of


class Tree(NamedTuple):
    """A span and those below it, in the order in which they began."""

    name: str
    below: tuple[Tree, ...] = ()


class Spans:
    """What a provider has exported."""

    def __init__(self, sampler: Sampler = ALWAYS_ON) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = self.provider.get_tracer("tests")

    @property
    def ended(self) -> tuple[ReadableSpan, ...]:
        return self.exporter.get_finished_spans()

    @property
    def names(self) -> list[str]:
        return [span.name for span in self.ended]

    def one(self, name: str) -> ReadableSpan:
        (span,) = (span for span in self.ended if span.name == name)
        return span

    def trees(self) -> list[Tree]:
        """All traces, by when they began."""
        below: dict[int, list[ReadableSpan]] = defaultdict(list)
        for span in sorted(self.ended, key=lambda span: span.start_time or 0):
            below[0 if span.parent is None else span.parent.span_id].append(span)

        def tree(span: ReadableSpan) -> Tree:
            assert span.context is not None
            inner = below[span.context.span_id]
            for each in inner:
                assert each.context is not None
                assert each.context.trace_id == span.context.trace_id
            return Tree(span.name, tuple(tree(each) for each in inner))

        return [tree(root) for root in below[0]]


@contextmanager
def traced(sampler: Sampler = ALWAYS_ON) -> Iterator[Spans]:
    """Decorators and managers make their spans here for a while."""
    spans = Spans(sampler)
    with mock.patch.object(current, "tracer", tracer_of(spans.provider)):
        yield spans
