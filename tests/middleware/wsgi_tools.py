"""Drives a WSGI app without a server: keeps what it did, and does what a server may do."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment
from wsgiref.util import setup_testing_defaults

Write = Callable[[bytes], object]


def request(
    path: str = "/", method: str = "GET", headers: Iterable[tuple[str, str]] = (), **more: Any
) -> WSGIEnvironment:
    """What a server would give for a request."""
    environ: WSGIEnvironment = {
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "REQUEST_METHOD": method,
        "QUERY_STRING": "",
        "REMOTE_ADDR": "203.0.113.7",
        **more,
    }
    setup_testing_defaults(environ)
    for name, value in headers:
        environ["HTTP_" + name.upper().replace("-", "_")] = value
    return environ


def user(key: str, path: str = "/", **more: Any) -> WSGIEnvironment:
    """A GET of the user called `key`."""
    return request(path, headers=[("x-user-id", key)], **more)


@dataclass
class Answer:
    """What an app did: how often it started a response, what it sent, returned and raised."""

    starts: list[tuple[str, list[tuple[str, str]], bool]] = field(default_factory=list)
    sent: list[bytes] = field(default_factory=list)
    returned: Any = None
    raised: BaseException | None = None

    @property
    def status(self) -> str:
        return self.starts[-1][0]

    @property
    def headers(self) -> list[tuple[str, str]]:
        return self.starts[-1][1]

    @property
    def body(self) -> bytes:
        return b"".join(self.sent)


def ask(
    app: WSGIApplication,
    environ: WSGIEnvironment | None = None,
    *,
    pieces: int | None = None,
    write: Write | None = None,
) -> Answer:
    """Serve one request and close its body, whatever happens.

    Only the first `pieces` of the body are asked for, as when a client leaves. `write` is called
    with what the app writes, and may raise. Exceptions come back in the answer.
    """
    answer = Answer()

    def send(data: bytes) -> None:
        if write is not None:
            write(data)
        answer.sent.append(data)

    def start_response(
        status: str, headers: list[tuple[str, str]], exc_info: Any = None, /
    ) -> Write:
        if exc_info is not None and answer.sent:
            raise exc_info[1]
        answer.starts.append((status, headers, exc_info is not None))
        return send

    try:
        answer.returned = app(request() if environ is None else environ, start_response)
        try:
            if pieces != 0:
                for number, piece in enumerate(answer.returned, 1):
                    answer.sent.append(piece)
                    if number == pieces:
                        break
        finally:
            close = getattr(answer.returned, "close", None)
            if close is not None:
                close()
    except BaseException as error:
        answer.raised = error
    return answer


TEXT = [("Content-Type", "text/plain")]


def answers(
    body: Iterable[bytes] = (b"hello",),
    status: str = "200 OK",
    headers: Iterable[tuple[str, str]] = TEXT,
    then: Callable[[], object] = lambda: None,
) -> WSGIApplication:
    """An app that returns `body` as it is, after `then` was called."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response(status, list(headers))
        then()
        return body

    return app


def streams(
    *pieces: bytes | Callable[[], object] | BaseException,
    status: str = "200 OK",
    headers: Iterable[tuple[str, str]] = TEXT,
) -> WSGIApplication:
    """An app whose generator yields the bytes, calls the callables and raises the exceptions."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response(status, list(headers))

        def body() -> Iterable[bytes]:
            for piece in pieces:
                if isinstance(piece, BaseException):
                    raise piece
                if isinstance(piece, bytes):
                    yield piece
                else:
                    piece()

        return body()

    return app


class Closable:
    """An iterable that is no iterator, and counts how often it was closed."""

    def __init__(self, *pieces: bytes, error: BaseException | None = None) -> None:
        self.pieces = pieces
        self.error = error
        self.closed = 0

    def __iter__(self) -> Any:
        return iter(self.pieces)

    def close(self) -> None:
        self.closed += 1
        if self.error is not None:
            raise self.error


class Sized(Closable):
    """A `Closable` that tells how many pieces it has."""

    def __len__(self) -> int:
        return len(self.pieces)
