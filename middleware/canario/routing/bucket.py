"""From a key to a bucket, and from a share to a number of buckets: integers only.

The hash is murmur3 (x86, 32 bits, seed 0) of the salt's UTF-8 bytes followed by the key's bytes.
Its top is scaled to 100,000 buckets, so that any murmur3 tool gives the same cohorts:

    bucket = (murmur3_32(salt + key) * 100_000) >> 32        canary = bucket < share * 1_000

A salt makes two releases independent; a raised share only adds buckets, so no user of the canary
ever falls out of it while a rollout goes up.
"""

from __future__ import annotations

from mmh3 import hash as _murmur3_32

__all__ = ["BUCKETS", "MAX_KEY_BYTES", "InvalidKeyError", "bucket_of", "key_bytes", "weight_of"]

BUCKETS = 100_000
MAX_KEY_BYTES = 512


class InvalidKeyError(ValueError):
    """A key that cannot be routed: empty, longer than `MAX_KEY_BYTES`, no text, or given twice."""


def key_bytes(key: str | bytes) -> bytes:
    """The bytes that are hashed: UTF-8 for text, and what came from the wire unchanged.

    Raises `InvalidKeyError` for an empty key, for one of over `MAX_KEY_BYTES` bytes, and for text
    with half of a surrogate pair, which UTF-8 does not have.
    """
    try:
        # What a framework has decoded with `surrogateescape` becomes what was on the wire again.
        raw = key if isinstance(key, bytes) else key.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise InvalidKeyError(
            f"the key is no text: character {error.start} is half of a surrogate pair"
        ) from error
    if 0 < len(raw) <= MAX_KEY_BYTES:
        return raw
    if not raw:
        raise InvalidKeyError("the key is empty; give 1 to 512 bytes that name the user or request")
    raise InvalidKeyError(f"the key has {len(raw)} bytes; at most {MAX_KEY_BYTES} are routed")


def bucket_of(salt: bytes, key: bytes) -> int:
    """The bucket of `key` in the release named by `salt`: 0 to `BUCKETS` - 1."""
    return (_murmur3_32(salt + key, 0, False) * BUCKETS) >> 32


def weight_of(percentage: float) -> int:
    """The number of buckets that `percentage` (0 to 100) of the keys fall into.

    Raises `ValueError` outside 0 to 100.
    """
    if not 0 <= percentage <= 100:
        raise ValueError(f"percentage is {percentage!r}; it must be at least 0 and at most 100")
    return round(percentage * (BUCKETS // 100))
