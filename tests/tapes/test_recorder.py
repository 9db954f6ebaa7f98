"""The recorder: bounded, rotated, crash-safe up to the last flush, and never in a request's way."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from tests.middleware.asgi_tools import user
from tests.middleware.test_asgi_lifespan import Server
from tests.tapes.live import START, live, plan, traffic
from tests.waiting import PATIENCE

from canario import CanaryDeploymentController, Outcome, Plan
from canario.asgi import CanaryMiddleware
from canario.control.events import RolledBack
from canario.control.journal import parse_journal
from canario.plan import Deployment, Routing, Stage
from canario.routing.bucket import bucket_of
from canario.tape import Mark, TapeError, TapeRecorder
from canario.tape.rotation import family
from canario.testing import ManualClock
from canario.wsgi import CanaryMiddleware as WSGIMiddleware
from canario_sim.backtest.assign import AsRecorded
from canario_sim.backtest.replay import replay_of
from canario_sim.tapes import read_sessions, read_tape


def controller_of(recorder: TapeRecorder, clock: ManualClock | None = None) -> Any:
    made = CanaryDeploymentController(plan(), clock=clock or ManualClock(START))
    made.record_to(recorder)
    made.start()
    return made


def observe(controller: Any, n: int, first: int = 0) -> None:
    for number in range(first, first + n):
        mark = Mark(START + number, b"user-%d" % (number % 50), f"/r{number % 3}")
        controller.observe("baseline", Outcome.GOOD, 12.0, now=START + number / 1000, mark=mark)


async def hello(request: Request) -> PlainTextResponse:
    return PlainTextResponse("hello")


def rows(path: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as tape:
        return tape.execute(query).fetchall()


def test_any_tool_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.tape.sqlite"
    asyncio.run(live(plan(), traffic(7, broken=0.02), path))
    (head, *_) = rows(path, "SELECT * FROM traffic ORDER BY n")
    assert len(head) == 10
    counted = dict(rows(path, "SELECT outcome, count(*) FROM traffic GROUP BY 1"))
    assert set(counted) == {"good", "bad", "neutral"}
    assert {arm for (arm,) in rows(path, "SELECT DISTINCT arm FROM traffic")} == {
        "baseline",
        "canary",
    }
    assert rows(path, "SELECT contract FROM traffic WHERE contract IS NOT NULL")[0] == ("answers",)
    said = subprocess.run(
        ["file", "--brief", str(path)], capture_output=True, text=True, check=False
    ).stdout
    assert "SQLite" in said or not said  # where `file` is installed
    polars = pytest.importorskip("polars")
    with closing(sqlite3.connect(path)) as tape:
        frame = polars.read_database("SELECT * FROM traffic", tape, infer_schema_length=None)
    assert frame["latency_ms"].null_count() > 0
    assert frame.filter(polars.col("route") == "/health")["latency_ms"].is_null().all()


def test_users_are_kept_hashed_and_with_their_buckets(tmp_path: Path) -> None:
    path = tmp_path / "a.tape.sqlite"
    asyncio.run(live(plan(), traffic(7, seconds=20), path))
    raw = path.read_bytes()
    assert not any(b"user-%d" % n in raw for n in range(40))
    for key, bucket in rows(path, "SELECT DISTINCT key, bucket FROM requests"):
        assert -(2**63) <= key < 2**63
        assert bucket in {bucket_of(b"taped", b"user-%d" % n) for n in range(40)}
    other = tmp_path / "b.tape.sqlite"
    asyncio.run(live(plan(), traffic(7, seconds=20), other))
    keys = "SELECT DISTINCT key FROM requests"
    assert not set(rows(path, keys)) & set(rows(other, keys))
    same = [tmp_path / "c.tape.sqlite", tmp_path / "d.tape.sqlite"]
    for each in same:
        asyncio.run(live(plan(), traffic(7, seconds=20), TapeRecorder(each, secret=b"ours")))
    assert set(rows(same[0], keys)) == set(rows(same[1], keys))


def test_what_is_not_known_is_null(tmp_path: Path) -> None:
    recorder = TapeRecorder(tmp_path / "a.tape.sqlite")
    controller = controller_of(recorder)
    controller.observe("baseline", Outcome.NEUTRAL, now=START + 1)
    assert recorder.close(PATIENCE)
    query = "SELECT key, bucket, route, latency_ms, contract, at, ended, outcome FROM traffic"
    assert rows(tmp_path / "a.tape.sqlite", query) == [
        (None, None, None, None, None, START + 1, START + 1, "neutral")
    ]


def test_requests_after_the_end_keep_their_users(tmp_path: Path) -> None:
    path = tmp_path / "a.tape.sqlite"
    events = asyncio.run(live(plan(), traffic(7, errors=0.5), path))
    assert events[-1].terminal
    recording = read_tape(path)
    late = recording.at > events[-1].at + 1
    assert late.sum() > 100
    assert (recording.bucket[late] >= 0).all()
    assert (recording.arm[late] == 0).all()


def test_files_are_rotated_and_the_oldest_removed(tmp_path: Path) -> None:
    path = tmp_path / "a.tape.sqlite"
    recorder = TapeRecorder(path, max_bytes=128 * 1024, max_files=3, flush_seconds=0)
    controller = controller_of(recorder)
    for part in range(12):
        observe(controller, 1500, 1500 * part)
        assert recorder.drain(PATIENCE)
    assert recorder.close(PATIENCE)
    files = family(path)
    assert [number for number, _ in files][-1] > 4
    assert len(files) == 3
    assert all(file.stat().st_size < 300 * 1024 for _, file in files)
    assert not list(tmp_path.glob("*-wal"))
    recording = read_tape(tmp_path)
    assert not recording.whole  # its beginning is gone
    assert recording.events == controller.events
    assert recording.sources == 3


def test_parts_are_one_recording(tmp_path: Path) -> None:
    path = tmp_path / "a.tape.sqlite"
    recorder = TapeRecorder(path, max_bytes=64 * 1024, flush_seconds=0)
    controller = controller_of(recorder)
    for part in range(5):
        observe(controller, 1000, 1000 * part)
        assert recorder.drain(PATIENCE)
    assert recorder.close(PATIENCE)
    recording = read_tape(*[file for _, file in family(path)])
    assert recording.sources > 2
    assert recording.whole
    assert len(recording) == 5000
    assert [recording.routes[number] for number in recording.route[:4]] == [
        "/r0",
        "/r1",
        "/r2",
        "/r0",
    ]
    assert recording.users == 50
    assert not read_tape(family(path)[1][1]).whole  # one part alone


def test_a_crash_loses_what_came_after_the_last_flush(tmp_path: Path) -> None:
    code = f"""
import os, signal, sys, time
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from pathlib import Path
from canario.tape import TapeRecorder
from tests.tapes.test_recorder import controller_of, observe
recorder = TapeRecorder({str(tmp_path / "a.tape.sqlite")!r}, flush_seconds=60)
controller = controller_of(recorder)
observe(controller, 700)
assert recorder.drain(600)
observe(controller, 300, 700)
os.kill(os.getpid(), signal.SIGKILL)
"""
    died = subprocess.run([sys.executable, "-c", code], check=False)
    assert died.returncode == -signal.SIGKILL
    recording = read_tape(tmp_path / "a.tape.sqlite")
    assert len(recording) == 700
    assert not recording.closed
    assert recording.whole


def test_an_exit_in_order_writes_everything_and_leaves_one_file(tmp_path: Path) -> None:
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from canario.tape import TapeRecorder
from tests.tapes.test_recorder import controller_of, observe
controller = controller_of(TapeRecorder({str(tmp_path / "a.tape.sqlite")!r}, flush_seconds=3000))
observe(controller, 1000)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=PATIENCE)
    assert [file.name for file in tmp_path.iterdir()] == ["a.tape.sqlite"]
    recording = read_tape(tmp_path)
    assert len(recording) == 1000
    assert recording.closed


def test_rows_beyond_the_capacity_are_dropped_and_counted(tmp_path: Path) -> None:
    recorder = TapeRecorder(tmp_path / "a.tape.sqlite", capacity=10, flush_seconds=60)
    controller = controller_of(recorder)
    observe(controller, 25)
    dropped = recorder.dropped
    assert dropped == 25 - 8  # the beginning and the journal took two places
    assert recorder.drain(PATIENCE)
    assert controller.counters["tape_dropped"] == dropped
    assert recorder.close(PATIENCE)
    recording = read_tape(tmp_path)
    assert len(recording) == 25 - dropped
    assert recording.dropped == dropped
    assert not recording.whole


def test_an_error_in_it_never_breaks_a_request(tmp_path: Path) -> None:
    """The folder of the tape is a file: nothing can be written there."""
    (tmp_path / "no").write_text("")
    recorder = TapeRecorder(tmp_path / "no" / "a.tape.sqlite", flush_seconds=0)
    controller = controller_of(recorder)
    observe(controller, 10)
    assert recorder.drain(PATIENCE)
    assert recorder.recorded == 0
    assert recorder.dropped > 0
    assert controller.counters["faults"] >= 1
    assert controller.totals("baseline").counts.requests == 10
    (tmp_path / "no").unlink()  # it can be written again, and is
    observe(controller, 5)
    assert recorder.drain(PATIENCE)
    assert recorder.recorded == 5
    assert recorder.close(5)


FULL_DISK = """
import logging, resource, sys, time
from pathlib import Path
from canario import CanaryDeploymentController, Deployment, Plan, RollbackThresholds, Stage
from canario.wsgi import CanaryMiddleware

def disk(most):
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))

def good(environ, start_response):
    start_response("200 OK", [])
    return [b"old"]

def bad(environ, start_response):
    raise LookupError

logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
thresholds = RollbackThresholds(min_samples=5, check_interval_seconds=0.05)
deployment = Deployment(
    deployment_id="x", canary_stages=(Stage(50, 1000),), rollback_thresholds=thresholds)
c = CanaryDeploymentController(Plan(deployment=deployment), journal=Path(sys.argv[1], "journal"))
app = CanaryMiddleware(good, c, bad, tape=Path(sys.argv[1], "a.tape.sqlite"), route=lambda _: "/")

def ask(user):
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "HTTP_X_USER_ID": str(user)}
    try:
        return list(app(environ, lambda *_: print))
    except LookupError:
        return [b"new"]

ask(0)
assert c.drain() and app.gate.tape.drain()
disk(0)
user = 0
while not c.state.phase.terminal:
    user += 1
    assert ask(user) in ([b"old"], [b"new"])
    time.sleep(0.01)
assert {*map(tuple, map(ask, range(50)))} == {(b"old",)}
for _ in range(5):  # each of them tries again
    ask(0)
    app.gate.tape.drain()
assert not c.drain(0.2)
assert c.counters["journal_failed"] and c.counters["tape_dropped"] >= 50, c.counters
disk(resource.RLIM_INFINITY)
ask(0)
assert c.drain() and app.gate.tape.close()
"""


@pytest.mark.skipif(os.name == "nt", reason="limits are POSIX's")
def test_a_full_disk_breaks_no_request_and_keeps_no_bad_canary_alive(tmp_path: Path) -> None:
    """Both are gone on with when there is room again; each failure is counted, and told once."""
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("the journal of x cannot be written") == 1
    assert done.stderr.count("is written again") == 1
    assert done.stderr.count("canario failed in writing the tape") <= 2  # an error of each kind
    journal = parse_journal((tmp_path / "journal").read_bytes())
    assert isinstance(journal.events[-1], RolledBack)
    # The tries have left no files behind, and the last one tells how it ended.
    second, first = sorted(tmp_path.glob("*.sqlite"))  # a-2, a
    recording = read_tape(second)
    assert recording.dropped >= 50
    assert tuple(noted.event for noted in recording.journal) == journal.events
    assert len(read_tape(first)) == len(recording) == 1


def test_a_tape_that_is_taken_away_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "a.tape.sqlite"
    recorder = TapeRecorder(path, flush_seconds=0)
    controller = controller_of(recorder)
    observe(controller, 10)
    assert recorder.drain(PATIENCE)
    for file in list(tmp_path.iterdir()):
        file.unlink()
    observe(controller, 7, 10)
    assert recorder.close(PATIENCE)
    assert len(read_tape(tmp_path)) == 7
    assert not controller.counters.get("faults")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks are POSIX's")
def test_a_forked_worker_writes_a_file_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "a.tape.sqlite"
    code = f"""
import os, sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from canario import CanaryDeploymentController
from canario.testing import ManualClock
from canario.tape import TapeRecorder
from tests.tapes.live import START, plan
from tests.tapes.test_recorder import observe
recorder = TapeRecorder({str(path)!r}, flush_seconds=0.05)
controller = CanaryDeploymentController(plan(), clock=ManualClock(START))
controller.record_to(recorder)
children = []
for number in range(3):
    child = os.fork()
    if not child:
        controller.start()
        observe(controller, 100 + number)
        assert recorder.close(600)
        os._exit(0)
    children.append(child)
assert all(os.waitpid(child, 0)[1] == 0 for child in children)
controller.start()
observe(controller, 7)
assert recorder.close(600)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    sessions = read_sessions(tmp_path)
    assert sorted(map(len, sessions)) == [7, 100, 101, 102]
    assert all(session.whole for session in sessions)
    merged = read_tape(tmp_path)
    assert merged.workers == 4
    assert len(merged) == 310
    assert merged.users == 50  # one secret: they agree on who is who
    assert not merged.whole


def test_a_rollout_that_is_taken_up_goes_on_on_the_tape(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    asked = traffic(7, seconds=100)
    first = [each for each in asked if each.at < START + 25]
    second = [each for each in asked if each.at > START + 27]
    tapes = tmp_path / "tapes"
    asyncio.run(live(plan(), first, tapes / "a.tape.sqlite", journal=journal, until=26))
    events = asyncio.run(
        live(plan(), second, tapes / "a.tape.sqlite", journal=journal, since=START + 27)
    )
    recording = read_tape(tapes)
    assert recording.events == tuple(events)
    assert len(recording.restarts) == 1
    assert recording.whole
    (second_alone,) = read_sessions(tapes / "a-2.tape.sqlite")
    assert second_alone.restored == len(recording.events) - len(events) + second_alone.restored


def test_tapes_of_several_releases_are_traffic_and_nothing_more(tmp_path: Path) -> None:
    asked = traffic(7, seconds=10)
    asyncio.run(live(plan(), asked, tmp_path / "a.tape.sqlite"))
    asyncio.run(live(plan((50.0, 5.0)), asked, tmp_path / "b.tape.sqlite"))
    both = read_tape(tmp_path)
    assert both.plan is None
    assert both.events == ()
    assert len(both) == 2 * len(read_tape(tmp_path / "a.tape.sqlite"))
    assert (np.diff(both.ended) >= 0).all()
    assert {both.routes[number] for number in both.route} == {each.route for each in asked}


def test_a_controller_has_one_tape_and_a_tape_one_controller(tmp_path: Path) -> None:
    recorder = TapeRecorder(tmp_path / "a.tape.sqlite")
    controller = controller_of(recorder)
    controller.record_to(recorder)
    with pytest.raises(ValueError, match="is recorded by <TapeRecorder"):
        controller.record_to(TapeRecorder(tmp_path / "b.tape.sqlite"))
    with pytest.raises(ValueError, match="records another controller"):
        CanaryDeploymentController(plan()).record_to(recorder)
    late = CanaryDeploymentController(plan(), clock=ManualClock(START))
    late.start()
    other = TapeRecorder(tmp_path / "c.tape.sqlite")
    late.record_to(other)
    observe(late, 3)
    assert other.close(PATIENCE)
    recording = read_tape(tmp_path / "c.tape.sqlite")
    assert not recording.whole
    assert len(recording.events) == 2
    assert recorder.close(PATIENCE)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_bytes": 10}, "max_bytes is 10; it must be at least 65536"),
        ({"max_files": 1}, "max_files is 1; it must be at least 2"),
        ({"capacity": 0}, "capacity is 0"),
        ({"flush_seconds": -1}, "flush_seconds is -1"),
        ({"secret": b""}, "secret has 0 bytes"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        TapeRecorder(tmp_path / "a", **options)


def test_what_is_no_tape_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(TapeError, match="nothing does not exist"):
        read_tape(tmp_path / "nothing")
    with pytest.raises(TapeError, match="holds no tape"):
        read_tape(tmp_path)
    (tmp_path / "a").write_text("text")
    with pytest.raises(TapeError, match="a is no tape; `canario tape import` makes one"):
        read_tape(tmp_path / "a")
    recorder = TapeRecorder(tmp_path / "b.tape")
    observe(controller_of(recorder), 3)
    assert recorder.close(PATIENCE)
    with closing(sqlite3.connect(tmp_path / "b.tape")) as tape:
        tape.execute("UPDATE meta SET value = '3' WHERE name = 'version'")
        tape.commit()
    with pytest.raises(
        TapeError, match="is a tape of version 3; this canario reads version 1 and 2"
    ):
        read_tape(tmp_path / "b.tape")
    (tmp_path / "c.tape").write_bytes((tmp_path / "b.tape").read_bytes()[:5000])
    with pytest.raises(TapeError, match=r"c\.tape"):
        read_tape(tmp_path / "c.tape")


def test_wsgi_threads_record_in_the_order_that_decides(tmp_path: Path) -> None:
    """Many threads at once on a real clock; the journal comes back."""
    release = Plan(
        deployment=Deployment(
            deployment_id="threads",
            canary_stages=(Stage(50.0, 0.4), Stage(100.0, 0.4)),
            rollback_thresholds=plan(
                check_interval_seconds=0.01, metric_window_seconds=0.5, max_error_rate=60.0
            ).deployment.rollback_thresholds,
            routing=Routing(key_sources=("header:x-user-id",)),
        )
    )
    controller = CanaryDeploymentController(release)

    def app(environ: Any, start_response: Any) -> list[bytes]:
        time.sleep(0.001)
        failing = hash(environ["HTTP_X_USER_ID"]) % 3 == 0
        start_response("500 No" if failing else "200 OK", [])
        return [b"x"]

    middleware = WSGIMiddleware(app, controller, tape=tmp_path / "a.tape.sqlite")

    def ask(worker: int) -> None:
        number = 0
        while not controller.state.phase.terminal and number < 2000:
            number += 1
            environ = {
                "REQUEST_METHOD": "GET",
                "PATH_INFO": "/",
                "HTTP_X_USER_ID": f"{worker}-{number % 40}",
                "wsgi.url_scheme": "http",
            }
            list(middleware(environ, lambda *_: lambda data: None))

    threads = [threading.Thread(target=ask, args=(worker,)) for worker in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert controller.state.phase.terminal
    assert middleware.gate.tape is not None
    assert middleware.gate.tape.close(PATIENCE)
    recording = read_tape(tmp_path)
    from tests.tapes.test_exact import replayed

    assert recording.events == controller.events
    assert [type(event) for event in recording.events]
    from canario.control.journal import dump_journal

    assert replayed(recording) == dump_journal(controller.events)
    assert replayed(recording, matched=True) == dump_journal(controller.events)


def test_without_a_tape_nothing_is_kept_of_a_request(tmp_path: Path) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        pass

    controller = CanaryDeploymentController(plan(), clock=ManualClock(START))
    middleware = CanaryMiddleware(app, controller)
    assert middleware.gate.tape is None
    assert not middleware.gate.names_routes


def test_a_lifespan_for_each_call_goes_on_with_one_tape(tmp_path: Path) -> None:
    """As Mangum's `auto` and a TestClient that is a context have it."""
    path = tmp_path / "a.tape.sqlite"
    clock = ManualClock(START)
    controller = CanaryDeploymentController(plan(), clock=clock)
    app = CanaryMiddleware(Starlette(routes=[Route("/", hello)]), controller, tape=path)
    for number in range(60):
        clock.advance(0.1)
        server = Server(app)
        server.run(partial(server.ask, user(f"u{number}")))
        assert [file.name for file in tmp_path.iterdir()] == [path.name]  # whole after each
    recording = read_tape(tmp_path)
    assert len(recording) == 60
    assert recording.users == 60
    assert recording.routes == ("/",)
    assert recording.whole
    assert recording.closed
    assert recording.events == controller.events
    replay = replay_of(recording, plan(), AsRecorded())
    replay.run()
    assert replay.controller.events == controller.events


def test_an_ended_tape_that_was_taken_away_is_gone_on_with_in_the_next_file(tmp_path: Path) -> None:
    path = tmp_path / "a.tape.sqlite"
    recorder = TapeRecorder(path, flush_seconds=0)
    controller = controller_of(recorder)
    observe(controller, 100)
    assert recorder.close(10)
    (tmp_path / "kept").mkdir()
    path.rename(tmp_path / "kept" / "first")
    observe(controller, 100, 100)
    assert recorder.close(10)
    recording = read_tape(tmp_path / "kept", path)
    assert len(recording) == 200
    assert recording.whole


def test_what_rotation_removes_is_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "a.tape.sqlite"
    recorder = TapeRecorder(path, max_bytes=64 * 1024, max_files=2, flush_seconds=0)
    controller = controller_of(recorder)
    for part in range(8):
        observe(controller, 1000, 1000 * part)
        assert recorder.drain(10)
    assert recorder.close(10)
    left = len(read_tape(tmp_path))
    assert recorder.removed == controller.counters["tape_removed"] == 8000 - left > 0
    assert caplog.text.count("max_files") == 1
