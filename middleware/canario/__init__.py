"""canario: guarded releases inside a Python web app, rehearsed by the same controller."""

from ._version import __version__
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
