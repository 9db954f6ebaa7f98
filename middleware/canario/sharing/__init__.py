"""One rollout for all workers: a log of what came in, which each of them folds for itself."""

from .member import Member
from .presence import Presence
from .worker import Worker

__all__ = ["Member", "Presence", "Worker"]
