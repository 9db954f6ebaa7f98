"""The example's release, served by its own command."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from tests.waiting import PATIENCE

__all__ = ["ROOT", "fetch", "served"]

ROOT = Path(__file__).parents[2]


def free_port() -> int:
    """A port that is free just now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def served(*arguments: str, terminal: Path, **variables: str) -> Iterator[str]:
    """The release's address, once it answers; what it tells goes to the file `terminal`."""
    with terminal.open("w") as told:
        url = f"http://127.0.0.1:{(port := free_port())}"
        server = _start(["--port", str(port), *arguments], told, variables)
        try:
            for _ in range(int(PATIENCE / 0.05)):
                assert server.poll() is None, terminal.read_text()
                try:
                    fetch(f"{url}/health")
                    break
                except urllib.error.URLError:
                    time.sleep(0.05)
            yield url
        finally:
            server.terminate()
            server.wait(timeout=PATIENCE)


def _start(
    arguments: list[str], told: TextIO, variables: dict[str, str]
) -> subprocess.Popen[bytes]:
    own = {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")}
    command = [sys.executable, "-m", "examples.evaluation_app", *arguments]
    return subprocess.Popen(
        command, cwd=ROOT, stderr=told, stdout=subprocess.DEVNULL, env={**own, **variables}
    )


def fetch(url: str) -> Any:
    """The JSON at an address."""
    with urllib.request.urlopen(url, timeout=PATIENCE) as response:
        return json.load(response)
