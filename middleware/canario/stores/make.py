"""From an address to a store."""

from __future__ import annotations

from .shared import MemoryStore, SharedStore

__all__ = ["make_store"]

_VALID = (
    "sqlite:///FILE for the workers of one host (sqlite:////FILE where it begins at the root), "
    "redis://HOST:PORT/DATABASE for those of many (rediss:// over TLS, unix:// for a socket), "
    "memory:// for a single process, or a store of your own"
)


def make_store(given: str | SharedStore) -> SharedStore:
    """The store of an address, or the one that is given.

    Raises `ValueError` for what is no address of a store, and `TypeError` for what is neither.
    """
    if not isinstance(given, str):
        if not hasattr(given, "append") or not hasattr(given, "read"):
            raise TypeError(f"store is {given!r}; it must be {_VALID}")
        return given
    scheme, found, rest = given.partition("://")
    if found and scheme == "memory" and not rest:
        return MemoryStore()
    if found and scheme == "sqlite" and rest.startswith("/") and len(rest) > 1:
        from .sqlite import SqliteStore  # whoever does without it does not wait for its import

        return SqliteStore(rest[1:])
    if found and scheme in ("redis", "rediss", "unix") and rest:
        from .redis import RedisStore

        return RedisStore(given)
    raise ValueError(f"store is {given!r}; it must be {_VALID}")
