"""What is observed in a file, whatever its format."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from canario_sim.tapes.importing import FORMATS, format_of, import_log, times_of
from canario_sim.tapes.otlp import read_spans
from canario_sim.tapes.otlp_documents import head_of
from canario_sim.tapes.read import is_tape, read_tape

from .observed import Observed, of_recording
from .prometheus_answers import read_prometheus

__all__ = ["KINDS", "Kind", "kind_of", "observe", "taken_of"]

# A format of `import_log`, or one of three more.
Kind = str
KINDS: tuple[Kind, ...] = ("tape", "otlp", "prometheus", *FORMATS)

# Which options a source takes that is no log.
_TAKEN: dict[str, frozenset[str]] = {
    "tape": frozenset(),
    "otlp": frozenset({"where", "key", "errors", "limit_ms", "secret", "strict"}),
    "prometheus": frozenset({"where", "metric", "rate", "unit", "errors"}),
}
_ONLY_OF_OTHERS = frozenset({"metric", "rate"})

_EXPOSITION = re.compile(rb"\A\s*# (HELP|TYPE|UNIT|EOF)|^\w+_bucket\{", re.MULTILINE)

# So much of a file tells what it is.
_HEAD = 64 * 1024
_SPANS = (b'"resourceSpans"', b'"resource_spans"', b'"resourceMetrics"', b'"resourceLogs"')


def observe(
    path: str | os.PathLike[str],
    *,
    kind: Kind | None = None,
    metric: str | None = None,
    rate: float | None = None,
    where: Mapping[str, str] | None = None,
    progress: Callable[[int], object] | None = None,
    **options: Any,
) -> Observed:
    """Read a tape (or a folder of tapes), a log, spans, or an export of Prometheus.

    Args:
        path: The file.
        kind: Its format; by default what it looks like.
        metric: Of Prometheus: the histogram's name.
        rate: Of an exposition: requests per second.
        where: Of spans, of Prometheus and of records: attributes, labels or keys, and the values
            that what is read has to have. What is of several services or jobs needs it.
        progress: Called with the bytes of a log that were read.
        options: Of a log, see `import_log`; of spans, see `read_spans`.

    Raises:
        TapeError: For what cannot be read.
        ValueError: For too little of it.
    """
    path = Path(path)
    if kind is not None and kind not in KINDS:
        raise ValueError(f"{kind!r} is no format; valid are {', '.join(KINDS)}")
    given, kind = kind, kind or kind_of(path)
    if kind == "tape":
        return of_recording(read_tape(path))
    taken = {name: value for name, value in options.items() if name in _TAKEN.get(kind, ())}
    if kind == "prometheus":
        return read_prometheus(path, metric=metric, rate=rate, where=where, **taken)
    if kind == "otlp":
        spans = read_spans(path, where=where, **taken)
        return of_recording(spans.recording, spans.notes)
    # What merely looks like a log, JSON lines or CSV may have a format with a name.
    made = import_log(path, format=given, where=where, progress=progress, **options)
    said = [*made.how, times_of(made)]
    # The notes stand in the scenario, which is no place for a user's address.
    said += [f"for example {each.text(users=False)}" for each in made.examples]
    said += [f"left out: {each.text}" for each in made.skipped]
    return of_recording(made.recording, (*said, *made.doubts))


def taken_of(kind: Kind, name: str) -> bool:
    """Whether a source takes an option; what does not would silently do nothing."""
    return name in _TAKEN[kind] if kind in _TAKEN else name not in _ONLY_OF_OTHERS


def kind_of(path: Path) -> Kind:
    """What a file looks like. Raises `TapeError` for one that cannot be read."""
    if path.is_dir() or is_tape(path):
        return "tape"
    head = head_of(path, _HEAD)
    if any(key in head for key in _SPANS):
        return "otlp"
    if b'"resultType"' in head or _EXPOSITION.search(head):
        return "prometheus"
    return format_of(path)
