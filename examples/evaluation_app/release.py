"""The release: version one guarded while a new version takes over, as one ASGI app."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from canario import CanaryDeploymentController, load_plan
from canario.asgi import CanaryMiddleware
from canario.control.words import describe
from canario.sinks import LogSink, inline
from canario.slo import DashboardDataGenerator, create_slo_monitor
from canario.tracing import FlowType, get_tracing_manager

from .app import create_app
from .contract import CONTRACTS
from .users import ARM_HEADER, STATUS_PATH

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from canario.control.events import Event
    from canario.slo import SLOMonitor

    from .faults import Fault

__all__ = ["DASHBOARD_PATH", "METRICS_PATH", "PLAN", "Release"]

PLAN = Path(__file__).with_name("release.toml")
DASHBOARD_PATH = "/slo"
METRICS_PATH = "/metrics"

FLOWS = {"/evaluate": FlowType.DECALOGO_EVALUATION, "/health": FlowType.HEALTH_CHECK}


class Release:
    """Serves the guarded app, and what there is to watch beside it.

    `GET /canario/status` tells where the rollout stands, `/slo` how the flows stand against their
    objectives, and `/metrics` both for Prometheus, where its client is installed. Alerts are
    logged.

    Args:
        version: The new version, 2 or 3.
        fault: What is wrong with version 3.
        plan: The plan file.
        journal: Where the events are kept, if anywhere.
    """

    def __init__(
        self,
        version: int = 2,
        fault: Fault | None = None,
        *,
        plan: Path = PLAN,
        journal: Path | None = None,
    ) -> None:
        self.controller = CanaryDeploymentController(
            load_plan(plan), journal=journal, sinks=[inline(self._tell)]
        )
        self.monitor = create_slo_monitor(
            config=plan, clock=self.controller.clock, sinks=[LogSink()]
        )
        self.guarded = CanaryMiddleware(
            create_app(1),
            self.controller,
            canary=create_app(version, fault),
            contract=CONTRACTS,
            monitor=self.monitor,
            flows=FLOWS,
            arm_header=ARM_HEADER,
        )
        dashboard = DashboardDataGenerator(self.monitor, self.controller)
        self._pages = {
            STATUS_PATH: _page(self.status),
            DASHBOARD_PATH: _page(dashboard.generate_dashboard_data),
            **_metrics(self.controller, self.monitor),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            # Uvicorn ends by the signal that stopped it, and then nothing runs at Python's exit.
            with get_tracing_manager():
                await self.guarded(scope, receive, send)
            return
        page = self._pages.get(scope["path"]) if scope["type"] == "http" else None
        await (page or self.guarded)(scope, receive, send)

    def status(self) -> dict[str, Any]:
        """Where the rollout stands."""
        result = self.controller.result()
        return {
            "state": result.phase,
            "stage": result.final_stage,
            "share": self.controller.router.share,
            "reason": result.rollback_reason,
            "why": result.why,
            "canary": msgspec.to_builtins(self.controller.counts("canary")),
            "baseline": msgspec.to_builtins(self.controller.counts("baseline")),
            "counters": self.controller.counters,
        }

    def _tell(self, event: Event) -> None:
        since = event.at - self.controller.events[0].at
        words = describe(event, self.controller.deployment)
        print(f"{since:6.1f} s  {words}", file=sys.stderr, flush=True)


def _page(content: Callable[[], dict[str, Any]]) -> ASGIApp:
    """An app that answers with what `content` gives, as JSON."""

    async def page(scope: Scope, receive: Receive, send: Send) -> None:
        answer: Response = JSONResponse(content())
        if Request(scope).method not in ("GET", "HEAD"):
            answer = JSONResponse({"error": "Method Not Allowed"}, 405, headers={"allow": "GET"})
        await answer(scope, receive, send)

    return page


def _metrics(controller: CanaryDeploymentController, monitor: SLOMonitor) -> dict[str, ASGIApp]:
    """The page that Prometheus scrapes; none where its client is not installed."""
    try:
        from prometheus_client import CollectorRegistry, make_asgi_app
    except ImportError:
        return {}
    from canario.telemetry import CanarioCollector

    registry = CollectorRegistry()
    registry.register(CanarioCollector(controller, monitor))
    return {METRICS_PATH: make_asgi_app(registry)}
