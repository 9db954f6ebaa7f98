"""A real Dask scheduler with two worker processes, one of which is killed in the middle."""

from __future__ import annotations

import inspect
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from tests.lab.worlds import experiment
from tests.waiting import PATIENCE, until

from canario.config import ConfigError
from canario_sim.lab import cluster, processes, replicate, run_all

ROOT = Path(__file__).parents[2]

# What a module of these tests needs in a worker, and no dashboard.
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": str(ROOT),
    "DASK_DISTRIBUTED__DASHBOARD__LINK": "",
    "DASK_DISTRIBUTED__SCHEDULER__DASHBOARD__STATUS__TASK_STREAM_LENGTH": "0",
}


class Dask:
    """A scheduler and its workers, each a process of this machine on the loopback."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: list[subprocess.Popen[bytes]] = []
        file = folder / "scheduler.json"
        self.start("scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(file))
        until(lambda: file.exists() and file.stat().st_size > 0)
        self.address: str = json.loads(file.read_text())["address"]

    def start(self, kind: str, *more: str) -> subprocess.Popen[bytes]:
        """`dask scheduler` or `dask worker`, in a group of its own."""
        command = [sys.executable, "-m", "dask", kind, "--no-dashboard", *more]
        with (self.folder / f"{kind}-{len(self.processes)}.log").open("wb") as log:
            process = subprocess.Popen(
                command, stdout=log, stderr=log, env=ENVIRONMENT, cwd=self.folder
            )
        self.processes.append(process)
        return process

    def worker(self) -> subprocess.Popen[bytes]:
        """A worker without a nanny, so that nobody starts it again when it is killed."""
        return self.start(
            "worker",
            self.address,
            "--no-nanny",
            "--nthreads",
            "1",
            "--host",
            "127.0.0.1",
            "--local-directory",
            str(self.folder),
        )

    def need_worker(self) -> None:
        """One at least; a test that is run alone finds none."""
        if not workers_of(self.address):
            self.worker()
            until(lambda: workers_of(self.address) >= 1)

    def stop(self) -> None:
        """All of it."""
        for process in reversed(self.processes):
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def dask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dask]:
    made = Dask(tmp_path_factory.mktemp("dask"))
    try:
        yield made
    finally:
        made.stop()


def workers_of(address: str) -> int:
    from distributed import Client

    with Client(address, set_as_default=False) as client:  # type: ignore[no-untyped-call]
        return len(client.scheduler_info(n_workers=-1)["workers"])


PLAN = """
[deployment]
canary_stages = [{ percentage = 20, hold_seconds = 20 }, { percentage = 60, hold_seconds = 20 }]
"""
TABLE = 'rates = [50]\nregressions = [{ kind = "errors", points = 20 }]\n'


def command(*more: str, n: int = 40) -> list[str]:
    given = ["assess", "plan.toml", "--policy", "flagger:interval_seconds=10", "--json"]
    table = ["--conditions", "table.toml", "-n", str(n)]
    return [sys.executable, "-m", "canario", *given, *table, *more]


def test_without_workers_nothing_is_begun(dask: Dask) -> None:
    with pytest.raises(ConfigError, match="has no workers"), cluster(dask.address):
        pass


def test_a_worker_killed_in_the_middle_changes_no_byte(dask: Dask, tmp_path: Path) -> None:
    doomed = dask.worker()
    dask.worker()
    until(lambda: workers_of(dask.address) == 2)
    (tmp_path / "plan.toml").write_text(PLAN)
    (tmp_path / "table.toml").write_text(TABLE)

    file = tmp_path / "cluster.jsonl"
    with subprocess.Popen(
        command("--cluster", dask.address, "--rows", str(file)),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=ENVIRONMENT,
    ) as run:
        until(lambda: file.exists() and file.read_bytes().count(b"\n") > 20)
        os.kill(doomed.pid, signal.SIGKILL)
        assert run.poll() is None
        said, told = run.communicate(timeout=PATIENCE)
    assert run.returncode == 0, told.decode()
    assert workers_of(dask.address) == 1
    here = subprocess.run(
        command("--workers", "2", "--rows", "here.jsonl"),
        cwd=tmp_path,
        capture_output=True,
        timeout=PATIENCE,
        check=True,
    )
    assert said == here.stdout
    assert json.loads(said)["complete"]
    assert file.read_bytes() == (tmp_path / "here.jsonl").read_bytes()
    assert b"Traceback" not in told


def _slow(folder: Path, number: int) -> int:
    (folder / f"{number}-{os.getpid()}").touch()
    time.sleep(0.02)
    return number * number


def test_any_work_goes_to_the_cluster_and_lost_work_is_done_again(
    dask: Dask, tmp_path: Path
) -> None:
    dask.need_worker()
    doomed = dask.worker()
    until(lambda: workers_of(dask.address) == 2)
    done: dict[int, int] = {}

    def kill(number: int, value: int) -> None:
        done[number] = value
        if len(done) == 20:
            os.kill(doomed.pid, signal.SIGKILL)

    with cluster(dask.address) as crew:
        made = run_all(range(100), partial(_slow, tmp_path), crew, on_result=kill)
    assert list(made.values.values()) == [number * number for number in range(100)]
    assert len({mark.name.partition("-")[2] for mark in tmp_path.iterdir()}) == 2


def test_tasks_grow_with_the_cluster_so_that_its_scheduler_can_feed_it(
    dask: Dask, monkeypatch: pytest.MonkeyPatch
) -> None:
    dask.need_worker()
    with cluster(dask.address) as crew:
        assert crew.task_seconds == 0.5
    monkeypatch.setitem(inspect.unwrap(cluster).__globals__, "_check", lambda *_: 1000)
    with cluster(dask.address) as crew:
        assert crew.task_seconds == 3
        assert crew.slots == 3000


def test_the_library_gives_the_same_rows_there_as_here(dask: Dask) -> None:
    dask.need_worker()
    with cluster(dask.address) as crew:
        there = replicate(experiment(), crew, most=20)
    assert there == replicate(experiment(), processes(1), most=20)


def test_ctrl_c_ends_a_run_there_too_and_without_noise(dask: Dask, tmp_path: Path) -> None:
    dask.need_worker()
    (tmp_path / "plan.toml").write_text(PLAN)
    (tmp_path / "table.toml").write_text(TABLE)
    file = tmp_path / "rows.jsonl"
    with subprocess.Popen(
        command("--cluster", dask.address, "--rows", str(file), n=20_000),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=ENVIRONMENT,
        text=True,
    ) as run:
        until(lambda: file.exists() and file.read_bytes().count(b"\n") > 20)
        run.send_signal(signal.SIGINT)
        said, told = run.communicate(timeout=PATIENCE)
    assert run.returncode == 130
    assert not json.loads(said)["complete"]
    assert told == f"canario: interrupted; the same command goes on with what is in {file}\n"


def test_without_its_scheduler_a_run_ends(tmp_path: Path) -> None:
    own = Dask(tmp_path)
    done: list[int] = []
    ended: list[object] = []

    def kill(number: int, _: int) -> None:
        done.append(number)
        if len(done) == 5:
            own.processes[0].kill()

    def run() -> None:
        with cluster(own.address, timeout=15) as crew:
            try:
                run_all(range(2000), partial(_slow, tmp_path), crew, on_result=kill)
            except crew.lost as error:
                ended.append(error)

    try:
        own.worker()
        until(lambda: workers_of(own.address) == 1)
        # In a thread of its own: one that waits for ever must not hold up the others.
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        thread.join(PATIENCE)
    finally:
        own.stop()
    assert len(ended) == 1
    assert 5 <= len(done) < 2000


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "nowhere", "tcp://", "ftp://127.0.0.1:1"])
def test_an_address_at_which_nobody_answers_is_told_in_one_line(address: str) -> None:
    with pytest.raises(ConfigError, match="--cluster") as caught, cluster(address, timeout=1):
        pass
    assert "\n" not in str(caught.value)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with (
        pytest.raises(ConfigError, match=r"pip install 'canario\[cluster\]'"),
        cluster("tcp://127.0.0.1:9"),
    ):
        pass
