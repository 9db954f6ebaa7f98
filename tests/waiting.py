"""Waits that end when what they wait for is there, however busy the machine is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

__all__ = ["PATIENCE", "Stuck", "until"]

# Seconds after which a wait is taken for a hang. Nothing takes nearly as long, so no test passes or
# fails by it; it is for whatever never comes.
PATIENCE = 600.0


class Stuck:
    """Waits for ever where it is awaited, and tells `reached` that somebody does."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()

    async def __call__(self) -> None:
        self.reached.set()
        await asyncio.Event().wait()


def until(condition: Callable[[], object], hint: Callable[[], object] = str) -> None:
    """Wait until `condition` holds, for what nobody tells us of: files, other processes.

    What `hint` gives is said where it never does.
    """
    patience = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < patience, f"it did not happen: {hint()}"
        time.sleep(0.01)
