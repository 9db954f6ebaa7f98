"""Series of counters in what Prometheus exports: an answer in JSON, or a text exposition."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from math import isfinite
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct

from canario.contracts.quoting import brief
from canario.tape.format import TapeError
from canario_sim.streams import Floats
from canario_sim.tapes.left_out import LeftOut
from canario_sim.tapes.otlp_documents import unpacked

__all__ = ["Series", "read_series"]

_QUOTED = r'"(?:[^"\\]|\\.)*"'
_LABEL = re.compile(
    rf"\s*(?P<name>[a-zA-Z_][\w.:]*|{_QUOTED})(?:\s*=\s*(?P<value>{_QUOTED}))?\s*,?"
)
# Labels by their own grammar: an exemplar behind the value has braces too.
_LINE = re.compile(
    rf"(?P<name>[a-zA-Z_:][\w:]*(?=[\s{{]))?\s*(?:\{{(?P<labels>(?:[^\"}}]|{_QUOTED})*)\}})?\s*"
    r"(?P<value>\S+)(?:\s+(?P<at>[-+]?[\d.]+(?:[eE][-+]?\d+)?))?(?P<exemplar>\s+#.*)?"
)
_ESCAPED = re.compile(r"\\(.)")

# A value that is a histogram by itself, as OpenMetrics 2 has it.
_NATIVE_LINE = re.compile(r"[^{]*(\{[^{]*\})?\s*\{\s*count\s*:")
_NATIVE = (
    "native histograms, which are not read: ask for the classic `_bucket` counters (a scrape with "
    "always_scrape_classic_histograms keeps them)"
)


class Series(Struct, frozen=True):
    """One time series: its labels, instants (s, rising) and values."""

    labels: Mapping[str, str]
    at: Floats
    values: Floats

    @property
    def name(self) -> str:
        """The metric's."""
        return self.labels.get("__name__", "")

    @property
    def source(self) -> tuple[str | None, ...]:
        """Which process it is of, as far as its labels tell."""
        return tuple(self.labels.get(name) for name in ("job", "instance", "pod"))


def read_series(path: Path, left_out: LeftOut) -> tuple[list[Series], list[str]]:
    """All series in a file, and what Prometheus itself had to say of them.

    What cannot be used (NaN, numbers below 0) is counted in `left_out`. Raises `TapeError` for
    what is neither an answer nor an exposition, and for native histograms alone.
    """
    raw, cut = unpacked(path)
    if cut:
        left_out.add("the compressed file is cut off")
    raw = raw.removeprefix(b"\xef\xbb\xbf")
    if raw.lstrip()[:1] == b"{" and not re.match(rb'\s*\{\s*"[^"]*"\s*[,}=]', raw):
        return _of_answer(raw, path, left_out)
    return _of_text(raw.decode("utf-8", "replace"), path, left_out), []


def _of_answer(raw: bytes, path: Path, left_out: LeftOut) -> tuple[list[Series], list[str]]:
    try:
        document = msgspec.json.decode(raw, type=dict[str, Any])
        if document.get("status") == "error":
            raise TapeError(
                f"{path} is an error of Prometheus: {brief(str(document.get('error')))}"
            )
        results = document["data"]["result"]
        found = []
        native = 0
        for result in results:
            points = result.get("values") or ([result["value"]] if "value" in result else [])
            native += "histograms" in result or "histogram" in result
            read = [(float(at), float(value)) for at, value in points]
            series = _series(dict(result["metric"]), read, left_out)
            if series is not None:
                found.append(series)
    except (msgspec.DecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, TapeError):
            raise
        raise TapeError(
            f"{path} is no answer of /api/v1/query_range: {brief(repr(error), 120)}"
        ) from error
    if native:
        if not any("le" in series.labels for series in found):
            raise TapeError(f"{path} holds {native:,} {_NATIVE}")
        left_out.add("native histograms", count=native)
    said = [*(document.get("warnings") or ()), *(document.get("infos") or ())]
    return found, [f"Prometheus says: {brief(str(each))}" for each in said]


def _series(
    labels: Mapping[str, str], points: list[tuple[float, float]], left_out: LeftOut
) -> Series | None:
    """The points that are numbers, in their order; None without any."""
    name = labels.get("__name__", "")
    kept = {}
    for at, value in points:
        if not isfinite(value) or not isfinite(at):
            left_out.add("no number (NaN, as of a target that is gone)", name)
        elif value < 0:
            left_out.add("below 0, as no counter is", name)
        else:
            kept[at] = value
    if not kept:
        return None
    ordered = sorted(kept.items())
    return Series(labels, np.array([at for at, _ in ordered]), np.array([v for _, v in ordered]))


def _of_text(text: str, path: Path, left_out: LeftOut) -> list[Series]:
    """Lines of one series that have instants are its points, as `promtool tsdb dump` gives them."""
    points: dict[tuple[tuple[str, str], ...], list[tuple[float, float]]] = {}
    # OpenMetrics has seconds, and an end; the older format milliseconds.
    seconds = re.search(r"^# EOF\s*\Z", text, re.MULTILINE) is not None
    for number, labels, value, at in _lines(text, path):
        key = tuple(sorted(labels.items()))
        before = points.setdefault(key, [])
        if before and at is None:
            raise TapeError(
                f"{path}, line {number} has {labels.get('__name__')} a second time with the same "
                "labels and no instant: one exposition of one process is valid, or lines with "
                "instants (OpenMetrics)"
            )
        whole = at is not None and at.lstrip("-+").isdecimal() and not seconds
        before.append((0.0 if at is None else float(at) / (1000 if whole else 1), value))
    made = (_series(dict(key), found, left_out) for key, found in points.items())
    return [series for series in made if series is not None]


def _lines(text: str, path: Path) -> Iterator[tuple[int, dict[str, str], float, str | None]]:
    # Not `splitlines`, for a label may hold what that takes for the end of a line.
    for number, line in enumerate(text.split("\n"), start=1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        found = _LINE.fullmatch(line)
        labels = None if found is None else _labels(found["name"], found["labels"] or "")
        if _NATIVE_LINE.match(line):
            raise TapeError(f"{path}, line {number} holds {_NATIVE}")
        try:
            value = float("" if found is None else found["value"])
        except ValueError:
            labels = None
        if found is None or not labels:
            raise TapeError(
                f"{path}, line {number} is no line of an exposition: {brief(line, 60)!r}"
            )
        yield number, labels, value, found["at"]


def _labels(name: str | None, text: str) -> dict[str, str] | None:
    """The labels, and the name, which may stand among them in quotes; None for what is no list
    of them."""
    labels = {} if name is None else {"__name__": name}
    place = 0
    while text[place:].strip():
        found = _LABEL.match(text, place)
        if found is None:
            return None
        place = found.end()
        if found["value"] is not None:
            labels[_plain(found["name"])] = _plain(found["value"])
        elif "__name__" not in labels:
            labels["__name__"] = _plain(found["name"])
        else:
            return None
    return labels if "__name__" in labels else None


def _plain(text: str) -> str:
    if not text.startswith('"'):
        return text
    return _ESCAPED.sub(lambda sign: {"n": "\n"}.get(sign[1], sign[1]), text[1:-1])
