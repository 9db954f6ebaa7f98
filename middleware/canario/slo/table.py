"""The flows of a monitor by name, and what happens to names past the limit."""

from __future__ import annotations

import logging
from threading import Lock

from canario.host.fork import Forkable, ForkSafeLock, renew_in_child

from .measured import Flow
from .recordable import plain_name
from .status import Limits

__all__ = ["OTHER", "FlowTable"]

OTHER = "other"
"""The flow of the names past `max_flows`."""


class FlowTable(Forkable):
    """Flows by name, at most `max_flows` of them and `other`. Safe to use from many threads.

    `overflowed` counts how often `other` was taken for a name that found no room.
    """

    __slots__ = ("__weakref__", "_limits", "_lock", "_log", "flows", "overflowed")

    def __init__(self, limits: Limits, log: logging.Logger) -> None:
        self.flows: dict[str, Flow] = {}
        self.overflowed = 0
        self._limits = limits
        self._lock = ForkSafeLock()
        renew_in_child(self)
        self._log = log

    def after_fork_in_child(self) -> None:
        for flow in self.flows.values():
            flow.lock = Lock()

    def __len__(self) -> int:
        return len(self.flows)

    def names(self) -> tuple[str, ...]:
        """The names, sorted."""
        with self._lock:
            return tuple(sorted(self.flows))

    def seen(self, flow_name: object) -> Flow | None:
        """The flow of that name, if anything was recorded of it."""
        return self.flows.get(flow_name) if isinstance(flow_name, str) else None

    def look(self, flow_name: object, now: float) -> Flow:
        """The flow of that name, or an empty one that is not kept. Raises like `plain_name`."""
        return self.seen(flow_name) or Flow(plain_name(flow_name), now, self._limits)

    def take(self, flow_name: object, now: float) -> Flow:
        """The flow to record in, made if need be. Raises like `plain_name`."""
        flow = self.seen(flow_name)
        if flow is not None:
            return flow
        name = plain_name(flow_name)
        with self._lock:
            most = self._limits.objectives.max_flows
            full = len(self.flows) - (OTHER in self.flows) >= most
            if full and name not in self.flows and name != OTHER:
                self.overflowed += 1
                if self.overflowed == 1:
                    self._log.warning(
                        "there are %d flows already; %r and all other new ones are counted as the "
                        "flow %r",
                        most,
                        name,
                        OTHER,
                    )
                name = OTHER
            flow = self.flows.get(name)
            if flow is None:
                flow = self.flows[name] = Flow(name, now, self._limits)
        return flow
