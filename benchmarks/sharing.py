"""One rollout over all workers: what it costs a request and a worker, and how soon all know.

python -m benchmarks.sharing [--quick]
"""

from __future__ import annotations

import itertools
import logging
import random
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median

from canario import CanaryDeploymentController
from canario.arms import ARMS
from canario.control.recording import Outcome
from canario.plan import Deployment, Plan, RollbackThresholds, Stage
from canario.sharing import Member
from canario.sharing.presence import Page, Presence
from canario.stores import SharedStore, make_store

from .measure import Row, Table, options, per_call, report, rounds_of, time_text

HOUR = 3600.0


def plan(name: str, checks_seconds: float = 5.0) -> Deployment:
    """A release that stays in its first stage."""
    return Deployment(
        deployment_id=name,
        canary_stages=(Stage(5, 200 * HOUR),),
        rollback_thresholds=RollbackThresholds(
            check_interval_seconds=checks_seconds, max_p95_latency_ms=60_000
        ),
    )


def main() -> None:
    """Measure everything and print the tables."""
    quick = options("What it costs that workers share a rollout, and how soon all know.")
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as name, stores(Path(name)) as addresses:
        report(
            [
                request_path(Path(name), 3 if quick else 51),
                withdrawal(addresses, 2 if quick else 30),
                at_rest(addresses, 20 if quick else 400),
                many_workers(addresses, 8 if quick else 64),
                joining(addresses, 30 if quick else 5000),
            ]
        )


@contextmanager
def stores(folder: Path) -> Iterator[dict[str, str]]:
    """The addresses of a SQLite file and, where there is a server, of a Redis of our own."""
    addresses = {"SQLite": f"sqlite:///{folder}/release.db"}
    program = shutil.which("redis-server")
    if program is None:
        yield addresses
        return
    socket = folder / "redis.sock"
    server = subprocess.Popen(
        [
            *(program, "--port", "0", "--unixsocket", str(socket)),
            *("--save", "", "--appendonly", "no", "--dir", str(folder)),
        ],
        stdout=subprocess.DEVNULL,
    )
    try:
        addresses["Redis"] = f"unix://{socket}"
        _until(lambda: _answers(addresses["Redis"]))
        yield addresses
    finally:
        server.kill()
        server.wait()


def request_path(folder: Path, rounds: int) -> Table:
    """What a request does that it does not without a store."""
    page, presence = Page(folder, "log"), Presence(folder, "worker")
    flag = page.flag

    def read(calls: int) -> None:
        for _ in range(calls):
            if flag[0]:
                raise AssertionError

    def nothing(calls: int) -> None:
        for _ in range(calls):
            pass

    def mark(calls: int) -> None:
        for _ in range(calls):
            presence.enter("canary")
            presence.leave("canary")

    calls = 20_000
    found = rounds_of(
        {
            "read": per_call(read, calls),
            "mark": per_call(mark, calls),
            "nothing": per_call(nothing, calls),
        },
        rounds,
    )
    presence.close()
    return Table(
        "A request that a store is behind",
        [
            Row(
                "to look whether the canary is withdrawn",
                time_text(found.added("read", "nothing")),
            ),
            Row(
                "to mark that it is in flight, and that it is not any more",
                time_text(found.added("mark", "nothing")),
            ),
        ],
        "Nothing else of it is on the path of a request: a thread reads and writes the store.",
    )


def withdrawal(addresses: dict[str, str], times: int) -> Table:
    """From an abort at one worker to the instant at which another one's log has it."""
    rows = []
    for name, address in addresses.items():
        seconds = []
        for _ in range(times):
            deployment = plan(f"withdrawn-{secrets.token_hex(4)}")
            one, other = (
                CanaryDeploymentController(Plan(deployment=deployment), store=address)
                for _ in range(2)
            )
            for each in (one, other):
                each.start()
            time.sleep(random.random() / 5)  # at any moment between two looks
            began = time.perf_counter()
            one.abort()
            while not other.state.phase.withdrawn:
                time.sleep(0.0005)
            seconds.append(time.perf_counter() - began)
            for each in (one, other):
                each.close()
        rows += [
            Row(
                f"{name}, the median",
                time_text(median(seconds)),
                aim="≤ 100 ms",
                reached=median(seconds) <= 0.1,
            ),
            Row(
                f"{name}, the longest",
                time_text(max(seconds)),
                aim="≤ 250 ms",
                reached=max(seconds) <= 0.25,
            ),
        ]
    return Table(
        "From a withdrawal to another host",
        rows,
        f"By the store alone, as between two hosts; {times} times each. Workers of one host look "
        "at a byte that they share, with each request. Wall time: another program of the machine "
        "adds to it.",
    )


def at_rest(addresses: dict[str, str], turns: int) -> Table:
    """What a worker takes of a core when there is little to do."""
    rows = []
    for name, address in addresses.items():
        deployment = plan(f"rest-{secrets.token_hex(4)}")
        (member,), step = _cluster(deployment, address, 1)
        store = make_store(address)
        began = time.process_time()
        for _ in range(turns):
            step()
            member.turn()
        turn = (time.process_time() - began) / turns
        began = time.process_time()
        for _ in range(turns):
            store.head(member.fold.log)
        look = (time.process_time() - began) / turns
        store.close()
        share = 100 * (turn + 10 * look)
        rows.append(
            Row(
                f"{name}: a turn each second, ten looks, a check each 5 s",
                f"{share:.2g} % of a core",
                f"a turn {time_text(turn)}, a look {time_text(look)}",
                aim="≤ 0.5 %",
                reached=share <= 0.5,
            )
        )
    return Table("A worker at rest", rows, "CPU time of the process, a server's not included.")


def many_workers(addresses: dict[str, str], workers: int) -> Table:
    """What so many workers ask of one store in a second, one after the other."""
    rows = []
    for name, address in addresses.items():
        deployment = plan(f"many-{secrets.token_hex(4)}")
        members, step = _cluster(deployment, address, workers)
        seconds = []
        for _ in range(10):
            step()
            for member in members:
                for arm in ARMS:
                    member.shard.observe(
                        member._clock(),
                        arm,
                        Outcome.GOOD,
                        20.0,
                    )
            began = time.perf_counter()
            for member in members:
                member.turn()
            seconds.append(time.perf_counter() - began)
        rows.append(
            Row(
                f"{name}: the turns of {workers} workers in a second",
                time_text(median(seconds)),
                f"{median(seconds) / workers * 1000:.2f} ms each",
            )
        )
    return Table(
        "Many workers on one store",
        rows,
        "Each turn reads what others have told and tells its own; every fifth second one of them "
        "makes the check. Wall time, all from one thread: below a second, a store can take it.",
    )


def joining(addresses: dict[str, str], checks: int) -> Table:
    """How long a worker that starts late takes until it is up to date."""
    rows = []
    for name, address in addresses.items():
        deployment = plan(f"late-{secrets.token_hex(4)}", checks_seconds=1.0)
        (member,), step = _cluster(deployment, address, 1)
        for _ in range(checks):
            step()
            member.shard.observe(member._clock(), "canary", Outcome.GOOD, 20.0)
            member.turn()
        late = Member(
            deployment,
            make_store(address),
            clock=member._clock,
            worker="late",
            new_id=lambda: secrets.token_hex(8),
        )
        began = time.perf_counter()
        late.turn()
        took = time.perf_counter() - began
        assert late.rollout.state == member.rollout.state
        rows.append(
            Row(
                f"{name}: after {late.fold.head.number:,} entries",
                time_text(took),
                aim="≤ 0.5 s",
                reached=took <= 0.5,
            )
        )
    return Table(
        "A worker that starts late",
        rows,
        "It reads the last checkpoint, of which there is one each 1,000 entries, what checks saw "
        "lately, and folds the entries since, however long the rollout goes on.",
    )


def _cluster(
    deployment: Deployment, address: str, workers: int
) -> tuple[list[Member], Callable[[], None]]:
    now = [1e9]
    names = itertools.count()
    members = [
        Member(
            deployment,
            make_store(address),
            clock=lambda: now[0],
            worker=f"w{next(names)}",
            new_id=lambda: secrets.token_hex(8),
        )
        for _ in range(workers)
    ]

    def step() -> None:
        now[0] += 1.0

    for member in members:
        member.turn()
    return members, step


def _answers(address: str) -> bool:
    store: SharedStore = make_store(address)
    with suppress(OSError):
        store.head("x")
        return True
    return False


def _until(condition: Callable[[], bool]) -> None:
    for _ in range(1000):
        if condition():
            return
        time.sleep(0.01)
    raise TimeoutError("the server does not answer")


if __name__ == "__main__":
    main()
