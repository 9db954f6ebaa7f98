"""Four worker processes of real servers, and one rollout."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.middleware.asgi_servers import gunicorn_server
from tests.waiting import PATIENCE, until

from canario.sharing.entry import read_events

ASGI = """
import os, random
from canario import create_canary_controller
from canario.asgi import CanaryMiddleware

def version(name, status):
    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            while True:
                message = await receive()
                await send({"type": message["type"] + ".complete"})
                if message["type"].endswith("shutdown"):
                    return
        body = f"{name} {os.getpid()}".encode()
        start = {"type": "http.response.start", "status": status, "headers": []}
        await send(start)
        await send({"type": "http.response.body", "body": body})
    return app

controller = create_canary_controller("shared", config="plan.toml", environ={})
app = CanaryMiddleware(version("one", 200), controller, canary=version("two", STATUS))
"""

WSGI = """
import os
from canario import create_canary_controller
from canario.wsgi import CanaryMiddleware

def version(name, status):
    def app(environ, start_response):
        start_response(status, [])
        return [f"{name} {os.getpid()}".encode()]
    return app

controller = create_canary_controller("shared", config="plan.toml", environ={})
app = CanaryMiddleware(version("one", "200 OK"), controller, canary=version("two", "STATUS No"))
"""

PLAN = """
[deployment]
canary_stages = [{ percentage = 50, hold_seconds = HOLD }, { percentage = 100, hold_seconds = 1 }]
[deployment.rollback_thresholds]
check_interval_seconds = 1
min_samples = 5
max_p95_latency_ms = 60000
[store]
url = "sqlite:///release.db"
"""


def service(folder: Path, source: str, status: int, hold: float = 3600) -> None:
    (folder / "service.py").write_text(source.replace("STATUS", str(status)))
    (folder / "plan.toml").write_text(PLAN.replace("HOLD", str(hold)))


def events(folder: Path) -> list[Any]:
    """The journal, as the file has it."""
    path = folder / "release.db"
    if not path.exists():
        return []
    db = sqlite3.connect(path, timeout=60)
    try:
        rows = db.execute("SELECT journal FROM entry ORDER BY number").fetchall()
    except sqlite3.OperationalError:  # it is being made
        return []
    finally:
        db.close()
    return [event for (row,) in rows for event in read_events(row)]


def ended(folder: Path) -> bool:
    return any(event.terminal for event in events(folder))


class Users:
    """Asks as many users, each on a connection of its own, so that all workers are met."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.answers: list[tuple[str, str]] = []
        self.user = 0

    def ask(self) -> None:
        self.user += 1
        try:
            answer = httpx.get(
                f"http://127.0.0.1:{self.port}/", headers={"x-user-id": f"{self.user}"}, timeout=60
            )
        except httpx.TransportError:  # of a worker that was killed
            return
        version, _, pid = answer.text.partition(" ")
        self.answers.append((version, pid))

    def workers(self) -> set[str]:
        return {pid for _, pid in self.answers}


@contextmanager
def uvicorn_workers(folder: Path, workers: int) -> Iterator[int]:
    command = [sys.executable, "-m", "uvicorn", "service:app", f"--workers={workers}"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--port=0", "--no-access-log"],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(folder)},
            stdout=log,
            stderr=log,
        )
        try:
            until(lambda: "running on" in (folder / "log").read_text())
            said = (folder / "log").read_text()
            port = int(said.partition("127.0.0.1:")[2].split()[0])
            until(lambda: (folder / "log").read_text().count("startup complete") >= workers)
            yield port
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE)


@contextmanager
def hypercorn_workers(folder: Path, workers: int) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener, (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "hypercorn", "service:app", f"--workers={workers}"),
                f"--bind=fd://{listener.fileno()}",
            ],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(folder)},
            pass_fds=[listener.fileno()],
            stdout=log,
            stderr=log,
        )
        try:
            until(lambda: (folder / "log").read_text().count("Running on") >= workers)
            yield listener.getsockname()[1]
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE)


@contextmanager
def served(folder: Path, how: str) -> Iterator[int]:
    if how == "uvicorn":
        with uvicorn_workers(folder, 4) as port:
            yield port
        return
    if how == "hypercorn":
        with hypercorn_workers(folder, 4) as port:
            yield port
        return
    options = how.split()
    with gunicorn_server(folder, "service:app", "--workers=4", *options) as (port, _):
        yield port


SERVERS = {
    "uvicorn": ASGI,
    "hypercorn": ASGI,
    "--worker-class=sync": WSGI,
    "--worker-class=sync --preload": WSGI,
    "--worker-class=gthread --threads=4": WSGI,
    "--worker-class=gevent": WSGI,
}


@pytest.mark.parametrize("how", SERVERS)
def test_a_bad_canary_is_rolled_back_once_and_by_all(how: str, tmp_path: Path) -> None:
    service(tmp_path, SERVERS[how], 500)
    with served(tmp_path, how) as port:
        users = Users(port)

        def over() -> bool:
            users.ask()
            return ended(tmp_path)

        until(over, lambda: (tmp_path / "log").read_text())
        # In every worker: each is asked again, and serves the baseline.
        met: set[str] = set()
        known = users.workers()

        def everybody_serves_the_baseline() -> bool:
            users.answers.clear()
            for _ in range(20):
                users.ask()
            if any(version == "two" for version, _ in users.answers):
                met.clear()
            else:
                met.update(users.workers())
            return known <= met

        until(everybody_serves_the_baseline, lambda: (tmp_path / "log").read_text())
    story = events(tmp_path)
    assert [type(event).__name__ for event in story if event.terminal] == ["RolledBack"]
    assert story[-1].reason == "error_rate"
    assert "rolled back, error_rate" in (tmp_path / "log").read_text()


def test_workers_that_are_killed_and_replaced_go_on(tmp_path: Path) -> None:
    """Each time the one that answers is killed: the rollout goes to its end all the same.

    Twice, since the answer may be there a moment before the worker notes it: three that die while
    they serve the canary would convict it.
    """
    service(tmp_path, WSGI, 200, hold=6)
    with gunicorn_server(tmp_path, "service:app", "--workers=2") as (port, _):
        users = Users(port)
        killed = 0
        while not ended(tmp_path):
            users.ask()
            if len(users.answers) % 40 == 39 and killed < 2:
                killed += 1
                os.kill(int(users.answers[-1][1]), signal.SIGKILL)
    story = events(tmp_path)
    assert [type(event).__name__ for event in story if event.terminal] == ["Promoted"]
    assert killed
    # A stage that lost a worker was held until nobody had to wait for it any more, and once.
    entered = [event for event in story if type(event).__name__ == "StageEntered"]
    assert [event.stage for event in entered] == [0, 1]


CRASHING = WSGI.replace(
    "        start_response(status, [])",
    """
        if name == "two" and environ["HTTP_X_USER_ID"].endswith("7"):
            os.kill(os.getpid(), 9)
        start_response(status, [])""",
)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_canary_that_kills_its_process_is_convicted(workers: int, tmp_path: Path) -> None:
    """One in ten of its users' requests does; each time the server replaces the worker, which is
    told by those that are left, or by what the last one left behind."""
    service(tmp_path, CRASHING, 200)
    plan = tmp_path / "plan.toml"
    plan.write_text(plan.read_text().replace("min_samples = 5", "min_samples = 100000"))
    with gunicorn_server(tmp_path, "service:app", f"--workers={workers}") as (port, _):
        users = Users(port)

        def over() -> bool:
            users.ask()
            return ended(tmp_path)

        until(over, lambda: (tmp_path / "log").read_text())
        log = (tmp_path / "log").read_text()
    end = events(tmp_path)[-1]
    assert end.reason == "crashed"
    assert "3 workers died while they served the canary" in end.verdict.why
    assert log.count("left 1 requests of the canary") >= 3
    # Whoever stops in an orderly way has left nothing.
    assert not list((tmp_path / "release.db-workers").rglob("*.worker"))
