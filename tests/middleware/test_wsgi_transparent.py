"""The middleware changes nothing: under a validator, under a server, whatever breaks in it."""

from __future__ import annotations

import gc
import logging
import re
import socket
import sys
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from io import StringIO
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment
from wsgiref.validate import validator

import pytest
from tests.middleware.asgi_tools import BAD, GOOD, BrokenController, Controller
from tests.middleware.wsgi_apps import LAWFUL, TEXT, UNLAWFUL
from tests.middleware.wsgi_tools import (
    Closable,
    Sized,
    answers,
    ask,
    request,
    streams,
    user,
)
from tests.waiting import PATIENCE

from canario import Routing, current_arm
from canario.wsgi import CanaryMiddleware

APPS = LAWFUL | UNLAWFUL

# -- the validator


@pytest.fixture
def quick_collection() -> Iterator[None]:
    """Collections look at what the test has made, and at nothing that was there before it."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("quick_collection")
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@pytest.mark.parametrize("name", LAWFUL)
def test_a_validator_on_both_sides_stays_silent(
    name: str, method: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each warning would be an error here, and a body left open is told on stderr."""
    controller = Controller()
    app = validator(CanaryMiddleware(validator(LAWFUL[name]), controller, arm_header="X-Arm"))
    environ = request(method=method)
    environ["wsgi.file_wrapper"] = _file_wrapper
    answer = ask(app, environ)
    assert answer.raised is None
    del answer
    gc.collect()
    assert len(controller.seen) == 1
    assert "faults" not in controller.counters
    assert capsys.readouterr() == ("", "")


def _file_wrapper(file: Any, size: int = 8192) -> Iterator[bytes]:
    with file:
        yield from iter(lambda: file.read(size), b"")


# -- a real server, byte for byte


class Handler(WSGIRequestHandler):
    """Keeps to itself what it would print."""

    def get_stderr(self) -> Any:
        return StringIO()

    def log_message(self, *args: Any, **more: Any) -> None:
        pass


@contextmanager
def serving(app: WSGIApplication) -> Iterator[Callable[[str, str], bytes]]:
    """A wsgiref server; gives the bytes that it sends for a method and a path."""
    with WSGIServer(("127.0.0.1", 0), Handler) as server:
        server.set_app(app)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield lambda method, path: fetch(server.server_address, method, path)
        finally:
            server.shutdown()
            thread.join()


def fetch(address: Any, method: str, path: str) -> bytes:
    body = b"abc" if method == "POST" else b""
    with socket.create_connection(address[:2], timeout=PATIENCE) as connection:
        connection.sendall(
            f"{method} {path} HTTP/1.1\r\nHost: a\r\nX-User-Id: 7\r\nConnection: close\r\n"
            f"Content-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        received = b"".join(iter(lambda: connection.recv(65536), b""))
    return re.sub(rb"\r\nDate: [^\r]*", b"", received)


def broken(when: str) -> Callable[[WSGIApplication], WSGIApplication]:
    """Behind a controller of which nothing works, from the start or once the app runs."""

    def guard(app: WSGIApplication) -> WSGIApplication:
        controller = BrokenController()

        def breaking(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            controller.broken = True
            return app(environ, start_response)

        middleware = CanaryMiddleware(breaking, controller, contract=lambda *_: None)
        controller.broken = when == "at once"
        return middleware

    return guard


GUARDS: dict[str, Callable[[WSGIApplication], WSGIApplication]] = {
    "plain": lambda app: CanaryMiddleware(app, Controller()),
    "all to the canary": lambda app: CanaryMiddleware(raising, Controller(100), app),
    "with a contract": lambda app: CanaryMiddleware(app, Controller(), contract=lambda *_: None),
    "broken at once": broken("at once"),
    "broken on the way": broken("on the way"),
    "a route that raises": lambda app: CanaryMiddleware(app, Controller(), route=raising),
    "twice": lambda app: CanaryMiddleware(CanaryMiddleware(app, Controller()), Controller()),
}


def raising(*_: object) -> Any:
    raise LookupError("not to be called, or not to be noticed")


@pytest.mark.parametrize("guard", GUARDS)
def test_a_server_sends_the_same_bytes_as_without_it(guard: str) -> None:
    for name, app in APPS.items():
        with serving(app) as bare, serving(GUARDS[guard](app)) as guarded:
            for method in ("GET", "HEAD", "POST"):
                assert guarded(method, "/") == bare(method, "/"), (name, method)


# -- what passes through


@pytest.mark.parametrize("kind", [list, tuple])
def test_a_list_or_a_tuple_reaches_the_server_as_it_is(kind: Any) -> None:
    body = kind([b"a", b"b"])
    assert ask(CanaryMiddleware(answers(body), Controller())).returned is body


def test_a_body_has_a_length_if_and_only_if_the_apps_own_has_one() -> None:
    sized = ask(CanaryMiddleware(answers(Sized(b"a", b"b")), Controller())).returned
    assert len(sized) == 2
    unsized = ask(CanaryMiddleware(answers(Closable(b"a", b"b")), Controller())).returned
    assert not hasattr(unsized, "__len__")


def test_a_body_may_be_read_without_iter() -> None:
    controller = Controller()
    body: Any = CanaryMiddleware(streams(b"a"), controller)(request(), lambda *_: lambda _: None)
    assert next(body) == b"a"
    with pytest.raises(StopIteration):
        next(body)
    assert controller.only.outcome is GOOD


def test_headers_reach_the_server_as_the_apps_own_list_and_are_never_changed() -> None:
    headers = list(TEXT)

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", headers)
        return [b""]

    assert ask(CanaryMiddleware(app, Controller())).headers is headers
    named = ask(CanaryMiddleware(app, Controller(), arm_header="X-Arm"))
    assert named.headers == [*TEXT, ("X-Arm", "baseline")]
    assert headers == TEXT


def test_exceptions_reach_the_server_as_they_are() -> None:
    error = SystemExit(3)

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        raise error

    assert ask(CanaryMiddleware(app, Controller())).raised is error
    assert ask(CanaryMiddleware(streams(b"a", error), Controller())).raised is error


def test_no_traceback_is_kept() -> None:
    """`exc_info` in a frame of its own traceback would live until the collector comes."""

    class Big:
        pass

    kept: list[weakref.ref[Big]] = []

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        big = Big()
        kept.append(weakref.ref(big))
        try:
            raise LookupError
        except LookupError:
            start_response("500 Oops", list(TEXT), sys.exc_info())
        return [b""]

    def sent_already(status: str, headers: object, exc_info: Any = None, /) -> Any:
        try:
            raise exc_info[1]
        finally:
            exc_info = None

    gc.disable()
    try:
        with suppress(LookupError):
            CanaryMiddleware(app, Controller())(request(), sent_already)
        assert kept[0]() is None
    finally:
        gc.enable()


# -- what it says if it is asked to


def test_the_response_can_name_its_arm() -> None:
    controller = Controller()
    middleware = CanaryMiddleware(answers(), controller, answers([b"new"]), arm_header="X-Arm")
    for arm, body in (("baseline", b"hello"), ("canary", b"new")):
        answer = ask(middleware, user(controller.a_key(arm)))  # type: ignore[arg-type]
        assert answer.body == body
        assert ("X-Arm", arm) in answer.headers


def test_an_error_page_names_its_arm_too() -> None:
    answer = ask(CanaryMiddleware(LAWFUL["replaces"], Controller(), arm_header="X-Arm"))
    assert answer.headers == [*TEXT, ("X-Arm", "baseline")]
    assert answer.starts[-1][2]


def test_the_arm_is_added_to_headers_of_any_kind() -> None:
    controller = Controller()
    answer = ask(CanaryMiddleware(UNLAWFUL["tuple of headers"], controller, arm_header="X-Arm"))
    assert list(answer.headers) == [*TEXT, ("X-Arm", "baseline")]
    assert answer.body == b"hello"
    assert "faults" not in controller.counters


def test_the_body_tells_what_the_apps_tells() -> None:
    """Django's own tests read the status off what its handler returns."""

    class Body:
        status_code = 404
        _private = "kept"

        def __init__(self) -> None:
            self.closed = 0

        def __iter__(self) -> Iterator[bytes]:
            yield b"hello"

        def getvalue(self) -> bytes:
            return b"hello"

        def close(self) -> None:
            self.closed += 1

    body = Body()
    returned: Any = CanaryMiddleware(answers(body), Controller())(
        request(), lambda *_: lambda _: None
    )
    assert returned is not body
    assert (returned.status_code, returned._private, returned.getvalue()) == (404, "kept", b"hello")
    assert returned.closed == 0
    for name in ("nothing", "__len__", "__wrapped__"):
        with pytest.raises(AttributeError, match=name):
            getattr(returned, name)
    assert list(returned) == [b"hello"]
    returned.close()
    returned.close()
    assert body.closed == 1


@pytest.mark.parametrize("name", ["", "X Arm", "X-Arm:", "X-Arm\r\n"])
def test_what_is_no_header_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="arm_header is '"):
        CanaryMiddleware(answers(), Controller(), arm_header=name)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_an_anonymous_user_gets_a_cookie_to_come_back_with(scheme: str) -> None:
    controller = Controller(routing=Routing(anonymous_cookie="canario"))
    middleware = CanaryMiddleware(answers(), controller, arm_header="X-Arm")
    first = ask(middleware, request() | {"wsgi.url_scheme": scheme})
    name, cookie = first.headers[-1]
    assert name == "Set-Cookie"
    assert cookie.endswith("; Secure") == (scheme == "https")
    again = ask(middleware, request(headers=[("cookie", cookie.split(";")[0])]))
    assert again.headers == first.headers[:-1]


# -- the arm


def test_the_app_can_ask_for_its_arm_all_the_way() -> None:
    arms: list[str] = []

    class Body(Closable):
        def __iter__(self) -> Any:
            arms.append(current_arm())
            return self.read()

        def read(self) -> Iterator[bytes]:
            for _ in range(2):
                arms.append(current_arm())
                yield b""

        def close(self) -> None:
            arms.append(current_arm())

    controller = Controller()
    middleware = CanaryMiddleware(
        answers(Body(), then=lambda: arms.append(current_arm())), controller
    )
    environ = user(controller.a_key("canary"))
    body: Any = middleware(environ, lambda *_: lambda _: None)
    assert current_arm() == "baseline"
    for _ in body:
        assert current_arm() == "baseline"  # the server's own work, perhaps for others
    body.close()
    assert current_arm() == "baseline"
    assert arms == ["canary"] * 5


@pytest.mark.parametrize("app", [*UNLAWFUL.values(), LAWFUL["lazy"]])
def test_an_arm_never_leaks_to_the_next_request(app: WSGIApplication) -> None:
    ask(CanaryMiddleware(app, Controller(100)), user("7"))
    assert current_arm() == "baseline"


# -- what breaks in it


def test_a_fault_is_counted_each_time_and_logged_once_per_kind(
    caplog: pytest.LogCaptureFixture,
) -> None:
    controller = BrokenController()
    middleware = CanaryMiddleware(answers(), controller)
    ask(middleware)
    controller.names, controller.broken = frozenset({"observe"}), True
    with caplog.at_level(logging.ERROR, "canario"):
        for _ in range(3):
            assert ask(middleware).body == b"hello"
    assert controller.counters["faults"] == 3
    assert len(caplog.records) == 1
    assert "observing: RuntimeError" in caplog.text


def test_a_fault_of_the_router_serves_the_baseline() -> None:
    controller = BrokenController(100)
    middleware = CanaryMiddleware(answers(), controller, answers([b"new"]))
    assert ask(middleware, user("7")).body == b"new"
    controller.names, controller.broken = frozenset({"router"}), True
    answer = ask(middleware, user("7"))
    assert answer.body == b"hello"
    assert controller.counters["faults"] == 1


def test_a_route_that_raises_is_a_fault_and_the_request_is_observed() -> None:
    controller = Controller()
    app = answers(status="500 Oops")
    ask(CanaryMiddleware(app, controller, errors={"/": {499}}, route=raising))
    assert controller.only.outcome is BAD
    assert controller.counters["faults"] == 1


def test_a_body_that_cannot_be_watched_is_served_as_it_is() -> None:
    class Odd(type):
        def __instancecheck__(cls, instance: object) -> bool:
            raise LookupError("nobody knows")

    class Wrapper(metaclass=Odd):
        pass

    controller = Controller()
    body = Closable(b"a")
    environ = request() | {"wsgi.file_wrapper": Wrapper}
    answer = ask(CanaryMiddleware(answers(body), controller), environ)
    assert answer.returned is body
    assert answer.body == b"a"
    assert controller.counters["faults"] == 1


# -- many at once


def test_a_thousand_requests_over_eight_threads_are_counted_exactly() -> None:
    controller = Controller(50, min_samples=10**6)
    apps = [answers(), streams(b"a", b"b"), answers(status="503 Later"), LAWFUL["lazy"]]
    turn = iter(range(10**9))

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        return apps[int(environ["HTTP_X_USER_ID"]) % 4](environ, start_response)

    middleware = CanaryMiddleware(app, controller, contract=lambda *_: None)
    together = threading.Barrier(8)

    def work() -> None:
        together.wait()
        for _ in range(125):
            ask(middleware, user(str(next(turn))))

    threads = [threading.Thread(target=work) for _ in range(8)]
    switch = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(switch)
    controller.time.advance(5)
    controller.tick()
    last = controller.metrics_history[-1]
    counts = last.baseline.counts + last.canary.counts
    assert (counts.requests, counts.errors) == (1000, 250)
    assert middleware.gate.drain(PATIENCE)
    assert "faults" not in controller.counters
