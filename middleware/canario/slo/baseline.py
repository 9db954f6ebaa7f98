"""Baselines: what a flow's latency was when it was well, kept in a file beside the release."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from math import isfinite
from pathlib import Path
from typing import Annotated, NamedTuple

from msgspec import Meta, Struct

from canario.config import ConfigError
from canario.config.decode import decode, read_document
from canario.host.whole_files import write_whole

__all__ = ["Baseline", "Comparison", "compare", "read_baselines", "write_baselines"]


class Baseline(Struct, frozen=True, kw_only=True):
    """A flow's p95 (ms) over `samples` timed requests, taken at the instant `at` (epoch seconds).

    `version` is that of the service that was measured.
    """

    flow_name: str
    p95_latency_ms: float
    samples: int
    at: float
    version: str | None = None

    @property
    def date(self) -> str:
        """`at` in ISO 8601, in UTC, to the microsecond."""
        return datetime.fromtimestamp(self.at, UTC).isoformat()


class Comparison(NamedTuple):
    """How far a p95 is above the baseline's, in percent; None with the reason why not."""

    percent: float | None
    reason: str


def compare(
    baseline: Baseline | None, p95_ms: float | None, samples: int, min_samples: int
) -> Comparison:
    """Compare a p95 of `samples` requests with a baseline; both must rest on `min_samples`."""
    if baseline is None:
        return Comparison(None, "no baseline is set")
    if baseline.samples < min_samples:
        return Comparison(
            None,
            f"too few samples: the baseline rests on {baseline.samples} of the {min_samples} "
            "requests that a comparison takes",
        )
    if p95_ms is None or samples < min_samples:
        return Comparison(
            None,
            f"too few samples: the window holds {samples} of the {min_samples} timed requests "
            "that a comparison takes",
        )
    percent = 100 * (p95_ms / baseline.p95_latency_ms - 1)
    way = "above" if percent >= 0 else "below"
    return Comparison(
        percent,
        f"p95 {p95_ms:.4g} ms is {abs(percent):.3g} % {way} the baseline's "
        f"{baseline.p95_latency_ms:.4g} ms",
    )


class _Entry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    p95_latency_ms: Annotated[float, Meta(gt=0)]
    samples: Annotated[int, Meta(ge=1)]
    date: str
    version: str | None = None


class _Document(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    baselines: dict[str, _Entry]


def write_baselines(path: str | os.PathLike[str], baselines: Mapping[str, Baseline]) -> None:
    """Write a JSON file, with its folders; a reader sees the old one or the new one.

    Raises `OSError`.
    """
    document = {
        "baselines": {
            name: {
                "p95_latency_ms": one.p95_latency_ms,
                "samples": one.samples,
                "date": one.date,
                "version": one.version,
            }
            for name, one in sorted(baselines.items())
        }
    }
    write_whole(path, json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def read_baselines(path: str | os.PathLike[str]) -> dict[str, Baseline]:
    """The baselines of a file. Raises `ConfigError` with the file, the key and the value."""
    source = os.fspath(path)
    document = decode(read_document(Path(path)), _Document, source)
    return {name: _baseline(name, one, source) for name, one in document.baselines.items()}


def _baseline(name: str, entry: _Entry, source: str) -> Baseline:
    key = f"baselines.{name}"
    if not name.strip():
        raise ConfigError(source, key, "the name of a flow is empty")
    if not isfinite(entry.p95_latency_ms):
        raise ConfigError(
            source, f"{key}.p95_latency_ms", f"is {entry.p95_latency_ms!r}; it must be finite"
        )
    try:
        date = datetime.fromisoformat(entry.date)
    except ValueError:
        raise ConfigError(
            source,
            f"{key}.date",
            f"is {entry.date!r}; it must be in ISO 8601, as 2026-01-15T10:30:00+00:00",
        ) from None
    at = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    return Baseline(
        flow_name=name,
        p95_latency_ms=entry.p95_latency_ms,
        samples=entry.samples,
        at=at,
        version=entry.version,
    )
