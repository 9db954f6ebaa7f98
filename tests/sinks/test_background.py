"""The queue beside the requests: bounded, in order, unharmed by what it calls, and by a fork."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest
from tests.waiting import PATIENCE

from canario.host.background import BackgroundQueue


def test_items_are_handled_in_order_beside_whoever_submits() -> None:
    handled: list[tuple[int, int]] = []
    queue: BackgroundQueue[int] = BackgroundQueue(
        lambda item: handled.append((item, threading.get_ident())), name="test", capacity=1000
    )
    assert all(queue.submit(item) for item in range(500))
    assert queue.drain(PATIENCE)
    assert [item for item, _ in handled] == list(range(500))
    assert threading.get_ident() not in {ident for _, ident in handled}


def test_what_finds_no_room_is_counted_and_submit_never_waits() -> None:
    go, busy = threading.Event(), threading.Event()

    def handle(item: int) -> None:
        busy.set()
        go.wait(PATIENCE)

    queue: BackgroundQueue[int] = BackgroundQueue(handle, name="test", capacity=2)
    assert queue.submit(0)
    assert busy.wait(PATIENCE)
    assert [queue.submit(item) for item in range(1, 6)] == [True, True, False, False, False]
    assert (queue.dropped, queue.waiting) == (3, 2)
    assert not queue.drain(0.01)
    go.set()
    assert queue.drain(PATIENCE)


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(3), KeyboardInterrupt()])
def test_nothing_that_a_handler_raises_ends_the_work(error: BaseException) -> None:
    failed: list[BaseException] = []

    def handle(item: int) -> None:
        if item == 0:
            raise error

    queue: BackgroundQueue[int] = BackgroundQueue(handle, name="test", on_error=failed.append)
    queue.submit(0)
    queue.submit(1)
    assert queue.drain(PATIENCE)
    assert failed == [error]


def test_a_failure_is_logged_where_nobody_asks_for_it(caplog: pytest.LogCaptureFixture) -> None:
    queue: BackgroundQueue[int] = BackgroundQueue(lambda item: 1 // item, name="divider")
    queue.submit(0)
    assert queue.drain(PATIENCE)
    assert "divider failed; the next item follows" in caplog.text


def test_closed_it_takes_nothing_more_and_drops_what_it_could_not_do() -> None:
    go, busy = threading.Event(), threading.Event()

    def handle(item: int) -> None:
        busy.set()
        go.wait(PATIENCE)

    queue: BackgroundQueue[int] = BackgroundQueue(handle, name="test")
    queue.submit(0)
    assert busy.wait(PATIENCE)
    queue.submit(1)
    assert not queue.close(0.01)
    assert not queue.submit(2)
    assert queue.dropped == 2
    go.set()
    assert queue.close(PATIENCE)


def test_a_queue_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="capacity is 0"):
        BackgroundQueue(print, name="test", capacity=0)


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )


FLUSH = """
import threading, time
from canario.host.background import BackgroundQueue
def handle(item):
    time.sleep(0.05)
    print(item, flush=True)
queue = BackgroundQueue(handle, name="test", exit_seconds={seconds})
for item in range(3):
    queue.submit(item)
"""

HANG = """
import threading
from canario.host.background import BackgroundQueue
queues = [
    BackgroundQueue(lambda _: threading.Event().wait(), name="hangs", exit_seconds=0.3)
    for _ in range(20)
]
for queue in queues:
    queue.submit(0)
"""


def test_the_end_of_the_process_waits_for_what_was_submitted_and_not_for_ever() -> None:
    assert run(FLUSH.format(seconds=600)).stdout.split() == ["0", "1", "2"]
    assert run(HANG).returncode == 0


def test_a_forked_child_begins_anew_whatever_its_parent_was_doing() -> None:
    """Even with the lock held and an item under way at the fork."""
    said = run("""
import os, threading, warnings
from canario.host.background import BackgroundQueue
warnings.simplefilter("ignore", DeprecationWarning)  # forking beside threads is what is tested
go, busy = threading.Event(), threading.Event()
handled = []
def handle(item):
    handled.append(item)
    busy.set()
    go.wait(600)
queue = BackgroundQueue(handle, name="test")
queue.submit("parent")
queue.submit("parent waits")
busy.wait(600)
with queue._changed:
    child = os.fork()
    if not child:
        handled.clear()
        go.set()
        queue.submit("child")
        assert queue.drain(600)
        print(handled, flush=True)
        os._exit(0)
os.waitpid(child, 0)
go.set()
assert queue.drain(600)
print(handled)
""").stdout.splitlines()
    assert said == ["['child']", "['parent', 'parent waits']"]
