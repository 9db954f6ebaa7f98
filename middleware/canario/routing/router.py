"""The router: which arm a key goes to at the present share."""

from __future__ import annotations

from mmh3 import hash as _murmur3_32

from canario.arms import Arm

from .bucket import BUCKETS, bucket_of, key_bytes, weight_of

__all__ = ["Arm", "TrafficRouter"]


class TrafficRouter:
    """Sends `share` percent of the keys to the canary, always the same ones.

    The controller that owns a router sets its share; whoever handles requests only reads it, in any
    thread and without a lock: it is one integer.
    """

    __slots__ = ("_salt", "weight")

    def __init__(self, salt: str, share: float = 0.0) -> None:
        self._salt = salt.encode("utf-8", "surrogateescape")
        self.weight = weight_of(share)  # buckets below this number go to the canary

    def __repr__(self) -> str:
        return (
            f"<TrafficRouter salt={self._salt.decode('utf-8', 'replace')!r} share={self.share:g}>"
        )

    @property
    def salt(self) -> str:
        """What is hashed before a key: routers of one salt put a key in the same bucket."""
        return self._salt.decode("utf-8", "surrogateescape")

    @property
    def share(self) -> float:
        """Percent of the keys that go to the canary."""
        return self.weight * 100 / BUCKETS

    @share.setter
    def share(self, percentage: float) -> None:
        self.weight = weight_of(percentage)

    def bucket(self, key: str | bytes) -> int:
        """The bucket of a key; see `canario.routing.bucket`. Raises `InvalidKeyError`."""
        return bucket_of(self._salt, key_bytes(key))

    def route_request(self, request_id: str | bytes) -> Arm:
        """`"canary"` when the bucket of `request_id` lies below the share, else `"baseline"`.

        Raises `InvalidKeyError` for an empty key or one of over 512 bytes.
        """
        return self.arm_of(key_bytes(request_id))

    def arm_of(self, key: bytes) -> Arm:
        """`route_request` for a key that `key_bytes` has let pass already."""
        # `bucket_of`, for each request: a call takes longer than what it does.
        bucket = (_murmur3_32(self._salt + key, 0, False) * BUCKETS) >> 32
        return "canary" if bucket < self.weight else "baseline"
