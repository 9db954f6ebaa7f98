"""The least app of each framework, with its defaults."""

from __future__ import annotations

from typing import Any


def starlette() -> Any:
    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    async def hello(request: Any) -> PlainTextResponse:
        return PlainTextResponse("hello")

    return Starlette(routes=[Route("/hello", hello)])


def fastapi() -> Any:
    from fastapi import FastAPI

    app = FastAPI()

    @app.get("/hello")
    def hello() -> str:
        return "hello"

    return app


def litestar() -> Any:
    from litestar import Litestar, get

    @get("/hello")
    async def hello() -> str:
        return "hello"

    return Litestar([hello])


def quart() -> Any:
    from quart import Quart

    app = Quart("app")

    @app.get("/hello")
    async def hello() -> str:
        return "hello"

    return app


def falcon() -> Any:
    import falcon.asgi

    class Hello:
        async def on_get(self, request: Any, response: Any) -> None:
            response.text = "hello"

    app = falcon.asgi.App()
    app.add_route("/hello", Hello())
    return app


def django() -> Any:
    from django.conf import settings  # type: ignore[import-untyped]
    from django.core.asgi import get_asgi_application  # type: ignore[import-untyped]
    from django.http import HttpResponse  # type: ignore[import-untyped]
    from django.urls import path  # type: ignore[import-untyped]

    async def hello(request: Any) -> HttpResponse:
        return HttpResponse("hello")

    settings.configure(
        ROOT_URLCONF=type("Urls", (), {"urlpatterns": [path("hello", hello)]}),
        ALLOWED_HOSTS=["*"],
        SECRET_KEY="only here",
    )
    return get_asgi_application()


def sanic() -> Any:
    from sanic import Sanic
    from sanic.response import text

    app = Sanic("app")

    @app.get("/hello")
    async def hello(request: Any) -> Any:
        return text("hello")

    return app


async def get(app: Any) -> list[int]:
    """The statuses of GET /hello, in a trace and in none, asked within a lifespan."""
    import asyncio

    from tests.middleware.asgi_tools import http_scope, talk
    from tests.tracing.request_tools import TRACEPARENT

    begun: asyncio.Event = asyncio.Event()
    over: asyncio.Event = asyncio.Event()
    messages = [{"type": "lifespan.startup"}]

    async def receive() -> Any:
        if messages:
            return messages.pop()
        await over.wait()
        return {"type": "lifespan.shutdown"}

    async def send(message: Any) -> None:
        begun.set()

    async def live() -> None:
        try:
            await app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send)
        finally:
            begun.set()

    lifespan = asyncio.ensure_future(live())
    await begun.wait()
    host = ("host", "localhost")
    answers = [
        await talk(app, http_scope("/hello", headers=headers))
        for headers in ([host], [host, TRACEPARENT])
    ]
    over.set()
    await asyncio.wait([lifespan])
    return [answer.status for answer in answers]
