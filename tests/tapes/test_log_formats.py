"""Each known format is read as its server means it; what can be read in several ways is refused."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.tapes.logs import (
    AT,
    COUNT,
    KNOWN,
    NO_USERS,
    alb,
    clf,
    client,
    micros,
    millis,
    took,
)
from uvicorn.config import LOGGING_CONFIG
from uvicorn.logging import AccessFormatter

from canario.tape.format import TapeError
from canario_sim.cli.source import FORMAT_HELP
from canario_sim.tapes.formats import NAMES
from canario_sim.tapes.importing import Imported, import_log

LATENCIES = sorted(took(n) * 1000 for n in range(COUNT))


def read(
    folder: Path, line: Callable[[int], str], name: str = "a.log", **options: object
) -> Imported:
    path = folder / name
    path.write_text("\n".join(map(line, range(COUNT))) + "\n")
    return import_log(path, **options)  # type: ignore[arg-type]


def holds_the_requests(made: Imported, users: int = 40) -> None:
    recording = made.recording
    assert sorted(recording.latency_ms.tolist()) == pytest.approx(LATENCIES)
    assert len(set(recording.key.tolist()) - {-1}) == users
    assert (recording.arm == -1).all()
    assert recording.outcome.max() == 0
    logged = recording.at if made.stamp == "start" else recording.ended
    assert sorted(np.floor(logged).tolist()) == [AT + n for n in range(COUNT)]


@pytest.mark.parametrize("name", sorted(KNOWN))
def test_known_formats(name: str, tmp_path: Path) -> None:
    line, told, stamp = KNOWN[name]
    made = read(tmp_path, line, format=name if told else None)
    assert (made.format, made.stamp, made.guessed) == (name, stamp, False)
    assert not made.skipped
    holds_the_requests(made, 0 if name in NO_USERS else 40)
    assert made.recording.routes == ("/shop",)
    again = read(tmp_path, line, format=name)
    assert again.recording.latency_ms.tolist() == made.recording.latency_ms.tolist()


def test_every_known_format_is_tried() -> None:
    assert set(KNOWN) | {"uvicorn"} == set(NAMES)
    page = (Path(__file__).parents[2] / "docs" / "tapes.md").read_text(encoding="utf-8")
    for name in NAMES:
        assert f"`{name}`" in page
        assert re.search(rf"\b{name}\b", FORMAT_HELP)


# -- logs whose format has no name


PREFIXES: dict[str, Callable[[int], str]] = {
    "vhost_combined": lambda n: "shop.example:443 ",
    "hypercorn": lambda n: "[2026-03-02 09:00:00 +0000] [2706] [INFO] ",
    "kubectl --timestamps": lambda n: f"2026-03-02T09:00:{n % 60:02d}.{n:05d}Z ",
    "kubectl --prefix": lambda n: "[pod/web-5d9c/web] ",
    "containerd": lambda n: f"2026-03-02T09:00:{n % 60:02d}.123456789Z stdout F ",
    "journald": lambda n: "web1 nginx[812]: ",
    "syslog": lambda n: f"Mar {2 + n // 100 * 10:2d} 09:00:00 web1 nginx[812]: ",
    "RFC 5424": lambda n: "<190>1 2026-03-02T09:00:00Z web1 nginx 812 - - ",
    "compose": lambda n: "web-1  | ",
    "python logging": lambda n: "2026-03-02 09:00:00,123 INFO ",
    "none": lambda n: "",
}


@pytest.mark.parametrize("name", PREFIXES)
def test_what_stands_before_the_address_is_no_user(name: str, tmp_path: Path) -> None:
    made = read(tmp_path, lambda n: PREFIXES[name](n) + clf(n, f" {took(n):.3f}"))
    assert not made.skipped
    holds_the_requests(made)


HOSTS: dict[str, Callable[[int], str]] = {
    "ports": lambda n: f"{client(n)}:{2000 + n}",
    "a trailing comma": lambda n: f"{client(n)},",
    "X-Forwarded-For": lambda n: f"{client(n)}, 10.0.0.{n % 3}",
    "dashes in place of names": lambda n: f"{client(n)} -",
    "IPv6": lambda n: f"2001:db8::{n % 40:x}",
    "IPv6 with ports": lambda n: f"[2001:db8::{n % 40:x}]:{3000 + n}",
    "names": lambda n: f"host{n % 40}.example.org",
}


@pytest.mark.parametrize("name", HOSTS)
def test_a_client_is_an_address_without_its_port_or_proxies(name: str, tmp_path: Path) -> None:
    made = read(tmp_path, lambda n: clf(n, f" {took(n):.3f}", HOSTS[name](n)))
    assert not made.skipped
    holds_the_requests(made)


TAILS: dict[str, Callable[[int], str]] = {
    "request_time": lambda n: f" {took(n):.3f}",
    "quoted X-Forwarded-For": lambda n: f' "203.0.113.9, 10.0.0.1" {took(n):.3f}',
    "length and time": lambda n: f" {400 + n} {took(n):.3f}",
    "time and upstream": lambda n: f" {took(n):.3f} {took(n) - 0.001:.3f} .",
    "time and an upstream at times": lambda n: (
        f" {took(n):.3f} {'-' if n % 4 == 0 else f'{took(n):.3f}'} ."
    ),
    "time and two upstreams": lambda n: f" {took(n):.3f} 0.001, {took(n) - 0.002:.3f}",
    "rt=": lambda n: f' rt={took(n):.3f} uct="0.000" uht="0.1" urt="{took(n):.3f}"',
    'rt=""': lambda n: f' rt="{took(n):.3f}"',
    "request_time:": lambda n: f" request_time:{took(n):.3f}",
    "ms": lambda n: f" {millis(n)}ms",
    "s": lambda n: f" {took(n):.3f}s",
    "morgan": lambda n: f" - {took(n) * 1000:.3f} ms",
    "duration_ms=": lambda n: f" duration_ms={millis(n)}",
    "latency= with a unit": lambda n: f" latency={millis(n)}ms",
    "D= and T=": lambda n: f" D={micros(n)}",
    "gunicorn's %(L)s": lambda n: f" {took(n):.6f}",
    "an instant beside it": lambda n: f" {1_772_442_000 + n}.123 {took(n):.3f}",
    "the status again": lambda n: f" 200 {took(n):.3f}",
    "an arm that nobody knows": lambda n: f" {took(n):.3f} arm=-",
}


@pytest.mark.parametrize("name", TAILS)
def test_the_time_is_found_where_it_is_clear(name: str, tmp_path: Path) -> None:
    made = read(tmp_path, lambda n: clf(n, TAILS[name](n)))
    assert not made.skipped
    holds_the_requests(made)


AMBIGUOUS: dict[str, tuple[Callable[[int], str], str]] = {
    "two whole numbers": (lambda n: clf(n, f" {400 + n % 300} {900 + n}"), "--latency-field"),
    "combinedio and %D": (lambda n: clf(n, f" {400 + n} 900{n} {micros(n)}"), "--latency-field"),
    "the upstream's time first": (
        lambda n: clf(n, f" {took(n) - 0.001:.3f} {took(n):.3f}"),
        "--latency-field",
    ),
    "a connection's time first": (
        lambda n: clf(n, f" {took(n) + n % 60:.3f} {took(n):.3f}"),
        "--latency-field",
    ),
    "a client between quotes": (
        lambda n: clf(n, f" {took(n):.3f}", f'"{client(n)}, 10.0.0.1"'),
        "--pattern",
    ),
    "two names": (lambda n: clf(n, f" rt={took(n):.3f} took={took(n):.3f}"), "--latency-field"),
    "a whole number, as %D": (lambda n: clf(n, f" {micros(n)}"), "--unit says of what"),
    "a length that would be 135 ms": (lambda n: clf(n, f" {135_000 + n}"), "--unit says of what"),
    "a whole number of a name": (lambda n: clf(n, f" took={micros(n)}"), "--unit says of what"),
    "whole numbers of ms": (lambda n: clf(n, f" {millis(n)}"), "--unit"),
    "whole seconds": (lambda n: clf(n, f" {n % 3}"), "--unit"),
    "ms with a point": (lambda n: clf(n, f" {took(n) * 1000:.3f}"), "--unit"),
    "a length alone": (lambda n: clf(n, f" {400 + n % 300}"), "--unit"),
    "two addresses": (lambda n: f"10.0.0.1 {clf(n, f' {took(n):.3f}')}", "--pattern"),
    "an address and a dash": (lambda n: f"10.0.0.1 - {clf(n, f' {took(n):.3f}')}", "--pattern"),
    "a name in place of the ident": (
        lambda n: clf(n, f" {took(n):.3f}").replace(f"{client(n)} - -", f"shop {client(n)} -"),
        "--pattern",
    ),
    "no time at all": (clf, "does not tell how long"),
    "uvicorn's own": (
        lambda n: f'INFO:     {client(n)}:5000 - "GET /shop HTTP/1.1" 200 OK',
        "uvicorn's default access log, which tells no instant of time",
    ),
    "uvicorn with instants": (
        lambda n: f'2026-03-02 09:00:00,{n:03d} INFO {client(n)}:5000 - "GET / HTTP/1.1" 200 OK',
        "--latency-field none",
    ),
}


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_what_can_be_read_in_several_ways_is_refused(name: str, tmp_path: Path) -> None:
    line, option = AMBIGUOUS[name]
    with pytest.raises(TapeError, match=option) as told:
        read(tmp_path, line)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"latency_field": "99"}, "no field 99 for --latency-field; behind .* are 8, 9, 10"),
        ({"format": "traefik-json", "unit": "ms"}, "a record's key tells its unit"),
        ({"format": "ingress-nginx", "unit": "ms"}, "tells the unit of its times itself"),
        ({"format": "nginx"}, "'nginx' is no format; valid are log, jsonl, csv, ingress-nginx"),
        ({"names": {"at": "time"}}, "--map is for records"),
        ({"where": {"at": "time"}}, "--where is for records"),
        ({"pattern": "$client", "format": "alb"}, "a pattern says all of a format"),
    ],
)
def test_options_that_say_nothing_are_refused(
    options: dict[str, Any], told: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=told):
        read(tmp_path, lambda n: clf(n, f" {took(n):.3f}"), **options)
    with pytest.raises(TapeError, match="leave out --unit"):
        read(tmp_path, lambda n: clf(n, f" {millis(n)}ms"), unit="s")


def test_a_load_balancer_that_had_no_answer_tells_how_long_it_waited(tmp_path: Path) -> None:
    for status, outcome in (("504", 1), ("460", 2)):
        made = read(
            tmp_path,
            lambda n, status=status: (  # type: ignore[misc]
                alb(n).replace(" 0.001 ", " -1 ").replace(" 200 200 34", f" {status} - 34")
            ),
        )
        assert made.recording.outcome.tolist() == [outcome] * COUNT
        waited = made.recording.ended - made.recording.at
        assert waited.tolist() == pytest.approx([0.110641] * COUNT, abs=1e-5)
    made = read(tmp_path, lambda n: alb(n).replace("https ", "wss ", 1), name="b.log")
    assert np.isnan(made.recording.latency_ms).all()


@pytest.mark.parametrize(
    ("line", "options"),
    [
        (lambda n: clf(n, f" {400 + n} 900{n} {micros(n)}"), {"latency_field": "12", "unit": "us"}),
        (lambda n: clf(n, f" {took(n) - 0.001:.3f} {took(n):.3f}"), {"latency_field": "11"}),
        (lambda n: clf(n, f" rt={took(n):.3f} took={took(n):.3f}"), {"latency_field": "took"}),
        (lambda n: clf(n, f" {millis(n)}"), {"unit": "ms"}),
        (lambda n: clf(n, f" {micros(n)}"), {"unit": "us"}),
        (lambda n: clf(n, f" took={micros(n)}"), {"unit": "us"}),
        (lambda n: clf(n, f" {took(n) * 1000:.3f}"), {"unit": "ms"}),
        (lambda n: clf(n, f" {round(took(n) * 1e9)}"), {"unit": "ns"}),
        (
            lambda n: f"10.0.0.1 {clf(n, f' {millis(n)}')}",
            {
                "pattern": '$proxy $remote_addr - $remote_user [$time_local] "$request" $status '
                '$body_bytes_sent "$http_referer" "$http_user_agent" $took_ms'
            },
        ),
        (
            lambda n: clf(n, f" {took(n) - 0.001:.3f} {took(n):.3f}"),
            {
                "pattern": '$remote_addr - $remote_user [$time_local] "$request" $status '
                '$body_bytes_sent "$http_referer" "$http_user_agent" '
                "$upstream_response_time $request_time"
            },
        ),
        (
            lambda n: clf(n, f" {400 + n} 900 {micros(n)}"),
            {"pattern": '%h %l %u %t "%r" %>s %O "%{Referer}i" "%{User-Agent}i" %I %O %D'},
        ),
        (
            lambda n: clf(n, f" {millis(n)}"),
            {"pattern": '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s" %(M)s'},
        ),
    ],
)
def test_an_option_decides(
    line: Callable[[int], str], options: dict[str, Any], tmp_path: Path
) -> None:
    made = read(tmp_path, line, **options)
    assert not made.skipped
    holds_the_requests(made)


def test_without_latencies_outcomes_are_left(tmp_path: Path) -> None:
    made = read(tmp_path, lambda n: clf(n, status=500 if n % 2 else 200), latency_field="none")
    assert made.recording.outcome.mean() == 0.5
    assert np.isnan(made.recording.latency_ms).all()
    assert "no latencies are taken" in made.how
    assert any("no request was timed" in doubt for doubt in made.doubts)
    made = read(tmp_path, AMBIGUOUS["uvicorn with instants"][0], latency_field="none")
    assert (made.format, made.recording.users) == ("uvicorn", 40)


def test_the_log_config_that_uvicorn_s_default_is_refused_with_can_be_read(tmp_path: Path) -> None:
    def line(formatter: logging.Formatter, n: int) -> str:
        asked = (f"{client(n)}:{5000 + n}", "GET", f"/items/{n}?q=%27", "1.1", 200)
        message = '%s - "%s %s HTTP/%s" %d'
        record = logging.LogRecord("uvicorn.access", logging.INFO, "", 0, message, asked, None)
        record.created = AT + n
        return formatter.format(record)

    access: dict[str, Any] = LOGGING_CONFIG["formatters"]["access"]
    default = AccessFormatter(access["fmt"], use_colors=False)
    for options in ({}, {"format": "uvicorn"}, {"format": "log"}, {"latency_field": "none"}):
        with pytest.raises(TapeError, match="uvicorn's default access log, which tells no") as told:
            read(tmp_path, lambda n: line(default, n), **options)
    advice = re.search("fmt: '(.*)', datefmt: '(.*?)'", str(told.value))
    assert advice is not None
    advised = AccessFormatter(advice[1], advice[2], use_colors=False)
    made = read(tmp_path, lambda n: line(advised, n), latency_field="none")
    assert (made.format, made.recording.users, made.skipped) == ("uvicorn", 40, ())
    assert sorted(np.floor(made.recording.ended).tolist()) == [AT + n for n in range(COUNT)]
    page = (Path(__file__).parents[2] / "docs" / "tapes.md").read_text(encoding="utf-8")
    assert json.dumps(advice[1]) in page
    assert advice[2] in page
    with pytest.raises(TapeError, match="uvicorn's log does not tell how long"):
        read(tmp_path, lambda n: line(advised, n))
    cli = f'      INFO   {client(1)}:5001 - "GET /items HTTP/1.1" 200'  # FastAPI's
    with pytest.raises(TapeError, match="uvicorn's default access log"):
        read(tmp_path, lambda n: cli)


def test_a_pattern_tells_what_an_import_needs(tmp_path: Path) -> None:
    for pattern, told in (
        ("$client $status", "no .time or .iso or .epoch"),
        ("[$time] $took_s", "no .status"),
        ("$client $client [$time] $status", "client 2 times"),
    ):
        with pytest.raises(ValueError, match=told):
            read(tmp_path, clf, pattern=pattern)
