"""One rollout for all workers: a log of what came in, which each of them folds for itself."""

from .member import Member
from .worker import Worker

__all__ = ["Member", "Worker"]
