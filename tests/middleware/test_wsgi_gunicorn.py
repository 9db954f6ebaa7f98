"""Under gunicorn, with real processes and sockets."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from tests.middleware.wsgi_apps import LAWFUL, UNLAWFUL
from tests.waiting import PATIENCE, until

from canario import RollbackReason
from canario.control.events import Event
from canario.control.journal import parse_journal

ROOT = Path(__file__).resolve().parents[2]

WORKERS = {"sync": ["--worker-class=sync"], "gthread": ["--worker-class=gthread", "--threads=4"]}


@contextmanager
def gunicorn(folder: Path, app: str, *options: str, **environ: str) -> Iterator[int]:
    """Serves an app of `wsgi_served`; gives the port, which takes requests at once."""
    log = folder / "log"
    with socket.create_server(("127.0.0.1", 0)) as listener, log.open("wb") as file:
        port: int = listener.getsockname()[1]
        process = subprocess.Popen(
            [
                *(sys.executable, "-W", "ignore", "-m", "gunicorn"),
                f"tests.middleware.wsgi_served:{app}",
                *(f"--bind=fd://{listener.fileno()}", "--no-control-socket"),
                *options,
            ],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environ},
            pass_fds=[listener.fileno()],
            stdout=file,
            stderr=file,
        )
    try:
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0, log.read_text()


def fetch(port: int, path: str, method: str = "GET", user: object = 7) -> bytes:
    """The bytes that the server sends, but for the date."""
    body = b"abc" if method == "POST" else b""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        connection.sendall(
            f"{method} {quote(path)} HTTP/1.1\r\nHost: a\r\nX-User-Id: {user}\r\n"
            f"Connection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        received = b"".join(iter(lambda: connection.recv(65536), b""))
    return re.sub(rb"\r\nDate: [^\r]*", b"", received)


def content(port: int, path: str) -> Any:
    return json.loads(fetch(port, path).partition(b"\r\n\r\n")[2].split(b"\r\n")[1])


@pytest.fixture(scope="module", params=WORKERS)
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[int]:
    """The port of apps of all kinds, under each kind of worker."""
    options = WORKERS[request.param]
    with gunicorn(tmp_path_factory.mktemp("served"), "application", *options) as port:
        yield port


@pytest.mark.parametrize("guard", ["guarded", "checked", "broken"])
def test_gunicorn_sends_the_same_bytes_as_without_it(served: int, guard: str) -> None:
    before = len(content(served, "/seen")["outcomes"])
    for name in [*LAWFUL, *UNLAWFUL]:
        for method in ("GET", "HEAD", "POST"):
            bare = fetch(served, f"/bare/{name}", method)
            assert fetch(served, f"/{guard}/{name}", method) == bare, (name, method)
    if guard == "guarded":
        seen = content(served, "/seen")
        assert len(seen["outcomes"]) - before == 3 * len(LAWFUL | UNLAWFUL)
        assert "faults" not in seen["counters"]


def test_gunicorn_sends_a_guarded_file_by_the_kernel(served: int) -> None:
    before = len(content(served, "/seen")["sent_by_kernel"])
    assert fetch(served, "/guarded/file").endswith(b"\r\n\r\n" + b"f" * 300_000)
    after = content(served, "/seen")
    assert after["sent_by_kernel"][before:] == ["FileWrapper"]
    assert after["outcomes"][-1] == "good"


@pytest.mark.parametrize("name", ["endless", "huge file"])
def test_a_client_that_closes_in_the_midst_of_a_download_is_neutral(served: int, name: str) -> None:
    before = content(served, "/seen")
    with socket.socket() as connection:
        # Little fits between the two, so the server is still sending when the client goes.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", served))
        connection.sendall(f"GET /guarded/{quote(name)} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        assert connection.recv(1024)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    news = len(before["outcomes"])
    until(lambda: len(content(served, "/seen")["outcomes"]) > news)
    after = content(served, "/seen")
    assert after["outcomes"][news:] == ["neutral"]
    assert len(after["closed"]) - len(before["closed"]) == (name == "endless")


# -- a release


@pytest.mark.parametrize("worker", WORKERS)
@pytest.mark.parametrize(
    ("canary", "reason"),
    [
        ("raises", RollbackReason.ERROR_RATE),
        ("wrong", RollbackReason.CONTRACT_VIOLATION),
        ("well", None),
    ],
)
def test_a_release_is_rolled_back_when_it_is_bad_and_finished_when_it_is_not(
    tmp_path: Path, worker: str, canary: str, reason: RollbackReason | None
) -> None:
    journal = tmp_path / "journal"
    users = iter(range(10**9))
    with gunicorn(
        tmp_path, "release", *WORKERS[worker], CANARY=canary, JOURNAL=str(journal)
    ) as port:

        def ended() -> bool:
            fetch(port, "/", user=next(users))
            return any(event.terminal for event in events(journal))

        until(ended)
        served = {fetch(port, "/", user=user)[-20:] for user in range(20)}
    last = events(journal)[-1]
    assert getattr(last, "reason", None) == reason
    expected = b"new" if reason is None else b"old"
    assert all(expected in answer for answer in served)


def events(journal: Path) -> tuple[Event, ...]:
    return parse_journal(journal.read_bytes()).events if journal.exists() else ()


# -- before and after a fork

CONFIG = """
def post_fork(server, worker):
    from tests.middleware import wsgi_served
    wsgi_served.record("forked")
"""


def test_nothing_is_started_or_counted_before_a_fork_and_each_worker_starts_by_itself(
    tmp_path: Path,
) -> None:
    records = tmp_path / "records"
    config = tmp_path / "config.py"
    config.write_text(CONFIG)
    options = ["--preload", "--workers=2", f"--config={config}"]
    with gunicorn(tmp_path, "forked", *options, RECORDS=str(records)) as port:
        until(lambda: len(noted(records)) == 3)
        loaded, *forked = noted(records)
        assert loaded["when"] == "loaded"
        assert [record["when"] for record in forked] == ["forked"] * 2
        assert len({record["pid"] for record in noted(records)}) == 3
        for record in noted(records):
            assert record["phase"] == "pending"
            assert record["events"] == 0
            assert record["counters"] == {}
            assert record["threads"] == ["MainThread"]
        asked = states(port, 2)
        assert {state["pid"] for state in asked} == {record["pid"] for record in forked}
        for state in asked:
            assert (state["phase"], state["events"]) == ("running", 2)
            assert state["threads"][0] == "MainThread"


def noted(records: Path) -> list[dict[str, Any]]:
    lines = records.read_text().splitlines() if records.exists() else []
    return [json.loads(line) for line in lines]


def states(port: int, workers: int) -> list[Any]:
    """What so many workers say, each after it has served a request."""
    found: dict[int, Any] = {}

    def ask() -> None:
        fetch(port, "/")
        state = content(port, "/state")
        if state["phase"] == "running":
            found[state["pid"]] = state

    def several() -> bool:
        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return len(found) == workers

    until(several)
    return list(found.values())
