"""What Prometheus knows of a service: an answer of /api/v1/query_range, or a text exposition.

Both hold counters. Of a range, what they have grown by is taken, over restarts; of a single
exposition, all that they have counted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from math import inf, isfinite
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct

from canario.tape.schema import TapeError
from canario_sim.streams import Floats

from .arrivals import Counts
from .observed import ArmObserved, Observed
from .samples import Binned

__all__ = ["read_prometheus"]

_LINE = re.compile(
    r"(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(?P<labels>.*)\})?\s+(?P<value>\S+)(?:\s+(?P<at>-?\d+))?"
    r"(?:\s+#.*)?"
)
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_.]*)\s*=\s*"((?:[^"\\]|\\.)*)"')
_STATUS = ("code", "status", "status_code", "http_status_code", "http_response_status_code")
_BAD_OUTCOMES = ("error", "bad", "failure", "failed")
_NEUTRAL_OUTCOMES = ("neutral",)

# A range that is cut finer than this has no counts worth fitting.
_LEAST_STEPS = 2


class Series(Struct, frozen=True):
    """One time series: its labels, instants (s) and values."""

    labels: Mapping[str, str]
    at: tuple[float, ...]
    values: tuple[float, ...]

    @property
    def name(self) -> str:
        """The metric's."""
        return self.labels.get("__name__", "")

    def growth(self) -> Floats:
        """What the counter has grown by from each instant to the next; all of it for one alone."""
        values = np.array(self.values)
        if len(values) == 1:
            return values
        steps = np.diff(values)
        # Where it falls, the process began anew at 0.
        found: Floats = np.where(steps < 0, values[1:], steps)
        return found


def read_prometheus(
    path: Path, *, metric: str | None = None, rate: float | None = None
) -> Observed:
    """What a file says of one histogram, and of the requests and errors beside it.

    Args:
        path: An answer of /api/v1/query_range in JSON, or a text exposition.
        metric: The histogram's name, without `_bucket`; by default the one with the most in it.
        rate: Requests per second; a text exposition does not tell.

    Raises:
        TapeError: For a file without a histogram, or without the one that is asked for.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise TapeError(f"{path} cannot be read: {error.strerror}") from error
    series = _of_range(raw, path) if raw.lstrip()[:1] == b"{" else _of_text(raw, path)
    buckets = [each for each in series if "le" in each.labels]
    if metric is not None:
        buckets = [each for each in buckets if each.name in (metric, f"{metric}_bucket")]
    names = sorted({each.name for each in series if "le" in each.labels})
    if not buckets:
        asked = (
            f"no histogram {metric!r}; it has" if metric else "no histogram with buckets; it has"
        )
        raise TapeError(f"{path} holds {asked} {', '.join(names) or 'none'}")
    name = metric or max(names, key=lambda each: _total(b for b in buckets if b.name == each))
    buckets = [each for each in buckets if each.name in (name, f"{name}_bucket")]
    shown = name.removesuffix("_bucket")
    scale = 1.0 if re.search(r"_(ms|milliseconds)(_|$)", shown) else 1000.0
    arms = sorted({each.labels.get("arm", "baseline") for each in buckets})
    observed = {
        arm: _arm(
            [b for b in buckets if b.labels.get("arm", "baseline") == arm], series, arm, scale
        )
        for arm in arms
    }
    notes = [f"latencies are of {shown}, in {'ms' if scale == 1 else 's'}"]
    if len(names) > 1 and metric is None:
        others = [each.removesuffix("_bucket") for each in names if each != name]
        notes.append(f"other histograms are left out: {', '.join(others)} (--metric)")
    if not any(_tells_outcome(each) for each in series):
        notes.append("no label tells errors (code, status, outcome): the error rate is taken as 0")
    baseline = observed.get("baseline") or next(iter(observed.values()))
    canary = observed.get("canary") if "baseline" in observed else None
    return Observed(
        source=path.name,
        counts=_counts(buckets, path, rate),
        baseline=baseline,
        canary=canary if canary is not None and canary.requests else None,
        notes=tuple(notes),
    )


def _arm(buckets: list[Series], series: list[Series], arm: str, scale: float) -> ArmObserved:
    upto: dict[float, float] = {}
    for each in buckets:
        le = float(each.labels["le"])
        upto[le] = upto.get(le, 0.0) + float(each.growth().sum())
    edges = np.array(sorted(upto))
    cumulated = np.maximum.accumulate(np.array([upto[edge] for edge in edges]))
    counts = np.round(np.diff(cumulated, prepend=0.0)).astype(np.float64)
    binned = Binned(np.concatenate([[0.0], edges * scale]), counts)
    requests, errors = _outcomes(buckets, series, arm)
    requests = requests or binned.n
    return ArmObserved(requests, min(errors, requests), binned if binned.n >= 2 else None)


def _outcomes(buckets: list[Series], series: list[Series], arm: str) -> tuple[int, int]:
    """Requests that say something, and errors, of a label that tells them."""
    own = [each for each in buckets if each.labels["le"] in ("+Inf", "inf", "Inf")]
    told = [each for each in own if _tells_outcome(each)]
    if not told:
        told = [
            each
            for each in series
            if each.name.endswith("requests_total")
            and _tells_outcome(each)
            and each.labels.get("arm", arm) == arm
        ]
    sums = {"bad": 0.0, "neutral": 0.0, "good": 0.0}
    for each in told:
        sums[_outcome(each)] += float(each.growth().sum())
    return round(sums["bad"] + sums["good"]), round(sums["bad"])


def _tells_outcome(series: Series) -> bool:
    return "outcome" in series.labels or any(name in series.labels for name in _STATUS)


def _outcome(series: Series) -> str:
    outcome = series.labels.get("outcome")
    if outcome is not None:
        if outcome in _NEUTRAL_OUTCOMES:
            return "neutral"
        return "bad" if outcome in _BAD_OUTCOMES else "good"
    status = next(series.labels[name] for name in _STATUS if name in series.labels)
    return {"5": "bad", "4": "neutral"}.get(status[:1], "good")


def _counts(buckets: list[Series], path: Path, rate: float | None) -> Counts | None:
    """Requests in each step of a range."""
    if rate is not None:
        return Counts((round(rate * 3600),), 3600.0)
    own = [each for each in buckets if each.labels["le"] in ("+Inf", "inf", "Inf")] or buckets[:1]
    instants = sorted({at for each in own for at in each.at})
    if len(instants) < _LEAST_STEPS:
        raise TapeError(
            f"{path} is one look at the counters, which does not tell how many requests come in a "
            "second; give --rate"
        )
    step = float(np.median(np.diff(instants)))
    numbers = np.zeros(round((instants[-1] - instants[0]) / step))
    for each in own:
        places = np.round((np.array(each.at[1:]) - instants[0]) / step).astype(np.int64) - 1
        np.add.at(numbers, np.clip(places, 0, len(numbers) - 1), each.growth())
    return Counts(tuple(np.round(numbers).astype(np.int64).tolist()), step, instants[0])


def _total(buckets: Iterable[Series]) -> float:
    return sum(float(each.growth().sum()) for each in buckets if each.labels["le"] == "+Inf")


def _of_range(raw: bytes, path: Path) -> list[Series]:
    try:
        document = msgspec.json.decode(raw, type=dict[str, Any])
        if document.get("status") == "error":
            raise TapeError(f"{path} is an error of Prometheus: {document.get('error')}")
        results = document["data"]["result"]
        found = []
        for result in results:
            points = result.get("values") or [result["value"]]
            kept = [(float(at), float(value)) for at, value in points if isfinite(float(value))]
            if kept:
                at, values = zip(*kept, strict=True)
                found.append(Series(result["metric"], at, values))
    except (msgspec.DecodeError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, TapeError):
            raise
        raise TapeError(f"{path} is no answer of /api/v1/query_range: {error!r}") from error
    return found


def _of_text(raw: bytes, path: Path) -> list[Series]:
    return list(_lines(raw.decode("utf-8", "replace"), path))


def _lines(text: str, path: Path) -> Iterator[Series]:
    for number, line in enumerate(text.splitlines(), start=1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        found = _LINE.fullmatch(line)
        try:
            value = inf if found is None else float(found["value"])
        except ValueError:
            found, value = None, inf
        if found is None:
            raise TapeError(f"{path}, line {number} is no line of an exposition: {line[:60]!r}")
        if isfinite(value):
            labels = dict(_LABEL.findall(found["labels"] or ""))
            yield Series({"__name__": found["name"], **labels}, (0.0,), (value,))
