"""OpenTelemetry metrics by pull: observable instruments alone, so a request pays nothing.

OpenTelemetry cannot take an instrument back. So each meter provider gets one set of instruments,
which read whatever is registered just then.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from opentelemetry.metrics import (
    CallbackOptions,
    Meter,
    MeterProvider,
    Observation,
    get_meter_provider,
)

from canario._version import __version__
from canario.host.fork import ForkSafeLock
from canario.metrics.histogram import DurationTotals

from .metrics import METRICS, Metric
from .readings import Reading, buckets_of
from .source import Source

if TYPE_CHECKING:
    from canario.controller import CanaryDeploymentController
    from canario.slo import SLOMonitor

__all__ = ["Registration", "register_instruments"]

_Callback = Callable[[CallbackOptions], Iterable[Observation]]


class _Global:
    """Stands for the global provider, before and after the host has set it."""


_GLOBAL = _Global()
_INSTRUMENTS: WeakKeyDictionary[MeterProvider | _Global, _Instruments] = WeakKeyDictionary()
# Held while instruments are made, which takes the SDK's locks; so no callback may wait for it.
_LOCK = ForkSafeLock()

# No collection takes longer; what was read before is not shown any more.
_ROUND_SECONDS = 1.0


class Registration:
    """What is read on behalf of one `register_instruments`; ends with `unregister`."""

    def __init__(self, instruments: _Instruments, source: Source) -> None:
        self._instruments = instruments
        self.source = source

    def unregister(self) -> None:
        """Have it read no more. Calling it again changes nothing."""
        self._instruments.remove(self)

    def __enter__(self) -> Registration:
        return self

    def __exit__(self, *_: object) -> None:
        self.unregister()


def register_instruments(
    controller: CanaryDeploymentController | None = None,
    monitor: SLOMonitor | None = None,
    meter_provider: MeterProvider | None = None,
) -> Registration:
    """Show a controller and a monitor as OpenTelemetry metrics, under `canario.*`.

    Args:
        controller: Its rollout is shown.
        monitor: Its flows are shown.
        meter_provider: Whose readers they go to; the global one by default. Nothing is set up.

    Returns:
        The registration. Registering the same controller and monitor again gives the same one.

    Raises:
        ValueError: Without a controller and without a monitor.
    """
    present = get_meter_provider()
    provider = present if meter_provider is None else meter_provider
    key = _GLOBAL if provider is present else provider
    source = Source(controller, monitor)
    with _LOCK:
        instruments = _INSTRUMENTS.get(key)
        if instruments is None:
            instruments = _INSTRUMENTS[key] = _Instruments()
            instruments.create(provider.get_meter("canario", __version__))
    return instruments.add(source)


class _Instruments:
    """The instruments of one meter provider, and who is shown by them."""

    def __init__(self) -> None:
        self._lock = ForkSafeLock()
        self._registrations: list[Registration] = []
        self._snapshot: dict[str, list[Observation]] = {}
        self._read_at = -_ROUND_SECONDS
        self._served: set[str] = set()

    def create(self, meter: Meter) -> None:
        """Make every instrument, with a callback that reads when it is asked."""
        for metric in METRICS.values():
            make = (
                meter.create_observable_counter
                if metric.kind in ("counter", "histogram")
                else meter.create_observable_gauge
            )
            make(
                metric.otel_name,
                callbacks=[self._callback(metric)],
                unit=metric.otel_unit,
                description=metric.help,
            )

    def add(self, source: Source) -> Registration:
        """Have a source shown; the registration that there is, if it is shown already."""
        with self._lock:
            for present in self._registrations:
                mine = present.source
                if mine.controller is source.controller and mine.monitor is source.monitor:
                    return present
            made = Registration(self, source)
            self._registrations.append(made)
            return made

    def remove(self, registration: Registration) -> None:
        """Have it shown no more."""
        with self._lock:
            if registration in self._registrations:
                self._registrations.remove(registration)

    def _callback(self, metric: Metric) -> _Callback:
        return lambda _: self._observations(metric.name)

    def _observations(self, name: str) -> list[Observation]:
        """What was read once for all instruments of one collection.

        A reader asks each instrument in turn: one that asks again begins another collection.
        """
        with self._lock:
            now = time.monotonic()
            if name in self._served or now - self._read_at >= _ROUND_SECONDS:
                self._snapshot = self._read()
                self._read_at = now
                self._served.clear()
            self._served.add(name)
            return self._snapshot.get(name, [])

    def _read(self) -> dict[str, list[Observation]]:
        made: dict[str, list[Observation]] = {}
        for registration in self._registrations:
            for reading in registration.source.read():
                made.setdefault(reading.metric.name, []).extend(_observed(reading))
        return made


def _observed(reading: Reading) -> Iterator[Observation]:
    metric, values, value = reading
    labels = {f"canario.{label}": shown for label, shown in zip(metric.labels, values, strict=True)}
    if isinstance(value, Mapping):
        for state, present in value.items():
            yield Observation(int(present), {**labels, "canario.state": state})
    elif isinstance(value, DurationTotals):
        for bound, upto in buckets_of(value):
            yield Observation(upto, {**labels, "canario.le": bound})
    else:
        yield Observation(value, labels)
