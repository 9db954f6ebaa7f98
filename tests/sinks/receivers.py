"""Real HTTP servers on the loopback interface that answer as a test wants."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from msgspec.structs import replace
from tests.waiting import PATIENCE

from canario.alerts import Alert, AlertState, AlertType, Resolution, Severity
from canario.alerts.runbook import look_at

# What to answer: a status with headers, or what to do instead.
Answer = tuple[int, dict[str, str]] | Callable[[BaseHTTPRequestHandler], None]

ALERT = Alert(
    alert_id="contract_violation:/evaluate:1",
    alert_type=AlertType.CONTRACT_VIOLATION,
    severity=Severity.CRITICAL,
    flow_name="/evaluate",
    state=AlertState.FIRING,
    message="/evaluate: 1 contract violation; none is allowed",
    observed=1.0,
    limit=0.0,
    unit="violations",
    samples=120,
    look_at=look_at(AlertType.CONTRACT_VIOLATION),
    pending_since=1_700_000_000.0,
    fired_at=1_700_000_000.0,
    trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
)

OVER = replace(
    ALERT,
    state=AlertState.RESOLVED,
    resolved_at=1_700_000_090.0,
    resolution=Resolution.CLEARED,
)


@dataclass
class Receiver:
    """What a server was sent, and where it listens."""

    url: str = ""
    bodies: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    going: threading.Event = field(default_factory=threading.Event)

    def hang(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer nothing until the test is over."""
        self.going.wait(PATIENCE)

    def drip(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer 200 with a body that never ends."""
        handler.send_response(200)
        handler.send_header("content-length", "1000000")
        handler.end_headers()
        self.going.wait(PATIENCE)


def hang_up(handler: BaseHTTPRequestHandler) -> None:
    """Close the connection without an answer."""
    handler.close_connection = True


@contextmanager
def receiver(*answers: Answer | str, tls: tuple[Path, Path] | None = None) -> Iterator[Receiver]:
    """A server that gives these answers in turn, the last one for ever; `hang` and `drip` too.

    `tls` are the files of its certificate and of its key.
    """
    told = Receiver()
    waiting: list[Any] = list(answers or ((200, {}),))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            told.bodies.append(body)
            told.paths.append(self.path)
            told.headers.append({name.lower(): value for name, value in self.headers.items()})
            answer = waiting.pop(0) if len(waiting) > 1 else waiting[0]
            if isinstance(answer, str):
                answer = getattr(told, answer)
            if callable(answer):
                answer(self)
                return
            status, headers = answer
            self.send_response(status)
            for name, value in {"content-length": "0", **headers}.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    scheme = "http"
    if tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*tls)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        scheme = "https"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    told.url = f"{scheme}://127.0.0.1:{server.server_port}/hooks/T0PSECRET"
    try:
        yield told
    finally:
        told.going.set()
        server.shutdown()
        thread.join(PATIENCE)
        server.server_close()
