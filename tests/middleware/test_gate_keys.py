"""Where the key of a request comes from, and what happens to a user without one."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.middleware.asgi_tools import Controller

from canario import InvalidKeyError, Routing
from canario.config import ConfigError
from canario.control.events import Held
from canario.control.journal import dump_journal, parse_journal
from canario.control.words import describe
from canario.exchange import Exchange
from canario.gate.gate import Gate
from canario.routing.keys import cookie_value, key_source


@dataclass
class Request:
    """A request, as far as a key is concerned."""

    lines: list[tuple[bytes, bytes]] = field(default_factory=list)
    address: str | None = "203.0.113.7"
    who: str | bytes | None = None
    below: str = "/"
    asks: bytes = b""

    def headers(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.lines if key == name]

    def only(self, name: bytes) -> bytes | None:
        found = self.headers(name)
        return found[0] if len(found) == 1 else None

    def peer(self) -> str | None:
        return self.address

    def user(self) -> str | bytes | None:
        return self.who

    def path(self) -> str:
        return self.below

    def query(self) -> bytes:
        return self.asks

    def request(self) -> Request:
        return self


def admit(gate: Gate, request: Request, *, secure: bool = False) -> Exchange:
    exchange = Exchange()
    assert gate.admit(exchange, request, "GET", "/", secure)
    return exchange


def gate(*sources: str, share: float = 50, cookie: str | None = None) -> tuple[Gate, Controller]:
    controller = Controller(share, routing=Routing(key_sources=sources, anonymous_cookie=cookie))
    return Gate(controller), controller


# -- one source


def test_a_header_is_a_key_as_it_came_from_the_wire() -> None:
    find = key_source("header:X-User-Id")
    assert find(Request([(b"x-user-id", b"caf\xe9 \xff")])) == b"caf\xe9 \xff"
    assert find(Request([(b"x-user", b"ann")])) is None


@pytest.mark.parametrize("values", [[b""], [b"x" * 513], [b"a", b"a"], [b"a", b"b"], [b"a,b"]])
def test_a_header_that_is_no_key_is_refused(values: list[bytes]) -> None:
    with pytest.raises(InvalidKeyError):
        key_source("header:x-user-id")(Request([(b"x-user-id", value) for value in values]))


@pytest.mark.parametrize(
    ("header", "key"),
    [
        (b"id=ann", b"ann"),
        (b"a=b; id=ann; c=d", b"ann"),
        (b"a=b;id=ann;c=d", b"ann"),
        (b"id=ann; id=ann", b"ann"),
        (b'id="quoted"', b'"quoted"'),
        (b"id=a=b", b"a=b"),
        (b"xid=ann", None),
        (b"ID=ann", None),
        (b"id", None),
        (b"", None),
    ],
)
def test_a_cookie_is_a_key(header: bytes, key: bytes | None) -> None:
    assert key_source("cookie:id")(Request([(b"cookie", header)])) == key


@pytest.mark.parametrize("header", [b"id=", b"id=a; id=b", b"id=" + b"x" * 513])
def test_a_cookie_that_is_no_key_is_refused(header: bytes) -> None:
    with pytest.raises(InvalidKeyError):
        key_source("cookie:id")(Request([(b"cookie", header)]))


def test_a_cookie_may_come_in_several_headers_as_http_2_has_it() -> None:
    request = Request([(b"cookie", b"a=b"), (b"cookie", b"id=ann")])
    assert cookie_value(request, b"id") == b"ann"


@given(st.binary(max_size=40))
def test_no_cookie_header_breaks_the_reader(header: bytes) -> None:
    try:
        value = cookie_value(Request([(b"cookie", header)]), b"i")
    except InvalidKeyError:
        return
    assert value is None or b"i=" in header


def test_the_user_of_the_host_is_a_key() -> None:
    assert key_source("user")(Request(who="ann")) == b"ann"
    assert key_source("user")(Request()) is None


@pytest.mark.parametrize(
    ("hops", "forwarded", "key"),
    [
        ("client", [b"1.1.1.1"], b"203.0.113.7"),
        ("client:0", [b"1.1.1.1"], b"203.0.113.7"),
        ("client:1", [b"1.1.1.1"], b"1.1.1.1"),
        ("client:1", [b"6.6.6.6, 1.1.1.1"], b"1.1.1.1"),
        ("client:2", [b"6.6.6.6, 1.1.1.1, 10.0.0.1"], b"1.1.1.1"),
        ("client:2", [b"6.6.6.6", b"1.1.1.1,10.0.0.1"], b"1.1.1.1"),
        ("client:2", [b"1.1.1.1"], None),
        ("client:1", [], None),
        ("client:1", [b"1.1.1.1, "], None),
    ],
)
def test_the_client_is_whom_the_trusted_proxies_saw(
    hops: str, forwarded: list[bytes], key: bytes | None
) -> None:
    request = Request([(b"x-forwarded-for", value) for value in forwarded])
    assert key_source(hops)(request) == key


def test_a_client_without_an_address_is_no_key() -> None:
    assert key_source("client")(Request(address=None)) is None


@pytest.mark.parametrize(
    ("asked", "key"),
    [
        (b"plan=7", b"7"),
        (b"a=b&plan=7&c=d", b"7"),
        (b"plan=caf%C3%A9+x", "caf\xe9 x".encode()),
        (b"plan=%FF", b"\xff"),
        (b"%70lan=7", b"7"),
        (b"plan=7&plan=7", b"7"),
        (b"plan=a=b", b"a=b"),
        (b"plan=%zz", b"%zz"),
        (b"explan=7", None),
        (b"PLAN=7", None),
        (b"", None),
        (b"a%20b=1&plan=7", b"7"),  # another name that is written with %XX
    ],
)
def test_a_parameter_of_the_query_is_a_key(asked: bytes, key: bytes | None) -> None:
    assert key_source("query:plan")(Request(asks=asked)) == key


@pytest.mark.parametrize(
    "asked", [b"plan=", b"plan", b"plan=7&plan=8", b"plan=7&pla%6E=8", b"plan=" + b"x" * 513]
)
def test_a_parameter_that_is_no_key_is_refused(asked: bytes) -> None:
    with pytest.raises(InvalidKeyError):
        key_source("query:plan")(Request(asks=asked))


@pytest.mark.parametrize(
    ("source", "path", "key"),
    [
        ("path:/plans/{id}", "/plans/7", b"7"),
        ("path:/plans/{id}", "/plans/7/", b"7"),
        ("path:/plans/{id}", "/plans/7/report", b"7"),
        ("path:/plans/{id}", "/plans/caf\xe9 x", "caf\xe9 x".encode()),
        ("path:/plans/{id}", "/plans/7\n", b"7\n"),
        ("path:/plans/{id}", "/plans/", None),
        ("path:/plans/{id}", "/plans//7", None),
        ("path:/plans/{id}", "/plans", None),
        ("path:/plans/{id}", "/api/plans/7", None),
        ("path:/plans/{id}.json", "/plans/7.json", b"7"),
        ("path:/plans/{id}.json", "/plans/7.jsonx", None),
        ("path:/plans/{id}.json", "/plans/7xjson", None),
        ("path:/tenants/{t}/plans/{id}", "/tenants/a/plans/7", b"a/7"),
        ("path:/{tenant}", "/a", b"a"),
        ("path:/{tenant}", "/", None),
    ],
)
def test_a_part_of_the_path_is_a_key_for_all_that_lies_below(
    source: str, path: str, key: bytes | None
) -> None:
    assert key_source(source)(Request(below=path)) == key


def test_a_source_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="is no source of keys"):
        key_source("fragment:id")


# -- their order


def test_the_first_source_that_is_present_decides() -> None:
    here, controller = gate("header:x-user-id", "cookie:id", "client")
    arms = {key: controller.a_key(key) for key in ("baseline", "canary")}
    canary, baseline = arms["canary"].encode(), arms["baseline"].encode()
    both = [(b"x-user-id", canary), (b"cookie", b"id=" + baseline)]
    assert admit(here, Request(both)).arm == "canary"
    assert admit(here, Request(both[1:])).arm == "baseline"


def test_a_spoilt_key_is_not_made_good_by_the_next_source() -> None:
    here, controller = gate("header:x-user-id", "client", share=100)
    assert admit(here, Request([(b"x-user-id", b"")])).arm == "baseline"
    assert controller.counters == {"refused_key": 1}


def test_without_a_key_the_baseline_serves_and_it_is_counted() -> None:
    here, controller = gate("header:x-user-id", share=100)
    assert admit(here, Request()).arm == "baseline"
    assert controller.counters == {"no_key": 1}


@pytest.mark.parametrize("key", ["ann", b"ann"])
def test_a_function_of_the_app_is_asked_first(key: str | bytes) -> None:
    controller = Controller(routing=Routing(key_sources=("header:x-user-id",)))
    request = Request([(b"x-user-id", b"bob")])
    asked: list[object] = []

    def find(seen: Request) -> str | bytes | None:
        asked.append(seen)
        return key if len(asked) == 1 else None

    here = Gate(controller, key=find)
    assert admit(here, request).arm == controller.router.route_request("ann")
    assert admit(here, request).arm == controller.router.route_request("bob")
    assert asked == [request, request]
    assert controller.counters == {}


@pytest.mark.parametrize("value", [7, "", "x" * 513, object(), ZeroDivisionError("no")])
def test_a_function_that_fails_sends_the_request_to_the_baseline(value: object) -> None:
    """What it raises is a fault, and the next source is not asked: a key may not be spoilt."""

    def find(_: object) -> Any:
        if isinstance(value, Exception):
            raise value
        return value

    controller = Controller(100)
    here = Gate(controller, key=find)
    exchange = admit(here, Request([(b"x-user-id", b"ann")]))
    assert exchange.arm == "baseline"
    assert controller.counters["refused_key"] == 1
    assert ("faults" in controller.counters) is not isinstance(value, str)
    here.finish(exchange, None)
    assert controller.only.arm == "baseline"  # it is watched all the same


@pytest.mark.parametrize("value", ["x-user-id", 5])
def test_what_is_no_function_is_refused(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"key.* is "):
        Gate(Controller(), key=value)


def test_a_coroutine_function_gives_no_key() -> None:
    async def find(_: object) -> str:
        return "ann"

    with pytest.raises(ConfigError, match="must be a function that returns text"):
        Gate(Controller(), key=find)  # type: ignore[arg-type]


# -- nobody has one


def warned(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]


def test_a_release_that_reaches_nobody_is_said_once_and_early(
    caplog: pytest.LogCaptureFixture,
) -> None:
    here, controller = gate("header:x-user-id", "cookie:sid")
    for _ in range(300):
        admit(here, Request())
    (said,) = warned(caplog)
    assert "50 of the first 50 requests had no key" in said
    assert "header:x-user-id, cookie:sid" in said
    assert controller.counters == {"no_key": 300}


@pytest.mark.parametrize(("every", "says"), [(2, 0), (8, 0), (20, 1)])
def test_some_requests_without_a_key_are_as_usual(
    every: int, says: int, caplog: pytest.LogCaptureFixture
) -> None:
    here, _ = gate("header:x-user-id")
    for number in range(300):
        admit(here, Request([(b"x-user-id", b"ann")] if number % every == 0 else []))
    assert len(warned(caplog)) == says


def test_refused_keys_are_none_and_health_checks_need_none(
    caplog: pytest.LogCaptureFixture,
) -> None:
    here, _ = gate("header:x-user-id")
    for _ in range(100):
        assert here.admit(Exchange(), Request(), "GET", "/healthz", False)
        assert here.admit(Exchange(), Request(), "OPTIONS", "/", False)
    assert warned(caplog) == []
    for _ in range(100):
        admit(here, Request([(b"x-user-id", b"")]))
    assert len(warned(caplog)) == 1


def test_a_key_that_is_no_text_is_refused_and_said_like_any_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    controller = Controller()
    here = Gate(controller, key=lambda _: "\ud800")
    for _ in range(100):
        admit(here, Request())
    (said,) = warned(caplog)
    assert "had no key" in said
    assert controller.counters == {"refused_key": 100}


def test_a_function_that_always_fails_is_named_with_its_error_and_no_other_remedy(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def find(_: object) -> str:
        raise LookupError("no session")

    controller = Controller(hold=10, routing=Routing(key_sources=("header:x-user-id",)))
    here = Gate(controller, key=find)
    for _ in range(100):
        controller.time.advance(0.2)
        here.finish(admit(here, Request([(b"x-user-id", b"ann")])), None)
    (said,) = warned(caplog)
    assert "50 of the first 50 requests had no key" in said
    assert "50 of them gave for one was refused, at first since key= failed: LookupError" in said
    assert "no session" in said
    assert "asked was" not in said
    assert controller.counters == {"refused_key": 100, "faults": 100}
    (held,) = (event for event in controller.events if isinstance(event, Held))
    assert held.key_sources == ("key=, which failed: LookupError",)


def test_refused_and_missing_keys_are_told_apart(caplog: pytest.LogCaptureFixture) -> None:
    here = Gate(Controller(), key=lambda asked: "x" * 513 if asked.headers(b"x-user-id") else None)
    for number in range(50):
        admit(here, Request([(b"x-user-id", b"ann")] if number % 2 else []))
    (said,) = warned(caplog)
    assert "25 of them gave for one was refused, at first since the key has 513 bytes" in said
    assert "asked was key=, header:x-user-id" in said
    assert said.endswith("or have key= give one")


def test_a_stage_that_waits_says_how_many_had_no_key() -> None:
    controller = Controller(hold=10, routing=Routing(key_sources=("header:x-user-id",)))
    here = Gate(controller, key=lambda _: None)
    for _ in range(30):
        controller.time.advance(1)
        here.finish(admit(here, Request()), None)
    (held,) = (event for event in controller.events if isinstance(event, Held))
    assert (held.without_key, held.key_sources) == (10, ("key=", "header:x-user-id"))
    assert describe(held, controller.deployment) == (
        "held: 0 of the 10 samples needed have come; 10 requests of this stage had no key and went "
        "to the baseline (asked: key=, header:x-user-id)"
    )
    assert parse_journal(dump_journal(controller.events)).events == controller.events


def test_a_stage_in_which_everybody_has_a_key_is_journalled_as_ever() -> None:
    held = Held(at=1, stage=0, samples=2, needed=10)
    line = b'{"event":"held","at":1,"stage":0,"samples":2,"needed":10}\n'
    assert dump_journal([held]) == line
    assert parse_journal(line).events == (held,)


def test_half_of_many_users_reach_the_canary_and_stay_there() -> None:
    here, _ = gate("header:x-user-id")

    def canaries() -> set[int]:
        requests = {n: Request([(b"x-user-id", f"user-{n}".encode())]) for n in range(4000)}
        return {n for n, request in requests.items() if admit(here, request).arm == "canary"}

    first = canaries()
    assert 1800 < len(first) < 2200
    assert canaries() == first


# -- the anonymous cookie


def cookie_of(exchange: Exchange) -> SimpleCookie:
    assert exchange.set_cookie is not None
    cookie = SimpleCookie(exchange.set_cookie)
    assert len(cookie) == 1
    return cookie


def test_a_user_without_a_key_gets_one_to_come_back_with() -> None:
    here, controller = gate("header:x-user-id", cookie="bucket")
    for _ in range(50):
        exchange = admit(here, Request())
        key = cookie_of(exchange)["bucket"].value
        assert controller.router.route_request(key) == exchange.arm
        again = admit(here, Request([(b"cookie", b"bucket=" + key.encode())]))
        assert again.arm == exchange.arm
        assert again.set_cookie is None
    assert controller.counters == {}


def test_both_arms_are_given_cookies() -> None:
    here, _ = gate(cookie="bucket")
    assert {admit(here, Request()).arm for _ in range(100)} == {"baseline", "canary"}


@pytest.mark.parametrize("secure", [True, False])
def test_the_cookie_is_for_the_server_alone(secure: bool) -> None:
    morsel = cookie_of(admit(gate(cookie="bucket")[0], Request(), secure=secure))["bucket"]
    assert morsel["httponly"] is True
    assert morsel["samesite"] == "Lax"
    assert morsel["path"] == "/"
    assert int(morsel["max-age"]) >= 30 * 24 * 3600
    assert bool(morsel["secure"]) is secure


def test_who_has_a_key_gets_no_cookie() -> None:
    here, _ = gate("header:x-user-id", cookie="bucket")
    assert admit(here, Request([(b"x-user-id", b"ann")])).set_cookie is None
    assert admit(here, Request([(b"x-user-id", b"")])).set_cookie is None


def test_an_empty_cookie_is_replaced() -> None:
    here, _ = gate(cookie="bucket")
    assert admit(here, Request([(b"cookie", b"bucket=")])).set_cookie is not None


def test_a_cookie_that_is_too_long_is_refused() -> None:
    here, controller = gate(cookie="bucket", share=100)
    exchange = admit(here, Request([(b"cookie", b"bucket=" + b"x" * 600)]))
    assert exchange.arm == "baseline"
    assert controller.counters == {"refused_key": 1}


def test_without_the_option_no_cookie_is_ever_set() -> None:
    assert admit(gate("header:x-user-id")[0], Request()).set_cookie is None
