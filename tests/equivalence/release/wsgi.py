"""The WSGI middleware, driven without a server."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from tests.equivalence.release.fates import Fate, Panic
from tests.equivalence.release.release import Release

__all__ = ["drive"]

Environ = dict[str, Any]


def drive(release: Release) -> None:
    """Send all its requests, one after the other but for those that hang."""
    from canario.wsgi import CanaryMiddleware

    def guarded() -> Any:
        canary = _App(release) if release.two_apps else None
        return CanaryMiddleware(
            _App(release), release.controller, canary, route=_route_of, **release.options
        )

    app = guarded()
    hanging: list[tuple[Fate, list[str], Any]] = []
    for fate in release.requests("wsgi"):
        if release.begins_anew:
            app = guarded()
        answer: list[str] = []
        body = _begun(release, app, fate, answer)
        if body is not None and fate.end == "hangs":
            hanging.append((fate, answer, body))
        elif body is not None:
            _sent(release, fate, answer, body)
        body = None
        if hanging and fate.number % 23 == 0:
            _sent(release, *hanging.pop(0))
        release.after(fate)
    for late, answer, body in hanging:
        body.close()
        release.answered(late, [*answer, "closed"])
    release.end()


def _begun(release: Release, app: Any, fate: Fate, answer: list[str]) -> Any:
    """The response's body; None when the app raised at once."""
    environ: Environ = {
        "REQUEST_METHOD": fate.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": fate.path,
        "QUERY_STRING": fate.query,
        "REMOTE_ADDR": fate.peer,
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.url_scheme": "https" if fate.number % 2 else "http",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr,
        "equivalence": fate,
    } | {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in fate.headers}

    def start_response(
        status: str, headers: list[tuple[str, str]], exc_info: object = None
    ) -> Callable[[bytes], None]:
        answer.append(f"{status} {'; '.join(f'{n}: {v}' for n, v in headers)}")
        return lambda data: answer.append(f"{len(data)} bytes written")

    try:
        return app(environ, start_response)
    except (Exception, Panic) as error:
        release.answered(fate, [*answer, repr(error)])
        return None


def _sent(release: Release, fate: Fate, answer: list[str], body: Any) -> None:
    """Send a body as a server does: to its end, then close it; or as one whose client left."""
    try:
        for piece in body:
            answer.append(f"{len(piece)} bytes")
            if fate.end in ("leaves", "drops"):
                break
    except (Exception, Panic) as error:
        answer.append(repr(error))
    if fate.end != "drops" and hasattr(body, "close"):
        body.close()
    release.answered(fate, answer)


class _App:
    """Serves each request as it is said of it."""

    def __init__(self, release: Release) -> None:
        self._release = release

    def __call__(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        release, fate = self._release, environ["equivalence"]
        end = fate.end
        release.serve(fate)
        if end == "raises":
            raise RuntimeError("it does not work")
        if end == "panics":
            raise Panic("a validator panicked")
        if end == "silent":
            return []
        status = "none" if end == "no status" else f"{fate.status} Told"
        headers = [("Content-Type", fate.kind), *fate.extra]
        if end == "again":
            start_response("200 OK", [("Content-Type", "text/plain")])
            try:
                raise ValueError("found while it was made")
            except ValueError:
                start_response("500 Sorry", [("Content-Type", "text/plain")], sys.exc_info())
            return [b"sorry"]
        write = start_response(status, headers)
        if end == "writes":
            write(b"".join(fate.pieces))
            return []
        if end == "raises late":
            raise RuntimeError("it worked no longer")
        if end in ("stream", "events", "breaks off", "hangs", "leaves", "drops", "generator"):
            return self._pieces(fate)
        return [b"".join(fate.pieces)]

    def _pieces(self, fate: Fate) -> Iterator[bytes]:
        for piece in fate.pieces:
            if fate.end != "generator":
                self._release.clock.advance(fate.after)
            yield piece
        if fate.end == "breaks off":
            raise ConnectionError("the database is gone")


def _route_of(environ: Environ) -> str | None:
    route: str | None = environ["equivalence"].route
    return route
