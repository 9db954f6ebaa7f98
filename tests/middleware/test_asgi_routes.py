"""The name of a route is its whole template, never the raw path."""

from __future__ import annotations

import pytest
from fastapi import APIRouter, FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Host, Mount, Route, Router, WebSocketRoute
from starlette.websockets import WebSocket
from tests.middleware.asgi_tools import (
    Controller,
    Receive,
    Scope,
    Send,
    ask,
    hello,
    http_scope,
    websocket_scope,
)

from canario.asgi import CanaryMiddleware
from canario.asgi.route import RouteNames


async def index(request: Request) -> Response:
    return PlainTextResponse("index")


async def chat(websocket: WebSocket) -> None:
    await websocket.close()


class Opaque:
    """A middleware that hides the routes of what it wraps."""

    def __init__(self, app: Starlette | Router) -> None:
        self._wrapped = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._wrapped(scope, receive, send)


api = Router([Route("/", index), Route("/items/{id:int}", index), WebSocketRoute("/chat", chat)])

# Names are asked for where something depends on them.
NAMED = {"/nowhere": {499}}

ROUTES = [
    Route("/", index),
    Route("/items/{id:int}/{rest:path}", index),
    Route("/items/{id}", index),
    Mount("/api", app=api),
    Mount("/v2", routes=[Mount("/api", app=api)]),
    Mount("/tenants/{tenant}", routes=[Route("/users/{id}", index), Mount("/api", app=api)]),
    Mount("/same/{id}", routes=[Route("/{id}", index)]),
    Mount("/static", app=hello),
    Mount("/opaque", app=Opaque(api)),
    Mount("/opaque2", app=Opaque(Router([Mount("/in", app=api)]))),
    Host("api.example.org", app=Router([Mount("/hosted", app=api)])),
    WebSocketRoute("/chat/{room}", chat),
]


def name_of(scope: Scope, app: Starlette | None = None) -> str | None:
    """The name that a request's route gets, asked for twice."""
    names: list[str | None] = []
    reader = RouteNames()

    def note(scope: Scope) -> str | None:
        names.append(reader(scope))
        return names[-1]

    middleware = CanaryMiddleware(
        app or Starlette(routes=ROUTES), Controller(), errors=NAMED, route=note
    )
    for _ in range(2):
        ask(middleware, {**scope})
    assert names[0] == names[1]
    return names[0]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/", "/"),
        ("/items/7", "/items/{id}"),
        ("/items/7/a/b", "/items/{id}/{rest}"),
        ("/api/", "/api/"),
        ("/api/items/7", "/api/items/{id}"),
        ("/v2/api/items/7", "/v2/api/items/{id}"),
        ("/tenants/acme/users/ann", "/tenants/{tenant}/users/{id}"),
        ("/tenants/acme/api/items/7", "/tenants/{tenant}/api/items/{id}"),
        ("/same/1/2", "/same/{id}/{id}"),
        ("/static/a/b.css", "/static"),
        ("/opaque/items/7", "/opaque/items/{id}"),
        ("/api/none", "/api"),
        ("/tenants/acme/none", "/tenants/{tenant}"),
        ("/none", None),
        ("/items/7/", "/items/{id}/{rest}"),
    ],
)
def test_starlette(path: str, name: str | None) -> None:
    assert name_of(http_scope(path)) == name


def test_a_route_behind_what_cannot_be_looked_into_has_no_name() -> None:
    assert name_of(http_scope("/opaque2/in/items/7")) is None


def test_a_host() -> None:
    headers = [("host", "api.example.org")]
    assert name_of(http_scope("/hosted/items/7", headers=headers)) == "/hosted/items/{id}"


def test_what_the_server_calls_the_root_path_is_no_part_of_it() -> None:
    scope = http_scope("/proxy/api/items/7", root_path="/proxy")
    assert name_of(scope) == "/api/items/{id}"
    assert name_of(http_scope("/proxy/items/7", root_path="/proxy")) == "/items/{id}"


def test_a_method_that_is_not_allowed_has_the_name_of_its_route() -> None:
    assert name_of(http_scope("/api/items/7", method="DELETE")) == "/api/items/{id}"


def test_websockets() -> None:
    assert name_of(websocket_scope("/chat/lobby")) == "/chat/{room}"
    assert name_of(websocket_scope("/api/chat")) == "/api/chat"


def test_as_a_middleware_within_a_mount() -> None:
    names: list[str | None] = []
    reader = RouteNames()

    def note(scope: Scope) -> str | None:
        names.append(reader(scope))
        return names[-1]

    guarded = CanaryMiddleware(api, Controller(), errors=NAMED, route=note)
    app = Starlette(
        routes=[Mount("/api", app=guarded), Mount("/{x}", routes=[Mount("/y", guarded)])]
    )
    ask(app, http_scope("/api/items/7"))
    ask(app, http_scope("/else/y/items/7"))
    assert names == ["/api/items/{id}", "/{x}/y/items/{id}"]


class Theirs:
    """A route as FastAPI has them."""

    path = path_format = "/v1/items/{item_id}"


@pytest.mark.parametrize("route", [None, "GET /items", object()])
def test_a_scope_without_a_template_has_no_name(route: object) -> None:
    assert RouteNames()(http_scope() | {"route": route}) is None  # type: ignore[operator]
    assert RouteNames()(http_scope()) is None


def test_any_route_with_a_template_will_do() -> None:
    assert RouteNames()({**http_scope(), "route": Theirs()}) == "/v1/items/{item_id}"


def test_a_route_that_fastapi_includes_has_its_prefix() -> None:
    class Included:
        original_route = Theirs()
        path_format = "/api/v1/items/{item_id}"

    scope = {**http_scope(), "route": Included.original_route}
    fastapi = {"effective_route_context": Included()}
    assert RouteNames()({**scope, "fastapi": fastapi}) == "/api/v1/items/{item_id}"
    for other in ({}, {"effective_route_context": None}, None, {**fastapi, "route": Theirs()}):
        assert RouteNames()({**http_scope(), "route": Theirs(), "fastapi": other}) == Theirs.path


def test_fastapi() -> None:
    def item(id: int) -> int:  # noqa: A002 - the parameter of the path
        return id

    router = APIRouter(prefix="/v1/{tenant}")
    router.get("/items/{id}")(item)
    deeper = APIRouter(prefix="/deeper")
    deeper.include_router(router)
    inner, app = FastAPI(), FastAPI()
    inner.include_router(router)
    app.get("/items/{id}")(item)
    app.include_router(router, prefix="/api")
    app.include_router(deeper)
    app.mount("/inner/{x}", inner)
    names = {
        "/items/7": "/items/{id}",
        "/api/v1/acme/items/7": "/api/v1/{tenant}/items/{id}",
        "/api/v1/acme/items/none": "/api/v1/{tenant}/items/{id}",
        "/deeper/v1/acme/items/7": "/deeper/v1/{tenant}/items/{id}",
        "/inner/y/v1/acme/items/7": "/inner/{x}/v1/{tenant}/items/{id}",
        "/none": None,
    }
    assert {path: name_of(http_scope(path), app) for path in names} == names
