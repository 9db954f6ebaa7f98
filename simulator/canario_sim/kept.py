"""What takes long to make and is the same for everybody: made once, kept in the user's cache."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from canario.host.whole_files import write_whole

__all__ = ["cache_folder", "kept"]


def cache_folder() -> Path:
    """Where this user's programs keep what can be made again. Raises `RuntimeError` without a home.

    `XDG_CACHE_HOME` where it is set, else the folder of the platform.
    """
    if given := os.environ.get("XDG_CACHE_HOME"):
        return Path(given) / "canario"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "canario"
    if sys.platform == "win32" and (local := os.environ.get("LOCALAPPDATA")):
        return Path(local) / "canario" / "cache"
    return Path.home() / ".cache" / "canario"


def kept(name: str, make: Callable[[], str]) -> str:
    """The text that is kept under a name, which says of which version it is; made if there is none.

    Where nothing can be kept it is made again and again.
    """
    try:
        path = cache_folder() / name
    except RuntimeError:
        return make()
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        made = make()
    with suppress(OSError):
        write_whole(path, made)
    return made
