"""Real servers on the loopback interface, on ports that the system chooses."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from tests.middleware.asgi_tools import App
from tests.waiting import PATIENCE, until


@contextmanager
def uvicorn_server(app: App, **config: Any) -> Iterator[int]:
    """Serves `app` on a thread; gives the port."""
    config = {"log_level": "critical", "ws": "websockets-sansio", **config}
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, **config))

    def run() -> None:
        with suppress(SystemExit):  # that is how it ends where the app cannot start
            server.run()

    thread = threading.Thread(target=run, name="uvicorn")
    thread.start()
    try:
        until(lambda: server.started or not thread.is_alive())
        assert server.started, "the server has not started"
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(PATIENCE)


@contextmanager
def gunicorn_server(folder: Path, app: str, *options: str) -> Iterator[tuple[int, int]]:
    """Serves `app` of a module in `folder`; gives the port and the master's process id."""
    with socket.create_server(("127.0.0.1", 0)) as listener, (folder / "log").open("wb") as log:
        options = (*options, f"--bind=fd://{listener.fileno()}", "--no-control-socket")
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "gunicorn", app, *options],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(folder)},
            pass_fds=[listener.fileno()],
            stdout=log,
            stderr=log,
        )
        port: int = listener.getsockname()[1]
        try:
            until(lambda: process.poll() is not None or _answers(port))
            assert process.poll() is None, (folder / "log").read_text()
            yield port, process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE)


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/ready", timeout=1).is_success
    except httpx.TransportError:
        return False
