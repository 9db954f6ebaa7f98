"""Ten thousand rehearsals: what they cost, what handing them out costs, and a worker's memory.

python -m benchmarks.laboratory [--quick]
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psutil
from msgspec.structs import replace

from canario_sim.lab import Condition, Experiment, Policy, Workers, cluster, processes, work
from canario_sim.lab.agenda import Task
from canario_sim.lab.experiment import Row as LabRow
from canario_sim.lab.experiment import seed_number
from canario_sim.lab.replicate import Result, run_task
from canario_sim.lab.rows import Sheet
from canario_sim.lab.workers import TASK_SECONDS
from canario_sim.peers import Argo, Flagger
from canario_sim.world.rehearsal import run

from .measure import Rounds, Row, Table, bytes_text, options, report, rounds_of, time_text
from .simulation import (
    PLENTY,
    QUICK_STAGES,
    STAGES,
    decisions_of,
    process_only,
    process_with_resource,
    scenario_of,
    trace_of,
)

SEED = 1

# One condition and one policy: the documented plan on a steady service.
OWN = (Policy(name="own"),)

# As many tasks as show what one costs.
TASKS, QUICK_TASKS = 500, 60


def main() -> None:
    """Measure everything and print the tables."""
    quick = options("Ten thousand rehearsals: their cost, their handing out, a worker's memory.")
    stages, rounds = (QUICK_STAGES, 1) if quick else (STAGES, 3)
    condition = Condition(scenario=scenario_of(stages), kind="healthy")
    report(
        [
            replications(condition, rounds),
            overhead(condition, QUICK_TASKS if quick else TASKS),
            memory(condition),
        ]
    )


# -- replications


def replications(condition: Condition, rounds: int) -> Table:
    """What a worker takes for each, beside SimPy with each request by itself."""
    requests, measured = _measured(condition, rounds)
    each = measured.median("lab")
    per_hour = 3600 / each
    hours = each * 10_000 / 3600
    peers = {
        "resource": "SimPy, a process and a Resource per request",
        "process": "SimPy, a process per request",
    }
    side = measured.median("three") / each
    return Table(
        f"10,000 rollouts of {requests:,} requests, generation included",
        [
            Row(
                "`canario assess`, one policy",
                f"{per_hour:,.0f} per core-hour",
                f"{time_text(each)} each",
                "≥ 10,000 per core-hour",
                per_hour >= 10_000,
            ),
            Row(
                "10,000 of them",
                f"{hours:.3f} core-hours",
                "10,000 times the first row",
                "≤ 0.15 core-hours",
                hours <= 0.15,
            ),
            Row(
                "Flagger and Argo Rollouts beside it, on the same requests",
                f"{measured.median('three') * 10_000 / 3600:.3f} core-hours",
                f"{side:.2f} × one policy",
            ),
            *(
                Row(
                    what,
                    f"{measured.median(name) * 10_000 / 3600:.1f} core-hours",
                    f"{measured.ratio(name, 'lab'):.0f} × canario",
                )
                for name, what in peers.items()
            ),
        ],
        "CPU time of `run_task`, which is what a worker is sent: it draws the requests, rehearses "
        "and makes the rows, replication after replication, each with a seed of its own. The SimPy "
        "models are given the requests ready-made, as in the table of `benchmarks.simulation`, and "
        "must come to the same decisions and counts. Flagger's rollout takes 5 minutes, Argo's 40. "
        f"Medians of {rounds} rounds.",
    )


def _measured(condition: Condition, rounds: int) -> tuple[int, Rounds]:
    scenario = condition.scenario
    seed = seed_number(SEED, 0)
    first = run(scenario, seed)
    trace = trace_of(replace(scenario, seed=seed))
    expected = decisions_of(first)
    three = (*OWN, Policy(name="flagger", peer=Flagger()), Policy(name="argo", peer=Argo()))
    number = iter(range(1, 1_000_000))

    def lab(policies: tuple[Policy, ...], count: int) -> float:
        at = next(number) * count
        start = time.process_time()
        rows, _ = run_task(condition, policies, SEED, Task(0, at, at + count))
        seconds = time.process_time() - start
        if len(rows) != count * len(policies):
            raise RuntimeError("a task did not make all its rows")
        return seconds / count

    def peer(way: Callable[[], object]) -> float:
        start = time.process_time()
        decisions = way()
        seconds = time.process_time() - start
        if decisions != expected:
            raise RuntimeError("two ways to rehearse the same requests decided differently")
        return seconds

    timers = {
        "lab": partial(lab, OWN, 5),
        "three": partial(lab, three, 2),
        "resource": partial(peer, partial(process_with_resource, scenario, trace, PLENTY)),
        "process": partial(peer, partial(process_only, scenario, trace)),
    }
    measured = rounds_of(timers, rounds)
    return first.baseline.requests + first.canary.requests, measured


# -- handing out


class Empty:
    """Tasks of a real experiment's kind that have nothing to do, as `Jobs`."""

    def __init__(self, condition: Condition, number: int) -> None:
        self.planned = number
        self.done = 0
        self._condition = condition
        self._handed = 0

    def next(self) -> Task | None:
        """See `Jobs`."""
        if self._handed == self.planned:
            return None
        self._handed += 1
        return Task(0, 0, 0)

    def call(self, task: Task) -> tuple[Callable[..., Result], tuple[Any, ...]]:
        """See `Jobs`."""
        return run_task, (self._condition, OWN, SEED, task)

    def merge(self, task: Task, result: Result) -> None:  # noqa: ARG002
        """See `Jobs`."""
        self.done += 1

    def forget(self) -> None:
        """See `Jobs`."""
        self._handed = self.done


def overhead(condition: Condition, tasks: int) -> Table:
    """What a task costs beside its work, on processes and on Dask."""
    rows = [_row("two processes of this machine", _kept(processes(2)), condition, tasks, None)]
    with dask(2) as (address, scheduler), cluster(address) as crew:
        rows.append(
            _row("Dask, two workers on the loopback", _kept(crew), condition, tasks, scheduler)
        )
    return Table(
        "Handing out one task",
        rows,
        f"{tasks:,} tasks that have the arguments of real ones and nothing to do, after as many to "
        "warm up. Wall time of all of them by their number; and of that CPU time in the one "
        "process through which every task goes, the parent's or, with Dask, the busier one of "
        "client and scheduler, which bounds how many workers can be fed with tasks of "
        f"{TASK_SECONDS:g} s.",
    )


def _row(
    what: str,
    opened: AbstractContextManager[Workers],
    condition: Condition,
    tasks: int,
    scheduler: psutil.Process | None,
) -> Row:
    with opened as crew:
        work(Empty(condition, tasks), crew)
        before = _cpu(scheduler)
        cpu, wall = time.process_time(), time.perf_counter()
        work(Empty(condition, tasks), crew)
        wall = (time.perf_counter() - wall) / tasks
        own = (time.process_time() - cpu) / tasks
        theirs = (_cpu(scheduler) - before) / tasks
    bound = max(own, theirs)
    return Row(
        what,
        time_text(wall),
        f"{100 * wall / TASK_SECONDS:.2g} % of a task; {time_text(bound)} in the busiest process, "
        f"enough for {TASK_SECONDS / bound:,.0f} workers",
    )


def _cpu(process: psutil.Process | None) -> float:
    if process is None:
        return 0.0
    times = process.cpu_times()
    return float(times.user + times.system)


@contextmanager
def _kept(crew: Workers) -> Iterator[Workers]:
    """The same workers, whose executor stays open from one use to the next."""
    with crew.open() as executor:

        @contextmanager
        def again() -> Iterator[Executor]:
            yield executor

        yield Workers(again, slots=crew.slots, lost=crew.lost)


@contextmanager
def dask(workers: int) -> Iterator[tuple[str, psutil.Process]]:
    """A scheduler and workers, processes of this machine: its address, and the scheduler."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "scheduler.json"
        running = [_dask(folder, "scheduler", "--port", "0", "--scheduler-file", str(file))]
        try:
            _until(lambda: file.exists() and file.stat().st_size > 0)
            address: str = json.loads(file.read_text())["address"]
            given = ("worker", address, "--no-nanny", "--nthreads", "1")
            running += [_dask(folder, *given) for _ in range(workers)]
            _until(lambda: _workers(address) == workers)
            yield address, psutil.Process(running[0].pid)
        finally:
            for process in reversed(running):
                process.kill()
                process.wait()


def _dask(folder: str, kind: str, *more: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "dask", kind, "--no-dashboard", "--host", "127.0.0.1", *more]
    return subprocess.Popen(
        command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def _workers(address: str) -> int:
    from distributed import Client

    with Client(address, set_as_default=False) as client:  # type: ignore[no-untyped-call]
        return len(client.scheduler_info(n_workers=-1)["workers"])


def _until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        if time.monotonic() > deadline:
            raise RuntimeError("Dask did not start")
        time.sleep(0.1)


# -- memory


def memory(condition: Condition) -> Table:
    """The most that a worker has held, and what a row takes in the parent."""
    with processes(1).open() as executor:
        bare = executor.submit(peak).result()
        executor.submit(run_task, condition, OWN, SEED, Task(0, 0, 2)).result()
        after = executor.submit(peak).result()
        executor.submit(run_task, condition, OWN, SEED, Task(0, 2, 40)).result()
        later = executor.submit(peak).result()
    rows, _ = run_task(condition, OWN, SEED, Task(0, 0, 1))
    return Table(
        "Peak memory",
        [
            Row("a worker that has imported all it needs", bytes_text(bare)),
            Row("after 2 rollouts", bytes_text(after)),
            Row("after 40 rollouts", bytes_text(later)),
            Row("the parent, for 1,000,000 rows", bytes_text(_row_bytes(rows[0]) * 1e6)),
        ],
        "Largest resident set of a worker process (VmHWM), which is the same whatever runs it. A "
        "row is what remains of a rollout under one policy.",
    )


def peak() -> float:
    """The largest resident set that this process has had, in bytes."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    line = next(line for line in lines if line.startswith("VmHWM:"))
    return float(line.split()[1]) * 1024


def _row_bytes(row: LabRow) -> float:
    """What one more row takes, kept as a run keeps it."""
    experiment = Experiment(
        conditions=(Condition(scenario=scenario_of(QUICK_STAGES), kind="healthy"),), policies=OWN
    )
    number = 20_000
    gc.collect()
    tracemalloc.start()
    sheet = Sheet(experiment)
    for replication in range(number):
        sheet.add([replace(row, replication=replication, at=float(replication))])
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return size / number


if __name__ == "__main__":
    main()
