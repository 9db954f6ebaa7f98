"""Apps of Django and of Flask behind the middleware."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any
from wsgiref.types import WSGIApplication, WSGIEnvironment
from wsgiref.util import FileWrapper

import pytest
from django.core.handlers.wsgi import WSGIHandler  # type: ignore[import-untyped]
from django.core.signals import request_finished  # type: ignore[import-untyped]
from django.http import (  # type: ignore[import-untyped]
    FileResponse,
    HttpRequest,
    HttpResponse,
    StreamingHttpResponse,
)
from django.urls import path  # type: ignore[import-untyped]
from flask import Flask, Response, stream_with_context
from flask import request as flask_request
from tests.middleware.asgi_tools import BAD, GOOD, NEUTRAL, Controller
from tests.middleware.django_tools import django_for
from tests.middleware.wsgi_tools import ask, request

from canario import current_arm
from canario.wsgi import CanaryMiddleware

# -- Django

finished: list[str] = []


class LeaveRoute:
    """The two lines by which an app tells canario its route."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_view(self, request: HttpRequest, *_: object) -> None:
        assert request.resolver_match is not None
        request.META["app.route"] = request.resolver_match.route


def evaluate(request: HttpRequest, plan: int) -> HttpResponse:
    return HttpResponse(f"{plan} by {current_arm()}", status=422 if plan == 13 else 200)


def stream(request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(current_arm().encode() for _ in range(3))


def file(request: HttpRequest) -> FileResponse:
    return FileResponse(io.BytesIO(b"a file"), filename="a.txt")


def fail(request: HttpRequest) -> HttpResponse:
    raise LookupError("no model")


urlpatterns = [
    path("evaluate/<int:plan>", evaluate),
    path("stream", stream),
    path("file", file),
    path("fail", fail),
]


@pytest.fixture(scope="module")
def django_app() -> Iterator[WSGIApplication]:
    with django_for(__name__, middleware=(f"{__name__}.LeaveRoute",)):
        yield WSGIHandler()


@pytest.fixture(autouse=True)
def _note_the_end() -> Iterator[None]:
    def note(**_: object) -> None:
        finished.append(current_arm())

    finished.clear()
    request_finished.connect(note)
    yield
    request_finished.disconnect(note)


def over_django(
    app: WSGIApplication, environ: WSGIEnvironment, **options: Any
) -> tuple[Any, Controller]:
    """An answer that must be the bare one, and the controller after it."""
    environ["wsgi.file_wrapper"] = FileWrapper
    environ["HTTP_X_USER_ID"] = "7"
    pieces = options.pop("pieces", None)
    controller = Controller(100)
    middleware = CanaryMiddleware(
        app, controller, route=lambda environ: environ.get("app.route"), **options
    )
    answer = ask(middleware, dict(environ), pieces=pieces)
    assert finished == ["canary"]
    assert "faults" not in controller.counters
    bare = ask(app, dict(environ), pieces=pieces)
    assert (answer.starts, type(answer.raised)) == (bare.starts, type(bare.raised))
    assert answer.body == bare.body.replace(b"baseline", b"canary")
    return answer, controller


def test_django_answers_as_without_it(django_app: WSGIApplication) -> None:
    answer, controller = over_django(django_app, request("/evaluate/7"))
    assert answer.body == b"7 by canary"
    assert controller.only.outcome is GOOD


@pytest.mark.parametrize(("pieces", "outcome"), [(None, GOOD), (1, NEUTRAL), (0, NEUTRAL)])
def test_django_streams_and_is_told_once_that_the_request_is_finished(
    django_app: WSGIApplication, pieces: int | None, outcome: object
) -> None:
    answer, controller = over_django(django_app, request("/stream"), pieces=pieces)
    assert answer.body == b"canary" * (3 if pieces is None else pieces)
    assert controller.only.outcome is outcome


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_django_sends_a_file_by_the_servers_wrapper(
    django_app: WSGIApplication, method: str
) -> None:
    answer, controller = over_django(django_app, request("/file", method))
    assert isinstance(answer.returned, FileWrapper)
    assert controller.only.outcome is GOOD


def test_what_django_catches_is_bad(django_app: WSGIApplication) -> None:
    answer, controller = over_django(django_app, request("/fail"))
    assert answer.status.startswith("500")
    assert controller.only.outcome is BAD


def test_django_can_tell_its_route(django_app: WSGIApplication) -> None:
    errors = {"evaluate/<int:plan>": {422}}
    assert over_django(django_app, request("/evaluate/13"))[1].only.outcome is NEUTRAL
    finished.clear()
    _, controller = over_django(django_app, request("/evaluate/13"), errors=errors)
    assert controller.only.outcome is BAD


# -- Flask


@pytest.fixture
def flask_app() -> Flask:
    app = Flask("app")

    @app.get("/evaluate/<int:plan>")
    def evaluate(plan: int) -> tuple[str, int]:
        return f"{plan} by {current_arm()}", 422 if plan == 13 else 200

    @app.get("/stream")
    def stream() -> Response:
        def pieces() -> Iterator[bytes]:
            for _ in range(3):
                yield f"{flask_request.path} by {current_arm()};".encode()

        return Response(stream_with_context(pieces()))

    return app


def over_flask(app: Flask, environ: WSGIEnvironment, **options: Any) -> tuple[Any, Controller]:
    environ["HTTP_X_USER_ID"] = "7"
    controller = Controller(100)
    return ask(CanaryMiddleware(app, controller, **options), environ), controller


def test_flask_answers_and_streams(flask_app: Flask) -> None:
    assert over_flask(flask_app, request("/evaluate/7"))[0].body == b"7 by canary"
    answer, controller = over_flask(flask_app, request("/stream"))
    assert answer.body == b"/stream by canary;" * 3
    assert controller.only.outcome is GOOD
    assert controller.counters == {}


def test_flasks_route_is_found(flask_app: Flask) -> None:
    calls: list[Any] = []
    errors = {"/evaluate/<int:plan>": {422}}
    for url, outcome in (("/evaluate/13", BAD), ("/evaluate/7", GOOD), ("/other/13", NEUTRAL)):
        _, controller = over_flask(flask_app, request(url), errors=errors)
        assert controller.only.outcome is outcome
    middleware = CanaryMiddleware(
        flask_app, Controller(), contract=lambda *call: calls.append(call[0])
    )
    for url in ("/stream", "/evaluate/7", "/other"):
        ask(middleware, request(url))
    assert middleware.gate.drain(5)
    assert calls == ["/stream", "/evaluate/<int:plan>", ""]
