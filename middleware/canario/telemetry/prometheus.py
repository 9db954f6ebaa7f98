"""Prometheus and OpenMetrics exposition, by a collector for `prometheus_client`.

Nothing is measured here: a scrape reads the counts that the controller and the monitor have.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from canario.metrics.histogram import DurationTotals

from .metrics import METRICS, Metric
from .readings import buckets_of
from .source import Source

if TYPE_CHECKING:
    from canario.controller import CanaryDeploymentController
    from canario.slo import SLOMonitor

try:
    from prometheus_client.metrics_core import Metric as Family
    from prometheus_client.registry import Collector
except ModuleNotFoundError as error:
    if error.name != "prometheus_client":
        raise
    raise ModuleNotFoundError(
        "the exposition needs prometheus_client; install it with: "
        "pip install 'canario[prometheus]'",
        name=error.name,
    ) from error

__all__ = ["CanarioCollector"]


class CanarioCollector(Collector):
    """Gives canario's metrics at each scrape: `CollectorRegistry().register(CanarioCollector(…))`.

    Args:
        controller: Its rollout is shown, under its `deployment_id`.
        monitor: Its flows are shown; they carry no `deployment_id`, so that a series of a flow
            goes on over releases, as windows of three days need.
        labels: Put on every series: a worker's name, where several are scraped as one.

    Raises:
        ValueError: Without anything to show, or for a label that a metric has already.
    """

    def __init__(
        self,
        controller: CanaryDeploymentController | None = None,
        monitor: SLOMonitor | None = None,
        *,
        labels: Mapping[str, str] | None = None,
    ) -> None:
        taken = {label for metric in METRICS.values() for label in metric.labels} | {"le"}
        for name in labels or {}:
            if name in taken:
                raise ValueError(f"labels has {name!r}, which canario's metrics use themselves")
        self._source = Source(controller, monitor)
        self._labels = dict(labels or {})

    def describe(self) -> Iterable[Family]:
        """The families that there may be, for a registry to tell names that collide."""
        return [_family(metric) for metric in METRICS.values()]

    def collect(self) -> Iterator[Family]:
        """The families that have a series now."""
        families: dict[str, Family] = {}
        for metric, values, value in self._source.read():
            family = families.setdefault(metric.name, _family(metric))
            labels = {**self._labels, **dict(zip(metric.labels, values, strict=True))}
            _add(family, metric, labels, value)
        yield from families.values()


def _family(metric: Metric) -> Family:
    kinds = {"states": "stateset"}
    # A counter's family has the name without _total; its samples have it.
    return Family(
        metric.name.removesuffix("_total"), metric.help, kinds.get(metric.kind, metric.kind)
    )


def _add(family: Any, metric: Metric, labels: dict[str, str], value: Any) -> None:
    if isinstance(value, DurationTotals):
        _add_histogram(family, metric.name, labels, value)
    elif metric.kind == "states":
        for state, present in value.items():
            family.add_sample(metric.name, {**labels, metric.name: state}, int(present))
    else:
        family.add_sample(metric.name, labels, value)


def _add_histogram(family: Any, name: str, labels: dict[str, str], totals: DurationTotals) -> None:
    for bound, upto in buckets_of(totals):
        family.add_sample(f"{name}_bucket", {**labels, "le": bound}, upto)
    family.add_sample(f"{name}_count", labels, totals.count)
    family.add_sample(f"{name}_sum", labels, totals.sum_ms / 1000)
