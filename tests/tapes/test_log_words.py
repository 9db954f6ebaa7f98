"""What a client sends is never a field of the log; what a status, a path or a file says is."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.tapes.logs import AT, KNOWN, clf, client, took

from canario.tape.format import TapeError
from canario_sim.tapes.access_log import explain, learn
from canario_sim.tapes.importing import Imported, import_log
from canario_sim.tapes.parsed import Line, route_of
from canario_sim.tapes.pattern import Layout, reader


def imported(folder: Path, *lines: str, name: str = "a.log", **options: Any) -> Imported:
    path = folder / name
    path.write_text("\n".join(lines) + "\n")
    return import_log(path, **options)


# -- the client's words

TAIL = ' "203.0.113.9" 0.250 arm=baseline'
LEARNED = learn([clf(n, TAIL) for n in range(100)])
PLAIN = clf(1, TAIL)

_FIELDS = (
    "time=",
    "rt=9.9",
    "arm=canary",
    "request_time=",
    " 0.001 ",
    "] ",
    '"',
    "\\",
    "- - [",
    "\t",
)
_words = st.lists(
    st.one_of(st.sampled_from(_FIELDS), st.text(st.characters(codec="utf-8"), max_size=8)),
    max_size=6,
).map("".join)


def as_line(layout: Layout, line: str) -> Line:
    found = layout.matches.fullmatch(line)
    assert found is not None
    return reader(layout)([found]).line(0)


def escaped(text: str) -> str:
    """As nginx does it; Apache writes \\" for a quote."""
    return "".join(
        f"\\x{ord(sign):02X}" if sign in '"\\' or ord(sign) < 32 or ord(sign) == 127 else sign
        for sign in text
    )


def escaped_by_apache(text: str) -> str:
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    return "".join(sign if ord(sign) >= 32 else f"\\x{ord(sign):02x}" for sign in quoted)


@given(referer=_words, agent=_words, forwarded=_words, apache=st.booleans())
def test_words_between_quotes_change_no_other_field(
    referer: str, agent: str, forwarded: str, *, apache: bool
) -> None:
    quote = escaped_by_apache if apache else escaped
    line = (
        PLAIN.replace("https://shop.example/", quote(referer))
        .replace("Mozilla/5.0 (X11; Linux x86_64)", quote(agent))
        .replace("203.0.113.9", quote(forwarded))
    )
    assert as_line(LEARNED.layouts[0], line) == as_line(LEARNED.layouts[0], PLAIN)


@given(path=_words)
def test_a_request_line_changes_no_field_but_its_own(path: str) -> None:
    line = PLAIN.replace("/shop", f"/{escaped(path)}")
    made, plain = as_line(LEARNED.layouts[0], line), as_line(LEARNED.layouts[0], PLAIN)
    assert (made.at, made.outcome, made.key, made.arm) == (
        plain.at,
        plain.outcome,
        plain.key,
        plain.arm,
    )
    assert made.took == plain.took or np.isnan(made.took)  # `/health` and the like


@given(agent=_words)
def test_a_server_that_escapes_nothing_loses_a_line_and_misreads_none(agent: str) -> None:
    """Hypercorn writes a User-Agent as it is: its quotes may end the field."""
    line = PLAIN.replace("Mozilla/5.0 (X11; Linux x86_64)", agent.replace("\n", " "))
    found = LEARNED.layouts[0].matches.fullmatch(line)
    if found is None:
        assert "it" in str(explain(line, LEARNED))
    else:
        made = reader(LEARNED.layouts[0])([found]).line(0)
        assert (made.took, made.arm, made.outcome) == (250.0, 0, 0)


@pytest.mark.parametrize(
    "words", ['x" arm=canary rt=99 "y', 'x" 99.123 "y', 'x" rt=99 "y', 'x" "y']
)
@pytest.mark.parametrize("tail", ["{:.3f}", "rt={:.3f}", 'x rt="{:.3f}" arm=-'])
def test_words_of_some_clients_do_not_decide_how_lines_are_built(
    words: str, tail: str, tmp_path: Path
) -> None:
    lines = [clf(n, f" {tail.format(took(n))}") for n in range(300)]
    for n in range(0, 300, 3):  # every third one, with quotes that nobody escapes
        lines[n] = lines[n].replace("Mozilla/5.0 (X11; Linux x86_64)", words)
    made = imported(tmp_path, *lines)
    assert (made.recording.arm == -1).all()
    assert made.recording.latency_ms.max() < 200
    assert len(made.recording) >= 200


@pytest.mark.parametrize("many", ["1, ", "1,", "a=1, ", "[ ", " [", "- ", "1 : ", "1 "])
def test_no_line_is_tried_in_all_ways(many: str, tmp_path: Path) -> None:
    """Each would take hours if what was taken could be given back."""
    long = many * 5000
    lines = [clf(n, f" {took(n):.3f}") for n in range(9)]
    bad = [
        clf(1, f' {long}"', host=long),
        clf(1, f" 0.1 {long}\\"),
        f"2026-03-02 09:00:00,123 {long}",
        f'{long} - - {clf(2, " 0.1")[20:]} {long}"',
    ]
    made = imported(tmp_path, *lines, *bad)
    assert made.recording.latency_ms.max() < 200
    assert len(made.recording) >= 9


def test_names_tell_the_time_wherever_they_stand(tmp_path: Path) -> None:
    lines = [clf(n, f" {'HIT ' if n % 2 else ''}rt={took(n):.3f}") for n in range(100)]
    made = imported(tmp_path, *lines)
    assert (len(made.recording), made.skipped) == (100, ())
    assert made.recording.latency_ms.max() < 200


def test_an_arm_that_the_operator_writes_counts(tmp_path: Path) -> None:
    made = imported(
        tmp_path, *[clf(n, f" {took(n):.3f} arm={'canary' if n % 4 else '-'}") for n in range(100)]
    )
    assert made.recording.arm.tolist().count(1) == 75
    with pytest.raises(TapeError, match="its arm is 'blue'; valid are baseline and canary"):
        imported(tmp_path, *[clf(n, f" {took(n):.3f} arm=blue") for n in range(9)], name="b.log")
    with pytest.raises(TapeError, match="tells its arm twice"):
        imported(tmp_path, *[clf(n, " 0.1 arm=- arm=canary") for n in range(9)], name="c.log")


# -- statuses


@pytest.mark.parametrize(
    ("status", "seconds", "outcome", "latency_ms"),
    [
        (200, 0.1, 0, 100.0),
        (304, 0.1, 0, 100.0),
        (404, 0.1, 2, None),
        (500, 0.1, 1, 100.0),
        (499, 30.0, 0, 30_000.0),  # slow, as the middleware counts who left after the limit
        (499, 0.4, 2, None),
        (460, 30.0, 0, 30_000.0),
        ("000", 0.1, 1, 100.0),
        ("-", 0.1, 1, 100.0),
        ("-1", 0.1, 1, 100.0),
        (101, 1800.0, 0, None),  # the life of a WebSocket
        (101, 200_000.0, 0, None),
    ],
)
def test_what_a_status_is_worth(
    status: int | str, seconds: float, outcome: int, latency_ms: float | None, tmp_path: Path
) -> None:
    other = clf(0, " 0.250")
    texts = [clf(1, f" {seconds:.3f}", status=status), other, other, other]
    record = {"at": AT, "status": status, "latency_s": seconds}
    for name, lines in (("a.log", texts), ("a.jsonl", [json.dumps(record)])):
        made = imported(tmp_path, *lines, name=name).recording
        place = made.at.argmin() if len(made) == 1 else int(np.argmax(made.ended))
        assert made.outcome[place] == outcome
        found = made.latency_ms[place]
        assert (None if np.isnan(found) else found) == latency_ms


def test_the_limit_of_who_left_can_be_said(tmp_path: Path) -> None:
    made = imported(tmp_path, *[clf(n, " 0.400", status=499) for n in range(9)], limit_ms=300)
    assert made.recording.outcome.tolist() == [0] * 9


def test_what_does_no_work_is_not_timed(tmp_path: Path) -> None:
    requests = ["HEAD /a HTTP/1.1", "OPTIONS * HTTP/1.1", "GET /healthz?x=1 HTTP/1.1"]
    requests += ["CONNECT shop:443 HTTP/1.1"]
    made = imported(tmp_path, *[clf(n, " 0.1", request=each) for n, each in enumerate(requests)])
    assert np.isnan(made.recording.latency_ms).all()
    records = [
        {"at": AT + n, "latency_s": 1, "status": 200, "uri": path, "verb": verb}
        for n, (verb, path) in enumerate([each.split()[:2] for each in requests])
    ]
    names = {"route": "uri", "method": "verb"}
    made = imported(tmp_path, *map(json.dumps, records), name="a.jsonl", names=names)
    assert np.isnan(made.recording.latency_ms).all()


# -- routes


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/accounts/7/reset?token=tok000007&mail=ana@example.org", "/accounts/{id}/reset"),
        ("/users/ana@example.org/reset/TOKEN", "/users/{id}/reset/{id}"),
        ("/users/ana%40example.org", "/users/{id}"),
        ("/verify/hunter2", "/verify/{id}"),
        ("/password/reset/new", "/password/reset/new"),
        ("/cart;jsessionid=1A530637289A03B07199A44E8D531427", "/cart"),
        ("/invoices/7.pdf", "/invoices/{id}"),
        ("/t/QmFzZVNpeHR5Rm91clRva2Vu", "/t/{id}"),
        ("/tok000123", "/{id}"),
        ("https://shop.example/a/b?c=d", "/a/b"),
        ("https://shop.example", "/"),
        ("/items/{id}", "/items/{id}"),
        ("/items/<int:pk>", "/items/<int:pk>"),
        ("/items/:id", "/items/:id"),
        ("/" + "a/" * 40, "/" + "a/" * 11 + "…"),
        ("/api/v2/oauth2/s3", "/api/v2/oauth2/s3"),
    ],
)
def test_a_route_holds_nothing_of_anybody(path: str, route: str) -> None:
    assert route_of(path) == route


def test_routes_of_records_are_templates_too(tmp_path: Path) -> None:
    records = [
        {"at": AT + n, "ok": True, "route": route}
        for n, route in enumerate(
            ["/u/ana@example.org?x=1", "GET /u/7 HTTP/1.1", "POST /u/7", "https://a.example/u/7"]
        )
    ]
    made = imported(tmp_path, *map(json.dumps, records), name="a.jsonl").recording
    assert [made.routes[n] for n in made.route] == ["/u/{id}", "/u/{id}", "POST /u/{id}", "/u/{id}"]


def test_a_scanner_does_not_take_the_names_of_routes(tmp_path: Path) -> None:
    own = [clf(300 + n, " 0.1", request=f"GET /{'buy' if n % 2 else 'find'} HTTP/1.1") for n in
           range(2000)]  # fmt: skip
    for status in (404, 403, 200):
        scan = [
            clf(n // 10, " 0.1", request=f"GET /wp{'abcdefgh'[n % 8]}{chr(97 + n // 8 % 26)}"
                f"{chr(97 + n // 208)}/x.php HTTP/1.1", status=status)
            for n in range(1000)
        ]  # fmt: skip
        made = imported(tmp_path, *scan, *own).recording
        assert {"/buy", "/find"} <= set(made.routes)
        assert len(made.routes) < 5


def test_names_of_users_in_paths_are_no_routes(tmp_path: Path) -> None:
    names = [f"{a}{b}{c}" for a in "bdklmn" for b in "aeiou" for c in "nrst"]
    lines = [
        clf(n, " 0.1", request=f"GET /users/{names[n % len(names)]}/posts HTTP/1.1")
        for n in range(1200)
    ]
    assert imported(tmp_path, *lines).recording.routes == ("/users/{id}/posts",)


# -- records


@pytest.mark.parametrize("scale", [1, 1e3, 1e6, 1e9])
def test_instants_are_of_today_in_any_unit(scale: float, tmp_path: Path) -> None:
    records = [{"ts": round((AT + n) * scale), "status": 200} for n in range(5)]
    made = imported(tmp_path, *map(json.dumps, records), name="a.jsonl", names={"at": "ts"})
    assert made.recording.ended.tolist() == pytest.approx([AT + n for n in range(5)])


@pytest.mark.parametrize(
    "at", [1e22, 20260302090000, "nan", -5, True, "2126-01-01T00:00:00Z", 10**400, [1], "1/2/2026"]
)
def test_what_is_no_instant_is_left_out(at: Any, tmp_path: Path) -> None:
    good = [{"at": AT + n, "ok": True} for n in range(3)]
    made = imported(tmp_path, *map(json.dumps, [*good, {"at": at, "ok": True}]), name="a.jsonl")
    assert (len(made.recording), made.skipped[0].lines) == (3, (4,))


@pytest.mark.parametrize("value", ["nan", "inf", -1, 1e300, "12,5", "soon", 10**400, 90_000_000])
@pytest.mark.parametrize("worth", [{"ok": True}, {"status": 200}, {"outcome": "bad"}])
def test_what_is_no_latency_is_left_out(value: Any, worth: dict[str, Any], tmp_path: Path) -> None:
    good = [{"at": AT + n, "ok": True} for n in range(3)]
    bad = {"at": AT, "latency_ms": value, **worth}
    made = imported(tmp_path, *map(json.dumps, [*good, bad]), name="a.jsonl")
    assert len(made.recording) == 3
    assert "its latency_ms is" in made.skipped[0].why or "it took 25 hours" in made.skipped[0].why


def test_latencies_may_tell_their_unit(tmp_path: Path) -> None:
    texts = ["135ms", "0.135s", "135000us", "135000µs", "0m0.135s", "135000000ns", 135]
    records = [{"at": AT + n, "ok": True, "latency_ms": text} for n, text in enumerate(texts)]
    made = imported(tmp_path, *map(json.dumps, records), name="a.jsonl").recording
    assert made.latency_ms.tolist() == pytest.approx([135.0] * len(texts))
    both = {"at": AT, "ok": True, "latency_ms": 5, "latency_s": 5}
    with pytest.raises(TapeError, match="tell different times"):
        imported(tmp_path, json.dumps(both), name="a.jsonl")


def test_a_status_that_failed_counts_before_words(tmp_path: Path) -> None:
    records = [
        {"at": AT, "outcome": "good", "status": 503},
        {"at": AT + 1, "ok": True, "status": 0},
        {"at": AT + 2, "ok": False, "status": 200},
        {"at": AT + 3, "outcome": "good", "status": 404},
        {"at": AT + 4, "ok": True, "status": "200.0"},
    ]
    made = imported(tmp_path, *map(json.dumps, records), name="a.jsonl").recording
    assert made.outcome.tolist() == [1, 1, 1, 0, 0]


def test_a_csv_may_have_semicolons_and_other_names(tmp_path: Path) -> None:
    rows = [
        "at;latency_ms;response_code;request_method",
        f"{AT};20;500;GET",
        f"{AT + 1};30;200;HEAD",
    ]
    made = imported(tmp_path, *rows, name="a.csv")
    assert made.recording.outcome.tolist() == [1, 0]
    assert np.isnan(made.recording.latency_ms).tolist() == [False, True]
    assert "status=response_code, method=request_method" in made.how
    rows = ["at,response_code,status_code", f"{AT},200,500"]
    with pytest.raises(TapeError, match="response_code or status_code; --map status="):
        imported(tmp_path, *rows, name="b.csv")
    rows = ["at,ok,ok", f"{AT},true,false"]
    with pytest.raises(TapeError, match="heading has 'ok' twice"):
        imported(tmp_path, *rows, name="c.csv")
    rows = ["at,ok", f"{AT},true", f"{AT},true,9", f"{AT}", f"{AT},true"]
    made = imported(tmp_path, *rows, name="d.csv")
    assert [each.why for each in made.skipped] == ["it has 3 fields, and the heading 2"]


def test_only_records_that_are_asked_for_are_requests(tmp_path: Path) -> None:
    rows = ["at,name,latency_ms,ok"]
    rows += [f"{AT + n},{'dns' if n % 9 else 'all'},{n},true" for n in range(90)]
    made = imported(tmp_path, *rows, name="a.csv", where={"name": "all"})
    assert (len(made.recording), made.filtered, made.skipped) == (10, 80, ())
    assert "only where name=all" in made.how
    with pytest.raises(TapeError, match="none is a request by --where"):
        imported(tmp_path, *rows, name="a.csv", where={"name": "none"})


def test_of_k6_not_every_row_is_a_request(tmp_path: Path) -> None:
    rows = [row for n in range(50) for row in KNOWN["k6"][0](n).split("\n")]
    names = {"at": "timestamp", "latency_ms": "metric_value"}
    told: tuple[dict[str, Any], ...] = ({"names": names}, {"format": "csv"})
    for options in told:
        with pytest.raises(TapeError, match="--where metric_name=http_req_duration"):
            imported(tmp_path, *rows, name="a.csv", **options)
    where = {"metric_name": "http_req_duration"}
    made = imported(tmp_path, *rows, name="a.csv", names=names, where=where)
    assert (len(made.recording), made.filtered) == (50, 400)


def test_a_record_without_an_instant_says_which_keys_there_are(tmp_path: Path) -> None:
    with pytest.raises(TapeError, match="it has no at, but when, who; --map at=… says"):
        imported(tmp_path, json.dumps({"when": AT, "who": "ann"}), name="a.jsonl")


# -- files


def test_files_are_unpacked_by_what_is_in_them(tmp_path: Path) -> None:
    raw = "".join(f"{clf(n, f' {took(n):.3f}')}\n" for n in range(300)).encode()
    half = gzip.compress(raw[: len(raw) // 2]) + gzip.compress(raw[len(raw) // 2 :])
    for packed in (gzip.compress(raw), lzma.compress(raw), bz2.compress(raw), half):
        (tmp_path / "a.log.1").write_bytes(packed)
        made = import_log(tmp_path / "a.log.1")
        assert (len(made.recording), made.skipped) == (300, ())
    for encoding in ("utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"):
        (tmp_path / "a.log.1").write_bytes(raw.decode().encode(encoding))
        made = import_log(tmp_path / "a.log.1")
        assert (len(made.recording), made.skipped, made.recording.users) == (300, (), 40)
    (tmp_path / "a.log.1").write_bytes(b"\0" * 4096 + raw)  # what copytruncate leaves
    assert len(import_log(tmp_path / "a.log.1").recording) == 300
    for magic, told in ((b"PK\3\4", "zip archive"), (b"\x28\xb5\x2f\xfd", "zstd")):
        (tmp_path / "a.log.1").write_bytes(magic + raw)
        with pytest.raises(TapeError, match=f"{told}|cannot be read"):
            import_log(tmp_path / "a.log.1")


@pytest.mark.parametrize(
    "pack", [gzip.compress, bz2.compress, partial(lzma.compress, preset=0)], ids=("gz", "bz2", "xz")
)
def test_of_a_packed_file_that_is_cut_off_nothing_is_lost_that_can_be_read(
    pack: Any, tmp_path: Path
) -> None:
    random = np.random.default_rng(1)  # what is random fills several blocks of bzip2
    raw = "".join(
        f"{clf(n, f' {took(n):.3f}', request=f'GET /{random.bytes(99).hex()} HTTP/1.1')}\n"
        for n in range(4000)
    ).encode()
    packed = pack(raw)
    path = tmp_path / "a.log.gz"
    path.write_bytes(packed[: len(packed) * 9 // 10])
    made = import_log(path)
    assert 2500 < len(made.recording) < 4000
    assert made.lines == len(made.recording)
    assert [each.count for each in made.skipped] == [1]
    assert "the file ends here before its end" in made.skipped[0].why
    path.write_bytes(packed[:12])
    with pytest.raises(TapeError, match="cannot be read"):
        import_log(path)
    path.write_bytes(gzip.compress(raw) + b"garbage")
    assert len(import_log(path).recording) == 4000


def test_a_line_ends_where_the_server_ends_it(tmp_path: Path) -> None:
    line = clf(1, " 0.1").replace("Mozilla", "a\u2028b\u0085c\x0bd")
    assert len(imported(tmp_path, line, line, line).recording) == 3
    (tmp_path / "b.log").write_bytes((clf(1, " 0.1") + "\r\n").encode() * 3)
    assert len(import_log(tmp_path / "b.log").recording) == 3
    long = clf(1, " 0.1").replace("Mozilla", "a" * 1_000_000)
    made = imported(tmp_path, clf(1, " 0.1"), long + "\r", clf(2, " 0.1"))
    assert len(made.recording) >= 2


def test_lines_that_stand_there_twice_are_said(tmp_path: Path) -> None:
    lines = [clf(n, f" {took(n):.3f}") for n in range(50)]
    made = imported(tmp_path, *lines, *lines[:10])
    assert len(made.recording) == 60
    assert any(doubt.startswith("10 lines are the same as one before") for doubt in made.doubts)


# -- what is said


def test_the_first_lines_are_shown_as_they_were_understood(tmp_path: Path) -> None:
    made = imported(tmp_path, "nonsense", *[clf(n, f" {took(n):.3f}") for n in range(9)])
    assert [each.number for each in made.examples] == [2, 3, 4]
    assert made.examples[1].text() == (
        f"line 3: 2026-03-02 09:00:01.000 UTC, user {client(1)}, /shop, status 200 (good), 107 ms, "
        "arm unknown"
    )
    assert client(1) not in made.examples[1].text(users=False)
    assert "the request's time is field 10" in made.how


DOUBTS = {
    "are the instants": lambda n: {"at": float(n), "ok": True, "key": n % 9, "latency_ms": 5 + n},
    "span 10 years": lambda n: {"at": AT - n * 1.6e6, "ok": True, "key": n % 9, "latency_ms": n},
    "one user's": lambda n: {"at": AT + n, "ok": True, "key": "10.0.0.1", "latency_ms": n},
    "no user has a second": lambda n: {"at": AT + n, "ok": True, "key": n, "latency_ms": n},
    "less than 0": lambda n: {"at": AT + n, "ok": True, "key": n % 9, "latency_us": n},
    "longer than": lambda n: {"at": AT + n, "ok": True, "key": n % 9, "latency_s": 100 + n},
    "took the same": lambda n: {"at": AT + n, "ok": True, "key": n % 9, "latency_ms": 5},
    "no request was timed": lambda n: {"at": AT + n, "ok": True, "key": n % 9},
    "those of connections": lambda n: {
        "at": AT + 100 * (n // 20) + 6 * (n % 20),
        "ok": True,
        "key": n // 20,
        "latency_s": 6 * (n % 20),
    },
    "% of the requests failed": lambda n: {"at": AT + n, "ok": False, "key": n % 9},
}


@pytest.mark.parametrize("doubt", DOUBTS)
def test_what_looks_implausible_is_said(doubt: str, tmp_path: Path) -> None:
    made = imported(tmp_path, *[json.dumps(DOUBTS[doubt](n)) for n in range(200)], name="a.jsonl")
    assert any(doubt in each for each in made.doubts), made.doubts


def test_what_looks_right_is_not_doubted(tmp_path: Path) -> None:
    made = imported(tmp_path, *[clf(n, f" {took(n):.3f}") for n in range(200)])
    assert made.doubts == ()


def test_the_key_of_a_line_that_is_not_read_is_nobody_s(tmp_path: Path) -> None:
    """Lines are read column by column; users are those of the lines that are read."""
    lines = [clf(n, " 0.250") for n in range(100)]
    known = set(imported(tmp_path, *lines).recording.key.tolist())
    stranger = re.sub(r"^\S+", "192.0.2.77", lines[50])
    read = imported(tmp_path, *lines, stranger)
    assert len(set(read.recording.key.tolist())) == len(known) + 1
    unread = imported(tmp_path, *lines, re.sub(r"\[\d\d/", "[99/", stranger))
    assert len(unread.recording) == 100
    assert set(unread.recording.key.tolist()) == known == set(range(len(known)))
