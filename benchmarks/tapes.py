"""What recording a tape costs a request, what a tape takes on disk, and how fast it is judged.

python -m benchmarks.tapes [--quick]
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from canario.asgi import CanaryMiddleware
from canario.controller import CanaryDeploymentController
from canario.plan import Deployment, RollbackThresholds, Stage
from canario.tape import TapeRecorder
from canario_sim.backtest import false_alarms, judge_tape
from canario_sim.lab.experiment import Policy
from canario_sim.tapes import read_tape
from canario_sim.tapes.importing import import_log
from canario_sim.tapes.recording import Recording
from canario_sim.tapes.save import write_tape

from .apps import PLAN, starlette
from .measure import Row, Table, Timer, options, report, rounds_of, time_text
from .middleware import receive, scope_of, send

USERS = 1000


def main() -> None:
    """Measure everything and print the tables."""
    quick = options("What recording a tape costs, and how fast tapes are judged.")
    requests, rounds, rows = (20, 3, 20_000) if quick else (300, 101, 1_000_000)
    with TemporaryDirectory() as folder, asyncio.Runner() as runner:
        tables = [recording(requests, rounds, runner.run, Path(folder))]
    with TemporaryDirectory() as folder:
        tables.append(judging(rows, Path(folder)))
    report(tables)


# -- on the request path


def recording(requests: int, rounds: int, run: Callable[[Any], object], folder: Path) -> Table:
    """What a request takes longer with a tape: until it is answered, and with the writing."""
    apps = {name: _wrapped(name, folder) for name in ("none", "route", "tape")}
    calls: dict[str, Timer] = {
        name: _caller(app, requests, run, cpu=False) for name, app in apps.items()
    }
    whole: dict[str, Timer] = {
        name: _caller(app, requests, run, cpu=True) for name, app in apps.items()
    }
    answered, all_of_it = rounds_of(calls, rounds), rounds_of(whole, rounds)
    tape = apps["tape"].gate.tape
    assert tape is not None
    assert tape.close(60)
    assert tape.dropped == 0
    added = answered.added("tape", "route") / requests
    named = answered.added("route", "none") / requests
    in_all = all_of_it.added("tape", "none") / requests
    size = sum(file.stat().st_size for file in folder.iterdir()) / max(tape.recorded, 1)
    return Table(
        "A tape beside the requests",
        [
            Row("a request without a tape", time_text(answered.median("none") / requests)),
            Row(
                "a tape, until the request is answered",
                f"+ {time_text(added)}",
                aim="≤ 1 µs",
                reached=added <= 1e-6,
            ),
            Row("naming its route, where nothing else asks for it", f"+ {time_text(named)}"),
            Row("all of that, with the work of the thread that writes", f"+ {time_text(in_all)}"),
            Row("a request on the disk", f"{size:.0f} bytes"),
        ],
        f"Medians of {rounds} rounds of {requests} requests each, called directly. The first three "
        "are CPU time of the thread that serves, the fourth that of the process: with hashing, "
        "SQLite and the disk.",
    )


def _wrapped(name: str, folder: Path) -> CanaryMiddleware:
    tape = TapeRecorder(folder / "a.tape.sqlite") if name == "tape" else None
    made = CanaryMiddleware(
        starlette(), CanaryDeploymentController(PLAN), starlette(), tape=tape, spans=False
    )
    if name == "route":
        made.gate.names_routes = True
    return made


def _caller(app: Any, requests: int, run: Callable[[Any], object], *, cpu: bool) -> Timer:
    clock = time.process_time if cpu else time.thread_time

    def measure() -> float:
        scopes = [scope_of(number % USERS) for number in range(requests)]
        seconds = 0.0

        async def call() -> None:
            nonlocal seconds
            start = clock()
            for scope in scopes:
                await app(scope, receive, send)
            if cpu and app.gate.tape is not None:
                app.gate.tape.drain()
            seconds = clock() - start

        run(call())
        return seconds

    return measure


# -- afterwards


def judging(rows: int, folder: Path) -> Table:
    """How fast a tape is written, read, judged and released again and again."""
    made = _traffic(rows)
    path = folder / "a.tape"
    seconds, _ = _timed(lambda: write_tape(made, path))
    write = Row("writing an imported tape", f"{time_text(seconds / rows)} a request")
    seconds, tape = _timed(lambda: read_tape(path))
    read = Row("reading it", f"{time_text(seconds / rows)} a request")
    policy = Policy(name="defaults", deployment=_release(made.ends - made.at[0]))
    seconds, _ = _timed(lambda: judge_tape(tape, [policy], fates="recorded"))
    judge = Row("judging it as it was recorded", f"{rows / seconds:,.0f} requests/s")
    seconds, _ = _timed(lambda: judge_tape(tape, [policy], within_seconds=3600))
    drawn = Row("judging it with other fates drawn", f"{rows / seconds:,.0f} requests/s")
    release = Policy(name="defaults", deployment=_release(300))
    seconds, found = _timed(lambda: false_alarms(tape, [release]))
    windows = len(found.alarms[0].windows)
    again = Row(
        f"{windows} rollouts of what changes nothing", f"{time_text(seconds / windows)} each"
    )
    log = folder / "access.log"
    lines = min(rows, 200_000)
    log.write_text("".join(map(_line, range(lines))))
    seconds, _ = _timed(lambda: import_log(log))
    imported = Row("reading an access log", f"{lines / seconds:,.0f} lines/s")
    return Table(
        f"A tape of {rows:,} requests",
        [imported, write, read, judge, drawn, again],
        "One run each, on one core: 50 requests/s of 10,000 users, a check every 5 s.",
    )


def _timed(job: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    made = job()
    return time.perf_counter() - start, made


def _release(seconds: float) -> Deployment:
    hold = max(seconds, 30) / 3
    return Deployment(
        deployment_id="benchmark",
        canary_stages=(Stage(5, hold), Stage(25, hold), Stage(100, hold)),
        rollback_thresholds=RollbackThresholds(max_error_rate=50, max_p95_latency_ms=5000),
    )


def _traffic(rows: int) -> Recording:
    rng = np.random.default_rng(1)
    at = np.cumsum(rng.exponential(0.02, rows)).astype(np.float64) + 1_795_000_000
    latency = rng.lognormal(4, 0.6, rows)
    ended = at + latency / 1000
    key = rng.integers(0, 10_000, rows)
    buckets = rng.integers(0, 100_000, 10_000)
    return Recording(
        at=at,
        ended=ended,
        arm=(buckets[key] < 20_000).astype(np.int8),
        outcome=(rng.random(rows) < 0.005).astype(np.uint8),
        latency_ms=latency,
        bucket=buckets[key],
        key=key,
        route=rng.integers(0, 5, rows),
        routes=("/a", "/b", "/c", "/d", "/e"),
        identities=np.arange(10_000),
    ).taken(np.argsort(ended, kind="stable"))


def _line(number: int) -> str:
    second, minute = number // 50 % 60, number // 3000 % 60
    return (
        f"10.0.{number % 16}.{number % 250} - - [18/Nov/2026:{number // 180_000:02d}:{minute:02d}:"
        f'{second:02d} +0000] "GET /items/{number} HTTP/1.1" 200 512 "-" "curl/8" '
        f"0.{number % 999:03d}\n"
    )


if __name__ == "__main__":
    main()
