"""Routing, recording, the p95, and what a window of 300 s weighs, beside the usual ways.

python -m benchmarks.core [--quick]
"""

from __future__ import annotations

import hashlib
import multiprocessing
import threading
import tracemalloc
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import cycle, islice
from random import Random
from typing import TypeVar

from canario.control.rollout import Outcome
from canario.controller import CanaryDeploymentController
from canario.exchange import Exchange
from canario.gate.gate import Gate
from canario.judges.thresholds import ThresholdJudge
from canario.metrics.recorder import ArmMetrics
from canario.plan import Deployment, Plan, RollbackThresholds, Stage
from canario.routing.router import TrafficRouter

from .measure import (
    Row,
    Table,
    Timer,
    bytes_text,
    options,
    per_call,
    ratio_text,
    report,
    rounds_of,
    time_text,
)

FLOWS = 28
WINDOW_SECONDS = 300.0
RATES = (10, 100, 1000)

# A whole window, and two slices more, so that forgetting has begun.
FED_SECONDS = 310

SALT = "decalogo-v2"

Key = TypeVar("Key", str, bytes)

# One stage that outlasts every measurement.
PLAN = Plan(deployment=Deployment(canary_stages=(Stage(5, 4e6),)))


def main() -> None:
    """Measure everything and print the tables."""
    quick = options("Time and memory of canario's core, beside the usual ways.")
    calls, rounds = (500, 3) if quick else (20_000, 41)
    report(
        [
            routing(calls, rounds),
            recording(calls, rounds),
            querying(rounds),
            guarding(calls, rounds),
            memory(RATES[:1] if quick else RATES),
        ]
    )


# -- routing


def routing(calls: int, rounds: int) -> Table:
    """One key to its arm."""
    names = [f"user-{number}" for number in range(1000)]
    raw = [name.encode() for name in names]
    salt = SALT.encode()
    route = TrafficRouter(SALT, 5).route_request
    measured = rounds_of(
        {
            "bytes": _each(route, raw, calls),
            "str": _each(route, names, calls),
            "crc32": _each(lambda key: zlib.crc32(salt + key) % 100_000 < 5_000, raw, calls),
            "sha256": _each(lambda key: sha256_bucket(salt + key) < 5_000, raw, calls),
            "python": _each(lambda key: murmur3(salt + key) * 100_000 >> 32 < 5_000, raw, calls),
        },
        rounds,
    )

    def row(what: str, name: str) -> Row:
        ratio = ratio_text(measured.ratio(name, "sha256"), "sha256")
        return Row(what, time_text(measured.median(name)), ratio)

    return Table(
        "Routing one key",
        [
            row("`route_request(bytes)`", "bytes"),
            row("`route_request(str)`", "str"),
            row("sha256, first 8 bytes modulo 100,000", "sha256"),
            row("crc32 modulo 100,000 (its cohorts depend on each other)", "crc32"),
            row("murmur3 in Python, the same cohorts", "python"),
        ],
        "The peers take bytes that are known to be valid; `route_request` checks its key. The "
        "loop around them is in every time.",
    )


def _each(function: Callable[[Key], object], keys: Sequence[Key], calls: int) -> Timer:
    def loop(n: int) -> None:
        for key in islice(cycle(keys), n):
            function(key)

    return per_call(loop, calls)


def sha256_bucket(key: bytes) -> int:
    """The bucket of a router that uses what the standard library has."""
    return int.from_bytes(hashlib.sha256(key).digest()[:8]) % 100_000


def murmur3(key: bytes) -> int:
    """murmur3, x86, 32 bits, seed 0, as it is written without a C extension."""
    h = 0
    whole = len(key) & ~3
    for i in range(0, whole, 4):
        h ^= _mix(int.from_bytes(key[i : i + 4], "little"))
        h = (h << 13 | h >> 19) & 0xFFFFFFFF
        h = (h * 5 + 0xE6546B64) & 0xFFFFFFFF
    h ^= _mix(int.from_bytes(key[whole:], "little"))
    h ^= len(key)
    h = ((h ^ h >> 16) * 0x85EBCA6B) & 0xFFFFFFFF
    h = ((h ^ h >> 13) * 0xC2B2AE35) & 0xFFFFFFFF
    return h ^ h >> 16


def _mix(k: int) -> int:
    k = (k * 0xCC9E2D51) & 0xFFFFFFFF
    k = (k << 15 | k >> 17) & 0xFFFFFFFF
    return (k * 0x1B873593) & 0xFFFFFFFF


# -- recording


class RawList:
    """The usual recorder: every request of the window in a list, to be sorted when asked."""

    def __init__(self, seconds: float) -> None:
        self.records: deque[tuple[float, float, bool]] = deque()
        self._seconds = seconds
        self._lock = threading.Lock()

    def add(self, now: float, latency_ms: float, ok: bool) -> None:
        """Keep one request, and drop those that the window has left behind."""
        with self._lock:
            self.records.append((now, latency_ms, ok))
            while self.records[0][0] < now - self._seconds:
                self.records.popleft()

    def p95(self) -> float:
        """The latency of rank ⌊0.95 n⌋ + 1."""
        latencies = sorted(latency for _, latency, _ in self.records)
        return latencies[int(0.95 * len(latencies))]


def latencies_ms() -> list[float]:
    """Latencies of a web app, the same in every run."""
    draw = Random(1).lognormvariate
    return [draw(4, 0.6) for _ in range(10_007)]


def moving_clock(step: float) -> Callable[[], float]:
    """A clock that goes on by `step` seconds whenever it is read, at the cost of a real one."""
    readings = 0

    def clock() -> float:
        nonlocal readings
        readings += 1
        return readings * step

    return clock


def recording(calls: int, rounds: int) -> Table:
    """One finished request, counted."""
    latencies = latencies_ms()
    clock = moving_clock(1 / 100)
    controller = CanaryDeploymentController(PLAN, deployment_id=SALT, clock=clock)
    controller.start()
    arm = ArmMetrics(60.0, 500.0)
    raw = RawList(60.0)

    def observe(n: int) -> None:
        for latency in islice(cycle(latencies), n):
            controller.observe("canary", Outcome.GOOD, latency)

    def pieces(n: int) -> None:
        for latency in islice(cycle(latencies), n):
            now = clock()
            arm.record(now, False, latency)

    def keep(n: int) -> None:
        for latency in islice(cycle(latencies), n):
            raw.add(clock(), latency, True)

    loops = {"observe": observe, "pieces": pieces, "raw": keep}
    measured = rounds_of({name: per_call(loop, calls) for name, loop in loops.items()}, rounds)

    def row(what: str, name: str) -> Row:
        ratio = ratio_text(measured.ratio(name, "raw"), "the list")
        return Row(what, time_text(measured.median(name)), ratio)

    return Table(
        "Recording one request",
        [
            row("`controller.observe`, with the checks of the rollout", "observe"),
            row("its window and histogram alone", "pieces"),
            row("a list of (instant, latency, ok), with its expiry", "raw"),
        ],
        "A window of 60 s at 100 requests/s; the clock goes on by 10 ms at each reading, so a "
        "check is due at every 500th request, and its cost is in the mean. The list never checks.",
    )


# -- asking


def querying(rounds: int) -> Table:
    """The p95 of a window of 300 s at 100 requests/s."""
    rate = 100
    arm, raw = ArmMetrics(WINDOW_SECONDS, 500.0), RawList(WINDOW_SECONDS)
    for now, latency in feed(rate):
        arm.record(now, False, latency)
        raw.add(now, latency, True)
    end = float(FED_SECONDS)
    judge = ThresholdJudge(RollbackThresholds())

    def verdicts(n: int) -> None:
        for _ in range(n):
            judge.judge(arm.window.counts(end))

    def quantiles(n: int) -> None:
        for _ in range(n):
            arm.quantiles(end, 0.95)

    def sorting(n: int) -> None:
        for _ in range(n):
            raw.p95()

    measured = rounds_of(
        {
            "verdict": per_call(verdicts, 200),
            "quantile": per_call(quantiles, 50),
            "sorted": per_call(sorting, 2),
        },
        rounds,
    )

    def row(what: str, name: str) -> Row:
        ratio = ratio_text(measured.ratio(name, "sorted"), "sorting")
        return Row(what, time_text(measured.median(name)), ratio)

    return Table(
        "Asking for the p95, 30,000 requests in the window",
        [
            row("is it above the limit? from the counts, exact, with the whole verdict", "verdict"),
            row("where is it? from the histogram, within 1 %", "quantile"),
            row("sorting the list", "sorted"),
        ],
        "A rollout asks the first; the second is what a page shows.",
    )


def feed(rate: int) -> Iterator[tuple[float, float]]:
    """Instants and latencies of `FED_SECONDS`, none of them a float that others share."""
    latencies = cycle(latencies_ms())
    for number in range(FED_SECONDS * rate):
        yield number / rate, next(latencies) + 0.0


# -- guarding


class Request:
    """What a request carries, as the middleware shows it to the gate."""

    def __init__(self, user: bytes) -> None:
        self._headers = [(b"host", b"app.example"), (b"accept", b"*/*"), (b"x-user-id", user)]

    def headers(self, name: bytes) -> list[bytes]:
        """See `Carrier`."""
        return [value for key, value in self._headers if key == name]

    def only(self, name: bytes) -> bytes | None:
        """See `Carrier`."""
        found = self.headers(name)
        return found[0] if len(found) == 1 else None

    def peer(self) -> str | None:
        """See `Carrier`."""
        return "192.0.2.1"

    def user(self) -> str | bytes | None:
        """See `Carrier`."""
        return None

    def path(self) -> str:
        """See `Carrier`."""
        return "/"

    def query(self) -> bytes:
        """See `Carrier`."""
        return b""

    def request(self) -> object:
        """See `Carrier`."""
        return None


def guarding(calls: int, rounds: int) -> Table:
    """All that is done about one request: admitted, routed, recorded, judged."""
    requests = [Request(b"user-%d" % number) for number in range(1000)]
    # Read twice for every request.
    clock = moving_clock(1 / 200)
    gate = Gate(CanaryDeploymentController(PLAN, deployment_id=SALT, clock=clock))

    def guard(n: int) -> None:
        for request in islice(cycle(requests), n):
            exchange = Exchange()
            gate.admit(exchange, request, "GET", "/evaluate", False)
            exchange.status = 200
            exchange.complete = True
            gate.finish(exchange, "/evaluate")

    measured = rounds_of({"guard": per_call(guard, calls)}, rounds).median("guard")
    faults = gate.controller.counters.get("faults", 0)
    if faults:
        raise RuntimeError(f"{faults} faults: what was measured is not what it should be")
    row = Row(
        "`Gate.admit` and `Gate.finish`",
        time_text(measured),
        aim="≤ 5 µs",
        reached=measured <= 5e-6,
    )
    return Table(
        "Route, record and judge one request",
        [row],
        "What the ASGI and the WSGI middleware share, without either protocol: the key from a "
        "header, the arm, the outcome, both windows, and the checks, one in 500 requests.",
    )


# -- memory


def memory(rates: Sequence[int]) -> Table:
    """28 flows with a window of 300 s each."""
    # A young process for each: what an older one has in its free lists is not counted.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=spawn, max_tasks_per_child=1) as processes:
        heaps = zip(
            rates,
            processes.map(heap_of_windows, rates),
            processes.map(heap_of_list, rates),
            strict=True,
        )
        measured = [(rate, ours, FLOWS * one) for rate, ours, one in heaps]
    rows = [
        Row(
            f"{rate:,} requests/s in each flow",
            bytes_text(ours),
            ratio_text(ours / raw, f"the list's {bytes_text(raw)}"),
            "≤ 10 MB",
            ours <= 10e6,
        )
        for rate, ours, raw in measured
    ]
    return Table(
        f"Memory: {FLOWS} flows × {WINDOW_SECONDS:.0f} s",
        rows,
        f"Counted by tracemalloc after {FED_SECONDS} s of traffic, every request fed. The list is "
        f"one flow's, times {FLOWS}.",
    )


def heap_of_windows(rate: int) -> int:
    """Bytes that canario's windows and histograms hold."""
    tracemalloc.start()
    arms = [ArmMetrics(WINDOW_SECONDS, 500.0) for _ in range(FLOWS)]
    for now, latency in feed(rate):
        for arm in arms:
            arm.record(now, False, latency)
    return _traced(arms)


def heap_of_list(rate: int) -> int:
    """Bytes that one list holds."""
    tracemalloc.start()
    raw = RawList(WINDOW_SECONDS)
    for now, latency in feed(rate):
        raw.add(now, latency, True)
    return _traced(raw)


def _traced(kept: object) -> int:
    """What is allocated as long as `kept` is alive."""
    size = tracemalloc.get_traced_memory()[0]
    del kept
    tracemalloc.stop()
    return size


if __name__ == "__main__":
    main()
