"""Spans in OTLP's JSON: they tell what a tape of the same requests tells, and what is left out."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from google.protobuf.json_format import MessageToDict  # type: ignore[import-untyped]
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from canario import create_canary_controller
from canario.asgi import CanaryMiddleware
from canario.cli.main import cli
from canario.tape.format import TapeError
from canario.testing import ManualClock
from canario.wsgi import CanaryMiddleware as WSGICanaryMiddleware
from canario_sim.distributions import Lognormal
from canario_sim.fitting import calibrate, observe
from canario_sim.tapes import read_tape
from canario_sim.tapes.otlp import Spans, read_spans
from canario_sim.tapes.recording import BAD, GOOD, NEUTRAL, Recording

NS = 1_000_000_000
START = 1_795_000_000 * NS


def span(number: int = 0, took_ms: float = 100.0, **attributes: Any) -> dict[str, Any]:
    start = START + number * NS // 5
    return {
        "traceId": f"{number:032x}",
        "spanId": f"{number:016x}",
        "name": "GET /a",
        "kind": 2,
        "startTimeUnixNano": str(start),
        "endTimeUnixNano": str(start + int(took_ms * 1e6)),
        "attributes": [
            {"key": key.replace("__", "."), "value": value_of(value)}
            for key, value in attributes.items()
        ],
    }


def value_of(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    return {"doubleValue": value} if isinstance(value, float) else {"stringValue": value}


def http(number: int = 0, status: int = 200, took_ms: float = 100.0, **more: Any) -> dict[str, Any]:
    given = {"http__request__method": "GET", "http__response__status_code": status} | more
    return span(number, took_ms, **given)


def exported(spans: list[Any], **resource: str) -> dict[str, Any]:
    of = {"attributes": [{"key": k.replace("__", "."), "value": value_of(v)}
                         for k, v in resource.items()]}  # fmt: skip
    return {"resourceSpans": [{"resource": of, "scopeSpans": [{"spans": spans}]}]}


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Spans]:
    def read(*documents: Any, **options: Any) -> Spans:
        path = tmp_path / "spans.json"
        path.write_text("\n".join(map(json.dumps, documents)), encoding="utf-8")
        return read_spans(path, **options)

    return read


def left_out(spans: Spans) -> list[str]:
    return [note for note in spans.notes if "left out" in note]


# -- the same requests on a tape and in canario's own spans


def told(recording: Recording) -> Counter[tuple[str, int, float]]:
    """How often each route, outcome and latency (-1: not timed) is there."""
    names = [*recording.routes, ""]
    routes = [names[number] for number in recording.route.tolist()]
    timed = np.nan_to_num(recording.latency_ms, nan=-1.0).tolist()
    return Counter(zip(routes, recording.outcome.tolist(), timed, strict=True))


class Traced:
    """A provider that keeps spans, for what writes them to a file."""

    def __init__(self) -> None:
        self.kept = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.kept))

    def write(self, path: Path) -> Path:
        path.write_text(json.dumps(MessageToDict(encode_spans(self.kept.get_finished_spans()))))
        return path


def test_own_spans_tell_what_the_own_tape_tells_under_asgi(tmp_path: Path) -> None:
    clock = ManualClock(1_795_000_000.0)
    traced = Traced()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        clock.advance(0.125)
        path = scope["path"]
        if path == "/raises":
            raise RuntimeError("before the response")
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            clock.advance(3600)
            if path == "/breaks":
                raise RuntimeError("in the connection")
            return
        kind = b"text/event-stream" if path == "/events" else b"text/plain"
        status = int(path[1:]) if path[1:].isdecimal() else 200
        headers = [(b"content-type", kind)]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        clock.advance(10)
        if path == "/boom":
            raise RuntimeError("in the stream")
        if path == "/left":
            await receive()
            return
        if path != "/unfinished":
            await send({"type": "http.response.body"})

    wrapped = CanaryMiddleware(
        app,
        create_canary_controller("x", clock=clock, environ={}),
        tracer_provider=traced.provider,
        tape=str(tmp_path / "own.tape"),
        errors={"/409": {409}},
        route=lambda scope: scope["path"],
    )

    async def ask(path: str, method: str = "GET", kind: str = "http") -> None:
        async def receive() -> dict[str, Any]:
            return {"type": "http.disconnect" if kind == "http" else "websocket.connect"}

        async def send(message: Any) -> None:
            pass

        scope = {
            "type": kind, "path": path, "method": method, "query_string": b"", "headers": [],
            "scheme": "http", "server": ("x", 80), "client": ("127.0.0.1", 1),
            "http_version": "1.1",
        }  # fmt: skip
        with suppress(RuntimeError):
            await wrapped(scope, receive, send)

    async def go() -> None:
        for path in ("/ok", "/boom", "/left", "/healthz", "/raises", "/404", "/409", "/503",
                     "/events", "/unfinished"):  # fmt: skip
            await ask(path)
        await ask("/ok", "HEAD")
        await ask("/503", "OPTIONS")
        await ask("/socket", kind="websocket")
        await ask("/breaks", kind="websocket")

    asyncio.run(go())
    assert wrapped.gate.tape is not None
    wrapped.gate.tape.close(5)
    tape = read_tape(tmp_path / "own.tape")
    spans = read_spans(traced.write(tmp_path / "own.json")).recording
    assert len(spans) == len(tape) == 14
    assert told(spans) == told(tape)
    assert {GOOD, BAD, NEUTRAL} == set(tape.outcome.tolist())


def test_own_spans_tell_what_the_own_tape_tells_under_wsgi(tmp_path: Path) -> None:
    clock = ManualClock(1_795_000_000.0)
    traced = Traced()

    def app(environ: Any, start_response: Any) -> Any:
        clock.advance(0.125)
        path = environ["PATH_INFO"]
        if path == "/raises":
            raise RuntimeError("before the response")
        status = path[1:] if path[1:].isdecimal() else "200"
        start_response(f"{status} x", [("content-type", "text/plain")])

        def body() -> Any:
            yield b"a"
            if path == "/boom":
                raise RuntimeError("in the stream")
            yield b"b"

        return body()

    wrapped = WSGICanaryMiddleware(
        app,
        create_canary_controller("x", clock=clock, environ={}),
        tracer_provider=traced.provider,
        tape=str(tmp_path / "own.tape"),
        route=lambda environ: environ["PATH_INFO"],
    )
    for path in ("/ok", "/boom", "/left", "/healthz", "/raises", "/404", "/503"):
        environ = {"REQUEST_METHOD": "GET", "SCRIPT_NAME": "", "PATH_INFO": path,
                   "SERVER_NAME": "x", "SERVER_PORT": "80", "wsgi.url_scheme": "http"}  # fmt: skip
        with suppress(RuntimeError):
            body = iter(wrapped(environ, lambda *_: lambda _: None))
            next(body)
            if path != "/left":
                list(body)
            body.close()  # type: ignore[attr-defined]
    assert wrapped.gate.tape is not None
    wrapped.gate.tape.close(5)
    tape = read_tape(tmp_path / "own.tape")
    spans = read_spans(traced.write(tmp_path / "own.json")).recording
    assert len(spans) == len(tape) == 7
    assert told(spans) == told(tape)


def test_a_span_of_the_host_is_told_the_outcome_too() -> None:
    traced = Traced()
    tracer = traced.provider.get_tracer("host")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 404, "headers": []})
        await send({"type": "http.response.body"})

    wrapped = CanaryMiddleware(app, create_canary_controller("x", environ={}))

    async def go() -> None:
        async def nothing(*_: Any) -> Any:
            return {"type": "http.request"}

        from opentelemetry.trace import SpanKind

        with tracer.start_as_current_span("GET", kind=SpanKind.SERVER):
            await wrapped(
                {"type": "http", "path": "/", "method": "GET", "headers": []}, nothing, nothing
            )

    asyncio.run(go())
    (kept,) = traced.kept.get_finished_spans()
    assert (kept.attributes or {})["canario.outcome"] == "neutral"
    assert "canario.latency_ms" not in (kept.attributes or {})


# -- what others' spans say


def error(**more: Any) -> dict[str, Any]:
    return {"status": {"code": 2}, **more}


@pytest.mark.parametrize(
    ("given", "outcome", "timed"),
    [
        (http(), GOOD, True),
        (http(status=304), GOOD, True),
        (http(status=404), NEUTRAL, False),
        (http(status=499), NEUTRAL, False),
        (http(status=499, took_ms=30_000.0), GOOD, True),  # slow: somebody has waited in vain
        (http(status=503), BAD, True),
        (http(status=0), BAD, True),
        (http() | error(), BAD, True),  # a response that broke off
        (http(status=404) | error(), NEUTRAL, False),
        (http(http__request__method="HEAD"), GOOD, False),
        (http(status=500, http__request__method="OPTIONS"), BAD, False),
        (http(url__path="/healthz"), GOOD, False),
        (http(status=101), GOOD, False),
        (span(http__status_code=500, http__method="GET"), BAD, True),
        (span(http__request__method="GET"), NEUTRAL, False),  # nobody was answered
        (span(took_ms=30_000.0, http__request__method="GET"), GOOD, True),
        (span(http__request__method="GET", error__type="RuntimeError"), BAD, True),
        (span(), GOOD, True),
        (span() | {"status": None}, GOOD, True),
        (span() | {"status": {"code": "STATUS_CODE_ERROR"}}, BAD, True),
        (span(rpc__grpc__status_code=0), GOOD, True),
        (span(rpc__grpc__status_code=14), BAD, True),
        (span(rpc__grpc__status_code=5), NEUTRAL, False),
        (span(rpc__response__status_code="DEADLINE_EXCEEDED"), BAD, True),
        (http(status=503, canario__outcome="good", canario__latency_ms=5.0), GOOD, True),
        (http(canario__outcome="error"), BAD, False),
    ],
)
def test_a_span_is_worth_what_its_request_is_to_the_middleware(
    given: dict[str, Any], outcome: int, timed: bool, read: Callable[..., Spans]
) -> None:
    recording = read(exported([given])).recording
    assert recording.outcome.tolist() == [outcome]
    assert np.isfinite(recording.latency_ms).tolist() == [timed]


def test_statuses_may_be_errors(read: Callable[..., Spans]) -> None:
    spans = [http(n, status=429) | error() for n in range(3)]
    assert read(exported(spans), errors={429}).recording.failed.all()
    made = read(exported(spans))
    assert not made.recording.failed.any()
    assert any("3 spans with a status of ERROR and 429" in note for note in made.notes)


@pytest.mark.parametrize("kind", [2, "2", "SPAN_KIND_SERVER", "server"])
def test_a_kind_is_a_number_or_a_word(kind: Any, read: Callable[..., Spans]) -> None:
    assert len(read(exported([span() | {"kind": kind}])).recording) == 1


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ({"endTimeUnixNano": "0"}, "it never ended"),
        ({"endTimeUnixNano": None}, "it never ended"),
        ({"startTimeUnixNano": None}, "it has no start"),
        ({"startTimeUnixNano": "soon"}, "its start is 'soon', no number of ns"),
        ({"endTimeUnixNano": str(START - 1)}, "it ends before it starts"),
        ({"attributes": [{"key": "http.status_code", "value": {"stringValue": "no"}}]},
         "its status is 'no'"),
        ({"attributes": [{"key": "http.status_code", "value": {"intValue": "77"}}]},
         "its status is 77"),
        ({"attributes": [{"key": "canario.outcome", "value": {"stringValue": "fine"}}]},
         "its canario.outcome is 'fine'"),
        ({"attributes": [{"key": "canario.outcome", "value": {"stringValue": "good"}},
                         {"key": "canario.latency_ms", "value": {"doubleValue": -1.0}}]},
         "its canario.latency_ms is '-1.0'"),
    ],
)  # fmt: skip
def test_a_span_that_cannot_be_read_is_left_out_and_counted(
    bad: dict[str, Any], why: str, read: Callable[..., Spans]
) -> None:
    good = [span(n) for n in range(1, 6)]
    made = read(exported([*good, span() | bad]))
    assert len(made.recording) == 5
    assert left_out(made) == [f"1 span is left out: {why} (0000000000000000)"]
    with pytest.raises(TapeError, match=f"(?s)spans.json: {why}"):
        read(exported([*good, span() | bad]), strict=True)
    with pytest.raises(TapeError, match=f"2 spans cannot be read and 1 can: {why}"):
        read(exported([good[0], span() | bad, span() | bad | {"spanId": "ff"}]))


@pytest.mark.parametrize(
    "nothing",
    [
        {"attributes": None}, {"status": {"code": None}}, {"name": None}, {"parentSpanId": None},
        {"attributes": [None, {"key": None}, {"key": "http.route"}, {"key": "a", "value": None}]},
        {"attributes": {}}, {"traceId": None}, {"spanId": None},
    ],
)  # fmt: skip
def test_nulls_are_nothing(nothing: dict[str, Any], read: Callable[..., Spans]) -> None:
    made = read(exported([span() | nothing]))
    assert (len(made.recording), left_out(made)) == (1, [])


@pytest.mark.parametrize(
    "document",
    [
        {"resourceSpans": None},
        {"resourceSpans": [{"scopeSpans": None, "resource": None}]},
        {"resourceSpans": [{"scopeSpans": [{"spans": None}]}]},
        {"resourceSpans": [{}]},
        None,
    ],
)
def test_documents_may_be_empty(document: Any, read: Callable[..., Spans]) -> None:
    made = read(exported([span()]), document)
    assert (len(made.recording), left_out(made)) == (1, [])


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ({"resourceSpans": [None]}, "what stands in resourceSpans is no object"),
        ({"resourceSpans": {}}, "resourceSpans is no list"),
        ({"resourceSpans": [{"scopeSpans": [{"spans": [7]}]}]}, "stands in spans is no object"),
        ({"resourceMetrics": []}, "a document holds metrics or logs"),
        ({"x": 1}, "a document holds no spans"),
        (7, "a document is no JSON object"),
    ],
)
def test_what_is_no_document_of_spans_is_counted(
    document: Any, why: str, read: Callable[..., Spans]
) -> None:
    (note,) = left_out(read(exported([span()]), document))
    assert why in note


def test_a_line_that_rotation_has_cut_is_left_out(tmp_path: Path) -> None:
    lines = [json.dumps(exported([span(n)])) for n in range(4)]
    path = tmp_path / "spans.jsonl"
    path.write_text("\n".join([lines[0][40:], *lines[1:3], lines[3][:-9]]))
    made = read_spans(path)
    assert len(made.recording) == 2
    assert left_out(made) == ["2 spans are left out: a line is no JSON (line 1 of 4, line 4 of 4)"]
    path.write_text(lines[0][:-9])
    with pytest.raises(TapeError, match="no line that is JSON"):
        read_spans(path)


def test_arrays_of_exports_other_names_and_packed_files_are_read(tmp_path: Path) -> None:
    path = tmp_path / "spans"
    one, two = exported([span(1)]), exported([span(2)])
    snake = {"resource_spans": [{"scope_spans": [{"spans": [
        {"name": "a", "kind": 2, "start_time_unix_nano": START, "end_time_unix_nano": START + 1}
    ]}]}]}  # fmt: skip
    tempo = {"trace": {"batches": [{"instrumentationLibrarySpans": [{"spans": [span(3)]}]}]}}
    for documents, n in (([one, two], 2), ([[one], two, snake], 3), ([tempo], 1)):
        raw = json.dumps(documents).encode()
        path.write_bytes(b"\xef\xbb\xbf" + raw)
        assert len(read_spans(path).recording) == n
        path.write_bytes(gzip.compress(raw[:9]) + gzip.compress(raw[9:]) + b"\0\0")
        assert len(read_spans(path).recording) == n
    text = "\n".join(json.dumps(exported([span(n)])) for n in range(2000)).encode()
    path.write_bytes(gzip.compress(text)[:-2000])
    made = read_spans(path)
    assert 100 < len(made.recording) < 2000
    assert any("the compressed file is cut off" in note for note in left_out(made))
    path.write_bytes(b"\x28\xb5\x2f\xfd rest")
    with pytest.raises(TapeError, match="zstd -d"):
        read_spans(path)


def test_a_request_counts_once_however_many_spans_it_has(read: Callable[..., Spans]) -> None:
    outer = span(1)
    within = span(2) | {"traceId": outer["traceId"], "parentSpanId": outer["spanId"], "kind": 1}
    inner = span(3) | {"traceId": outer["traceId"], "parentSpanId": within["spanId"]}
    call = span(4) | {"traceId": outer["traceId"], "parentSpanId": inner["spanId"], "kind": 3}
    called = span(5) | {"traceId": outer["traceId"], "parentSpanId": call["spanId"]}
    made = read(exported([inner, called, outer, call, within, outer]))
    assert len(made.recording) == 2  # it asked itself for another page
    assert left_out(made) == [
        "2 spans are left out: no SERVER spans",
        "1 span is left out: there twice",
        "1 span is left out: below another SERVER span of the same request",
    ]
    loop = span(1) | {"parentSpanId": span(1)["spanId"]}
    assert len(read(exported([loop])).recording) == 1


def test_spans_of_several_services_are_asked_about(read: Callable[..., Spans]) -> None:
    shop = exported([http(n) for n in range(3)], service__name="shop")
    pay = exported([http(n + 10, 500) for n in range(2)], service__name="pay")
    with pytest.raises(
        TapeError,
        match=r"service.name: shop \(3\), pay \(2\); take one with --where service.name=shop",
    ):
        read(shop, pay)
    made = read(shop, pay, where={"service.name": "pay"})
    assert len(made.recording) == 2
    assert made.recording.failed.all()
    assert left_out(made) == ["3 spans are left out: without service.name=pay"]


def test_users_are_told_apart_by_one_attribute_which_is_said(read: Callable[..., Spans]) -> None:
    spans = [http(n, client__address="10.0.0.1", user__id=f"u{n % 3}") for n in range(8)]
    spans += [http(9, client__address="10.0.0.2")]
    made = read(exported(spans))
    assert made.recording.users == 3
    assert "users are told apart by user.id, on 8 of 9 spans" in made.notes
    assert read(exported(spans), key="client").recording.users == 2
    assert read(exported(spans), key="none").recording.users == 0


def test_what_was_taken_for_what_is_shown_and_what_is_hardly_so(read: Callable[..., Spans]) -> None:
    made = read(exported([http(1), http(2, 503), http(3, http__request__method="HEAD")]))
    assert made.notes == (
        "status 200 is good: 1 span, such as 'GET /a', 100 ms",
        "status 503 is an error: 1 span, such as 'GET /a', 100 ms",
        "status 200 is good, not timed: 1 span, such as 'GET /a'",
    )
    odd = [http(n, 500, took_ms=0.01, client__address="10.0.0.1") for n in range(200)]
    old = http(500) | {"startTimeUnixNano": "1", "endTimeUnixNano": "2"}
    said = " ".join(read(exported([*odd, old])).notes)
    assert all(words in said for words in ("years", "one user's", "less than 0.01 ms"))
    wrong = [http(n) | {"name": "a\n\x1b[31m" + "b" * 200} for n in range(2)]
    assert not any(set(note) & {"\n", "\x1b"} for note in read(exported(wrong)).notes)


def test_a_scenario_is_fitted_to_spans(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    took = np.exp(rng.normal(np.log(40), 0.5, 1500)).tolist()
    spans = [http(n, 503 if n % 20 == 0 else 200, took[n]) for n in range(1500)]
    path = tmp_path / "spans.json"
    path.write_text(json.dumps(exported(spans)))
    made = calibrate(observe(path))
    assert made.requests == 1500
    assert made.scenario.baseline.error_rate == 5.0
    latency = made.scenario.baseline.latency
    assert isinstance(latency, Lognormal)
    assert latency.p50_ms == pytest.approx(40, rel=0.05)


def test_a_file_without_requests_says_what_it_has(read: Callable[..., Spans]) -> None:
    with pytest.raises(TapeError, match="no SERVER span: 2 spans are left out: no SERVER spans"):
        read(exported([span(n) | {"kind": 3} for n in range(2)]))
    with pytest.raises(TapeError, match=r"no spans .*, but resourceMetrics"):
        read({"resourceMetrics": []})


def test_a_span_that_is_called_by_its_path_keeps_no_token(read: Callable[..., Spans]) -> None:
    spans = [http(n) | {"name": f"GET /users/{n}1/reset/aB3dE6gH9jK2mN5pQ8sT"} for n in range(3)]
    spans += [http(4, http__route="/users/{user}")]
    routes = read(exported(spans)).recording.routes
    assert set(routes) == {"GET /users/{id}/reset/{id}", "/users/{user}"}


# -- the command


def ran(*arguments: str) -> Any:
    return CliRunner().invoke(cli, ["calibrate", *arguments])


def test_options_of_other_sources_are_refused_and_not_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "spans.json"
    path.write_text(json.dumps(exported([http(n) for n in range(300)], service__name="shop")))
    out = str(tmp_path / "out.toml")
    for options in (("--unit", "s"), ("--metric", "x"), ("--rate", "2"), ("--map", "at=time")):
        done = ran(str(path), "--out", out, *options)
        assert done.exit_code == 2
        assert f"{options[0]} says nothing of" in done.output
        assert "read as otlp" in done.output
    done = ran(str(path), "--out", out, "--where", "service.name=shop", "--key", "none")
    assert done.exit_code == 0
    assert "status 200 is good: 300 spans, such as 'GET /a', 100 ms" in done.output
    for wrong in ("shop", "=shop"):
        assert ran(str(path), "--where", wrong).exit_code == 2
    assert ran(str(path), "--where", "a=1", "--where", "a=2").exit_code == 2
