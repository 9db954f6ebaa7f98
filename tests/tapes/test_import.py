"""Access logs, JSON lines and CSV become tapes; what cannot be read is counted, and said."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from canario.routing.bucket import bucket_of
from canario.tape.format import TapeError
from canario_sim.tapes import read_tape
from canario_sim.tapes.importing import Imported, import_log
from canario_sim.tapes.parsed import route_of
from canario_sim.tapes.save import write_tape

# 10 October 2000, 13:55:36 in San Francisco.
AT = datetime(2000, 10, 10, 20, 55, 36, tzinfo=UTC).timestamp()
COMMON = '192.0.2.7 - frank [10/Oct/2000:13:55:36 -0700] "GET /apache_pb.gif HTTP/1.0" 200 2326'
COMBINED = COMMON + ' "http://example.com/a \\"b\\" c" "Mozilla/4.08 [en] (Win98; I ;Nav) 1.5"'


def imported(tmp_path: Path, *lines: str, name: str = "access.log", **options: object) -> Imported:
    path = tmp_path / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return import_log(path, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("line", "unit", "stamp", "latency_ms"),
    [
        (f"{COMMON} 0.250", "s", "end", 250.0),
        (f"{COMBINED} 0.250", "s", "end", 250.0),
        (f'{COMBINED} "192.0.2.1" 0.250 0.248 .', "s", "end", 250.0),
        (f"{COMBINED} rt=0.250 uct=0.001", "s", "end", 250.0),
        (f'{COMBINED} 77 request_time="0.250"', "s", "end", 250.0),
    ],
)
def test_common_and_combined_lines(
    line: str, unit: str, stamp: str, latency_ms: float, tmp_path: Path
) -> None:
    made = imported(tmp_path, line)
    assert (made.format, made.unit, made.stamp, made.guessed) == ("log", unit, stamp, True)
    recording = made.recording
    assert recording.latency_ms.tolist() == [latency_ms]
    # A log's instants are whole seconds; a single request is in the middle of its own.
    logged = recording.ended if stamp == "end" else recording.at
    assert logged.tolist() == [AT + 0.5]
    assert (recording.ended - recording.at).tolist() == pytest.approx([latency_ms / 1000])
    assert recording.routes == ("/apache_pb.gif",)
    assert recording.outcome.tolist() == [0]


def test_the_unit_and_the_instant_can_be_said(tmp_path: Path) -> None:
    assert imported(tmp_path, f"{COMMON} 2", unit="s").recording.latency_ms.tolist() == [2000.0]
    made = imported(tmp_path, f"{COMMON} 250000", unit="us")
    assert made.recording.latency_ms.tolist() == [250.0]
    assert made.recording.at.tolist() == [AT + 0.5]  # as Apache's %D, which is beside the start
    assert (made.stamp, made.guessed) == ("start", False)
    made = imported(tmp_path, f"{COMMON} 35", unit="ms", stamp="end")
    assert made.recording.latency_ms.tolist() == [35.0]
    assert made.recording.ended.tolist() == [AT + 0.5]
    assert not made.guessed


def test_what_a_status_says_and_what_is_not_timed(tmp_path: Path) -> None:
    lines = [
        f'h - - [10/Oct/2000:13:55:36 -0700] "{request} HTTP/1.1" {status} 1 0.010'
        for request, status in (
            ("GET /a", 200),
            ("GET /a", 503),
            ("GET /a", 404),
            ("GET /a", 429),
            ("HEAD /a", 200),
            ("GET /health?x=1", 200),
        )
    ]
    recording = imported(tmp_path, *lines, errors={429}).recording
    assert recording.outcome.tolist() == [0, 1, 2, 1, 0, 0]
    assert np.isnan(recording.latency_ms).tolist() == [False, False, True, False, True, True]


def test_lines_that_cannot_be_read_are_counted_by_what_is_wrong(tmp_path: Path) -> None:
    good = f"{COMMON} 0.1"
    made = imported(
        tmp_path,
        good,
        "nonsense",
        good,
        COMMON,
        good,
        good.replace("Oct", "Foo"),
        good.replace(" 200 ", " 2x0 "),
        good,
        "more nonsense",
        good,
    )
    assert len(made.recording) == 5
    assert made.lines == 10
    told = {each.why: (each.count, each.lines) for each in made.skipped}
    assert told['it is not host ident user [time] "request" status bytes …'] == (2, (2, 9))
    assert told["it does not tell how long the request took"] == (1, (4,))
    assert any("10/Foo/2000" in why and lines == (1, (6,)) for why, lines in told.items())
    assert told["its status is '2x0'"] == (1, (7,))
    with pytest.raises(TapeError, match=r"access\.log, line 2: it is not host"):
        imported(tmp_path, good, "nonsense", strict=True)
    with pytest.raises(TapeError, match=r"2 of 3 lines cannot be read as log; line 1: .*--format"):
        imported(tmp_path, "nonsense", good, "nonsense")
    with pytest.raises(TapeError, match="holds no request"):
        imported(tmp_path, "")


def test_requests_of_one_second_are_spread_over_it_in_their_order(tmp_path: Path) -> None:
    made = imported(tmp_path, *[f"{COMMON} 0.{n}00" for n in range(1, 5)], stamp="start")
    assert made.recording.at.tolist() == pytest.approx(
        [AT + 0.125, AT + 0.375, AT + 0.625, AT + 0.875]
    )


def test_users_are_hashed_and_keep_their_buckets(tmp_path: Path) -> None:
    lines = [
        f'10.0.0.{n % 3} - u{n % 2} [10/Oct/2000:13:55:36 -0700] "GET / HTTP/1.1" 200 1 0.1'
        for n in range(6)
    ]
    made = imported(tmp_path, *lines, salt="a release", secret=b"s").recording
    assert made.users == 3
    assert made.bucket.tolist()[:3] == [
        bucket_of(b"a release", f"10.0.0.{n}".encode()) for n in range(3)
    ]
    again = imported(tmp_path, *lines, secret=b"s").recording
    assert again.identities.tolist() == made.identities.tolist()
    assert imported(tmp_path, *lines, secret=b"t").recording.identities.tolist() != (
        made.identities.tolist()
    )
    assert imported(tmp_path, *lines, key="user").recording.users == 2
    anonymous = imported(tmp_path, *lines, key="none").recording
    assert anonymous.users == 0
    assert anonymous.bucket.tolist() == [-1] * 6
    write_tape(made, tmp_path / "a.tape")
    assert b"10.0.0.1" not in (tmp_path / "a.tape").read_bytes()


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/", "/"),
        ("/items/42?q=7", "/items/{id}"),
        ("/u/1b4e28ba-2fa1-11d2-883f-0016d3cca427/x", "/u/{id}/x"),
        ("/blob/9f86d081884c7d659a2feaa0c55ad015", "/blob/{id}"),
        ("/t/dGhpcyBpcyBhIHRva2VuIDEy", "/t/{id}"),
        ("/static/app.js", "/static/app.js"),
        ("/api/v2/users", "/api/v2/users"),
    ],
)
def test_paths_become_templates(path: str, route: str) -> None:
    assert route_of(path) == route


def test_json_lines_with_names_of_one_s_own(tmp_path: Path) -> None:
    records = [
        {"at": AT, "latency_ms": 12.5, "status": 200, "key": "ann", "route": "/a"},
        {"at": "2000-10-10T20:55:37Z", "latency_ms": 3, "ok": False, "arm": "canary"},
        {"at": "2000-10-10T13:55:38-07:00", "outcome": "neutral", "key": "ben"},
    ]
    made = imported(tmp_path, *map(json.dumps, records), name="a.jsonl").recording
    assert made.ended.tolist() == [AT, AT + 1, AT + 2]
    assert made.latency_ms.tolist()[:2] == [12.5, 3.0]
    assert made.outcome.tolist() == [0, 1, 2]
    assert made.arm.tolist() == [-1, 1, -1]
    assert made.key.tolist().count(-1) == 1
    own = {"time": AT, "http": {"code": 502, "secs": 0.25}, "who": "ann"}
    names = {"at": "time", "status": "http.code", "latency_s": "http.secs", "key": "who"}
    made = imported(tmp_path, json.dumps(own), name="b.jsonl", names=names).recording
    assert (made.outcome.tolist(), made.latency_ms.tolist(), made.users) == ([1], [250.0], 1)
    with pytest.raises(ValueError, match="'when' is no key of a record; valid are at, latency_ms"):
        imported(tmp_path, json.dumps(own), name="b.jsonl", names={"when": "time"})


def test_wrong_records_name_what_is_wrong(tmp_path: Path) -> None:
    good = json.dumps({"at": AT, "ok": True})
    wrong = [
        "{",
        "[1]",
        '{"ok": true}',
        '{"at": "soon", "ok": true}',
        '{"at": 1, "ok": "perhaps"}',
        '{"at": 1, "latency_ms": -4, "ok": true}',
        '{"at": 1}',
        '{"at": 1, "ok": true, "arm": "blue"}',
    ]
    made = imported(tmp_path, *[good] * 8, *wrong, name="a.jsonl")
    told = " | ".join(each.why for each in made.skipped)
    for part in (
        "it is no JSON",
        "it is no JSON object",
        "it has no at",
        "its instant is 'soon'",
        "its ok is 'perhaps'",
        "its latency_ms is -4",
        "it has neither outcome nor ok",
        "its arm is 'blue'",
    ):
        assert part in told
    assert [each.lines[0] for each in made.skipped] == list(range(9, 17))


def test_csv_and_compressed_files(tmp_path: Path) -> None:
    rows = ["when,ms,code", f"{AT},20,200", f"{AT + 1},30,500", f"{AT + 2},x,200"]
    names = {"at": "when", "latency_ms": "ms", "status": "code"}
    made = imported(tmp_path, *rows, name="a.csv", names=names)
    assert made.recording.latency_ms.tolist() == [20.0, 30.0]
    assert made.skipped[0].lines == (4,)
    path = tmp_path / "access.log.gz"
    path.write_bytes(gzip.compress(f"{COMMON} 0.5\n".encode()))
    assert import_log(path).recording.latency_ms.tolist() == [500.0]
    path.write_bytes(b"\x1f\x8bno")
    with pytest.raises(TapeError, match="cannot be read"):
        import_log(path)


def test_a_tape_of_a_log_holds_the_same(tmp_path: Path) -> None:
    lines = [
        f'10.0.0.{n % 7} - - [10/Oct/2000:13:55:{n % 60:02d} -0700] "GET /r{n % 4} HTTP/1.1" '
        f"{[200, 200, 500, 404][n % 4]} 1 0.{n % 9}5"
        for n in range(500)
    ]
    made = imported(tmp_path, *lines).recording
    write_tape(made, tmp_path / "a.tape")
    again = read_tape(tmp_path / "a.tape")
    for name in ("at", "ended", "arm", "outcome", "latency_ms", "bucket"):
        np.testing.assert_array_equal(getattr(again, name), getattr(made, name))
    assert [again.routes[n] for n in again.route] == [made.routes[n] for n in made.route]
    assert (again.identities[again.key] == made.identities[made.key]).all()
    assert not again.whole
    with pytest.raises(TapeError, match="is there already"):
        write_tape(made, tmp_path / "a.tape")
