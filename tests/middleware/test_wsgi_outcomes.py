"""What counts as bad, neutral or not at all: over WSGI alone."""

from __future__ import annotations

import gc
import io
import sys
from collections.abc import Iterable
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment
from wsgiref.util import FileWrapper

import pytest
from tests.middleware.asgi_tools import BAD, GOOD, NEUTRAL, Controller
from tests.middleware.wsgi_tools import (
    TEXT,
    Closable,
    Sized,
    Write,
    answers,
    ask,
    request,
    streams,
)
from tests.waiting import PATIENCE
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from canario.wsgi import CanaryMiddleware

GONE = BrokenPipeError("the client is gone")


def watch(
    app: WSGIApplication, environ: WSGIEnvironment | None = None, **options: Any
) -> Controller:
    """The controller after one request, which must have been observed once."""
    serving = {name: options.pop(name) for name in ("pieces", "write") if name in options}
    controller = options.pop("controller", None) or Controller()
    ask(CanaryMiddleware(app, controller, **options), environ, **serving)
    assert len(controller.seen) == 1, controller.seen
    assert "faults" not in controller.counters
    assert isinstance(controller, Controller)
    return controller


def takes(seconds: float) -> tuple[Controller, Any]:
    controller = Controller()
    return controller, lambda: controller.time.advance(seconds)


def raises(error: BaseException) -> Any:
    def do(*_: object) -> None:
        raise error

    return do


# -- exceptions and missing responses


def test_an_exception_after_the_response_has_started_is_bad() -> None:
    app = answers(then=raises(LookupError("no model")))
    assert watch(app).only.outcome is BAD


def test_an_exception_in_the_midst_of_the_body_is_bad() -> None:
    assert watch(streams(b"part", LookupError("no more"))).only.outcome is BAD


def test_a_worker_that_is_stopped_while_the_app_hangs_is_bad() -> None:
    """gunicorn raises `SystemExit` in the app when its time is up."""
    assert watch(streams(SystemExit(1))).only.outcome is BAD


def test_an_iterable_that_cannot_be_iterated_is_bad() -> None:
    class Broken:
        def __iter__(self) -> Any:
            raise LookupError("no rows")

    assert watch(answers(Broken())).only.outcome is BAD
    assert watch(answers(None)).only.outcome is BAD  # type: ignore[arg-type]


def test_an_error_that_replaces_the_response_is_what_counts() -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", list(TEXT))
        try:
            raise LookupError("no model")
        except LookupError:
            start_response("503 Later", list(TEXT), sys.exc_info())
        return [b"sorry"]

    assert watch(app).only.outcome is BAD


def test_an_error_that_comes_too_late_to_replace_the_response_is_bad() -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", list(TEXT))
        yield b"part"
        try:
            raise LookupError("no more")
        except LookupError:
            start_response("200 OK", list(TEXT), sys.exc_info())  # raises it again

    assert watch(app).only.outcome is BAD


def test_a_generator_that_starts_its_response_late_is_as_good_as_any() -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", list(TEXT))
        yield b"all"

    assert watch(app).only.outcome is GOOD


def test_what_close_raises_after_the_last_piece_no_user_sees() -> None:
    assert watch(answers(Closable(b"all", error=LookupError()))).only.outcome is GOOD


# -- clients that leave


@pytest.mark.parametrize("pieces", [0, 1, 2])
def test_a_client_that_leaves_is_neutral(pieces: int) -> None:
    seen = watch(streams(b"a", b"b"), pieces=pieces).only
    assert (seen.outcome, seen.latency_ms) == (NEUTRAL, None)


@pytest.mark.parametrize(("waited", "outcome"), [(0.4, NEUTRAL), (0.6, GOOD)])
def test_a_client_that_leaves_after_the_latency_limit_says_slow(
    waited: float, outcome: object
) -> None:
    controller, wait = takes(waited)
    seen = watch(streams(wait, b"a", b"b"), controller=controller, pieces=1).only
    assert seen.outcome is outcome
    assert seen.latency_ms == (pytest.approx(600) if outcome is GOOD else None)


def test_a_client_that_leaves_a_failing_response_does_not_hide_that_it_fails() -> None:
    assert watch(streams(b"a", b"b", status="500 Oops"), pieces=1).only.outcome is BAD


@pytest.mark.parametrize("swallowed", [True, False])
def test_a_client_that_leaves_while_the_app_writes_is_neutral(swallowed: bool) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        write = start_response("200 OK", list(TEXT))
        try:
            write(b"part")
        except OSError:
            if not swallowed:
                raise
        return []

    assert watch(app, write=raises(GONE)).only.outcome is NEUTRAL
    calls, _ = checked(app, write=raises(GONE))
    assert not calls  # a contract is not about half a body


def test_a_client_that_leaves_a_written_event_stream_is_as_good_as_any() -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        write = start_response("200 OK", [("Content-Type", "text/event-stream")])
        write(b"data: 1\n\n")
        write(b"data: 2\n\n")
        return []

    gone = iter([False, True])
    assert watch(app, write=lambda _: next(gone) and raises(GONE)()).only.outcome is GOOD


def test_what_an_app_writes_wrongly_is_bad() -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", list(TEXT))("text")  # type: ignore[arg-type]
        return []

    assert watch(app, write=raises(TypeError("no bytes"))).only.outcome is BAD


def test_an_error_of_the_apps_own_connections_is_bad() -> None:
    assert watch(raises(ConnectionResetError("database"))).only.outcome is BAD


# -- bodies that nobody asks for


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("status", ["200 OK", "204 No Content", "304 Not Modified"])
def test_a_body_that_is_closed_unread_counts_as_complete_where_none_is_due(
    method: str, status: str
) -> None:
    bodiless = method == "HEAD" or status != "200 OK"
    seen = watch(streams(b"a", status=status), request(method=method), pieces=0).only
    assert seen.outcome is (GOOD if bodiless else NEUTRAL)


@pytest.mark.parametrize("pieces", [0, 1])
def test_a_body_dropped_without_close_is_observed_by_the_next_request(pieces: int) -> None:
    controller, wait = takes(0.6)
    middleware = CanaryMiddleware(streams(wait, b"a", b"b"), controller)
    body = middleware(request(), lambda *_: lambda _: None)
    for _ in range(pieces):
        next(iter(body))
    del body
    gc.collect()
    assert not controller.seen  # the collector may run under any lock
    controller.time.advance(3600)
    ask(middleware)
    first = controller.seen[0]
    if pieces:  # as slow as it was when it was dropped
        assert first.outcome is GOOD
        assert first.latency_ms == pytest.approx(600)
    else:
        assert first.outcome is NEUTRAL
    assert len(controller.seen) == 2


def test_a_body_read_to_its_end_and_dropped_is_observed_once() -> None:
    controller = Controller()
    middleware = CanaryMiddleware(streams(b"a"), controller)
    assert list(middleware(request(), lambda *_: lambda _: None)) == [b"a"]
    ask(middleware)
    assert [seen.outcome for seen in controller.seen] == [GOOD, GOOD]


# -- latency


def test_the_time_until_the_last_piece_is_the_latency_and_close_is_not_in_it() -> None:
    controller, wait = takes(0.1)

    class Body(Closable):
        def __iter__(self) -> Any:
            wait()
            yield b"a"
            wait()
            yield b"b"

        def close(self) -> None:
            assert controller.only.outcome is GOOD  # it is observed as soon as it is out
            controller.time.advance(60)

    assert watch(answers(Body()), controller=controller).only.latency_ms == pytest.approx(200)


def test_the_time_in_the_app_is_the_latency_of_a_list() -> None:
    controller, wait = takes(0.1)
    assert watch(answers([b"a"], then=wait), controller=controller).only.latency_ms == (
        pytest.approx(100)
    )


def test_a_slow_server_is_part_of_the_latency_of_a_stream() -> None:
    controller, wait = takes(0.1)
    middleware = CanaryMiddleware(streams(b"a", b"b"), controller)
    for _ in middleware(request(), lambda *_: lambda _: None):
        wait()
    assert controller.only.latency_ms == pytest.approx(200)


def test_an_event_stream_is_timed_to_its_first_piece() -> None:
    controller, wait = takes(0.1)
    events = [("content-TYPE", "text/event-stream; charset=utf-8")]
    app = streams(wait, b"", wait, b"data: 1\n\n", wait, b"data: 2\n\n", headers=events)
    assert watch(app, controller=controller, pieces=3).only == controller.only
    assert controller.only.outcome is GOOD  # it has no end to be waited for
    assert controller.only.latency_ms == pytest.approx(200)


def test_an_event_stream_that_is_written_is_timed_to_its_first_piece() -> None:
    controller, wait = takes(0.1)

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        write = start_response("200 OK", [("Content-Type", "text/event-stream")])
        for _ in range(3):
            wait()
            write(b"data: 1\n\n")
        return []

    assert watch(app, controller=controller).only.latency_ms == pytest.approx(100)


@pytest.mark.parametrize("outside", [True, False])
def test_health_checks_stay_out_of_the_latency_below_a_prefix(outside: bool) -> None:
    controller = Controller()
    app: WSGIApplication = answers()
    if outside:
        app = CanaryMiddleware(DispatcherMiddleware(answers(), {"/api": app}), controller)
    else:
        app = DispatcherMiddleware(answers(), {"/api": CanaryMiddleware(app, controller)})
    for path, script in (("/api/healthz", "/v1"), ("/api/healthz", "")):
        ask(app, request(path, SCRIPT_NAME=script))
        assert controller.seen.pop().latency_ms is None
    ask(app, request("/api/users/ping"))
    assert controller.seen.pop().latency_ms is not None


def test_a_path_is_compared_as_a_whole_and_as_text() -> None:
    wire = "/está".encode().decode("latin-1")
    environ = request(wire, SCRIPT_NAME="/app")
    assert watch(answers(), environ, health_paths=["/app/está"]).only.latency_ms is None


# -- WebSockets, which leave WSGI


def test_a_websocket_that_the_app_takes_over_is_neutral() -> None:
    """flask-sock ends so: under gunicorn it raises, elsewhere it starts no response."""
    environ = request(headers=[("upgrade", "WebSocket")])
    controller, wait = takes(60)

    def quiet(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        wait()
        return []

    assert watch(quiet, environ, controller=controller).only.outcome is NEUTRAL
    assert watch(raises(StopIteration()), environ).only.outcome is NEUTRAL
    assert watch(answers(status="500 Oops"), environ).only.outcome is BAD
    assert watch(raises(StopIteration()), request(headers=[("upgrade", "h2c")])).only.outcome is BAD


# -- files


class SlotFile:
    """A file wrapper to which nothing can be added, like mod_wsgi's."""

    __slots__ = ("_file",)

    def __init__(self, file: Any, size: int = 8192) -> None:
        self._file = file

    def __iter__(self) -> Any:
        return iter(lambda: self._file.read(2), b"")


def sends_file(file: Any) -> WSGIApplication:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", list(TEXT))
        wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](file)
        return wrapped

    return app


def uwsgi_wrapper(file: Any, size: int = 8192) -> Any:
    """A function, like uWSGI's: its server knows the file by its identity."""
    return file


@pytest.mark.parametrize("wrapper", [FileWrapper, SlotFile, uwsgi_wrapper])
@pytest.mark.parametrize("pieces", [None, 0])
def test_a_file_reaches_the_server_as_it_is(wrapper: Any, pieces: int | None) -> None:
    """A server that sends it by the kernel reads nothing and closes it."""
    controller = Controller()
    file = Spy(b"abcde")
    answer = ask(
        CanaryMiddleware(sends_file(file), controller),
        request() | {"wsgi.file_wrapper": wrapper},
        pieces=pieces,
    )
    assert type(answer.returned) is (Spy if wrapper is uwsgi_wrapper else wrapper)
    assert answer.body == (b"" if pieces == 0 else b"abcde")
    assert controller.only.outcome is GOOD
    assert file.closes == (0 if wrapper is SlotFile else 1)  # which nobody can close bare either


class Spy(io.BytesIO):
    """A file that counts how often it is closed."""

    closes = 0

    def close(self) -> None:
        self.closes += 1
        super().close()


def test_a_file_that_could_not_be_sent_says_that_the_client_left() -> None:
    controller = Controller()
    file = Spy(b"abc")
    middleware = CanaryMiddleware(sends_file(file), controller)
    environ = request() | {"wsgi.file_wrapper": FileWrapper}
    body: Any = middleware(environ, lambda *_: lambda _: None)
    try:
        raise GONE
    except OSError:
        body.close()
    body.close()  # a server that closes twice
    assert file.closes == 1
    assert controller.only.outcome is NEUTRAL


def test_a_file_is_timed_until_it_is_closed() -> None:
    controller, wait = takes(0.1)
    middleware = CanaryMiddleware(sends_file(Spy(b"abc")), controller)
    body: Any = middleware(
        request() | {"wsgi.file_wrapper": FileWrapper}, lambda *_: lambda _: None
    )
    wait()
    body.close()
    assert controller.only.latency_ms == pytest.approx(100)


def test_a_file_dropped_without_close_is_observed_by_the_next_request() -> None:
    controller = Controller()
    middleware = CanaryMiddleware(sends_file(Spy(b"abc")), controller)
    environ = request() | {"wsgi.file_wrapper": FileWrapper}
    middleware(environ, lambda *_: lambda _: None)
    gc.collect()
    assert not controller.seen
    ask(middleware, environ)
    assert [seen.outcome for seen in controller.seen] == [NEUTRAL, GOOD]


# -- close


@pytest.mark.parametrize("kind", [Closable, Sized])
@pytest.mark.parametrize("pieces", [None, 0, 1])
def test_close_is_called_once(kind: type[Closable], pieces: int | None) -> None:
    body = kind(b"a", b"b")
    answer = ask(CanaryMiddleware(answers(body), Controller()), pieces=pieces)
    answer.returned.close()  # a server that closes twice
    assert body.closed == 1


def test_close_is_called_once_after_an_error_in_the_body() -> None:
    class Failing(Closable):
        def __iter__(self) -> Any:
            yield b"a"
            raise LookupError("no more")

    body = Failing()
    answer = ask(CanaryMiddleware(answers(body), Controller()))
    assert isinstance(answer.raised, LookupError)
    answer.returned.close()
    assert body.closed == 1


def test_what_close_raises_reaches_the_server_and_it_is_not_called_again() -> None:
    error = LookupError("no file")
    body = Closable(b"a", error=error)
    answer = ask(CanaryMiddleware(answers(body), Controller()))
    assert answer.raised is error
    answer.returned.close()
    assert body.closed == 1


def test_a_generator_that_was_not_read_to_its_end_is_closed() -> None:
    events: list[str] = []

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", list(TEXT))
        try:
            yield b"a"
            yield b"b"
        except GeneratorExit:
            events.append("closed")
            raise

    ask(CanaryMiddleware(app, Controller()), pieces=1)
    assert events == ["closed"]


def test_a_body_without_close_is_none_the_worse() -> None:
    class Plain:
        def __iter__(self) -> Any:
            return iter([b"a"])

    assert watch(answers(Plain())).only.outcome is GOOD


# -- contracts


def checked(
    app: WSGIApplication,
    environ: WSGIEnvironment | None = None,
    write: Write | None = None,
    **options: Any,
) -> tuple[list[Any], Controller]:
    calls: list[Any] = []
    controller = Controller()
    middleware = CanaryMiddleware(
        app, controller, contract=lambda *call: calls.append(call), **options
    )
    ask(middleware, environ, write=write)
    assert middleware.gate.drain(5)
    return calls, controller


@pytest.mark.parametrize("body", [[b"ab", b"c"], (b"abc",), Sized(b"a", b"bc"), iter([b"abc"])])
def test_a_contract_sees_route_status_headers_and_body(body: Iterable[bytes]) -> None:
    calls, controller = checked(answers(body), route=lambda environ: "/evaluate")
    assert calls == [("/evaluate", 200, [(b"Content-Type", b"text/plain")], b"abc")]
    assert "contract_not_checked" not in controller.counters


def test_a_contract_sees_what_is_written_before_what_is_returned() -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        write = start_response("200 OK", list(TEXT))
        write(b"a")
        write(b"b")

        def rest() -> Iterable[bytes]:
            yield b"c"
            write(b"d")
            yield b"e"

        return rest()

    calls, _ = checked(app)
    assert [call[3] for call in calls] == [b"abcde"]


def test_a_contract_sees_the_head_that_was_sent_in_the_end() -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", list(TEXT))
        try:
            raise LookupError
        except LookupError:
            headers = [("X-Late", "ñ")]
            start_response("404 Not Found", headers, sys.exc_info())
            headers.append(("X-After", "1"))
        return [b""]

    calls, _ = checked(app)
    assert calls == [("", 404, [(b"X-Late", b"\xf1")], b"")]


def test_a_contract_is_not_shown_what_is_too_long_a_file_or_only_a_part() -> None:
    for app, environ in (
        (answers([b"x" * 11]), None),
        (streams(b"x" * 6, b"x" * 6), None),
        (sends_file(Spy(b"abc")), request() | {"wsgi.file_wrapper": FileWrapper}),
    ):
        calls, controller = checked(app, environ, contract_max_body=10)
        assert not calls
        assert controller.counters["contract_not_checked"] == 1
    for app in (streams(b"a", LookupError()), raises(LookupError())):
        calls, controller = checked(app)
        assert not calls
        assert "contract_not_checked" not in controller.counters


def test_a_contract_is_not_shown_what_is_no_body_and_that_is_counted_once() -> None:
    calls, controller = checked(answers(Closable(b"a", 7, 8, b"b")))  # type: ignore[arg-type]
    assert not calls
    assert controller.counters["contract_not_checked"] == 1


def test_a_contract_is_not_shown_a_head() -> None:
    calls, controller = checked(answers(), request(method="HEAD"))
    assert not calls
    assert "contract_not_checked" not in controller.counters


def test_a_contract_is_about_the_routes_it_names() -> None:
    for route, seen in (("/a", 1), ("/b", 0), (None, 0)):
        calls, _ = checked(answers(), contract_routes=["/a"], route=lambda environ, r=route: r)
        assert len(calls) == seen


def test_a_broken_contract_rolls_the_canary_back_and_the_response_is_the_same() -> None:
    controller = Controller()
    middleware = CanaryMiddleware(
        answers(), controller, contract=raises(ValueError("no score")), route=lambda environ: "/a"
    )
    key = controller.a_key("canary")
    answer = ask(middleware, request(headers=[("x-user-id", key)]))
    assert answer.body == b"hello"
    assert middleware.gate.drain(5)
    result = controller.result()
    assert result.rollback_reason is not None
    assert result.why is not None
    assert "/a: ValueError: no score" in result.why


def test_a_contract_never_delays_a_response() -> None:
    import threading

    go = threading.Event()
    middleware = CanaryMiddleware(
        answers(), Controller(), contract=lambda *_: go.wait(PATIENCE) and None
    )
    for _ in range(300):  # more than may wait
        assert ask(middleware).body == b"hello"
    go.set()
    assert middleware.gate.drain(PATIENCE)
    assert middleware.gate.controller.counters["contract_not_checked"] >= 40
