"""Calls of one function by many workers: every result once, whatever becomes of the workers."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import BrokenExecutor
from functools import partial
from pathlib import Path

import psutil
import pytest
from tests.lab.worlds import here, jumbled
from tests.waiting import until

from canario_sim.lab import (
    Interruption,
    Progress,
    Workers,
    executor,
    interruptible,
    processes,
    run_all,
)
from canario_sim.lab.executor import fitting
from canario_sim.lab.workers import TASK_SECONDS

NUMBERS = list(range(200))


@pytest.mark.parametrize("workers", [here(), jumbled(1), jumbled(2), here(slots=1), here(lose=4)])
def test_every_result_is_there_once_and_in_order(workers: Workers) -> None:
    seen: list[tuple[int, float]] = []
    done = run_all(NUMBERS, math.sqrt, workers, on_result=lambda *told: seen.append(told))
    assert done.complete
    assert list(done.values.items()) == [(number, math.sqrt(number)) for number in NUMBERS]
    assert sorted(seen) == list(done.values.items())


def test_what_an_earlier_run_has_done_is_left_out() -> None:
    told: list[Progress] = []
    done = run_all(NUMBERS, math.sqrt, here(), done=range(150), progress=told.append)
    assert list(done.values) == NUMBERS[150:]
    assert (told[0].done, told[0].taken_up, told[-1].done) == (150, 150, 200)
    assert run_all([], math.sqrt, here()).complete


def test_what_a_task_raises_ends_it() -> None:
    with pytest.raises(ValueError, match=r"math domain|nonnegative"):
        run_all([1.0, -1.0], math.sqrt, here())


def test_tasks_grow_to_half_a_second_and_no_larger() -> None:
    size = 1
    for _ in range(40):
        size = fitting(size, size, 0.001 * size)
    assert size == int(TASK_SECONDS / 0.001)
    assert fitting(500, 500, 5.0) == 50
    assert fitting(1, 1, 60.0) == 1
    assert fitting(1000, 1000, 1.0, 3.0) == 2000


def _square(folder: Path, number: int) -> int:
    """Once, in the middle, the worker is killed by force."""
    mark = folder / "killed"
    if number == 12 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number * number


def test_a_process_that_is_killed_loses_nothing(tmp_path: Path) -> None:
    done = run_all(range(40), partial(_square, tmp_path), processes(2))
    assert (tmp_path / "killed").exists()
    assert list(done.values.values()) == [number * number for number in range(40)]


def _die(_: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_processes_that_always_die_end_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor, "_LOSSES", 2)
    with pytest.raises(BrokenExecutor):
        run_all([1], _die, processes(1))


def test_an_interruption_leaves_what_is_done() -> None:
    interruption = Interruption()

    def stop(number: int, _: float) -> None:
        interruption.asked = interruption.asked or number >= 20

    done = run_all(NUMBERS, math.sqrt, here(), interruption=interruption, on_result=stop)
    assert not done.complete
    assert 20 <= len(done.values) < 200
    assert all(value == math.sqrt(number) for number, value in done.values.items())


def test_the_first_ctrl_c_is_a_request_and_the_second_one_as_ever() -> None:
    # A shell's background jobs begin with the signal ignored.
    found = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with interruptible() as interruption:
            signal.raise_signal(signal.SIGINT)
            assert interruption.asked
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, found)


def test_in_another_thread_nothing_is_watched() -> None:
    found: list[bool] = []

    def watch() -> None:
        with interruptible() as interruption:
            found.append(interruption.asked)

    thread = threading.Thread(target=watch)
    thread.start()
    thread.join()
    assert found == [False]


def _child(_: int) -> int:
    return os.getpid()


def test_no_worker_outlives_its_parent(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        "import os, sys, time\n"
        "from canario_sim.lab import processes, run_all\n"
        "from tests.lab.test_executor import _child\n"
        "if __name__ == '__main__':\n"
        "    with processes(2).open() as pool:\n"
        "        print(pool.submit(_child, 1).result(), flush=True)\n"
        "        time.sleep(6000)\n"
    )
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    ) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        parent.kill()
        parent.wait()
    until(lambda: not psutil.pid_exists(worker) or psutil.Process(worker).status() == "zombie")
