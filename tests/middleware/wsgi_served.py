"""What the tests have gunicorn serve.

`application` answers `/<guard>/<app>` by that app behind that guard, and `/seen` by what the guard
called `guarded` has told its controller. `release` is one real release: the baseline is well, and
the canary is as `CANARY` says. `forked` is to be loaded before a fork.
"""

from __future__ import annotations

import json
import os
import tempfile
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment
from wsgiref.util import shift_path_info

from gunicorn.http.wsgi import Response  # type: ignore[import-untyped]
from tests.middleware.asgi_tools import BrokenController, Controller
from tests.middleware.wsgi_apps import LAWFUL, UNLAWFUL
from tests.middleware.wsgi_tools import Closable, answers

from canario import Deployment, Plan, RollbackThresholds, Stage, create_canary_controller
from canario.clock import system_clock
from canario.controller import CanaryDeploymentController
from canario.wsgi import CanaryMiddleware

TEXT = [("Content-Type", "text/plain")]


class Endless(Closable):
    """More than any socket takes in; its end is noted in `CLOSED`."""

    def __iter__(self) -> Any:
        return iter(lambda: b"x" * 65536, b"")

    def close(self) -> None:
        CLOSED.append("endless")


CLOSED: list[str] = []
SENT_BY_KERNEL: list[str] = []


def huge_file(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """A file with a hole of 100 MB, which no socket takes in at once either."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 (the server closes it)
    file.truncate(100_000_000)
    start_response("200 OK", [*TEXT, ("Content-Length", "100000000")])
    body: Iterable[bytes] = environ["wsgi.file_wrapper"](file)
    return body


APPS: dict[str, WSGIApplication] = {
    **LAWFUL,
    **UNLAWFUL,
    "endless": answers(Endless()),
    "huge file": huge_file,
}


def _note_sendfile() -> None:
    bare = Response.sendfile

    def sendfile(self: Any, body: Any) -> bool:
        sent: bool = bare(self, body)
        if sent:
            SENT_BY_KERNEL.append(type(body).__name__)
        return sent

    Response.sendfile = sendfile


_note_sendfile()


def by_name(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    return APPS[shift_path_info(environ) or ""](environ, start_response)


def _broken(app: WSGIApplication) -> WSGIApplication:
    controller = BrokenController()
    middleware = CanaryMiddleware(app, controller)
    controller.broken = True
    return middleware


def _controller(share: float) -> Controller:
    return Controller(share, clock=system_clock())


guarded = CanaryMiddleware(by_name, _controller(50))

GUARDS: dict[str, WSGIApplication] = {
    "bare": by_name,
    "guarded": guarded,
    "checked": CanaryMiddleware(by_name, _controller(100), contract=lambda *_: None),
    "broken": _broken(by_name),
}


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    name = shift_path_info(environ) or ""
    if name == "seen":
        return _json(start_response, _seen())
    return GUARDS[name](environ, start_response)


def _seen() -> object:
    controller = guarded.gate.controller
    assert isinstance(controller, Controller)
    outcomes = [seen.outcome.value for seen in controller.seen]
    return {
        "outcomes": outcomes,
        "counters": dict(controller.counters),
        "closed": CLOSED,
        "sent_by_kernel": SENT_BY_KERNEL,
    }


def _json(start_response: StartResponse, content: object) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(content).encode()]


# -- a release


def canary(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    if os.environ["CANARY"] == "raises":
        raise LookupError("no model")
    start_response("200 OK", list(TEXT))
    yield b"wrong" if os.environ["CANARY"] == "wrong" else b"new"


def contract(route: str, status: int, headers: object, body: bytes) -> object:
    return body != b"wrong" or "the score is missing"


def _release() -> WSGIApplication:
    if "CANARY" not in os.environ:
        return answers()
    deployment = Deployment(
        canary_stages=(Stage(50, 0.6), Stage(100, 0.6)),
        rollback_thresholds=RollbackThresholds(check_interval_seconds=0.2, min_samples=5),
    )
    controller = CanaryDeploymentController(
        Plan(deployment=deployment), deployment_id="release-2", journal=os.environ["JOURNAL"]
    )
    return CanaryMiddleware(answers([b"old"]), controller, canary, contract=contract)


release = _release()


# -- loaded before a fork


_loaded = CanaryMiddleware(
    answers(),
    create_canary_controller("release-3", environ={}),
    contract=lambda *_: None,
)


def forked(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    if environ["PATH_INFO"] == "/state":
        return _json(start_response, state("asked"))
    return _loaded(environ, start_response)


def state(when: str) -> dict[str, object]:
    """What there is of canario in this process."""
    controller = _loaded.gate.controller
    return {
        "when": when,
        "pid": os.getpid(),
        "phase": str(controller.state.phase),
        "events": len(controller.events),
        "counters": dict(controller.counters),
        "threads": [thread.name for thread in threading.enumerate()],
    }


def record(when: str) -> None:
    """Leave `state` in the file that `RECORDS` names."""
    with Path(os.environ["RECORDS"]).open("a") as file:
        file.write(json.dumps(state(when)) + "\n")


if "RECORDS" in os.environ:
    record("loaded")
