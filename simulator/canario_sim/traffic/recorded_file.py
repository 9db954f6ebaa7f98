"""Recorded arrivals, read from a file of either kind."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from canario.config import ConfigError

from .recorded import Recording

__all__ = ["read_recording"]


def read_recording(path: str) -> Recording:
    """The recording in a tape or a CSV file. Raises `ConfigError` for one that cannot be read."""
    try:
        stat = Path(path).stat()
    except OSError as error:
        raise ConfigError(path, "", f"cannot be read: {error.strerror}") from error
    # Thousands of replications replay the same file.
    return _read(path, stat.st_mtime_ns, stat.st_size)


# What has changed is the cache's: a file that was written anew is read anew.
@lru_cache(maxsize=4)
def _read(path: str, changed: int, size: int) -> Recording:  # noqa: ARG001
    # Only who replays a file reads tapes.
    from canario_sim.tapes.read import is_tape

    from .recorded_csv import from_csv
    from .recorded_tape import from_tape

    return from_tape(path) if is_tape(path) else from_csv(path)
