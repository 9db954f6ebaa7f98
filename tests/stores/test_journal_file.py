"""A journal in a file: one writer, in order, nothing lost, nothing glued, nobody waits."""

from __future__ import annotations

import errno
import gc
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.waiting import PATIENCE

from canario import CanaryDeploymentController, Outcome, create_canary_controller
from canario.control.events import Event, Paused, RolledBack, StageEntered, Started
from canario.control.journal import JournalError, dump_journal, parse_journal
from canario.control.violation import Violation
from canario.plan import Deployment
from canario.sinks import inline
from canario.stores import JournalFile, JournalLockedError, MemoryJournal
from canario.testing import ManualClock

LOG = logging.getLogger("canario")
BEGUN: list[Event] = [
    Started(at=0, deployment=Deployment(deployment_id="x")),
    StageEntered(at=0, stage=0, percentage=5),
]


class Failures(list[tuple[str, bool]]):
    """What a journal was told went wrong."""

    def __call__(self, error: Exception, first: bool) -> None:
        self.append((str(error), first))


@pytest.fixture
def failures() -> Failures:
    return Failures()


@pytest.fixture
def journal(tmp_path: Path, failures: Failures) -> Iterator[JournalFile]:
    made = JournalFile(tmp_path / "journal", on_error=failures, log=LOG)
    made.open(lambda events: None)
    yield made
    made.close(10)


def controller(path: Path, **options: Any) -> CanaryDeploymentController:
    options.setdefault("clock", ManualClock(1000))
    return create_canary_controller("x", journal=path, environ={}, **options)


def python(code: str, *arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **options,
    )


# -- one writer


def test_a_second_writer_is_refused_by_the_number_of_the_first_one(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    first = controller(path)
    first.start()
    assert first.drain(10)
    with pytest.raises(
        JournalLockedError, match=f"another controller of this process .{os.getpid()}"
    ):
        controller(path).start()
    code = """
import sys
from canario import create_canary_controller
controller = create_canary_controller("x", journal=sys.argv[1], environ={})
try: controller.start()
except Exception as error: print(type(error).__name__, error, controller.router.share)
"""
    said = python(code, path).stdout
    assert said.startswith(f"JournalLockedError the journal {path} is being written by process")
    assert str(os.getpid()) in said
    assert said.endswith("of its own 0.0\n")
    assert first.close(10)
    controller(path).start()


def test_a_second_writer_with_another_plan_is_told_of_that(tmp_path: Path) -> None:
    first = controller(tmp_path / "journal")
    first.start()
    assert first.drain(10)
    with pytest.raises(JournalError, match="another plan"):
        controller(tmp_path / "journal", canary_5_hold_seconds=1).start()


def test_the_lock_ends_with_the_process_however_that_ends(tmp_path: Path) -> None:
    code = """
import os, signal, sys
from canario import create_canary_controller
controller = create_canary_controller("x", journal=sys.argv[1], environ={})
controller.start(); controller.pause(); controller.drain(5); os.kill(os.getpid(), signal.SIGKILL)
"""
    assert python(code, tmp_path / "journal").returncode == -signal.SIGKILL
    again = controller(tmp_path / "journal")
    again.start()
    assert again.state.phase == "paused"


def test_who_forgets_a_controller_lets_go_of_its_journal(tmp_path: Path) -> None:
    for _ in range(3):
        each = controller(tmp_path / "journal")
        each.start()
        del each
        gc.collect()


def test_a_program_that_is_started_does_not_keep_the_lock(tmp_path: Path) -> None:
    first = controller(tmp_path / "journal")
    first.start()
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, close_fds=False) as child:
        assert first.close(10)
        controller(tmp_path / "journal").start()
        child.communicate()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_has_no_part_in_the_journal_and_says_so(tmp_path: Path) -> None:
    """It neither writes nor unlocks it, serves the baseline, and takes it up when it is free."""
    code = """
import os, sys, time
from canario import Outcome, create_canary_controller
from canario.clock import ManualClock
clock = ManualClock(1000)
make = lambda: create_canary_controller("x", journal=sys.argv[1], environ={}, clock=clock)
parent = make(); parent.start(); parent.skip(); parent.drain(5)
size = os.path.getsize(sys.argv[1])
go, went = os.pipe(); said, say = os.pipe()
pid = os.fork()
if not pid:
    for _ in range(3):
        parent.observe("canary", Outcome.BAD, 1.0)
        parent.report_violation("canary", "x")
    print(parent.state.phase, parent.router.share, flush=True)
    try: parent.start()
    except Exception as error:
        print(type(error).__name__, f"process {os.getppid()}" in str(error), flush=True)
    parent.drain(1)
    os.write(say, b"x"); os.read(go, 1)
    parent.start()
    print(parent.state.stage, parent.router.share, flush=True)
    parent.close(5); os._exit(0)
os.read(said, 1)
assert os.path.getsize(sys.argv[1]) == size, "the child wrote"
try: make().start()
except Exception as error: print(type(error).__name__, flush=True)
parent.close(5); os.write(went, b"x"); os.waitpid(pid, 0)
"""
    done = python(code, tmp_path / "journal")
    assert done.stdout.splitlines() == [
        "pending 0.0",
        "JournalLockedError True",
        "JournalLockedError",
        "1 25.0",
    ], done.stderr
    assert done.stderr.count("was forked from the one that keeps the rollout's journal") == 1
    events = parse_journal((tmp_path / "journal").read_bytes()).events
    assert [event.__struct_config__.tag for event in events][-1] == "unwatched"


# -- in order, whole, and nobody waits


def test_nobody_waits_for_the_disk(journal: JournalFile, monkeypatch: pytest.MonkeyPatch) -> None:
    may, begun = threading.Event(), threading.Event()
    real = os.fsync

    def slow(fd: int) -> None:
        begun.set()
        assert may.wait(30)
        real(fd)

    monkeypatch.setattr(os, "fsync", slow)
    journal.append(BEGUN)
    assert begun.wait(30)
    for number in range(100):
        journal.append([Paused(at=number, stage=0)])
    assert not journal.drain(0.01)
    may.set()
    assert journal.drain(30)
    events = parse_journal(journal.path.read_bytes()).events
    assert [event.at for event in events[2:]] == list(range(100))


def test_what_is_in_the_journal_is_on_the_disk_when_a_process_ends(tmp_path: Path) -> None:
    code = """
import sys
from canario import create_canary_controller
controller = create_canary_controller("x", journal=sys.argv[1], environ={})
controller.start(); controller.pause(); controller.abort()
"""
    done = python(code, tmp_path / "journal")
    assert done.returncode == 0, done.stderr
    events = parse_journal((tmp_path / "journal").read_bytes()).events
    assert [event.__struct_config__.tag for event in events][-2:] == ["paused", "aborted"]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.one_of(st.none(), st.integers(0, 300)), max_size=12),
    st.lists(st.booleans(), max_size=6),
)
def test_a_write_that_fails_anywhere_glues_nothing_and_loses_nothing(
    room: list[int | None], syncs: list[bool]
) -> None:
    """`room` says after how many bytes each write fails; None is one that does not."""
    failures = Failures()
    whole: list[bytes] = []
    real_write, real_sync = os.write, os.fsync

    def write(fd: int, data: Any) -> int:
        left = room.pop(0) if room else None
        if left is None:
            return real_write(fd, data)
        if left == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        room.insert(0, 0)
        return real_write(fd, bytes(data)[:left])

    def sync(fd: int) -> None:
        if syncs and syncs.pop(0):
            raise OSError(errno.EIO, "Input/output error")
        real_sync(fd)

    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        journal = JournalFile(Path(folder, "journal"), on_error=failures, log=LOG)
        journal.open(lambda events: None)
        patch.setattr("canario.stores.file.os.write", write)
        patch.setattr("canario.stores.file.os.fsync", sync)
        told = list(BEGUN)
        journal.append(BEGUN)
        for number in range(8):
            event = Paused(at=number, stage=0)
            told.append(event)
            journal.append([event])
            journal.watched(number)
            journal.drain(10)
            whole.append(journal.path.read_bytes())
        while not journal.drain(10):
            pass
        assert list(parse_journal(journal.path.read_bytes()).events) == told
        # And whenever the process had died, a restart would have found the first of them.
        for raw in whole:
            found = list(parse_journal(raw).events)
            assert found == told[: len(found)]
        assert journal.close(10)


def test_a_failure_is_told_once_and_tried_again(
    journal: JournalFile,
    failures: Failures,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def full(fd: int, data: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        journal.append(BEGUN)
        for _ in range(4):
            assert not journal.drain(10)
    assert len(failures) >= 4
    assert [first for _, first in failures].count(True) == 1
    assert journal.drain(10)
    assert caplog.text.count("is written again") == 1
    assert list(parse_journal(journal.path.read_bytes()).events) == BEGUN


def test_a_file_that_was_taken_away_or_cut_is_written_anew(journal: JournalFile) -> None:
    journal.append(BEGUN)
    journal.watched(3)
    assert journal.drain(10)
    spoilers: list[Callable[[Path], object]] = [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b""),
        lambda path: os.truncate(path, 30),
    ]
    for number, spoil in enumerate(spoilers):
        spoil(journal.path)
        journal.append([Paused(at=number, stage=0)])
        assert journal.drain(10)
        events = parse_journal(journal.path.read_bytes()).events
        assert list(events[:2]) == BEGUN
        assert [event.at for event in events[2:]] == list(range(number + 1))


def test_a_line_that_somebody_left_without_its_end_gets_it(journal: JournalFile) -> None:
    journal.append(BEGUN)
    assert journal.drain(10)
    with journal.path.open("ab") as file:
        file.write(dump_journal([Paused(at=1, stage=0)])[:-1])
    journal.append([Paused(at=2, stage=0)])
    assert journal.drain(10)
    assert len(parse_journal(journal.path.read_bytes()).events) == 4


def test_a_whole_event_that_lacks_its_line_feed_is_no_cut_off_one(tmp_path: Path) -> None:
    """A rollback must not be forgotten for one byte, nor glue the next event to it."""
    path = tmp_path / "journal"
    first = controller(path)
    first.start()
    first.abort()
    assert first.close(10)
    events = first.events
    path.write_bytes(dump_journal(events)[:-1])
    second = controller(path)
    second.start()
    assert second.state.phase == "aborted"
    assert second.close(10)
    assert parse_journal(path.read_bytes()).events == events


# -- what is no journal


@pytest.mark.parametrize(
    "raw",
    [
        b"user,arm\n1,canary\n",
        b"user,arm",
        b"\xff\xfe\x00\x00",
        b"{}\n",
        b"\x00" * 4096 + b"\n",
        b"SQLite format 3\x00",
        dump_journal(BEGUN) + b'{"event":"stage_entered","at":1,"stage":99,"percentage":5}\n',
        dump_journal(BEGUN) + b'{"event":"stage_entered","at":1,"stage":-1,"percentage":5}\n',
        dump_journal(BEGUN) + b'{"event":"paused","at":-1e308,"stage":0}\n',
        dump_journal(BEGUN) + b'{"event":"resumed","at":5,"stage":0}\n',
        dump_journal(BEGUN) + b'{"event":"checked","at":5,"stage":0}\n',
        dump_journal(BEGUN[1:]),
    ],
)
def test_another_file_is_refused_by_name_and_left_as_it_is(raw: bytes, tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.write_bytes(raw)
    made = CanaryDeploymentController(deployment_id="x", journal=path, clock=ManualClock())
    with pytest.raises(JournalError, match=str(path)) as caught:
        made.start()
    assert type(caught.value) is JournalError
    assert path.read_bytes() == raw
    assert (made.state.phase, made.router.share, made.events) == ("pending", 0, ())
    path.unlink()
    made.start()
    assert made.router.share == 5


def test_what_is_no_regular_file_is_refused_without_a_wait(tmp_path: Path) -> None:
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(JournalError, match="no regular file"):
            controller(tmp_path / "pipe").start()
    (tmp_path / "huge").touch()
    os.truncate(tmp_path / "huge", 1 << 40)
    with pytest.raises(JournalError, match="1099511627776 bytes"):
        controller(tmp_path / "huge").start()


# -- orders


@pytest.mark.parametrize("ended", [True, False])
def test_an_abort_before_the_start_reads_the_journal_first(ended: bool, tmp_path: Path) -> None:
    path = tmp_path / "journal"
    first = controller(path)
    first.start()
    if ended:
        first.promote()
    with pytest.raises(JournalLockedError):
        controller(path).abort()
    assert first.close(10)
    second = controller(path)
    second.abort()
    assert (second.state.phase, second.router.share) == ("aborted", 0)
    assert second.close(10)
    third = controller(path)
    third.start()
    assert (third.state.phase, third.router.share) == ("aborted", 0)
    assert third.events == second.events


def test_an_abort_before_there_is_a_journal_is_kept(tmp_path: Path) -> None:
    first = controller(tmp_path / "journal")
    first.abort()
    assert first.close(10)
    again = controller(tmp_path / "journal")
    again.start()
    assert again.state.phase == "aborted"


# -- the time that was served


@pytest.mark.parametrize("shift", [-3570.0, 3600.0, 4e7, -4e7])
@pytest.mark.parametrize("orderly", [True, False])
def test_a_hold_goes_on_whatever_the_date_of_the_host_says(
    shift: float, orderly: bool, tmp_path: Path
) -> None:
    path = tmp_path / "journal"
    code = """
import os, sys
from canario import Outcome, create_canary_controller
from canario.testing import ManualClock
clock = ManualClock(1e8)
options = {"clock": clock, "journal": sys.argv[1], "environ": {}}
controller = create_canary_controller("x", canary_5_hold_seconds=60, **options)
controller.start()
for _ in range(80): clock.advance(.5); controller.observe("canary", Outcome.GOOD, 10.0)
if sys.argv[2] == "True": sys.exit()
controller._journal.drain(5); os._exit(0)
"""
    assert python(code, path, orderly).returncode == 0
    clock = ManualClock(1e8 + shift)
    again = controller(path, clock=clock, canary_5_hold_seconds=60)
    again.start()
    served = 0.0
    while not again.state.stage:
        clock.advance(0.5)
        served += 0.5
        again.observe("canary", Outcome.GOOD, 10.0)
    # Without an orderly end up to a note's distance is served twice, and never less than all.
    assert served == 20 if orderly else 20 <= served <= 36


def test_a_journal_of_days_is_read_at_once(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    clock = ManualClock(0)
    first = controller(path, clock=clock)
    first.start()
    for _ in range(24 * 240):
        clock.advance(15)
        first.tick()
    assert first.close(30)
    assert path.stat().st_size < 600_000
    began = time.process_time()
    again = controller(path, clock=clock)
    again.start()
    assert time.process_time() - began < 5
    assert again.state.held_at == first.state.held_at


@pytest.mark.parametrize(
    ("name", "match"), [("", "is a folder; a journal is a file"), ("a\0b", "is no name of a file")]
)
def test_what_can_be_no_file_is_refused_in_words(name: str, match: str, tmp_path: Path) -> None:
    made = create_canary_controller("x", journal=f"{tmp_path}/{name}", environ={})
    with pytest.raises(JournalError, match=match):
        made.start()
    assert made.router.share == 0


def test_a_rollback_is_kept_whatever_is_said_of_what_broke(tmp_path: Path) -> None:
    """JSON can escape half of a surrogate pair, which UTF-8, and so a journal, does not have."""
    path = tmp_path / "journal"
    for violation in ("a \ud83d", Violation(message=LookupError("\udcff"), route=7)):  # type: ignore[arg-type]
        canary = controller(path)
        canary.start()
        canary.report_violation("canary", violation)
        assert canary.close(PATIENCE)
        end = parse_journal(path.read_bytes()).events[-1]
        assert isinstance(end, RolledBack)
        assert end == canary.events[-1]
        path.unlink()


def test_what_is_no_violation_is_refused() -> None:
    canary = create_canary_controller("r", environ={})
    canary.start()
    with pytest.raises(TypeError, match="violation is None; it must be a Violation, or text"):
        canary.report_violation("canary", None)  # type: ignore[arg-type]
    assert canary.state.share == 5


def test_a_store_that_raises_keeps_nobody_from_hearing_of_a_rollback() -> None:
    class Full(MemoryJournal):
        def append(self, events: Sequence[Event]) -> None:
            raise OSError(28, "No space left on device")

    heard: list[Event] = []
    canary = CanaryDeploymentController(
        deployment_id="r", journal=Full(()), sinks=[inline(heard.append)]
    )
    canary.start()
    canary.report_violation("canary", "broken")
    assert canary.router.share == 0
    assert isinstance(heard[-1], RolledBack)
    assert canary.counters["journal_failed"] == 2


def test_processes_that_end_one_after_the_other_are_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Each counts anew, so a canary that ends its own process is not judged by what it does."""

    def life() -> bool:
        caplog.clear()
        canary = controller(tmp_path / "journal", clock=ManualClock(next(instants)))
        canary.start()
        assert canary.close(PATIENCE)
        return "the process was replaced" in caplog.text

    instants = iter(range(1000, 2000, 5))
    assert [life() for _ in range(6)] == [False, False, False, True, True, True]
    assert "replaced 5 times in this stage" in caplog.text
    canary = controller(tmp_path / "journal")
    canary.start()
    canary.skip()
    assert canary.close(PATIENCE)
    assert not life()
