"""How routing appears on a span: OpenTelemetry's `feature_flag.*` attributes."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

from msgspec import json

from canario.control.state import Phase, State
from canario.exchange import Reason
from canario.plan import Deployment
from canario.routing.router import Arm

if TYPE_CHECKING:
    from canario.controller import CanaryDeploymentController

__all__ = ["FlagAttributes", "key_id", "plan_digest", "stage_name"]

_ID_BYTES = 16


def plan_digest(deployment: Deployment) -> str:
    """Twelve hex digits that change with anything that a rollout is decided by."""
    return hashlib.sha256(json.encode(deployment, order="deterministic")).hexdigest()[:12]


def stage_name(deployment: Deployment, state: State) -> str:
    """The stage that a rollout is in; the phase (`pending`, `completed`, …) outside of one."""
    if state.phase is Phase.RUNNING or state.phase is Phase.PAUSED:
        return deployment.canary_stages[state.stage].name
    return state.phase.value


def key_id(secret: bytes, key: bytes) -> str:
    """What stands for a user's key: 32 hex digits of its HMAC-SHA256."""
    return hmac.digest(secret, key, "sha256")[:_ID_BYTES].hex()


class FlagAttributes:
    """The attributes of one controller's decisions; the same mapping for as long as it can be.

    What it gives is shared between requests, and must not be changed.
    """

    def __init__(self, controller: CanaryDeploymentController) -> None:
        deployment = controller.deployment
        self._controller = controller
        self._digest = plan_digest(deployment)
        self._set = deployment.routing_salt
        # Of one state, together: threads may come with two at the same time.
        self._known: tuple[State, dict[tuple[Arm, str], dict[str, str]]] = (State(), {})

    def __call__(self, arm: Arm, reason: Reason) -> dict[str, str]:
        """Those of a request that has `arm` because of `reason`."""
        state = self._controller.state
        of, known = self._known
        if of is not state:
            known = {}
            self._known = (state, known)
        found = known.get((arm, reason))
        if found is None:
            found = known[arm, reason] = self._made(arm, reason, state)
        return found

    def _made(self, arm: Arm, reason: Reason, state: State) -> dict[str, str]:
        if state.phase is Phase.COMPLETED and reason == "split":
            reason = "static"  # everybody has the canary: nothing is split any more
        stage = stage_name(self._controller.deployment, state)
        return {
            "feature_flag.key": self._controller.deployment_id,
            "feature_flag.result.variant": arm,
            "feature_flag.result.reason": reason,
            "feature_flag.set.id": self._set,
            "feature_flag.version": f"{self._digest}/{stage}",
            "feature_flag.provider.name": "canario",
        }
