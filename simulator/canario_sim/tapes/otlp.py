"""Spans in OTLP's JSON as recorded traffic.

A SERVER span is a request. What canario's own middleware has written on it counts; else its HTTP or
gRPC status and its own say what it was worth, as in the middleware.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from math import isfinite, nan
from pathlib import Path
from typing import Any

from msgspec import Struct

from canario.arms import ARMS
from canario.contracts.quoting import brief
from canario.tape.format import TapeError
from canario_sim.tapes.doubts import doubts
from canario_sim.tapes.parsed import (
    LIMIT_MS,
    Collector,
    Line,
    LineError,
    route_of,
    untimed,
    worth_of_status,
)
from canario_sim.tapes.recording import BAD, GOOD, NEUTRAL, Recording

from .left_out import LeftOut, such_as
from .otlp_documents import Exported, SpanDocuments
from .which_service import Where, only_one

__all__ = ["Spans", "read_spans"]

_SERVER = ("2", "SPAN_KIND_SERVER", "SERVER")
# Below these a SERVER span may be a part of the same request; a client's is a request of its own.
_WITHIN = (*_SERVER, "1", "SPAN_KIND_INTERNAL", "INTERNAL", "0", "SPAN_KIND_UNSPECIFIED", "")
_ERROR = ("2", "STATUS_CODE_ERROR", "ERROR")

_STATUS = ("http.response.status_code", "http.status_code")
_METHOD = ("http.request.method", "http.method")
_PATH = ("url.path", "http.target", "http.route")
_GRPC = ("rpc.grpc.status_code", "rpc.response.status_code")
_ARM = ("feature_flag.result.variant", "feature_flag.variant", "canario.arm")
_USERS = {
    "user": (
        "feature_flag.context.id",
        "enduser.id",
        "enduser.pseudo.id",
        "user.id",
        "session.id",
    ),
    "client": ("client.address", "http.client_ip", "net.sock.peer.addr", "net.peer.ip"),
    "none": (),
}

_OUTCOMES = {"good": GOOD, "error": BAD, "bad": BAD, "neutral": NEUTRAL}
_SAID = {GOOD: "is good", BAD: "is an error", NEUTRAL: "says nothing of the service"}

# OpenTelemetry's conventions: the codes of gRPC that are the server's fault.
_GRPC_NAMES = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
]
_GRPC_FAULTS = frozenset(
    ["UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"]
)

# What servers log of a client that left before it was answered.
_LEFT = 499
_MEANINGS = 12


class Spans(Struct, frozen=True):
    """What a file of spans holds, and what a reader should know of how it was read."""

    recording: Recording
    notes: tuple[str, ...]


def read_spans(
    path: Path,
    *,
    where: Mapping[str, str] | None = None,
    key: str | None = None,
    errors: Collection[int] = (),
    limit_ms: float = LIMIT_MS,
    secret: bytes | None = None,
    strict: bool = False,
) -> Spans:
    """The requests that the SERVER spans in a file are.

    Args:
        path: A document, one a line, or arrays of them; gzip is unpacked.
        where: Attributes, of a span or its resource, that the spans have to have.
        key: What users are told apart by: `user`, `client` or `none`; by default the user where a
            span has one, else the client.
        errors: Statuses below 500 that count as errors.
        limit_ms: A client that left after a longer wait says that the service is slow.
        secret: With what users' keys are hashed; a random one by default.
        strict: Whether the first span that cannot be read is an error.

    Raises:
        TapeError: For a file that holds no request, or more spans that cannot be read than such
            that can, or the spans of several services.
    """
    return _Reader(path, Where(where or {}), key, errors, limit_ms, secret, strict).read()


class _Request(Struct):
    """A SERVER span that was read; `told` is what its outcome was told by."""

    line: Line
    users: dict[str, str]
    name: str
    told: str


class _Reader:
    def __init__(
        self,
        path: Path,
        where: Where,
        key: str | None,
        errors: Collection[int],
        limit_ms: float,
        secret: bytes | None,
        strict: bool,
    ) -> None:
        self._path = path
        self._where = where
        self._errors = errors
        self._limit_ms = limit_ms
        self._secret = secret
        self._strict = strict
        self._candidates = (*_USERS["user"], *_USERS["client"]) if key is None else _USERS[key]
        self._broken = LeftOut()
        self._aside = LeftOut()
        self._unclear: dict[str, list[str]] = {}
        self._services: Counter[str] = Counter()
        self._releases: Counter[str] = Counter()

    def read(self) -> Spans:
        """See `read_spans`."""
        requests = self._requests()
        only_one(self._path, "SERVER spans", "service.name", self._services)
        only_one(self._path, "SERVER spans", "feature_flag.key", self._releases)
        told_by = self._told_by(requests)
        collector = Collector("import", self._secret)
        for request in requests:
            request.line.key = request.users.get(told_by or "")
            try:
                collector.add(request.line)
            except LineError as error:
                self._leave(str(error), "")
        if not len(collector) or len(self._broken) > len(collector):
            raise TapeError(self._nothing(len(collector)))
        recording = collector.recording("ms", "start", self._path.name)
        return Spans(recording, tuple(self._notes(requests, told_by, recording)))

    def _requests(self) -> list[_Request]:
        spans: dict[tuple[str, str], tuple[str, str]] = {}  # (trace, span) -> its parent, its kind
        seen: set[tuple[str, str, str]] = set()
        kept: list[tuple[Exported, str, str]] = []
        documents = SpanDocuments(self._path)
        for span in documents:
            trace, name = str(span.get("traceId") or ""), str(span.get("spanId") or "")
            kind = str(span.get("kind") or "").upper()
            spans[trace, name] = str(span.get("parentSpanId") or ""), kind
            if kind not in _SERVER:
                self._aside.add("no SERVER spans")
            elif name and (trace, name, str(span.get("startTimeUnixNano"))) in seen:
                self._aside.add("there twice")
            elif not self._where.takes(span.attributes):
                self._aside.add(f"without {self._where}")
            else:
                seen.add((trace, name, str(span.get("startTimeUnixNano"))))
                kept.append((span, trace, name))
        for why, places in documents.broken.items():
            for place in places:
                self._leave(why, place)
        if not spans and documents.keys:
            keys = brief(", ".join(sorted(documents.keys)), 80)
            raise TapeError(f"{self._path} holds no spans (resourceSpans), but {keys}")
        requests = []
        for span, trace, name in kept:
            if _is_within(spans, trace, name):
                self._aside.add("below another SERVER span of the same request")
                continue
            try:
                requests.append(self._request(span))
            except LineError as error:
                self._leave(str(error), name)
        return requests

    def _leave(self, why: str, where: str) -> None:
        if self._strict:
            raise TapeError(f"{self._path}: {why}{such_as([where])}")
        self._broken.add(why, where)

    def _request(self, span: Exported) -> _Request:
        started, ended = _instant(span, "start"), _instant(span, "end")
        if not ended:
            raise LineError("it never ended")
        if ended < started:
            raise LineError("it ends before it starts")
        attributes = span.attributes
        outcome, latency = self._worth(span, attributes, (ended - started) / 1e6)
        route = attributes.get("http.route")
        if route is None and span.get("name") and "canario.outcome" not in attributes:
            # canario's own say by themselves that there is none; others may be called by a path.
            route = route_of(str(span.get("name")))
        arm = _first(attributes, _ARM)
        line = Line(
            started / 1e9,
            latency,
            outcome,
            None,
            None if route is None else str(route),
            ARMS.index(arm) if arm in ARMS else -1,
        )
        self._services[str(attributes.get("service.name", "without a name"))] += 1
        if attributes.get("feature_flag.provider.name") == "canario":
            self._releases[str(attributes.get("feature_flag.key"))] += 1
        users = {name: str(attributes[name]) for name in self._candidates if attributes.get(name)}
        return _Request(line, users, str(span.get("name")), _told(span, attributes))

    def _worth(
        self, span: Exported, attributes: Mapping[str, Any], took_ms: float
    ) -> tuple[int, float]:
        """What a request says of the service, and its latency; NaN where it is not timed."""
        own = attributes.get("canario.outcome")
        if own is not None:
            if own not in _OUTCOMES:
                raise LineError(f"its canario.outcome is {brief(str(own), 20)!r}")
            return _OUTCOMES[own], _own_latency(attributes)
        status = self._status(attributes)
        failed = _has_error(span)
        method = str(_first(attributes, _METHOD) or "").upper()
        if untimed(method, str(_first(attributes, _PATH) or "")):
            took_ms = nan
        if status is not None:
            outcome, counts = worth_of_status(status, took_ms, self._errors, self._limit_ms)
            if failed and status < 400:
                return BAD, counts
            if failed and outcome == NEUTRAL:
                self._unclear.setdefault(
                    f"spans with a status of ERROR and {status}, which says nothing as in the "
                    f"middleware (--errors {status})",
                    [],
                ).append(str(span.get("spanId")))
            return outcome, counts
        if failed or "error.type" in attributes:
            return BAD, took_ms
        grpc = _first(attributes, _GRPC)
        if grpc is not None:
            return _grpc_outcome(grpc), took_ms
        if method:
            self._unclear.setdefault(
                "spans of HTTP without a status, taken for clients that left", []
            ).append(str(span.get("spanId")))
            return worth_of_status(_LEFT, took_ms, (), self._limit_ms)
        return GOOD, took_ms

    def _status(self, attributes: Mapping[str, Any]) -> int | None:
        given = _first(attributes, _STATUS)
        if given is None:
            return None
        try:
            status = int(given)
        except (TypeError, ValueError):
            raise LineError(f"its status is {brief(str(given), 20)!r}") from None
        if not (status == 0 or 100 <= status <= 999):
            raise LineError(f"its status is {status}")
        return status

    def _told_by(self, requests: list[_Request]) -> str | None:
        """The one attribute that users are told apart by: two would make two of one user."""
        found = Counter(name for request in requests for name in request.users)
        enough = [name for name in self._candidates if 2 * found[name] >= len(requests)]
        return next((name for name in (*enough, *found) if found[name]), None)

    def _nothing(self, kept: int) -> str:
        if len(self._broken):
            return (
                f"{self._path}: {len(self._broken):,} spans cannot be read and {kept:,} can: "
                f"{self._broken.first()}"
            )
        aside = "; ".join(self._aside.notes("1 span", "spans")) or "it is empty"
        return f"{self._path} holds no SERVER span: {aside}"

    def _notes(
        self, requests: list[_Request], told_by: str | None, recording: Recording
    ) -> list[str]:
        notes = [*_meanings(requests)]
        if told_by is not None:
            of = sum(told_by in request.users for request in requests)
            notes.append(f"users are told apart by {told_by}, on {of:,} of {len(requests):,} spans")
        notes += self._broken.notes("1 span", "spans")
        notes += self._aside.notes("1 span", "spans")
        notes += [
            f"{len(places):,} {what}{such_as(places)}" for what, places in self._unclear.items()
        ]
        return [*notes, *doubts(recording)]


def _meanings(requests: list[_Request]) -> Iterator[str]:
    """What was taken for what, and a request of each, the most frequent first."""
    found: dict[tuple[str, str], list[_Request]] = {}
    for request in requests:
        timed = "" if isfinite(request.line.took) else ", not timed"
        found.setdefault((request.told, _SAID[request.line.outcome] + timed), []).append(request)
    ranked = sorted(found.items(), key=lambda each: -len(each[1]))
    for (told, said), of in ranked[:_MEANINGS]:
        example, n = of[0], len(of)
        took = example.line.took
        yield (
            f"{told} {said}: {'1 span' if n == 1 else f'{n:,} spans'}, such as "
            f"{brief(example.name, 60)!r}" + (f", {took:,.4g} ms" if isfinite(took) else "")
        )
    if len(ranked) > _MEANINGS:
        yield f"and {len(ranked) - _MEANINGS} more kinds of spans"


def _told(span: Exported, attributes: Mapping[str, Any]) -> str:
    """What tells what a span was worth, for a sentence."""
    if "canario.outcome" in attributes:
        return f"canario.outcome {brief(str(attributes['canario.outcome']), 20)}"
    status, grpc = _first(attributes, _STATUS), _first(attributes, _GRPC)
    error = " and ERROR" if _has_error(span) else ""
    if status is not None:
        return f"status {brief(str(status), 20)}{error}"
    if grpc is not None:
        return f"gRPC status {brief(str(grpc), 20)}{error}"
    return f"no status{error or ' and no ERROR'}"


def _has_error(span: Exported) -> bool:
    code = span.get("status")
    code = code.get("code") if isinstance(code, Mapping) else code
    return str(code or "").upper() in _ERROR


def _is_within(spans: Mapping[tuple[str, str], tuple[str, str]], trace: str, name: str) -> bool:
    """Whether a SERVER span stands above one, with nothing between them that asks for it."""
    # A file may name parents in a circle.
    passed = {name}
    above = spans[trace, name][0]
    while above and above not in passed and (trace, above) in spans:
        passed.add(above)
        parent, kind = spans[trace, above]
        if kind in _SERVER:
            return True
        if kind not in _WITHIN:
            return False
        above = parent
    return False


def _instant(span: Exported, end: str) -> int:
    """One of a span's instants in ns; 0 for none."""
    given = span.get(f"{end}TimeUnixNano")
    try:
        instant = int(given or 0)
    except (TypeError, ValueError, OverflowError):
        raise LineError(f"its {end} is {brief(str(given), 30)!r}, no number of ns") from None
    if not 0 <= instant < 2**64:
        raise LineError(f"its {end} is {instant} ns")
    if not instant and end == "start":
        raise LineError("it has no start")
    return instant


def _own_latency(attributes: Mapping[str, Any]) -> float:
    given = attributes.get("canario.latency_ms")
    if given is None:
        return nan
    try:
        latency = float(given)
    except (TypeError, ValueError):
        latency = nan
    if not (isfinite(latency) and latency >= 0):
        raise LineError(f"its canario.latency_ms is {brief(str(given), 20)!r}")
    return latency


def _grpc_outcome(code: Any) -> int:
    name = str(code).upper()
    if name.isdecimal() and int(name) < len(_GRPC_NAMES):
        name = _GRPC_NAMES[int(name)]
    if name not in _GRPC_NAMES:
        raise LineError(f"its gRPC status is {brief(str(code), 20)!r}")
    return GOOD if name == "OK" else BAD if name in _GRPC_FAULTS else NEUTRAL


def _first(attributes: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((attributes[name] for name in names if name in attributes), None)
