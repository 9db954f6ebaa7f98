"""What is observed in a file, whatever its format."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from canario.tape.schema import TapeError
from canario_sim.tapes.importing import format_of, import_log
from canario_sim.tapes.read import is_tape, read_tape

from .observed import Observed, of_recording
from .otlp import read_spans
from .prometheus import read_prometheus

__all__ = ["KINDS", "Kind", "kind_of", "observe"]

Kind = Literal["tape", "log", "jsonl", "csv", "otlp", "prometheus"]
KINDS: tuple[Kind, ...] = ("tape", "log", "jsonl", "csv", "otlp", "prometheus")


def observe(
    path: str | os.PathLike[str],
    *,
    kind: Kind | None = None,
    metric: str | None = None,
    rate: float | None = None,
    progress: Callable[[int], object] | None = None,
    **options: Any,
) -> Observed:
    """Read a tape (or a folder of tapes), a log, spans, or an export of Prometheus.

    Args:
        path: The file.
        kind: Its format; by default what it looks like.
        metric: Of Prometheus: the histogram's name.
        rate: Of an exposition: requests per second.
        progress: Called with the bytes of a log that were read.
        options: Of a log: see `import_log`.

    Raises:
        TapeError: For what cannot be read.
        ValueError: For too little of it.
    """
    path = Path(path)
    kind = kind or kind_of(path)
    if kind == "tape":
        return of_recording(read_tape(path))
    if kind == "prometheus":
        return read_prometheus(path, metric=metric, rate=rate)
    if kind == "otlp":
        recording, others = read_spans(path)
        notes = (f"{others} spans that are no SERVER spans are left out",) if others else ()
        return of_recording(recording, notes)
    made = import_log(path, format=kind, progress=progress, **options)
    said = []
    if made.format == "log":
        unit = {"s": "seconds", "ms": "milliseconds", "us": "microseconds"}[made.unit]
        said.append(f"request times are taken as {unit}, instants as the {made.stamp}")
    said += [f"{each.count} lines are left out: {each.why}" for each in made.skipped]
    return of_recording(made.recording, tuple(said))


def kind_of(path: Path) -> Kind:
    """What a file looks like. Raises `TapeError` for one that cannot be read."""
    if path.is_dir() or is_tape(path):
        return "tape"
    try:
        with path.open("rb") as file:
            head = file.read(4096)
    except OSError as error:
        raise TapeError(f"{path} cannot be read: {error.strerror}") from error
    if b'"resourceSpans"' in head:
        return "otlp"
    if b'"resultType"' in head or head.startswith((b"# HELP", b"# TYPE")) or b"_bucket{" in head:
        return "prometheus"
    return format_of(path)
