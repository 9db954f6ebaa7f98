"""The release: version one guarded while a new version takes over, as one ASGI app."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.responses import JSONResponse

from canario import CanaryDeploymentController, load_plan
from canario.asgi import CanaryMiddleware
from canario.control.words import describe

from .app import create_app
from .contract import response_contract
from .users import ARM_HEADER, STATUS_PATH

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from canario.control.events import Event

    from .faults import Fault

__all__ = ["PLAN", "Release"]

PLAN = Path(__file__).with_name("release.toml")


class Release:
    """Serves the guarded app, and `GET /canario/status` beside it.

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
            load_plan(plan), journal=journal, sinks=[self._tell]
        )
        self.guarded = CanaryMiddleware(
            create_app(1),
            self.controller,
            canary=create_app(version, fault),
            contract=response_contract,
            contract_routes=["/evaluate"],
            arm_header=ARM_HEADER,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == STATUS_PATH:
            await JSONResponse(self.status())(scope, receive, send)
        else:
            await self.guarded(scope, receive, send)

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
