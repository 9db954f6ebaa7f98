"""canario: guarded releases inside a Python web app, rehearsed by the same controller.

The names below are imported when they are first used: the command line has to print its help, and
tools a version, without them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._version import __version__
from .lazy import lazy

if TYPE_CHECKING:
    from .config import ConfigError, load_plan
    from .contracts.report import report_contract_violation
    from .control.events import RollbackReason
    from .control.journal import JournalError
    from .control.machine import CommandRefusedError
    from .control.result import DeploymentResult
    from .control.rollout import Outcome
    from .control.state import Phase
    from .controller import CanaryDeploymentController
    from .create import create_canary_controller
    from .exchange import current_arm
    from .plan import Deployment, Plan, RollbackThresholds, Routing, Stage
    from .routing import InvalidKeyError, TrafficRouter

__all__ = [
    "CanaryDeploymentController",
    "CommandRefusedError",
    "ConfigError",
    "Deployment",
    "DeploymentResult",
    "InvalidKeyError",
    "JournalError",
    "Outcome",
    "Phase",
    "Plan",
    "RollbackReason",
    "RollbackThresholds",
    "Routing",
    "Stage",
    "TrafficRouter",
    "__version__",
    "create_canary_controller",
    "current_arm",
    "load_plan",
    "report_contract_violation",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy(
        __name__,
        {
            "config": ("ConfigError", "load_plan"),
            "contracts.report": ("report_contract_violation",),
            "control.events": ("RollbackReason",),
            "control.journal": ("JournalError",),
            "control.machine": ("CommandRefusedError",),
            "control.result": ("DeploymentResult",),
            "control.rollout": ("Outcome",),
            "control.state": ("Phase",),
            "controller": ("CanaryDeploymentController",),
            "create": ("create_canary_controller",),
            "exchange": ("current_arm",),
            "plan": ("Deployment", "Plan", "RollbackThresholds", "Routing", "Stage"),
            "routing": ("InvalidKeyError", "TrafficRouter"),
        },
    )
