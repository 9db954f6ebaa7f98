"""What a middleware does with the journal, with time that no request looks at, and without both."""

from __future__ import annotations

import asyncio
import gc
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tests.middleware.asgi_tools import Controller, ask, hello, user
from tests.middleware.test_asgi_lifespan import Server

from canario import CanaryDeploymentController, Phase, Plan, create_canary_controller
from canario.asgi import CanaryMiddleware
from canario.clock import system_clock
from canario.plan import Deployment, RollbackThresholds, Stage
from canario.stores import MemoryJournal
from canario.wsgi import CanaryMiddleware as WSGIMiddleware


def quick(**options: Any) -> CanaryDeploymentController:
    """A live rollout whose stages take a moment."""
    thresholds = RollbackThresholds(min_samples=1, check_interval_seconds=0.05)
    return CanaryDeploymentController(
        Plan(
            deployment=Deployment(
                deployment_id="quick",
                canary_stages=(Stage(99, 0.2), Stage(100, 0.2)),
                rollback_thresholds=thresholds,
            )
        ),
        **options,
    )


def until(true: Callable[[], object], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def wsgi(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [("content-type", "text/plain")])
    return [b"hello"]


def call(app: Any, key: str = "u") -> bytes:
    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/",
        "HTTP_X_USER_ID": key,
        "wsgi.url_scheme": "http",
    }
    return b"".join(app(environ, lambda *_: None))


def tickers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "canario-ticker"]


# -- a journal that is refused


@pytest.mark.parametrize("protocol", ["asgi", "wsgi"])
def test_a_journal_that_another_one_writes_serves_the_baseline_until_it_is_free(
    protocol: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As when a server's new worker starts before its old one has ended."""
    old = Controller(100, journal=tmp_path / "journal")
    old.start()
    assert old.drain(10)
    new = Controller(100, journal=tmp_path / "journal")
    app: Any
    if protocol == "asgi":

        async def canary(scope: Any, receive: Any, send: Any) -> None:
            raise AssertionError("nobody may come here")

        app = CanaryMiddleware(hello, new, canary=canary)

        def get() -> bytes:
            return ask(app, user("u")).body
    else:

        def broken(environ: Any, start_response: Any) -> list[bytes]:
            raise AssertionError("nobody may come here")

        app = WSGIMiddleware(wsgi, new, broken)

        def get() -> bytes:
            return call(app)

    assert {get() for _ in range(20)} == {b"hello"}
    assert new.router.share == 0
    assert not new.requests_in_flight  # nobody counts them, and nobody keeps them
    assert new.counters["journal_refused"] == 1
    assert caplog.text.count("the baseline serves everybody") == 1
    assert "is being written by another controller of this process" in caplog.text
    assert old.close(10)
    until(lambda: new.router.share == 100)
    assert new.events[-1].__struct_config__.tag == "unwatched"
    until(lambda: "taken up here" in caplog.text)
    assert new.close(10)


def test_a_file_that_is_no_journal_serves_the_baseline(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "journal").write_text("user,arm\n")
    controller = Controller(100, journal=tmp_path / "journal")
    app = WSGIMiddleware(wsgi, controller, lambda *_: [b"canary"])
    assert {call(app) for _ in range(20)} == {b"hello"}
    assert caplog.text.count("line 1 is no event") == 1
    assert (tmp_path / "journal").read_text() == "user,arm\n"


# -- no journal


def test_a_live_release_without_a_journal_is_warned_of_once(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.WARNING, "canario")
    app = WSGIMiddleware(wsgi, create_canary_controller("x", environ={}))
    for _ in range(3):
        call(app)
    assert caplog.text.count("no journal is kept") == 1
    caplog.clear()
    with_one = create_canary_controller("x", environ={}, journal=tmp_path / "journal")
    call(WSGIMiddleware(wsgi, with_one))
    assert not caplog.records
    assert with_one.close(10)


# -- time that no request looks at


def test_under_wsgi_a_stage_does_not_wait_for_requests() -> None:
    controller = quick()
    app = WSGIMiddleware(wsgi, controller)
    call(app)
    until(lambda: controller.state.stage == 1)


@pytest.mark.parametrize("threads", [0, 1])
def test_uwsgi_without_threads_is_said_once(
    threads: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its `uwsgi` module says so; without `enable-threads` none runs between two requests."""
    uwsgi = ModuleType("uwsgi")
    uwsgi.has_threads = threads  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "uwsgi", uwsgi)
    controller = quick(journal=MemoryJournal(()))
    app = WSGIMiddleware(wsgi, controller)
    for _ in range(3):
        call(app)
    assert controller.state.phase is not Phase.PENDING
    said = [r.getMessage() for r in caplog.records if "set enable-threads = true" in r.getMessage()]
    assert len(said) == (not threads)


def test_without_lifespan_a_stage_does_not_wait_for_requests() -> None:
    controller = quick()
    app = CanaryMiddleware(hello, controller)
    ask(app, user("u"))
    until(lambda: controller.state.stage == 1)


def test_it_goes_on_between_two_lifespans() -> None:
    controller = quick()
    app = CanaryMiddleware(hello_with_lifespan, controller)
    Server(app).run()
    until(lambda: controller.state.held_at)
    server = Server(app)
    server.run(lambda: server.ask(user("u")))
    until(lambda: controller.state.stage == 1)


def test_a_clock_of_the_user_s_own_is_looked_after_too() -> None:
    controller = quick(clock=time.time)
    app = WSGIMiddleware(wsgi, controller)
    call(app)
    until(lambda: controller.state.stage == 1)


def test_on_a_clock_that_a_test_moves_nothing_happens_by_itself() -> None:
    before = set(tickers())
    controller = Controller(100)
    call(WSGIMiddleware(wsgi, controller))
    ask(CanaryMiddleware(hello, controller), user("u"))
    assert not set(tickers()) - before


def test_a_middleware_that_is_garbage_leaves_no_thread() -> None:
    gc.collect()
    before = set(tickers())
    apps: list[Any] = []
    for _ in range(5):
        controller = create_canary_controller("x", environ={})
        apps.append(WSGIMiddleware(wsgi, controller))
        call(apps[-1])
        apps.append(CanaryMiddleware(hello, create_canary_controller("x", environ={})))
        ask(apps[-1], user("u"))
    assert len(set(tickers()) - before) == 10
    del controller
    apps.clear()
    gc.collect()
    until(lambda: not set(tickers()) - before)


def test_a_thread_that_dies_with_its_lock_does_not_keep_the_process_from_ending() -> None:
    """The interpreter ends daemon threads wherever they stand, then collects what they served."""
    program = """
from canario.host.ticker import Ticker

class Served:
    def look(self):
        return 1.0

served = Served()
ticker = Ticker(served.look)
ticker.start()
ticker._ended._cond.acquire()  # and nobody is left who would release it
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_a_rollout_that_has_ended_needs_no_thread() -> None:
    gc.collect()
    before = set(tickers())
    controller = create_canary_controller("x", environ={})
    controller.start()
    (thread,) = set(tickers()) - before
    controller.abort()
    thread.join(30)
    assert not thread.is_alive()


async def hello_with_lifespan(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "lifespan":
        await hello(scope, receive, send)
        return
    for message in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{message}.complete"})


def test_the_clock_of_a_host_that_sleeps_goes_on() -> None:
    """It cannot be put to sleep here: that it is the clock which counts it is all there is."""
    clock = system_clock()
    assert abs(clock() - time.time()) < 5
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    if boot is not None:
        assert (clock() - time.clock_gettime(boot)) == pytest.approx(
            time.time() - time.clock_gettime(boot), abs=5
        )


def test_lifespan_s_end_has_the_journal_on_the_disk(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    controller = Controller(100, journal=journal)
    server = Server(CanaryMiddleware(hello_with_lifespan, controller))

    async def serve() -> None:
        controller.time.advance(12)
        await asyncio.sleep(0)

    server.run(serve)
    assert f'"watched","at":{controller.time():.1f}' in journal.read_text()
    assert controller.close(10)
