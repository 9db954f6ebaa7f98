"""WSGI apps of all kinds, lawful and not: what they answer must not depend on canario."""

from __future__ import annotations

import io
import sys
import tempfile
from collections.abc import Iterable, Iterator
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from tests.middleware.wsgi_tools import Closable, Sized, answers, streams

__all__ = ["LAWFUL", "UNLAWFUL"]

TEXT = [("Content-Type", "text/plain")]
LENGTH_5 = [*TEXT, ("Content-Length", "5")]
COOKIES = [*TEXT, ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("X-Name", "\xf1and\xfa")]
LARGE = [bytes([65 + number % 26]) * 10_000 for number in range(100)]


def lazy(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """A generator, so it starts its response when its first piece is asked for."""
    start_response("200 OK", list(TEXT))
    yield b"la"
    yield b"zy"


def echo(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    start_response("200 OK", list(TEXT))
    return [environ["REQUEST_METHOD"].encode(), b" ", body]


def writes(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    write = start_response("200 OK", list(TEXT))
    write(b"by ")
    write(b"write, ")
    return [b"then ", b"returned"]


def writes_all(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", list(LENGTH_5))(b"hello")
    return []


def writes_between(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    write = start_response("200 OK", list(TEXT))
    write(b"1")

    def body() -> Iterator[bytes]:
        yield b"2"
        write(b"3")
        yield b"4"

    return body()


def _file(content: bytes) -> Any:
    file = tempfile.TemporaryFile()  # noqa: SIM115 (the server closes it)
    file.write(content)
    file.seek(0)
    return file


def sends_file(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [*TEXT, ("Content-Length", "300000")])
    body: Iterable[bytes] = environ["wsgi.file_wrapper"](_file(b"f" * 300_000))
    return body


def sends_file_from(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    file = _file(b"0123456789")
    file.seek(4)
    start_response("206 Partial Content", [*TEXT, ("Content-Length", "3")])
    body: Iterable[bytes] = environ["wsgi.file_wrapper"](file, 3)
    return body


def sends_bytes_io(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", list(TEXT))
    body: Iterable[bytes] = environ["wsgi.file_wrapper"](io.BytesIO(b"in memory"))
    return body


def replaces(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """An error before anything is sent: the second head replaces the first."""
    start_response("200 OK", [*TEXT, ("X-First", "1")])
    try:
        raise LookupError("no model")
    except LookupError:
        start_response("503 Later", list(TEXT), sys.exc_info())
    return [b"sorry"]


def replaces_lazily(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    yield from replaces(environ, start_response)


def too_late(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """An error after something is sent: the server raises it again."""
    start_response("200 OK", list(TEXT))
    yield b"part"
    try:
        raise LookupError("no more")
    except LookupError:
        start_response("500 Oops", list(TEXT), sys.exc_info())
    yield b"never"


def raises(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    raise LookupError("no model")


def starts_and_raises(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", list(TEXT))
    raise LookupError("no model")


def writes_and_raises(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", list(TEXT))(b"part")
    raise LookupError("no model")


def starts_twice(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", list(TEXT))
    start_response("200 OK", list(TEXT))
    return [b"never"]


def starts_never(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    return [b"never"]


def starts_never_nor_sends(
    environ: WSGIEnvironment, start_response: StartResponse
) -> Iterable[bytes]:
    return []


# What PEP 3333 allows.
LAWFUL: dict[str, WSGIApplication] = {
    "list": answers([b"hello"]),
    "list with a length": answers([b"hello"], headers=LENGTH_5),
    "list of two": answers([b"he", b"llo"]),
    "empty list": answers([]),
    "tuple": answers((b"hello",)),
    "sized": answers(Sized(b"hello")),
    "sized, two": answers(Sized(b"he", b"llo")),
    "iterable": answers(Closable(b"hello")),
    "generator": streams(b"he", b"llo"),
    "generator with a length": streams(b"he", b"llo", headers=LENGTH_5),
    "generator of nothing": streams(),
    "generator with empty pieces": streams(b"", b"he", b"", b"llo", b""),
    "lazy": lazy,
    "echo": echo,
    "writes": writes,
    "writes all": writes_all,
    "writes between": writes_between,
    "large list": answers(LARGE),
    "large stream": streams(*LARGE),
    "cookies": answers([b"hello"], headers=COOKIES),
    "event stream": streams(b"data: 1\n\n", headers=[("Content-Type", "text/event-stream")]),
    "404": answers([b"no such"], status="404 Not Found"),
    "204": answers([], status="204 No Content", headers=[]),
    "204, streamed": streams(status="204 No Content", headers=[]),
    "304": answers([], status="304 Not Modified", headers=[("ETag", '"1"')]),
    "replaces": replaces,
    "replaces lazily": replaces_lazily,
    "file": sends_file,
    "part of a file": sends_file_from,
    "file in memory": sends_bytes_io,
}

# What servers meet all the same.
UNLAWFUL: dict[str, WSGIApplication] = {
    "too late": too_late,
    "raises": raises,
    "raises after the head": starts_and_raises,
    "raises after writing": writes_and_raises,
    "raises at the first piece": streams(LookupError("no rows")),
    "raises in the midst": streams(b"part", LookupError("no more")),
    "raises in the midst, with a length": streams(b"part", LookupError(), headers=LENGTH_5),
    "starts twice": starts_twice,
    "starts never": starts_never,
    "starts never nor sends": starts_never_nor_sends,
    "None": answers(None),  # type: ignore[arg-type]
    "text": answers(["text"]),  # type: ignore[list-item]
    "streamed numbers": answers(Closable(b"part", 7)),  # type: ignore[arg-type]
    "no status": answers(status="oops"),
    "bad header": answers(headers=[("Content-Type", "text/plain\r\nX-More: 1")]),
    "tuple of headers": lambda environ, start_response: (
        start_response("200 OK", tuple(TEXT)),  # type: ignore[arg-type]
        [b"hello"],
    )[1],
    "close raises": answers(Closable(b"hello", error=LookupError("no file"))),
}
