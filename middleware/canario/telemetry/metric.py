"""What a metric is: its names, its kind and its meaning."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

__all__ = ["Kind", "Metric", "metric"]

Kind = Literal["counter", "gauge", "states", "histogram"]


class Metric(Struct, frozen=True, kw_only=True):
    """One metric: what it is called where, and what it means.

    `name` is Prometheus' name and `otel_name` OpenTelemetry's, whose attributes are the labels
    with `canario.` before them. A metric of kind `states` has one series per state, 1 for the
    present one. OpenTelemetry has no histogram that is pulled, so there a histogram is a counter
    of the requests up to each boundary, which the attribute `canario.le` names.
    """

    name: str
    kind: Kind
    unit: str
    labels: tuple[str, ...]
    help: str
    otel_name: str

    @property
    def otel_unit(self) -> str:
        """What the OpenTelemetry instrument counts in."""
        return "{request}" if self.kind == "histogram" else self.unit


def metric(name: str, kind: Kind, unit: str, labels: str, text: str, otel_name: str) -> Metric:
    """A metric; `labels` are separated by spaces."""
    return Metric(
        name=name,
        kind=kind,
        unit=unit,
        labels=tuple(labels.split()),
        help=text,
        otel_name=otel_name,
    )
