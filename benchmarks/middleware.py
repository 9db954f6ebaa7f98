"""What middlewares add to a Starlette route, called directly and under uvicorn.

python -m benchmarks.middleware [--quick]
"""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from importlib.util import find_spec
from typing import Any

from .apps import VARIANTS, Variant, make
from .measure import Rounds, Row, Table, Timer, options, ratio_text, report, rounds_of, time_text
from .peers import PEERS, missing_peers

NAMES = {
    "two apps": "canario, two apps",
    "one app": "canario, one app that asks `current_arm()`",
    "contract": "canario, two apps and a contract on every response",
    "base http": "`BaseHTTPMiddleware` that does nothing",
    "prometheus": "prometheus-fastapi-instrumentator",
    "otel": "OpenTelemetry ASGI, default (three spans)",
    "otel, one span": "OpenTelemetry ASGI, `exclude_spans` (one span)",
    "otel, metrics": "OpenTelemetry ASGI, default, and SDK metrics",
}

# Those that the aims are about; a contract is extra work that nobody else does.
AIMED = ("two apps", "one app")

USERS = 1000

_FAST = "httptools and uvloop"


def main() -> None:
    """Measure everything and print the tables."""
    quick = options("What middlewares add to a Starlette route, in-process and under uvicorn.")
    if quick:
        tables = [called_directly(20, 3), *(served(stack, 16, 2) for stack in stacks())]
    else:
        tables = [called_directly(100, 201), *(served(stack, 480, 41) for stack in stacks())]
    report(tables)


# -- called directly


def called_directly(requests: int, rounds: int) -> Table:
    """Cost added to the app, without a server."""
    variants = {name: make(name) for name in VARIANTS}
    with asyncio.Runner() as runner:
        timers = {
            name: _direct(variant, requests, runner.run) for name, variant in variants.items()
        }
        measured = rounds_of(timers, rounds)
    for variant in variants.values():
        variant.check()
    rows = [Row("the bare route", time_text(measured.median("bare")))]
    for name, what in NAMES.items():
        rows.extend(_added(measured, name, what))
    return Table(
        "Added to a Starlette route, in-process",
        rows,
        f"CPU time that a request takes more than the bare route's in the same round: the median "
        f"of {rounds} rounds of {requests} requests each. Spans are sampled and go through the "
        "batch processor to an exporter that drops them; the work of exporter and contract "
        "threads is in the times.",
    )


def _added(measured: Rounds, name: str, what: str) -> Iterator[Row]:
    added = measured.added(name, "bare")
    text = f"+ {time_text(added)}"
    if name not in AIMED:
        yield Row(what, text, ratio_text(1 + added / measured.median("bare"), "bare"))
        return
    yield Row(what, text, aim="≤ 5 µs", reached=added <= 5e-6)
    for other, label, least in (
        ("otel", "OpenTelemetry's default", 30),
        ("prometheus", "prometheus-fastapi-instrumentator", 10),
    ):
        ratio = measured.added_ratio(name, other, "bare")
        yield Row(
            f"{what}, beside {label}",
            text,
            ratio_text(ratio, "it"),
            f"≤ 1/{least}",
            ratio <= 1 / least,
        )


def _direct(variant: Variant, requests: int, run: Callable[[Any], object]) -> Timer:
    users = iter(range(sys.maxsize))

    def measure() -> float:
        scopes = [scope_of(next(users) % USERS) for _ in range(requests)]
        seconds = 0.0

        async def call() -> None:
            nonlocal seconds
            app = variant.app
            start = time.process_time()
            for scope in scopes:
                await app(scope, receive, send)
            variant.settle()
            seconds = time.process_time() - start

        run(call())
        return seconds / requests

    return measure


def scope_of(user: int) -> dict[str, Any]:
    """What uvicorn would make of a small request."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/plans/17",
        "raw_path": b"/plans/17",
        "query_string": b"",
        "root_path": "",
        "headers": [
            (b"host", b"127.0.0.1:8000"),
            (b"user-agent", b"benchmark"),
            (b"accept", b"*/*"),
            (b"x-user-id", b"user-%04d" % user),
        ],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 8000),
        "state": {},
    }


async def receive() -> dict[str, Any]:
    """An empty body."""
    return {"type": "http.request", "body": b"", "more_body": False}


async def send(message: dict[str, Any]) -> None:
    """Takes every message."""


# -- under uvicorn


def stacks() -> list[tuple[str, str]]:
    """The pairs of HTTP parser and event loop that can be used here."""
    fast = find_spec("httptools") and find_spec("uvloop")
    return [("h11", "asyncio"), *([("httptools", "uvloop")] if fast else [])]


def served(stack: tuple[str, str], requests: int, rounds: int) -> Table:
    """CPU time of a server, per request."""
    http, loop = stack
    lacking = missing_peers()
    peers = {name: what for name, (what, _, _) in PEERS.items() if name not in lacking}
    with ExitStack() as servers:
        timers: Mapping[str, Timer] = {
            name: _client(servers.enter_context(server(name, http, loop)), requests)
            for name in (*VARIANTS, *peers)
        }
        measured = rounds_of(timers, rounds)
    rows = [Row("the bare route", time_text(measured.median("bare")))]
    rows.extend(_under(measured, name, what) for name, what in (NAMES | peers).items())
    absent = ", ".join(PEERS[name][0] for name in lacking)
    return Table(
        f"Server CPU under uvicorn with {http} and {loop}",
        rows,
        f"CPU time of the server process, divided by its requests: the median of {rounds} rounds "
        f"of {requests} requests each, from {CONNECTIONS} connections that are kept alive. Every "
        "variant has a server of its own, all up at once, and they take turns. A guard in pure "
        f"Python that has none of canario's cares takes about 1.08 × bare with {_FAST}."
        + (f" Not installed here, and so not measured: {absent}." if absent else ""),
    )


def _under(measured: Rounds, name: str, what: str) -> Row:
    ratio = measured.ratio(name, "bare")
    aimed = name in AIMED
    return Row(
        what,
        time_text(measured.median(name)),
        ratio_text(ratio, "bare"),
        "≤ 1.25 × bare" if aimed else "",
        ratio <= 1.25 if aimed else None,
    )


class Server:
    """A server process, and the connections to it."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self._process = process
        self._connections = [
            socket.create_connection(("127.0.0.1", port), timeout=60) for _ in range(CONNECTIONS)
        ]
        self._size = 0
        self._size = len(self._first_response())

    def request(self, users: Iterator[int]) -> None:
        """One request on every connection, all of them sent before any is answered."""
        for connection in self._connections:
            connection.sendall(request_of(next(users) % USERS))
        for connection in self._connections:
            missing = self._size
            while missing:
                missing -= len(_received(connection, missing))

    def cpu_seconds(self) -> float:
        """What the process has used so far."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())

    def close(self) -> None:
        """Leave."""
        for connection in self._connections:
            connection.close()

    def _first_response(self) -> bytes:
        """All responses are as long as this one, so no other needs to be parsed."""
        connection = self._connections[0]
        connection.sendall(request_of(0))
        head = b""
        while b"\r\n\r\n" not in head:
            head += _received(connection, 1)
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"the server answered {head!r}")
        fields = head.lower().split(b"\r\n")
        length = next(int(field[15:]) for field in fields if field.startswith(b"content-length:"))
        body = b""
        while len(body) < length:
            body += _received(connection, length - len(body))
        return head + body


CONNECTIONS = 8


def _received(connection: socket.socket, most: int) -> bytes:
    data = connection.recv(most)
    if not data:
        raise ConnectionError("the server has closed the connection")
    return data


def request_of(user: int) -> bytes:
    """The bytes of a small request."""
    return (
        b"GET /plans/17 HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nUser-Agent: benchmark\r\n"
        b"Accept: */*\r\nX-User-Id: user-%04d\r\n\r\n" % user
    )


@contextmanager
def server(name: str, http: str, loop: str) -> Iterator[Server]:
    """A variant's server, until the context ends."""
    # The server is given a socket that listens already: connections wait until it accepts them.
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        command = [sys.executable, "-m", "benchmarks.serve", name, http, loop]
        process = subprocess.Popen(
            [*command, str(listening.fileno())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=[listening.fileno()],
        )
    with process, closing(Server(process, port)) as here:
        yield here


def _client(to: Server, requests: int) -> Timer:
    users = iter(range(sys.maxsize))

    def measure() -> float:
        before = to.cpu_seconds()
        for _ in range(requests // CONNECTIONS):
            to.request(users)
        return (to.cpu_seconds() - before) / (requests // CONNECTIONS * CONNECTIONS)

    return measure


if __name__ == "__main__":
    main()
