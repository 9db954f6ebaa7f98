"""Signal handlers, forks and stopped processes: what happens in the midst of something else."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

from canario import (
    CanaryDeploymentController,
    CommandRefusedError,
    Outcome,
    Phase,
    Plan,
    create_canary_controller,
)
from canario.control.events import Aborted, Checked, Event, Held, StageEntered, Started, Unwatched
from canario.control.rollout import Rollout
from canario.metrics.recorder import Recorder
from canario.plan import Deployment, RollbackThresholds, Stage
from canario.sinks import inline
from canario.testing import CapturingSink, ManualClock
from canario.wsgi import CanaryMiddleware

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
signals = pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="no such signals here")


def python(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


class GoesOn(ManualClock):
    """Moved by the test, and taken for the world's."""

    live = True


# -- orders from a signal handler


def interrupted(monkeypatch: pytest.MonkeyPatch, order: str) -> CanaryDeploymentController:
    """A controller whose thread is interrupted by an order in the midst of an observation."""
    controller = create_canary_controller("x", environ={}, clock=ManualClock())
    controller.start()
    real = Rollout.observe

    def observe(self: Rollout, *given: object) -> list[Event]:
        monkeypatch.setattr(Rollout, "observe", real)
        before = self.state
        getattr(controller, order)()
        controller.observe("canary", Outcome.GOOD, 1.0)
        controller.report_violation("baseline", "broken")
        assert self.state is before  # nothing happens while it is half done
        assert controller.events
        assert controller.counts("canary").requests == 0
        return real(self, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(Rollout, "observe", observe)
    controller.observe("canary", Outcome.GOOD, 1.0)
    return controller


@pytest.mark.parametrize(
    ("order", "phase", "share"),
    [
        ("pause", Phase.PAUSED, 5),
        ("abort", Phase.ABORTED, 0),
        ("promote", Phase.COMPLETED, 100),
        ("skip", Phase.RUNNING, 25),
        ("restart", Phase.RUNNING, 5),
    ],
)
def test_an_order_that_interrupts_is_obeyed_when_the_interrupted_is_done(
    order: str, phase: Phase, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    controller = interrupted(monkeypatch, order)
    assert (controller.state.phase, controller.router.share) == (phase, share)
    assert controller.totals("canary").counts.requests == 2
    assert controller.totals("baseline").counts.violations == 1


def test_an_order_that_is_plainly_not_allowed_is_refused_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(CommandRefusedError, match="running; valid"):
        interrupted(monkeypatch, "resume")


def test_an_order_that_came_too_late_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    controller = create_canary_controller("x", environ={}, clock=ManualClock())
    controller.start()
    real = Rollout.violate

    def violate(self: Rollout, *given: object) -> list[Event]:
        controller.pause()
        return real(self, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(Rollout, "violate", violate)
    controller.report_violation("canary", "broken")
    assert controller.state.phase is Phase.ROLLED_BACK
    assert controller.counters["order_refused"] == 1
    assert "an order came too late" in caplog.text


def test_an_order_that_interrupts_who_reads_the_counts_is_obeyed_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    controller = create_canary_controller("x", environ={}, clock=ManualClock())
    controller.start()
    real = Recorder.settle

    def settle(self: Recorder) -> None:
        monkeypatch.setattr(Recorder, "settle", real)
        controller.pause()
        assert controller.counts("canary").requests == 0  # who interrupts reads what is there
        assert controller.state.phase is Phase.RUNNING
        real(self)

    monkeypatch.setattr(Recorder, "settle", settle)
    assert controller.totals("canary").counts.requests == 0
    assert controller.state.phase is Phase.PAUSED


@signals
def test_who_is_interrupted_while_requests_end_counts_each_once() -> None:
    code = """
import logging, os, signal, threading, time
logging.disable(logging.CRITICAL)
from canario import Outcome, create_canary_controller
from canario.exchange import Exchange
c = create_canary_controller("x", environ={})
c.start()
read = 0
def look(*_):
    global read
    c.counts("baseline"); c.totals("baseline"); c.in_flight("baseline"); c.tick()
    read += 1
signal.signal(signal.SIGUSR1, look)
def shoot():
    for _ in range(200): os.kill(os.getpid(), signal.SIGUSR1); time.sleep(.0003)
def request():
    e = Exchange()
    e.started_at = c.clock()
    c.admit(e)
    c.observe("baseline", Outcome.GOOD, 1.0, now=c.clock(), request=e)
def serve():
    for _ in range(5000): request()
threads = [threading.Thread(target=shoot), threading.Thread(target=serve)]
for t in threads: t.start()
n = 5000
while threads[0].is_alive():
    for _ in range(50): request()
    n += 50
threads[1].join()
assert read > 20, read
counts = c.totals("baseline").counts
assert counts.requests == counts.timed == n, (counts, n)
assert c.totals("baseline").duration.count == n
assert not c.requests_in_flight
"""
    done = python(code)
    assert done.returncode == 0, done.stderr


@signals
def test_orders_from_signal_handlers_end_in_one_story() -> None:
    code = """
import logging, os, signal, threading, time
logging.disable(logging.CRITICAL)
from canario import CommandRefusedError, Outcome, create_canary_controller
from canario.control.state import replay
c = create_canary_controller("x", environ={}, journal="/dev/shm/j%d" % os.getpid())
c.start()
given = 0
def order(*_):
    global given
    try: c.pause()
    except CommandRefusedError:
        # The next signal may come between the two, and its order may be this one.
        try: c.resume()
        except CommandRefusedError: pass
    given += 1
signal.signal(signal.SIGUSR1, order)
def shoot():
    for _ in range(600): os.kill(os.getpid(), signal.SIGUSR1); time.sleep(.0003)
threads = [threading.Thread(target=shoot)]
def serve():
    for _ in range(5000): c.observe("canary", Outcome.GOOD, 1.0)
threads += [threading.Thread(target=serve)]
for t in threads: t.start()
while threads[0].is_alive():
    for _ in range(50): c.observe("canary", Outcome.GOOD, 1.0)
    c.drain(0.001)
threads[1].join()
assert given > 100, given
assert replay(c.deployment, c.events) == c.state, (c.events[-3:], c.state)
assert c.router.share == c.state.share
assert c.drain(10)
from canario.control.journal import parse_journal
name = "/dev/shm/j%d" % os.getpid()
assert parse_journal(open(name, "rb").read()).events == c.events
os.unlink(name)
print("done", sum(e.__struct_config__.tag == "paused" for e in c.events) > 20)
"""
    if not os.path.isdir("/dev/shm"):
        code = code.replace("/dev/shm", os.environ.get("TMPDIR", "/tmp"))
    done = python(code)
    assert done.stdout == "done True\n", done.stderr


# -- forks


@forks
def test_a_child_that_is_forked_while_threads_are_at_work_can_work() -> None:
    """Whatever lock they held: of controllers, monitors, queues, contracts, recoveries, tapes."""
    code = """
import logging, os, sys, threading, time
logging.disable(logging.CRITICAL)
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from canario import Outcome, create_canary_controller
from canario.contracts import FlowContract
from canario.recovery import FaultRecovery
from canario.slo import SLOMonitor
from canario.tape import TapeRecorder
from canario.telemetry import register_instruments
reader = InMemoryMetricReader(); provider = MeterProvider([reader])
c = create_canary_controller("x", environ={}, sinks=[lambda event: None])
c.record_to(TapeRecorder(sys.argv[1], flush_seconds=0)); c.start()
monitor = SLOMonitor(); recovery = FaultRecovery(monitor, "a")
contract = FlowContract(deterministic=True)
def one(n):
    c.observe("canary", Outcome.GOOD, 10.0); c.count("x")
    for order in (c.pause, c.resume):
        try: order()
        except ValueError: pass
    monitor.record_request(str(n % 7), n % 3 > 0, 10.0)
    monitor.check_all_slos(); monitor.evaluate_alert_rules()
    with recovery: recovery.fault()
    contract.check_output("f", (n % 5,), {}, n % 5)
    register_instruments(c, monitor, provider)
    reader.collect() if n % 50 == 0 else None
stop = []
def work():
    n = 0
    while not stop: n += 1; one(n)
threads = [threading.Thread(target=work) for _ in range(3)]
for t in threads: t.start()
hung = 0
for _ in range(12):
    time.sleep(.01)
    pid = os.fork()
    if not pid:
        stop.append(1)
        for n in range(1, 6): one(n)  # not 0: the SDK has locks of its own
        os._exit(0)
    until = time.monotonic() + 20
    while not os.waitpid(pid, os.WNOHANG)[0]:
        if time.monotonic() > until:
            import signal
            os.kill(pid, signal.SIGKILL); os.waitpid(pid, 0); hung += 1; break
        time.sleep(.005)
stop.append(1)
for t in threads: t.join()
print("hung", hung, flush=True)
os._exit(0)
"""
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        done = python(code, os.path.join(folder, "a.tape.sqlite"))
    assert done.stdout == "hung 0\n", done.stderr


@forks
def test_a_forked_child_goes_on_by_itself_and_leaves_the_parent_s_requests_to_it() -> None:
    code = """
import os, time
from canario import CanaryDeploymentController, Deployment, Outcome, Plan, RollbackThresholds, Stage
c = CanaryDeploymentController(Plan(deployment=Deployment(deployment_id="x",
    canary_stages=(Stage(50, .3), Stage(100, 60)),
    rollback_thresholds=RollbackThresholds(min_samples=1, check_interval_seconds=.05))))
c.start()
pid = os.fork()
if not pid:
    c.start()  # what ticks has stayed behind
    c.observe("canary", Outcome.GOOD, 1.0)
    while c.state.stage == 0: time.sleep(.01)
    os._exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
assert c.totals("canary").counts.requests == 0
"""
    done = python(code)
    assert done.returncode == 0, done.stderr


# -- time that nobody watched


def test_a_live_rollout_that_was_stopped_serves_what_is_left() -> None:
    heard = CapturingSink()
    clock = GoesOn(1000)
    controller = create_canary_controller("x", environ={}, clock=clock, sinks=[heard])
    controller.start()
    entered = []

    def serve(seconds: float) -> None:
        for _ in range(int(seconds * 2)):
            clock.advance(0.5)
            stage = controller.state.stage
            controller.observe("canary", Outcome.GOOD, 10.0)
            if controller.state.stage != stage:
                entered.append(clock())

    serve(200)
    clock.advance(600)
    serve(800)
    # 300 s of 5 %, of which 200 were served before it was stopped, then all 600 of 25 %.
    assert entered == [pytest.approx(1000 + 600 + 300, abs=6), pytest.approx(2500, abs=6)]
    (gap,) = [event for event in heard.events if isinstance(event, Unwatched)]
    assert gap.at - gap.since == pytest.approx(600.5, abs=0.6)
    assert not gap.restart
    at_once = [event for event in controller.metrics_history if event.at == gap.at]
    assert len(at_once) == 1


@pytest.mark.parametrize("seconds", [0.5, 2.9])
def test_a_moment_without_a_look_is_served(seconds: float) -> None:
    clock = GoesOn(1000)
    controller = create_canary_controller("x", environ={}, clock=clock)
    controller.start()
    for _ in range(100):
        clock.advance(seconds)
        controller.tick()
    assert not [event for event in controller.events if isinstance(event, Unwatched)]


@pytest.mark.parametrize(("works", "slow"), [(True, 1), (False, 0)])
def test_a_process_that_works_was_not_stopped(
    works: bool, slow: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An app may keep every other thread from running for long, as a search of `re` does."""
    used = 0.0
    monkeypatch.setattr("time.process_time", lambda: used)
    clock = GoesOn(1000)
    controller = create_canary_controller("x", environ={}, clock=clock)

    def app(_: object, start_response: Any) -> list[bytes]:
        nonlocal used
        used += 10.0 * works
        clock.advance(10)
        start_response("200 OK", [])
        return [b""]

    middleware = CanaryMiddleware(app, controller)
    assert list(middleware({"REQUEST_METHOD": "GET", "PATH_INFO": "/"}, lambda *_: print))
    controller._ticker.stop()
    assert controller.counts("baseline").slow == slow
    gaps = [event for event in controller.events if isinstance(event, Unwatched)]
    assert len(gaps) == (not works)


def test_who_waits_for_a_search_that_holds_all_threads_has_waited(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("canario.controller._UNWATCHED_SECONDS", 0.05)
    monkeypatch.setattr("canario.controller.LONGEST_SECONDS", 0.02)
    controller = create_canary_controller("x", environ={}, max_p95_latency_ms=100_000)
    took = 0.0

    def app(_: object, start_response: Any) -> list[bytes]:
        nonlocal took
        # This thread's: with others' beside it, a process may work for longer than it took.
        began = time.thread_time()
        while time.thread_time() - began < 0.3:
            re.match(r"(a+)+$", "a" * 23 + "b")
        took = time.thread_time() - began
        start_response("200 OK", [])
        return [b""]

    middleware = CanaryMiddleware(app, controller)
    assert list(middleware({"REQUEST_METHOD": "GET", "PATH_INFO": "/"}, lambda *_: print))
    assert controller.totals("baseline").duration.sum_ms >= took * 1000 - 0.001


@signals
@pytest.mark.parametrize("stopped", [False, True])
def test_under_gevent_a_greenlet_that_waits_in_c_stops_no_watch(stopped: bool) -> None:
    """It stops all the others, and the ticker with them; a process that is stopped has not run."""
    code = """
import sys
from gevent import monkey
monkey.patch_all()
import ctypes, os, subprocess
import canario.controller, canario.host.ticker
canario.controller._UNWATCHED_SECONDS = 0.6
canario.controller.LONGEST_SECONDS = canario.host.ticker.LONGEST_SECONDS = 0.05
from canario import create_canary_controller
from canario.control.events import Unwatched
from canario.wsgi import CanaryMiddleware
c = create_canary_controller("x", environ={})

def app(environ, start_response):
    if sys.argv[1] == "True":
        woken = subprocess.Popen(["/bin/sh", "-c", f"kill -STOP {os.getpid()}; sleep 1.5; "
            f"kill -CONT {os.getpid()}"])
        woken.wait()
    else:
        for _ in range(3): ctypes.CDLL(None).usleep(500000)
    start_response("200 OK", [])
    return [b""]

list(CanaryMiddleware(app, c)({"REQUEST_METHOD": "GET", "PATH_INFO": "/"}, lambda *_: print))
print(c.totals("baseline").duration.sum_ms, any(isinstance(e, Unwatched) for e in c.events))
"""

    def as_expected() -> bool:
        done = python(code, stopped)
        assert done.returncode == 0, done.stderr
        took, unwatched = done.stdout.split()
        return (float(took) >= 1500) is not stopped and (unwatched == "True") is stopped

    # A host so busy that no thread runs for as long as that is a stopped one, too.
    assert any(as_expected() for _ in range(5))


def test_a_clock_that_is_moved_is_watched_all_the_time() -> None:
    """A rehearsal, a replay, a test: whoever moves it has seen all of it."""
    clock = ManualClock(1000)
    controller = create_canary_controller("x", environ={}, clock=clock)
    controller.start()
    clock.advance(1e4)
    controller.observe("canary", Outcome.GOOD, 1.0)
    assert [(type(event), event.at) for event in controller.events if event.at > 1005] == [
        (Checked, 1300),
        (Held, 1300),
    ]


def test_an_abort_waits_for_nothing_that_is_due() -> None:
    clock = GoesOn(1000)
    controller = create_canary_controller("x", environ={}, clock=clock)
    controller.start()
    controller._ticker.stop()
    clock.advance(1e6)
    controller.abort()
    assert [type(event) for event in controller.events] == [Started, StageEntered, Aborted]


@signals
def test_a_process_that_is_stopped_and_woken() -> None:
    code = """
import logging, time
logging.disable(logging.CRITICAL)
from canario import CanaryDeploymentController, Deployment, Outcome, Plan, RollbackThresholds, Stage
c = CanaryDeploymentController(Plan(deployment=Deployment(deployment_id="x",
    canary_stages=(Stage(50, 1.5), Stage(100, 1.5)),
    rollback_thresholds=RollbackThresholds(min_samples=1, check_interval_seconds=.1))))
c.start()
print("up", flush=True)
while not c.state.phase.terminal: time.sleep(.01); c.observe("canary", Outcome.GOOD, 10.0)
for event in c.events: print(event.__struct_config__.tag, event.at, flush=True)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        child.stdout.readline()
        child.send_signal(signal.SIGSTOP)
        time.sleep(4)
        child.send_signal(signal.SIGCONT)
        lines = [line.split() for line in child.stdout]
    at = {tag: float(instant) for tag, instant in lines if tag != "stage_entered"}
    second = [float(instant) for tag, instant in lines if tag == "stage_entered"][1]
    assert at["unwatched"] - at["started"] >= 3.9
    assert at["promoted"] - second >= 1.5
    assert at["promoted"] - at["started"] >= 3 + 3.9 - 1


def test_an_inline_sink_that_orders_is_obeyed_with_a_live_clock() -> None:
    def stop(event: Event) -> None:
        if isinstance(event, StageEntered):
            controller.pause()

    controller = CanaryDeploymentController(
        Plan(
            deployment=Deployment(
                deployment_id="x",
                canary_stages=(Stage(50, 1),),
                rollback_thresholds=RollbackThresholds(min_samples=1),
            )
        ),
        sinks=[inline(stop)],
    )
    controller.start()
    assert controller.state.phase is Phase.PAUSED
