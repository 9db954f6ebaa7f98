"""Where metrics are read from, and what happens when reading fails."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from canario.host.interrupts import pass_on

from .readings import (
    Reading,
    build_readings,
    controller_readings,
    monitor_readings,
    sink_readings,
)

if TYPE_CHECKING:
    from canario.controller import CanaryDeploymentController
    from canario.slo import SLOMonitor

__all__ = ["Source"]

logger = logging.getLogger("canario")


class Source:
    """Reads a controller, a monitor and their sinks, whenever somebody asks.

    A part that cannot be read is left out, counted as a fault and logged once: the page of the
    host's own metrics must not fail for it.
    """

    def __init__(
        self,
        controller: CanaryDeploymentController | None = None,
        monitor: SLOMonitor | None = None,
    ) -> None:
        if controller is None and monitor is None:
            raise ValueError("there is nothing to read; give a controller, a monitor or both")
        self.controller = controller
        self.monitor = monitor
        self._told = False

    def read(self) -> list[Reading]:
        """Every series, as it stands."""
        made = list(build_readings())
        for part in self._parts():
            try:
                # As a whole or not at all: half of a part would look like a fall to zero.
                made += list(part())
            except BaseException as error:
                pass_on(error)
                self._fault(error)
        return made

    def _parts(self) -> Iterator[Callable[[], Iterator[Reading]]]:
        if (controller := self.controller) is not None:
            yield lambda: controller_readings(controller)
        if (monitor := self.monitor) is not None:
            yield lambda: monitor_readings(monitor)
        yield lambda: sink_readings(self._every_sink())

    def _every_sink(self) -> Iterable[object]:
        """The sinks of both, each once."""
        sinks = [sink for part in (self.controller, self.monitor) if part for sink in part.sinks]
        return {id(sink): sink for sink in sinks}.values()

    def _fault(self, error: BaseException) -> None:
        if self.controller is not None:
            self.controller.notices.fault("reading the metrics", error)
        elif not self._told:
            self._told = True
            logger.error("canario failed in reading the metrics", exc_info=error)
