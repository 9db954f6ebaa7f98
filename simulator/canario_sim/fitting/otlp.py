"""Spans in OTLP's JSON, as the collector's file exporter writes them, as recorded traffic."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from canario.tape.schema import ARMS, TapeError
from canario_sim.tapes.parsed import Collector, Line, LineError, outcome_of_status
from canario_sim.tapes.recording import Recording

__all__ = ["read_spans"]

_SERVER = (2, "SPAN_KIND_SERVER")
_ERROR = (2, "STATUS_CODE_ERROR")
_STATUS = ("http.response.status_code", "http.status_code")
_ARM = ("feature_flag.result.variant", "canario.arm")
_USER = ("feature_flag.context.id", "enduser.id", "user.id", "client.address")


def read_spans(path: Path) -> tuple[Recording, int]:
    """The SERVER spans in a file (one document, or one a line), and how many others there are.

    Raises `TapeError` for a file that holds none.
    """
    collector = Collector("import")
    others = 0
    for span in _spans(path):
        if span.get("kind") not in _SERVER:
            others += 1
            continue
        try:
            collector.add(_line(span))
        except (LineError, KeyError, TypeError, ValueError) as error:
            raise TapeError(
                f"{path} has a span {str(span.get('spanId', ''))!r} that cannot be read: {error}"
            ) from error
    if not len(collector):
        raise TapeError(f"{path} holds no SERVER span, only {others} others")
    return collector.recording("ms", "end", path.name), others


def _line(span: Mapping[str, Any]) -> Line:
    start, end = (int(span[f"{name}TimeUnixNano"]) for name in ("start", "end"))
    if end < start:
        raise LineError(f"it ends {(start - end) / 1e9:g} s before it starts")
    attributes = {each["key"]: _value(each.get("value", {})) for each in span.get("attributes", ())}
    status = _first(attributes, _STATUS)
    failed = span.get("status", {}).get("code") in _ERROR
    outcome = outcome_of_status(int(status), ()) if status is not None else int(failed)
    arm = _first(attributes, _ARM)
    user = _first(attributes, _USER)
    route = attributes.get("http.route") or span.get("name")
    return Line(
        end / 1e9,
        (end - start) / 1e6,
        outcome,
        None if user is None else str(user),
        None if route is None else str(route),
        ARMS.index(arm) if arm in ARMS else -1,
    )


def _first(attributes: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((attributes[name] for name in names if name in attributes), None)


def _value(value: Mapping[str, Any]) -> Any:
    """OTLP says a value's kind; whole numbers are strings."""
    return next(iter(value.values()), None)


def _spans(path: Path) -> Iterator[Mapping[str, Any]]:
    for document in _documents(path):
        for resource in document.get("resourceSpans", ()):
            for scope in resource.get(
                "scopeSpans", resource.get("instrumentationLibrarySpans", ())
            ):
                yield from scope.get("spans", ())


def _documents(path: Path) -> Iterator[Mapping[str, Any]]:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise TapeError(f"{path} cannot be read: {error.strerror}") from error
    try:
        yield msgspec.json.decode(raw, type=dict[str, Any])
    except msgspec.DecodeError:
        pass
    else:
        return
    for number, line in enumerate(raw.splitlines(), start=1):
        if line.strip():
            try:
                yield msgspec.json.decode(line, type=dict[str, Any])
            except msgspec.DecodeError as error:
                raise TapeError(f"{path}, line {number} is no JSON object: {error}") from error
