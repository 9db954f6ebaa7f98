"""Each framework's own routes have names, and who names a route that nobody has is told so."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from wsgiref.types import WSGIApplication

import bottle  # type: ignore[import-untyped]
import falcon
import falcon.asgi
import litestar
import pytest
import sanic
from django.core.handlers.asgi import ASGIHandler  # type: ignore[import-untyped]
from django.core.handlers.wsgi import WSGIHandler  # type: ignore[import-untyped]
from django.http import HttpRequest, HttpResponse, JsonResponse  # type: ignore[import-untyped]
from django.urls import include, path, re_path  # type: ignore[import-untyped]
from flask import Flask
from litestar import Litestar, Router, get
from quart import Blueprint, Quart, websocket
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route
from tests.middleware.asgi_tools import App, Controller, ask, http_scope, talk, websocket_scope
from tests.middleware.django_tools import django_for
from tests.middleware.wsgi_tools import ask as ask_wsgi
from tests.middleware.wsgi_tools import request
from werkzeug.wrappers import Request as WerkzeugRequest
from werkzeug.wrappers import Response as WerkzeugResponse

from canario import Plan
from canario.asgi import CanaryMiddleware as OverASGI
from canario.config import ConfigError
from canario.slo import SLOMonitor
from canario.wsgi import CanaryMiddleware as OverWSGI

# -- one app in each framework: an item, the same below a prefix, and nothing else


def litestar_app() -> App:
    @get("/items/{item:int}")
    async def read(request: litestar.Request[Any, Any, Any]) -> dict[str, Any]:
        return {"item": request.path_params["item"]}

    api = Router("/api", route_handlers=[read])
    app: Any = Litestar([read, api], logging_config=None)  # else it configures the root logger
    return app  # type: ignore[no-any-return]


def quart_app() -> App:
    app, api = Quart("quart"), Blueprint("api", "api", url_prefix="/api")

    async def read(item: int) -> dict[str, int]:
        return {"item": item}

    async def talks(room: str) -> None:
        assert room
        await websocket.accept()

    app.add_url_rule("/items/<int:item>", view_func=read)
    api.add_url_rule("/items/<int:item>", view_func=read)
    app.register_blueprint(api)
    app.websocket("/talk/<room>")(talks)
    return app  # type: ignore[return-value]


def sanic_app() -> App:
    app = sanic.Sanic(f"app-{len(sanic.Sanic._app_registry)}", configure_logging=False)
    app.config.MOTD = False
    app.config.TOUCHUP = False  # it rewrites Sanic itself, once in a process

    async def read(_: sanic.Request, item: int) -> sanic.HTTPResponse:
        return sanic.json({"item": item})

    app.add_route(read, "/items/<item:int>", name="item")
    app.add_route(read, "/api/items/<item:int>", name="api")
    return app


class Items:
    def on_get(self, req: Any, resp: falcon.Response, item: int) -> None:
        resp.media = {"item": item}


class AsyncItems:
    async def on_get(self, req: Any, resp: falcon.asgi.Response, item: int) -> None:
        resp.media = {"item": item}


def falcon_asgi_app() -> App:
    app = falcon.asgi.App()
    for prefix in ("", "/api"):
        app.add_route(f"{prefix}/items/{{item:int}}", AsyncItems())
    return app  # type: ignore[return-value]


def falcon_wsgi_app() -> WSGIApplication:
    app = falcon.App()
    for prefix in ("", "/api"):
        app.add_route(f"{prefix}/items/{{item:int}}", Items())
    return app


def read_item(request: HttpRequest, item: int) -> HttpResponse:
    return JsonResponse({"item": item})


items = [path("items/<int:item>", read_item)]
urlpatterns = [
    *items,
    path("api/", include(items)),
    re_path(r"^old/(?P<item>[0-9]+)$", read_item),
    path("", lambda request: HttpResponse("home")),
]


def flask_app() -> WSGIApplication:
    app = Flask("flask")
    for prefix in ("", "/api"):
        rule = f"{prefix}/items/<int:item>"
        app.add_url_rule(rule, endpoint=rule, view_func=lambda item: str(item))
    return app


def bottle_app() -> WSGIApplication:
    app = bottle.Bottle()
    for prefix in ("", "/api"):
        app.route(f"{prefix}/items/<item:int>", callback=lambda item: {"item": item})
    return app  # type: ignore[no-any-return]


@pytest.fixture(autouse=True)
def _django() -> Iterator[None]:
    with django_for(__name__):
        yield


OVER_ASGI: dict[str, tuple[Callable[[], Any], str]] = {
    "litestar": (litestar_app, "/items/{item}"),
    "quart": (quart_app, "/items/<int:item>"),
    "sanic": (sanic_app, "/items/<item:int>"),
    "falcon": (falcon_asgi_app, "/items/{item:int}"),
    "django": (ASGIHandler, "items/<int:item>"),
}
OVER_WSGI: dict[str, tuple[Callable[[], Any], str]] = {
    "bottle": (bottle_app, "/items/<item:int>"),
    "flask": (flask_app, "/items/<int:item>"),
    "falcon": (falcon_wsgi_app, "/items/{item:int}"),
    "django": (WSGIHandler, "items/<int:item>"),
}


@asynccontextmanager
async def alive(app: App) -> AsyncIterator[None]:
    """Between the start-up and the end of an app that wants them (Sanic's routes do)."""
    told: asyncio.Queue[Any] = asyncio.Queue()
    said: asyncio.Queue[Any] = asyncio.Queue()
    scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": {}}
    task = asyncio.ensure_future(app(scope, told.get, said.put))
    await told.put({"type": "lifespan.startup"})
    assert await said.get() == {"type": "lifespan.startup.complete"}
    yield
    await told.put({"type": "lifespan.shutdown"})
    await task


async def named(middleware: OverASGI, *paths: str, lives: bool = True) -> list[str]:
    """The routes that a contract is told for requests of these paths."""
    seen: list[str] = []
    checker = middleware.gate._checking
    assert checker is not None
    checker.checker.contract = lambda route, *_: seen.append(route)
    async with AsyncExitStack() as stack:
        if lives:
            await stack.enter_async_context(alive(middleware))
        for each in paths:
            headers = [("host", "app.example"), ("x-user-id", "ann")]
            answer = await talk(middleware, http_scope(each, headers=headers))
            assert answer.raised is None
            assert answer.status in (200, 404)
    assert middleware.gate.drain(10)
    return seen


def checks(*_: object) -> None:
    """A contract that everything keeps."""


@pytest.mark.parametrize("framework", OVER_ASGI)
def test_routes_of_asgi_frameworks_are_named_as_they_write_them(framework: str) -> None:
    make, template = OVER_ASGI[framework]
    controller = Controller()
    middleware = OverASGI(make(), controller, contract=checks)
    below = template if template.startswith("/") else f"/{template}"
    wanted = [template, ("/api" + below)[not template.startswith("/") :], ""]
    paths = ["/items/7", "/api/items/7", "/nowhere"]
    assert asyncio.run(named(middleware, *paths, lives=framework != "django")) == wanted
    assert "faults" not in controller.counters


@pytest.mark.parametrize("framework", OVER_WSGI)
def test_routes_of_wsgi_frameworks_are_named_as_they_write_them(framework: str) -> None:
    make, template = OVER_WSGI[framework]
    controller, seen = Controller(), []
    middleware = OverWSGI(make(), controller, contract=lambda route, *_: seen.append(route))
    for each in ("/items/7", "/api/items/7", "/nowhere"):
        ask_wsgi(middleware, request(each, HTTP_HOST="app.example"))
    assert middleware.gate.drain(10)
    below = template if template.startswith("/") else f"/{template}"
    assert seen == [template, ("/api" + below)[not template.startswith("/") :], ""]
    assert "faults" not in controller.counters


@pytest.mark.parametrize("framework", OVER_ASGI)
@pytest.mark.parametrize("wrong", [True, False])
def test_a_contract_by_route_is_asked_whatever_the_framework(framework: str, wrong: bool) -> None:
    """Parameters' names and a slash before the route make no difference."""
    make, _ = OVER_ASGI[framework]
    controller = Controller(100)
    schema = {"type": "array" if wrong else "object"}
    middleware = OverASGI(make(), controller, contract={"/items/{id}": schema})

    async def go() -> None:
        async with AsyncExitStack() as stack:
            if framework != "django":
                await stack.enter_async_context(alive(middleware))
            headers = [("host", "app.example"), ("x-user-id", "ann")]
            await talk(middleware, http_scope("/items/7", headers=headers))

    asyncio.run(go())
    assert middleware.gate.drain(10)
    assert (controller.state.phase == "rolled_back") is wrong
    assert controller.counters.get("contract_checked") == 1


@pytest.mark.parametrize("framework", ["quart", "litestar", "falcon"])
def test_both_arms_and_two_releases_have_the_name(framework: str) -> None:
    make, template = OVER_ASGI[framework]
    inner = OverASGI(make(), Controller(), canary=make(), contract=checks)
    outer = OverASGI(inner, Controller(), contract=checks)
    for number in range(4):
        path = f"/items/{number}"

        async def go(path: str = path) -> list[str]:
            return await named(outer, path)

        assert asyncio.run(go()) == [template]


def test_a_websocket_of_quart() -> None:
    seen: list[str | None] = []
    controller = Controller()
    middleware = OverASGI(quart_app(), controller, errors={"/x": {400}})
    finish = middleware.gate.finish

    def note(exchange: Any, route: str | None, **more: Any) -> None:
        seen.append(route)
        finish(exchange, route, **more)

    middleware.gate.finish = note  # type: ignore[method-assign]
    scope = websocket_scope("/talk/den", headers=[("host", "app.example")])
    ask(middleware, scope, {"type": "websocket.connect"}, {"type": "websocket.disconnect"})
    assert seen == ["/talk/<room>"]


def test_a_request_in_flight_is_named_by_whoever_asks() -> None:
    """A check may be made by another request, or by a thread of its own."""
    found: list[str | None] = []

    async def go() -> None:
        app: Any = Quart("slow")
        served, may_end = asyncio.Event(), asyncio.Event()

        async def slow(item: int) -> str:
            served.set()
            await may_end.wait()
            return "done"

        app.add_url_rule("/slow/<int:item>", view_func=slow)
        controller = Controller()
        middleware = OverASGI(app, controller, contract=checks)
        headers = [("host", "app.example"), ("x-user-id", "ann")]
        task = asyncio.ensure_future(talk(middleware, http_scope("/slow/7", headers=headers)))
        await served.wait()
        (flying,) = controller.requests_in_flight
        found.append(flying.find_route())
        may_end.set()
        await task

    asyncio.run(go())
    assert found == ["/slow/<int:item>"]


def test_django_below_a_root_path_and_by_its_own_url_configuration() -> None:
    def middleware_of(app: App) -> OverASGI:
        return OverASGI(app, Controller(), contract=checks)

    handler = ASGIHandler()
    mounted = Starlette(routes=[Mount("/dj", app=handler)])
    assert asyncio.run(named(middleware_of(mounted), "/dj/items/7", lives=False)) == [
        "/dj/items/<int:item>"
    ]
    assert asyncio.run(named(middleware_of(handler), "/", "/old/3", lives=False)) == [
        "/",
        "^old/(?P<item>[0-9]+)$",
    ]


class OwnURLs:
    """A middleware of Django that chooses other URLs for a request."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request.urlconf = tuple(items_of_a_tenant)
        return self.get_response(request)


items_of_a_tenant = [path("tenant/<int:item>", read_item)]


@pytest.mark.parametrize("protocol", ["asgi", "wsgi"])
def test_a_request_of_django_with_its_own_urls(protocol: str) -> None:
    with django_for(__name__, middleware=(f"{__name__}.OwnURLs",)):
        seen: list[str] = []
        if protocol == "asgi":
            over_asgi = OverASGI(ASGIHandler(), Controller(), contract=checks)
            seen = asyncio.run(named(over_asgi, "/tenant/7", "/items/7", lives=False))
        else:
            over_wsgi = OverWSGI(
                WSGIHandler(), Controller(), contract=lambda route, *_: seen.append(route)
            )
            for each in ("/tenant/7", "/items/7"):
                ask_wsgi(over_wsgi, request(each, HTTP_HOST="app.example"))
            assert over_wsgi.gate.drain(10)
    assert seen == ["tenant/<int:item>", ""]


def test_an_app_of_falcon_that_is_wrapped_has_names() -> None:
    class Wrapper:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, *call: Any) -> None:
            await self.app(*call)

    app = Wrapper(Wrapper(falcon_asgi_app()))
    middleware = OverASGI(app, Controller(), contract=checks)
    assert asyncio.run(named(middleware, "/items/7", "/items/seven")) == ["/items/{item:int}", ""]


def test_a_bare_werkzeug_app_has_no_routes_and_no_faults() -> None:
    @WerkzeugRequest.application
    def app(request: WerkzeugRequest) -> WerkzeugResponse:
        return WerkzeugResponse("ok")

    controller = Controller()
    middleware = OverWSGI(app, controller, errors={"/x": {400}})
    for _ in range(3):
        assert ask_wsgi(middleware, request("/x")).status == "200 OK"
    assert controller.counters == {"no_key": 3, "no_route": 3}


# -- who names a route that nobody has


async def item(request: Request) -> Response:
    return PlainTextResponse("1")


ITEMS = Starlette(routes=[Route("/items/{id}", item), Route("/health", item)])


def warned(caplog: pytest.LogCaptureFixture) -> list[str]:
    lines = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    return [line for line in lines if "route" in line]


def after(requests: int, app: App, path: str = "/items/7", **options: Any) -> Controller:
    patience = options.pop("abandoned_after_by_route", None)
    controller = Controller(abandoned_after_by_route=patience)
    middleware = OverASGI(app, controller, **options)

    async def go() -> None:
        for number in range(requests):
            await talk(middleware, http_scope(path, headers=[("x-user-id", str(number))]))

    asyncio.run(go())
    assert middleware.gate.drain(10)
    assert "faults" not in controller.counters
    return controller


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("contract", {"/itmes/{id}": {"type": "array"}, "/items/{other}": {}}),
        ("contract_routes", ["/itmes/{id}", "/items/{id}"]),
        ("errors", {"/itmes/{id}": {409}, "/items/<int:other>": {409}}),
        ("flows", {"/itmes/{id}": "a", "/items/{id}": "b"}),
        ("abandoned_after_by_route", {"/itmes/{id}": 5.0, "/items/{id}": 9.0}),
    ],
)
def test_a_route_that_nobody_has_is_said_once(
    option: str, value: Any, caplog: pytest.LogCaptureFixture
) -> None:
    options = {option: value}
    if option == "flows":
        options["monitor"] = SLOMonitor(Plan().slo)
    if option == "contract_routes":
        options["contract"] = checks
    controller = after(99, ITEMS, **options)
    assert warned(caplog) == []
    controller = after(300, ITEMS, **options)
    (said,) = warned(caplog)
    assert f"the route '/itmes/{{id}}' (did you mean '/items/{{id}}'?) that {option}= names" in said
    assert "'/items/{other}'" not in said
    assert "give the middleware route=" in said
    assert controller.counters["route_not_seen"] == 1


def test_what_nobody_serves_and_health_checks_are_no_sign(caplog: pytest.LogCaptureFixture) -> None:
    for each in ("/nowhere", "/health"):
        controller = after(150, ITEMS, each, errors={"/items/{id}": {409}})
        assert controller.counters == {}
    assert warned(caplog) == []


@pytest.mark.parametrize("option", ["monitor", "errors", "contract", "contract_routes"])
def test_requests_without_a_name_are_said_where_one_is_needed(
    option: str, caplog: pytest.LogCaptureFixture
) -> None:
    values: dict[str, Any] = {
        "monitor": SLOMonitor(Plan().slo),
        "errors": {"/items/{id}": {409}},
        "contract": {"/items/{id}": {}},
        "contract_routes": ["/items/{id}"],
    }
    options = {option: values[option]}
    if option == "contract_routes":
        options["contract"] = checks

    async def nameless(scope: Any, receive: Any, send: Any) -> None:
        await PlainTextResponse("ok")(scope, receive, send)

    controller = after(120, nameless, **options)
    assert controller.counters["no_route"] == 120
    said = warned(caplog)[-1]
    assert "100 of the first 100 requests had no route name" in said
    assert f"{option}=" in said
    assert "route=, a function" in said
    assert len(warned(caplog)) == (1 if option == "monitor" else 2)


def test_nothing_is_said_where_no_name_is_needed(caplog: pytest.LogCaptureFixture) -> None:
    async def nameless(scope: Any, receive: Any, send: Any) -> None:
        await PlainTextResponse("ok")(scope, receive, send)

    controller = after(120, nameless, contract=checks)
    assert "no_route" not in controller.counters
    assert warned(caplog) == []


@pytest.mark.parametrize("option", ["errors", "flows"])
def test_one_route_may_not_be_named_twice(option: str) -> None:
    value: Any = {"/a/{x}": {409}, "/a/<y>": {422}}
    with pytest.raises(ConfigError, match="are one route"):
        OverASGI(ITEMS, Controller(), **{option: value})


def test_a_mapping_of_djangos_routes_is_no_schema() -> None:
    """They begin without a slash, and a schema that has no known keyword allows everything."""
    controller = Controller(100)
    contract = {"items/<int:item>": {"type": "string"}}
    middleware = OverWSGI(WSGIHandler(), controller, contract=contract)
    ask_wsgi(middleware, request("/items/7", HTTP_HOST="x", HTTP_X_USER_ID="ann"))
    assert middleware.gate.drain(10)
    assert controller.state.phase == "rolled_back"
    with pytest.raises(ValueError, match="a route has a slash"):
        OverWSGI(WSGIHandler(), Controller(), contract={"items/": {}, "about": {}})
