"""Fixed shares of the keys: hashing, key sources, forced arms."""

from .bucket import InvalidKeyError, bucket_of
from .router import Arm, TrafficRouter

__all__ = ["Arm", "InvalidKeyError", "TrafficRouter", "bucket_of"]
