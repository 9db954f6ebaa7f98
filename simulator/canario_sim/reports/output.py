"""Files that a command writes, and words for when it cannot."""

from __future__ import annotations

from pathlib import Path

from canario.config import ConfigError

__all__ = ["make_folder", "write_file"]


def make_folder(folder: Path) -> None:
    """Make a folder and those above it. Raises `ConfigError`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(str(folder), "", f"cannot be made: {error.strerror}") from error


def write_file(path: Path, content: str | bytes) -> None:
    """Write a file, with its folders. Raises `ConfigError`."""
    raw = content if isinstance(content, bytes) else content.encode("utf-8")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(raw)
    except OSError as error:
        raise ConfigError(str(path), "", f"cannot be written: {error.strerror}") from error
