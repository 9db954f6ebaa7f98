"""Where a request goes: the same users over WSGI as over ASGI, forced arms, refused keys."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote, unquote_to_bytes

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.middleware.asgi_tools import Controller, forced, hello, http_scope
from tests.middleware.asgi_tools import ask as ask_asgi
from tests.middleware.wsgi_tools import answers, ask, request

from canario import Routing, TrafficRouter
from canario.asgi import CanaryMiddleware as OverASGI
from canario.routing.forced import sign_choice
from canario.wsgi import CanaryMiddleware as OverWSGI

# What may stand in a header (RFC 9110, 5.5), without spaces at the ends, which servers cut off.
VALUES = st.binary(min_size=1, max_size=600).map(
    lambda raw: bytes(byte if byte > 32 and byte != 127 else 0x2A for byte in raw)
)


def arms(routing: Routing, headers: list[tuple[str, bytes]], **more: Any) -> tuple[str, str]:
    """The arms that ASGI and WSGI choose for the same bytes."""
    scope = http_scope(client=(more.get("REMOTE_ADDR", "203.0.113.7"), 1))
    scope["headers"] = [(name.encode(), value) for name, value in headers]
    environ = request(headers=[(name, value.decode("latin-1")) for name, value in headers], **more)
    asgi = ask_asgi(OverASGI(hello, Controller(routing=routing), arm_header="x-arm"), scope)
    wsgi = ask(OverWSGI(answers(), Controller(routing=routing), arm_header="x-arm"), environ)
    return dict(asgi.headers)[b"x-arm"].decode(), dict(wsgi.headers)["x-arm"]


def arm(environ: Any, routing: Routing | None = None, share: float = 50) -> tuple[str, Controller]:
    controller = Controller(share, routing=routing)
    answer = ask(OverWSGI(answers(), controller, arm_header="X-Arm"), environ)
    return dict(answer.headers)["X-Arm"], controller


@given(VALUES)
@example("ñandú".encode())
@example(b"\xff\xfe")
@example(b"x" * 513)
def test_the_same_bytes_go_to_the_same_arm_over_both_protocols(key: bytes) -> None:
    routing = Routing(key_sources=("header:x-user-id",))
    asgi, wsgi = arms(routing, [("x-user-id", key)])
    assert asgi == wsgi
    if len(key) <= 512 and b"," not in key:
        assert wsgi == TrafficRouter("release-1", 50).route_request(key)
    else:
        assert wsgi == "baseline"


@given(VALUES)
def test_the_same_cookie_goes_to_the_same_arm_over_both_protocols(value: bytes) -> None:
    routing = Routing(key_sources=("cookie:id",))
    asgi, wsgi = arms(routing, [("cookie", b"a=b; id=" + value + b"; c=d")])
    assert asgi == wsgi


@given(st.lists(st.ip_addresses().map(str), max_size=4), st.ip_addresses().map(str))
def test_the_same_address_goes_to_the_same_arm_over_both_protocols(
    hops: list[str], peer: str
) -> None:
    headers = [("x-forwarded-for", ", ".join(hops).encode())] if hops else []
    for sources in (("client",), ("client:2", "client")):
        asgi, wsgi = arms(Routing(key_sources=sources), headers, REMOTE_ADDR=peer)
        assert asgi == wsgi


# What stands between the slashes of a URL, and behind its question mark, as it is sent.
SENT = st.lists(
    st.sampled_from(
        ["a", "7", "-", "+", ";", "=", "&", "plan=", "%20", "%2F", "%C3%A9", "%FF", "%"]
    )
).map("".join)


@given(SENT, st.sampled_from(["", "/api", "/api/"]), st.sampled_from(["", "/", "/report"]))
def test_the_same_url_goes_to_the_same_arm_over_both_protocols(
    sent: str, root: str, below: str
) -> None:
    """Servers decode the path, into text for ASGI and into bytes for WSGI."""
    path = f"{root.rstrip('/')}/plans/{sent}{below}"
    for sources in (("path:/plans/{id}",), ("query:plan",)):
        routing = Routing(key_sources=sources)
        scope = http_scope(unquote(path), root_path=root, query_string=sent.encode())
        environ = request(
            unquote_to_bytes(path).decode("latin-1").removeprefix(root.rstrip("/")),
            SCRIPT_NAME=root.rstrip("/"),
            QUERY_STRING=sent,
        )
        controllers = Controller(routing=routing), Controller(routing=routing)
        ask_asgi(OverASGI(hello, controllers[0]), scope)
        ask(OverWSGI(answers(), controllers[1]), environ)
        found = [(c.only.arm, c.counters) for c in controllers]
        assert found[0] == found[1]


def test_a_function_is_given_the_scope_or_the_environ() -> None:
    for key in ("ann", "ñandú", b"\xff"):
        asgi, wsgi = Controller(), Controller()
        scope, environ = http_scope(), request()
        given: list[object] = []

        def find(request: Any, key: str | bytes = key, given: list[object] = given) -> str | bytes:
            given.append(request)
            return key

        ask_asgi(OverASGI(hello, asgi, key=find), scope)
        ask(OverWSGI(answers(), wsgi, key=find), environ)
        assert given[0] is scope
        assert given[1] is environ
        assert asgi.only.arm == wsgi.only.arm == asgi.router.route_request(key)


def test_the_user_that_the_server_found_is_a_key() -> None:
    routing = Routing(key_sources=("user",))
    name = "ñandú".encode()
    environ = request(REMOTE_USER=name.decode("latin-1"))
    chosen, controller = arm(environ, routing)
    assert chosen == controller.router.route_request(name)
    assert "no_key" not in controller.counters


@pytest.mark.parametrize(
    ("environ", "counted"),
    [
        (request(), "no_key"),
        (request(REMOTE_USER="", REMOTE_ADDR=""), "no_key"),  # a Unix socket, nobody logged in
        (request(HTTP_X_USER_ID=""), "refused_key"),
        (request(HTTP_X_USER_ID="a,b"), "refused_key"),  # how a server joins two of them
        (request(HTTP_X_USER_ID="x" * 513), "refused_key"),
    ],
)
def test_a_request_without_a_proper_key_goes_to_the_baseline_and_is_counted(
    environ: Any, counted: str
) -> None:
    routing = Routing(key_sources=("header:x-user-id", "user", "client"))
    if environ["REMOTE_ADDR"]:
        routing = Routing(key_sources=("header:x-user-id", "user"))
    chosen, controller = arm(environ, routing, share=100)
    assert chosen == "baseline"
    assert controller.counters == {counted: 1}


def test_headers_that_have_no_prefix_are_found() -> None:
    routing = Routing(key_sources=("header:content-type", "header:content-length"))
    for variable in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        chosen, controller = arm(request() | {variable: "7"}, routing)
        assert chosen == controller.router.route_request("7")
    # An empty one says that there is none (PEP 3333).
    _, controller = arm(request(CONTENT_TYPE="", CONTENT_LENGTH=""), routing)
    assert controller.counters == {"no_key": 1}


def test_text_that_no_server_may_give_is_a_key_all_the_same() -> None:
    controller = Controller(100)
    middleware = OverWSGI(answers(), controller, answers([b"new"]))
    assert ask(middleware, request(HTTP_X_USER_ID="\u20ac")).body == b"new"
    assert controller.counters == {}
    assert len(controller.seen) == 1


def test_a_trusted_peer_may_choose_and_anybody_else_may_not() -> None:
    routing = forced(trusted_peers=("203.0.113.0/24",))
    claim = [("x-canary", "always")]
    assert arm(request(headers=claim), routing, share=1)[0] == "canary"
    chosen, controller = arm(request(headers=claim, REMOTE_ADDR="198.51.100.1"), routing, share=1)
    assert chosen == "baseline"
    assert controller.counters["force_refused"] == 1


def test_a_signed_claim_is_believed_until_an_abort(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLAIMS", "secret")
    controller = Controller(1, routing=forced(secret_env="CLAIMS"))
    claim = sign_choice(b"secret", "release-1", "always", int(controller.clock()) + 60)
    middleware = OverWSGI(answers(), controller, answers([b"new"]))
    environ = request(headers=[("x-canary", claim)])
    assert ask(middleware, environ).body == b"new"
    controller.abort()
    assert ask(middleware, environ).body == b"hello"
