"""Releases around each other: each decides by itself, and they give a user one cookie."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.routing import Mount
from tests.middleware.asgi_tools import (
    Receive,
    Scope,
    Send,
    hello,
    http_scope,
    respond,
    talk,
)
from tests.middleware.wsgi_tools import answers, request
from tests.middleware.wsgi_tools import ask as ask_wsgi

from canario import CanaryDeploymentController, Deployment, Plan, Routing, Stage
from canario.asgi import CanaryMiddleware as OverASGI
from canario.wsgi import CanaryMiddleware as OverWSGI

# Answers a request with this `Cookie` header (None for none) by its response's headers.
Get = Callable[[str | None], list[tuple[str, str]]]


def release(name: str, cookie: str | None = "canario", share: float = 50) -> Any:
    routing = Routing(key_sources=("header:x-user-id",), anonymous_cookie=cookie)
    deployment = Deployment(deployment_id=name, canary_stages=(Stage(share, 300),), routing=routing)
    return CanaryDeploymentController(Plan(deployment=deployment), telemetry=False)


def over_asgi(app: Any) -> Get:
    def get(cookie: str | None) -> list[tuple[str, str]]:
        headers = [] if cookie is None else [("cookie", cookie)]
        answer = asyncio.run(talk(app, http_scope(headers=headers)))
        return [(name.decode(), value.decode()) for name, value in answer.headers]

    return get


def over_wsgi(app: Any) -> Get:
    def get(cookie: str | None) -> list[tuple[str, str]]:
        headers = [] if cookie is None else [("cookie", cookie)]
        answer = ask_wsgi(app, request(headers=headers))
        return [(name.lower(), value) for name, value in answer.headers]

    return get


def nested(protocol: str, *names: str | None) -> tuple[Get, list[Any]]:
    """Releases around one app, the innermost first, by the names of their cookies."""
    controllers = [release(f"release-{n}", cookie) for n, cookie in enumerate(names)]
    app: Any = hello if protocol == "asgi" else answers()
    over: Any = OverASGI if protocol == "asgi" else OverWSGI
    for number, controller in enumerate(controllers):
        app = over(app, controller, app, arm_header=f"X-Arm-{number}")
    return (over_asgi if protocol == "asgi" else over_wsgi)(app), controllers


@dataclass
class Visit:
    arms: dict[str, str]
    cookies: list[str]


def visit(get: Get, cookie: str | None = None) -> Visit:
    headers = get(cookie)
    return Visit(
        {name: value for name, value in headers if name.startswith("x-arm")},
        [value.split(";")[0] for name, value in headers if name == "set-cookie"],
    )


@pytest.mark.parametrize("protocol", ["asgi", "wsgi"])
@pytest.mark.parametrize(
    ("names", "cookies"),
    [
        (("a",), 1),
        (("a", "a"), 1),
        (("a", "a", "a"), 1),
        (("a", "b"), 2),
        (("a", "b", "a"), 2),
        (("a", None), 1),
        (("a", None, "a"), 1),
        ((None, "a"), 1),
    ],
)
def test_a_first_response_sets_each_cookie_once_and_nobody_moves(
    protocol: str, names: tuple[str | None, ...], cookies: int
) -> None:
    get, controllers = nested(protocol, *names)
    seen = set()
    for _ in range(30):
        first = visit(get)
        assert len(first.cookies) == len({c.split("=")[0] for c in first.cookies}) == cookies
        again = visit(get, "; ".join(first.cookies))
        assert again == Visit(first.arms, [])
        seen.add(tuple(first.arms.values()))
    assert len(seen) > 1
    assert all("faults" not in controller.counters for controller in controllers)


@pytest.mark.parametrize("protocol", ["asgi", "wsgi"])
def test_a_release_on_one_arm_of_another_gives_no_second_cookie(protocol: str) -> None:
    """The version that is released is itself a pair."""
    inner, outer = release("inner"), release("outer")
    if protocol == "asgi":
        pair = OverASGI(hello, inner, hello, arm_header="X-Arm-0")
        get = over_asgi(OverASGI(hello, outer, pair, arm_header="X-Arm-1"))
    else:
        below = OverWSGI(answers(), inner, answers(), arm_header="X-Arm-0")
        get = over_wsgi(OverWSGI(answers(), outer, below, arm_header="X-Arm-1"))
    arms = set()
    for _ in range(30):
        first = visit(get)
        assert len(first.cookies) == 1
        assert visit(get, first.cookies[0]) == Visit(first.arms, [])
        arms.add(tuple(first.arms.items()))
    assert len(arms) > 1


def test_through_what_copies_the_scope_and_runs_tasks_of_its_own() -> None:
    inner, outer = release("inner"), release("outer")

    async def below(scope: Scope, receive: Receive, send: Send) -> None:
        await respond(send)

    async def passes(request: Any, call_next: Any) -> Any:
        return await call_next(request)

    app: Any = Starlette(routes=[Mount("/", OverASGI(below, inner, below, arm_header="X-Arm-0"))])
    app = OverASGI(BaseHTTPMiddleware(app, passes), outer, arm_header="X-Arm-1")
    get = over_asgi(app)
    for _ in range(20):
        first = visit(get)
        assert len(first.cookies) == 1
        assert visit(get, first.cookies[0]) == Visit(first.arms, [])


def test_two_users_at_once_have_two_keys() -> None:
    controllers = [release("inner"), release("outer")]
    app: Any = hello
    for number, controller in enumerate(controllers):
        app = OverASGI(app, controller, arm_header=f"X-Arm-{number}")

    async def go() -> list[Any]:
        return await asyncio.gather(*(talk(app, http_scope()) for _ in range(20)))

    cookies = [
        [value for name, value in answer.headers if name == b"set-cookie"]
        for answer in asyncio.run(go())
    ]
    assert all(len(each) == 1 for each in cookies)
    assert len({each[0] for each in cookies}) == 20


def test_one_thread_serves_one_user_after_the_other() -> None:
    """What a request was given does not stay with the thread."""
    get, _ = nested("wsgi", "a", "a")
    assert len({visit(get).cookies[0] for _ in range(20)}) == 20


def test_a_release_that_is_over_gives_nothing() -> None:
    get, (inner, outer) = nested("asgi", "a", "a")
    outer.start()
    outer.abort()
    first = visit(get)
    assert len(first.cookies) == 1
    inner.abort()
    assert visit(get).cookies == []
