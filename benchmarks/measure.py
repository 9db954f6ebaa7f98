"""What the benchmarks share: how they time, and how a table says what came of it.

The clock is the CPU time of the process, all threads together: other programs of the machine
take none of it, and a peer's exporter thread is not overlooked. What remains is noise that comes
and goes (a shared cache, a clock rate), so variants take turns within a round, and the tables
show medians over the rounds; a ratio is the median of each round's own.
"""

from __future__ import annotations

import argparse
import gc
import platform
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median

__all__ = [
    "Rounds",
    "Row",
    "Table",
    "Timer",
    "bytes_text",
    "machine",
    "options",
    "per_call",
    "ratio_text",
    "report",
    "rounds_of",
    "time_text",
]

# One measurement of one variant, in seconds.
Timer = Callable[[], float]

_TIME_UNITS = (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6), ("ns", 1e-9))

_PACKAGES = (
    "canario",
    "mmh3",
    "numpy",
    "simpy",
    "starlette",
    "uvicorn",
    "httptools",
    "uvloop",
    "prometheus-fastapi-instrumentator",
    "sentry-sdk",
    "elastic-apm",
    "starlette-exporter",
    "opentelemetry-sdk",
    "opentelemetry-instrumentation-asgi",
    "distributed",
    "numba",
)


@dataclass(frozen=True)
class Row:
    """A line of a table; `reached` is None where there is no aim."""

    what: str
    measured: str
    compared: str = ""
    aim: str = ""
    reached: bool | None = None

    @property
    def cells(self) -> tuple[str, ...]:
        """The columns, as `HEAD` names them."""
        outcome = {None: "", True: "reached", False: "**short of the aim**"}[self.reached]
        return self.what, self.measured, self.compared, self.aim, outcome


@dataclass(frozen=True)
class Table:
    """Measurements with a title, and what a reader must know to believe them."""

    title: str
    rows: Sequence[Row]
    notes: str

    HEAD = ("what", "measured", "compared", "aim", "outcome")

    def __str__(self) -> str:
        lines = [self.HEAD, ("---",) * len(self.HEAD), *(row.cells for row in self.rows)]
        drawn = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
        return f"### {self.title}\n\n{drawn}\n\n{self.notes}"


@dataclass(frozen=True)
class Rounds:
    """Seconds of every variant in every round."""

    seconds: Mapping[str, Sequence[float]]

    def median(self, name: str) -> float:
        """The middle round of one variant."""
        return median(self.seconds[name])

    def ratio(self, name: str, base: str) -> float:
        """How many times as long as `base`."""
        return median(a / b for a, b in self._pairs(name, base))

    def added(self, name: str, base: str) -> float:
        """Seconds more than `base`."""
        return median(a - b for a, b in self._pairs(name, base))

    def added_ratio(self, name: str, other: str, base: str) -> float:
        """What `name` adds to `base`, over what `other` adds to it."""
        return self.added(name, base) / self.added(other, base)

    def _pairs(self, name: str, base: str) -> Iterable[tuple[float, float]]:
        return zip(self.seconds[name], self.seconds[base], strict=True)


def rounds_of(variants: Mapping[str, Timer], count: int) -> Rounds:
    """Measure each variant once in each of `count` rounds, after one round that is thrown away.

    The order turns from round to round, so that none always follows the same neighbour.
    """
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for timer in variants.values():
        timer()
    gc.collect()
    gc.freeze()  # what is there already is not to be looked through again within a measurement
    names = list(variants)
    for number in range(count):
        first = number % len(names)
        for name in (*names[first:], *names[:first]):
            seconds[name].append(variants[name]())
    gc.unfreeze()
    return Rounds(seconds)


def per_call(loop: Callable[[int], object], calls: int) -> Timer:
    """A timer of one call, where `loop(n)` makes n of them."""

    def measure() -> float:
        start = time.process_time()
        loop(calls)
        return (time.process_time() - start) / calls

    return measure


def time_text(seconds: float) -> str:
    """Three significant digits in the largest unit that leaves something before the point."""
    unit, size = next(
        ((unit, size) for unit, size in _TIME_UNITS if abs(seconds) >= size), _TIME_UNITS[-1]
    )
    return f"{_digits(seconds / size)} {unit}"


def bytes_text(size: float) -> str:
    """Megabytes, of a million bytes each."""
    return f"{_digits(size / 1e6)} MB"


def ratio_text(ratio: float, of: str) -> str:
    """`2.5 × bare`, and for small ones `1/30 of the other`."""
    return f"{_digits(ratio)} × {of}" if ratio >= 0.5 else f"1/{_digits(1 / ratio)} of {of}"


def _digits(value: float) -> str:
    size = abs(value)
    return f"{value:.2f}" if size < 10 else f"{value:.1f}" if size < 100 else f"{value:,.0f}"


def machine() -> str:
    """The CPU, Python and the packages that were measured."""
    found = [f"{name} {number}" for name in _PACKAGES if (number := _version(name))]
    return f"{_cpu()}, {platform.system()}, Python {platform.python_version()}; {', '.join(found)}"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(models)} × {models[0]}" if models else platform.processor() or platform.machine()


def options(description: str) -> bool:
    """Read the command line of a benchmark; True for a quick run."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--quick",
        action="store_true",
        help="few rounds, in seconds: shows that it runs, its numbers mean nothing",
    )
    quick: bool = parser.parse_args().quick
    return quick


def report(tables: Iterable[Table]) -> None:
    """Print the machine and the tables."""
    print(machine(), *tables, sep="\n\n")
