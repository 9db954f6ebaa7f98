"""A real server on a real clock: the tape of its rollout gives back its journal."""

from __future__ import annotations

import asyncio
import http.client
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from tests.tapes.live import contract, plan
from tests.waiting import PATIENCE

from canario import CanaryDeploymentController
from canario.asgi import CanaryMiddleware
from canario.control.events import Event
from canario.control.journal import dump_journal
from canario_sim.backtest.assign import AsRecorded, Matched
from canario_sim.backtest.fates import Donors
from canario_sim.backtest.replay import replay_of
from canario_sim.tapes import read_tape


class App:
    """Answers after a while; every so many requests otherwise than it should."""

    def __init__(self, *, failing: int = 0, wrong: int = 0, seconds: float = 0.002) -> None:
        self.failing, self.wrong, self.seconds = failing, wrong, seconds
        self.served = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        self.served += 1
        await asyncio.sleep(self.seconds)
        bad = self.failing and not self.served % self.failing
        wrong = self.wrong and not self.served % self.wrong
        headers = [(b"content-type", b"text/plain"), (b"content-length", b"5")]
        await send(
            {"type": "http.response.start", "status": 500 if bad else 200, "headers": headers}
        )
        await send({"type": "http.response.body", "body": b"wrong" if wrong else b"right"})


@contextmanager
def served(app: Any) -> Iterator[int]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="on"))
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listening])))
        thread.start()
        try:
            while not server.started:
                time.sleep(0.01)
            yield listening.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()


def ask(port: int, worker: int, controller: CanaryDeploymentController) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    number = 0
    while not controller.state.phase.terminal:
        number += 1
        connection.request("GET", "/", headers={"x-user-id": f"{worker}-{number % 30}"})
        connection.getresponse().read()
    connection.close()


@pytest.mark.parametrize(
    ("title", "canary", "orders"),
    [
        ("promoted", App(), ()),
        ("error_rate", App(failing=2), ()),
        ("p95_latency", App(seconds=0.65), ()),
        ("contract_violation", App(wrong=9), ()),
        ("aborted", App(), ("pause", "resume", "skip", "abort")),
    ],
)
def test_the_tape_of_a_server_gives_back_its_journal(
    title: str, canary: App, orders: tuple[str, ...], tmp_path: Path
) -> None:
    release = plan(
        (30.0, 0.4 if not orders else PATIENCE),
        (100.0, 0.4 if not orders else PATIENCE),
        check_interval_seconds=0.05,
        metric_window_seconds=2.0,
        min_samples=8,
        # However long a busy machine stalls, it is not slow where it is not meant to be.
        max_p95_latency_ms=600.0 if title == "p95_latency" else 1000 * PATIENCE,
    )
    controller = CanaryDeploymentController(release)
    app = CanaryMiddleware(
        App(), controller, canary, contract=contract, tape=tmp_path / "a.tape.sqlite"
    )
    with served(app) as port, ThreadPoolExecutor(4) as clients:
        asking = [clients.submit(ask, port, n, controller) for n in range(4)]
        for order in orders:
            time.sleep(0.1)
            getattr(controller, order)()
        for each in asking:
            each.result()
    # The server has shut down, so the tape is a single file that is whole.
    assert [file.name for file in tmp_path.iterdir()] == ["a.tape.sqlite"]
    recording = read_tape(tmp_path)
    events: tuple[Event, ...] = controller.events
    assert events[-1].terminal
    tag = events[-1].__struct_config__.tag
    assert (title if title in ("promoted", "aborted") else "rolled_back") == tag
    assert tag != "rolled_back" or controller.state.reason == title
    assert recording.whole
    assert recording.closed
    assert recording.events == events
    for routing in (AsRecorded(), Matched(recording, Donors(recording, 1, 300))):
        replay = replay_of(recording, release, routing)
        replay.run()
        assert dump_journal(replay.controller.events) == dump_journal(events)
